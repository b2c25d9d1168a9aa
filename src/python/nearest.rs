//! "Did you mean": the name nearest to one that does not exist.

/// The candidate nearest to `wanted`, if near enough to be a typing error.
pub(super) fn nearest<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    /// The time to compare two names grows with the product of their lengths: a hostile file must not
    /// choose it.
    const LONGEST: usize = 60;
    let allowed = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && wanted.len() <= LONGEST)
        .filter(|candidate| candidate.len().abs_diff(wanted.len()) <= 4 * allowed)
        .map(|candidate| {
            (strsim::osa_distance(&wanted.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_suggested_and_another_word_is_not() {
        let names = ["handle", "predict", "initialize"];
        assert_eq!(nearest("handel", names), Some("handle"));
        assert_eq!(nearest("Handle", names), Some("handle"));
        assert_eq!(nearest("handler", names), Some("handle"));
        assert_eq!(nearest("initialise", names), Some("initialize"));
        assert_eq!(nearest("serve", names), None);
        assert_eq!(nearest("f", names), None);
    }
}
