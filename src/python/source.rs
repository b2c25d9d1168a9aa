//! From the bytes of a module to its text: byte order mark, coding cookie (PEP 263), lines.
//!
//! Identifiers, keywords and operators of almost all handlers are ASCII, so a single-byte encoding
//! needs no table: each byte becomes the character of the same number, which keeps lines, columns
//! and the structure exact and touches only the text inside strings and comments.

use std::borrow::Cow;

/// What Python reads a source as.
#[derive(Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Ascii,
    /// Any encoding that agrees with ASCII below 0x80 and needs one byte a character.
    SingleByte,
    /// A cookie that is not known here.
    Unknown(String),
}

/// A decoded source.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    pub(super) text: Cow<'a, str>,
    /// The coding cookie that is not known, with its line.
    pub(super) unknown_cookie: Option<(String, u32)>,
}

/// Why a source is no text, where (line and column from 1), and how to mend it.
#[derive(Debug)]
pub(super) struct DecodeFault {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) message: String,
    pub(super) help: &'static str,
}

const SAVE_AS_UTF8: &str = "save the file as UTF-8, or declare its encoding in the first line: `# -*- coding: latin-1 -*-`";

/// Decodes a module as Python does. Without a cookie the encoding is UTF-8, for Python 2 ASCII.
pub(super) fn decode(source: &[u8], python2: bool) -> Result<Decoded<'_>, DecodeFault> {
    let (bytes, bom) = match source.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => (rest, true),
        None => (source, false),
    };
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(DecodeFault {
            line: 1,
            column: 1,
            message: "the file is UTF-16, which Python does not read".to_owned(),
            help: "save the file as UTF-8",
        });
    }
    let cookie = cookie(bytes);
    let cookie_line = cookie.as_ref().map_or(1, |&(_, line)| line);
    let encoding = match cookie {
        Some((name, _)) => encoding(&name),
        None if python2 && !bom => Encoding::Ascii,
        None => Encoding::Utf8,
    };
    if bom && encoding != Encoding::Utf8 {
        return Err(DecodeFault {
            line: cookie_line,
            column: 1,
            message: "the file begins with a UTF-8 byte order mark and declares another encoding"
                .to_owned(),
            help: "remove the coding line",
        });
    }
    let utf8 = std::str::from_utf8(bytes);
    let text = match (&encoding, utf8) {
        (Encoding::SingleByte, _) | (Encoding::Unknown(_), Err(_)) => {
            Cow::Owned(bytes.iter().copied().map(char::from).collect())
        }
        (Encoding::Ascii, Ok(text)) => match bytes.iter().position(|byte| !byte.is_ascii()) {
            Some(at) => return Err(bad_byte(bytes, at, "ASCII")),
            None => Cow::Borrowed(text),
        },
        (Encoding::Ascii, Err(fault)) => return Err(bad_byte(bytes, fault.valid_up_to(), "ASCII")),
        (Encoding::Utf8 | Encoding::Unknown(_), Ok(text)) => Cow::Borrowed(text),
        (Encoding::Utf8, Err(fault)) => return Err(bad_byte(bytes, fault.valid_up_to(), "UTF-8")),
    };
    let unknown_cookie = match encoding {
        Encoding::Unknown(name) => Some((name, cookie_line)),
        _ => None,
    };
    Ok(Decoded { text, unknown_cookie })
}

/// The fault of a byte at `at`, before which everything is valid UTF-8.
fn bad_byte(bytes: &[u8], at: usize, encoding: &str) -> DecodeFault {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let (line, column) = Lines::new(&before).position(before.len());
    DecodeFault {
        line,
        column,
        message: format!("the byte 0x{:02X} is not {encoding}", bytes[at]),
        help: SAVE_AS_UTF8,
    }
}

/// The coding cookie of PEP 263 and its line: in a comment of the first line, or of the second one
/// when the first holds nothing but a comment.
fn cookie(bytes: &[u8]) -> Option<(String, u32)> {
    let mut rest = bytes;
    for number in 1..=2 {
        let end = rest.iter().position(|byte| b"\n\r".contains(byte)).unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        let line = line.trim_ascii_start();
        if !line.is_empty() && line[0] != b'#' {
            return None;
        }
        if let Some(name) = cookie_in(line) {
            return Some((name, number));
        }
        let line_end = if behind.starts_with(b"\r\n") { 2 } else { 1 };
        rest = behind.get(line_end..).unwrap_or_default();
    }
    None
}

