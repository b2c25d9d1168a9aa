//! The version in a manifest, from which a server's answer shows which content it serves.

/// Number of digest digits in a version.
const MARK: usize = 16;

/// The version of an archive with this content when servers are configured: the author's, with the
/// first digits of the content's digest appended.
pub fn marked_version(author: Option<&str>, digits: &str) -> String {
    let mark = digits.get(..MARK).unwrap_or(digits);
    author.map_or_else(|| mark.to_owned(), |version| format!("{version}+{mark}"))
}

/// Whether marwatch made this version; see [`marked_version`].
pub fn is_marked(version: &str) -> bool {
    let mark = version.rsplit_once('+').map_or(version, |(_, mark)| mark);
    mark.len() == MARK && mark.bytes().all(|byte| byte.is_ascii_hexdigit())
}
