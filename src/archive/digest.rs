//! The digest of an archive's content, which does not depend on form or compression.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::EntryPath;

/// BLAKE3 of the list of (path, length, BLAKE3 of the content), sorted by path, manifest included;
/// written `b3:HEX`.
///
/// Each item of the list is the path's bytes, a zero byte, the length as eight bytes in little
/// endian, and the 32 bytes of the content's BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// A hash in hexadecimal.
pub(crate) fn hex(hash: [u8; 32]) -> String {
    blake3::Hash::from_bytes(hash).to_hex().to_string()
}

/// The text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest (`b3:` and 64 hexadecimal digits)")]
pub struct DigestError(String);

impl Digest {
    /// The digest of `items`, which may come in any order.
    pub fn of<'a>(items: impl IntoIterator<Item = (&'a EntryPath, u64, &'a [u8; 32])>) -> Self {
        let mut items: Vec<_> = items.into_iter().collect();
        // Items of an archive are nearly in order, which only a stable sort makes use of.
        items.sort_by_key(|&(path, ..)| path);
        let mut hasher = blake3::Hasher::new();
        for (path, size, content) in items {
            hasher.update(path.as_str().as_bytes());
            hasher.update(&[0]);
            hasher.update(&size.to_le_bytes());
            hasher.update(content);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The 64 hexadecimal digits, without the prefix.
    pub fn digits(&self) -> String {
        hex(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", self.digits())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let error = || DigestError(text.to_owned());
        let hex = text.strip_prefix("b3:").ok_or_else(error)?;
        blake3::Hash::from_hex(hex).map(|hash| Self(*hash.as_bytes())).map_err(|_| error())
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_everything_but_the_order() {
        let (a, b) = (EntryPath::parse("a").unwrap(), EntryPath::parse("b").unwrap());
        let of = |items: &[(&EntryPath, u64, &[u8; 32])]| Digest::of(items.iter().copied());
        let one = of(&[(&a, 1, &[1; 32]), (&b, 2, &[2; 32])]);
        assert_eq!(one, of(&[(&b, 2, &[2; 32]), (&a, 1, &[1; 32])]));
        assert_ne!(one, of(&[(&a, 2, &[1; 32]), (&b, 2, &[2; 32])]));
        assert_ne!(one, of(&[(&a, 1, &[3; 32]), (&b, 2, &[2; 32])]));
        assert_ne!(one, of(&[(&b, 1, &[1; 32]), (&a, 2, &[2; 32])]));
        assert_eq!(one.to_string().parse(), Ok(one));
        assert!("b3:12".parse::<Digest>().is_err());
    }

    /// The expected digest was computed with another implementation of BLAKE3 from the definition in
    /// `docs/results.md`.
    #[test]
    fn a_digest_matches_the_definition_in_the_documentation() {
        let item = |path: &str, content: &[u8]| {
            let hash = *blake3::hash(content).as_bytes();
            (EntryPath::parse(path).unwrap(), content.len() as u64, hash)
        };
        let items =
            [item("z", b""), item("MAR-INF/MANIFEST.json", b"{}\n"), item("a/b.txt", b"hello")];
        let digest = Digest::of(items.iter().map(|(path, size, hash)| (path, *size, hash)));
        assert_eq!(
            digest.to_string(),
            "b3:b0b0f7da427a5e719ccc3e537d978f3018445b47809fa9d6cdc76fe9707947c1"
        );
    }
}
