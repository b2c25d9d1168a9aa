//! "Did you mean": the name nearest to one that does not exist.

/// The candidate nearest to `wanted`, if it is near enough to be a slip of the fingers.
pub(super) fn nearest<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    /// Longer names are compared by nobody and would make the table quadratic in a hostile file.
    const LONGEST: usize = 60;
    let allowed = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && wanted.len() <= LONGEST)
        .filter(|candidate| candidate.len().abs_diff(wanted.len()) <= 4 * allowed)
        .map(|candidate| (distance(&wanted.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let names = ["handle", "predict", "initialize"];
        assert_eq!(nearest("handel", names), Some("handle"));
        assert_eq!(nearest("Handle", names), Some("handle"));
        assert_eq!(nearest("handler", names), Some("handle"));
        assert_eq!(nearest("initialise", names), Some("initialize"));
        assert_eq!(nearest("serve", names), None);
        assert_eq!(nearest("f", names), None);
    }
}
