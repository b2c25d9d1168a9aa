//! The version of an archive by which a server tells what it serves.

/// Digits of the digest in a version.
const MARK: usize = 16;

/// The version that an archive with this content gets where servers are configured: the author's,
/// with the first digits of the content's digest, so that a server tells what it serves.
pub fn marked_version(author: Option<&str>, digits: &str) -> String {
    let mark = digits.get(..MARK).unwrap_or(digits);
    author.map_or_else(|| mark.to_owned(), |version| format!("{version}+{mark}"))
}

/// Whether a version is one that marwatch has given an archive: see [`marked_version`].
pub fn is_marked(version: &str) -> bool {
    let mark = version.rsplit_once('+').map_or(version, |(_, mark)| mark);
    mark.len() == MARK && mark.bytes().all(|byte| byte.is_ascii_hexdigit())
}
