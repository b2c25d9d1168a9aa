//! "Did you mean …?" for keys and values.

/// Longer words are no slips of the finger, and comparing them takes time.
const MAX_LENGTH: usize = 40;

/// The candidate that `word` most likely stands for: the nearest one, if a slip or two away.
pub(super) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word: Vec<char> = normal(word).collect();
    if word.len() > MAX_LENGTH {
        return None;
    }
    candidates
        .iter()
        .map(|&candidate| (distance(&word, &normal(candidate).collect::<Vec<_>>()), candidate))
        .filter(|&(distance, candidate)| distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Case and the kind of separator never make a difference.
fn normal(word: &str) -> impl Iterator<Item = char> {
    word.chars().map(|c| if matches!(c, '-' | ' ') { '_' } else { c.to_ascii_lowercase() })
}

/// How many letters to insert, remove, change or swap with their neighbour ("optimal string
/// alignment").
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger() {
        let keys = ["store", "drop_folders", "watch_mode", "jobs", "name", "settle"];
        for (word, meant) in [
            ("drop-folders", Some("drop_folders")),
            ("drop_folder", Some("drop_folders")),
            ("Store", Some("store")),
            ("stroe", Some("store")),
            ("job", Some("jobs")),
            ("watchmode", Some("watch_mode")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &keys), meant, "{word}");
        }
    }

    #[test]
    fn a_swap_counts_as_one() {
        let chars = |word: &str| word.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("stroe"), &chars("store")), 1);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
    }
}