/// The name behind `coding:` or `coding=` in a comment.
fn cookie_in(comment: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"coding";
    (0..comment.len().saturating_sub(KEY.len())).find_map(|start| {
        let rest = comment[start..].strip_prefix(KEY)?;
        let rest = rest.strip_prefix(b":").or_else(|| rest.strip_prefix(b"="))?;
        let name: String = rest
            .iter()
            .skip_while(|&&byte| byte == b' ' || byte == b'\t')
            .take_while(|&&byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            .take(40)
            .map(|&byte| char::from(byte))
            .collect();
        (!name.is_empty()).then_some(name)
    })
}

/// Python's aliases, as far as sources use them.
fn encoding(name: &str) -> Encoding {
    let plain = name.to_ascii_lowercase().replace('_', "-");
    match plain.as_str() {
        "utf-8" | "utf8" | "u8" | "utf" | "utf-8-sig" | "utf-8-unix" | "utf-8-dos" | "cp65001" => {
            Encoding::Utf8
        }
        "ascii" | "us-ascii" | "646" => Encoding::Ascii,
        "latin-1" | "latin1" | "latin" | "l1" | "8859" | "cp819" | "macroman" | "mac-roman" => {
            Encoding::SingleByte
        }
        _ if ["iso-8859-", "iso8859-", "cp125", "windows-125", "koi8-", "latin-1-", "latin-9"]
            .iter()
            .any(|family| plain.starts_with(family)) =>
        {
            Encoding::SingleByte
        }
        _ => Encoding::Unknown(name.to_owned()),
    }
}

/// Where the lines of a text begin. Lines end as Python ends them: `\n`, `\r\n` or `\r`.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let ends = bytes.iter().enumerate().filter(|&(at, &byte)| {
            byte == b'\n' || (byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
        });
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line and column of a byte offset, both from 1, the column in characters.
    pub(super) fn position(&self, offset: usize) -> (u32, u32) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts[line - 1];
        let column = self.text[start..offset].chars().count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// The text of a line, counted from 1; empty when there is no such line.
    pub(super) fn text(&self, line: u32) -> &'a str {
        let index = line.saturating_sub(1) as usize;
        let start = self.starts.get(index).copied().unwrap_or(self.text.len());
        let end = self.starts.get(index + 1).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\r', '\n'])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encodings_as_python_reads_them() {
        let text = |source: &[u8]| decode(source, false).map(|decoded| decoded.text.into_owned());
        assert_eq!(text("é".as_bytes()).unwrap(), "é");
        assert_eq!(text(b"\xEF\xBB\xBFx = 1").unwrap(), "x = 1");
        assert_eq!(text(b"# coding: latin-1\n'\xE9'").unwrap(), "# coding: latin-1\n'é'");
        assert_eq!(
            text(b"#!/x\r\n# vim: fileencoding=cp1252\r\n'\xE9'").unwrap().chars().last(),
            Some('\'')
        );
        let fault = text(b"# \xC3\xA9\nab\xE9").unwrap_err();
        assert_eq!((fault.line, fault.column), (2, 3));
        assert!(text(b"x\n\n# coding: latin-1\n'\xE9'").is_err(), "a cookie in the third line");
        assert!(text(b"x = 1\n# coding: latin-1\n'\xE9'").is_err(), "a cookie behind code");
        assert!(text(b"# coding: ascii\n'\xC3\xA9'").is_err());
        assert!(text(b"\xFF\xFEx\0").unwrap_err().message.contains("UTF-16"));
        assert!(text(b"\xEF\xBB\xBF# coding: latin-1\n").is_err());
    }

    #[test]
    fn python_2_reads_ascii_unless_told_otherwise() {
        assert!(decode("'é'".as_bytes(), true).is_err());
        assert!(decode("# coding: utf-8\n'é'".as_bytes(), true).is_ok());
        assert!(decode("\u{feff}'é'".as_bytes(), true).is_ok());
    }

    #[test]
    fn an_unknown_cookie_is_named_with_its_line() {
        let decoded = decode(b"#!/usr/bin/python\n# coding: klingon\n'\xE9'\n", false).unwrap();
        assert_eq!(decoded.unknown_cookie, Some(("klingon".to_owned(), 2)));
    }

    #[test]
    fn positions_count_characters() {
        let lines = Lines::new("é = 1\r\nb\rc\n");
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position(1), (1, 1), "inside a character");
        assert_eq!(lines.position(2), (1, 2));
        assert_eq!(lines.position(8), (2, 1));
        assert_eq!(lines.position(10), (3, 1));
        assert_eq!(lines.position(99), (4, 1));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>, python2: bool) {
            let _ = decode(&bytes, python2);
        }
    }
}
