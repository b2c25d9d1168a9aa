//! "Did you mean …?" for keys and values.

/// Longer words are not typing errors, and comparing them takes time.
const MAX_LENGTH: usize = 40;

/// The candidate nearest to `word`, if one or two typing errors away (three in a long word).
pub(super) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    if word.chars().count() > MAX_LENGTH {
        return None;
    }
    let word = normal(word);
    candidates
        .iter()
        .map(|&candidate| (strsim::osa_distance(&word, &normal(candidate)), candidate))
        .filter(|&(distance, candidate)| distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Case and the kind of separator never make a difference.
fn normal(word: &str) -> String {
    word.to_ascii_lowercase().replace(['-', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_suggested_and_another_word_is_not() {
        let keys = ["store", "drop_folders", "watch_mode", "jobs", "name", "settle"];
        for (word, meant) in [
            ("drop-folders", Some("drop_folders")),
            ("drop_folder", Some("drop_folders")),
            ("Store", Some("store")),
            ("stroe", Some("store")),
            ("job", Some("jobs")),
            ("nmae", Some("name")),
            ("watchmode", Some("watch_mode")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &keys), meant, "{word}");
        }
    }
}
