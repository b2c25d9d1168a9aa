//! Versions.

use super::*;

#[test]
fn a_version_tells_the_content_and_who_has_made_it() {
    let digits = "0123456789abcdef0123456789abcdef";
    assert_eq!(marked_version(Some("2.1"), digits), "2.1+0123456789abcdef");
    assert_eq!(marked_version(None, digits), "0123456789abcdef");
    for ours in ["2.1+0123456789abcdef", "1+2+0123456789abcdef", "0123456789abcdef"] {
        assert!(is_ours(ours), "{ours}");
    }
    for theirs in ["", "1.0", "2.1+0123", "0123456789abcdeg"] {
        assert!(!is_ours(theirs), "{theirs}");
    }
}
