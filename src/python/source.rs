//! From the bytes of a module to its text: byte order mark, coding cookie (PEP 263), lines.
//!
//! Identifiers, keywords and operators of nearly all handlers are ASCII, so a single-byte encoding needs
//! no table: each byte becomes the character with the same number, which keeps lines, columns and the
//! structure exact and only changes the text inside strings and comments.

use std::borrow::Cow;
use std::path::Path;

use crate::model::problem::{Code, Problem};

/// How Python decodes a source.
#[derive(Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Ascii,
    /// Any encoding that agrees with ASCII below 0x80 and has one byte per character.
    SingleByte,
    /// The cookie names an encoding that marwatch does not know.
    Unknown(String),
}

/// A decoded source.
#[derive(Debug)]
pub struct Decoded<'a> {
    pub text: Cow<'a, str>,
    /// The warning about an unknown coding cookie.
    pub unknown_cookie: Option<Problem>,
}

/// Decodes a module as Python does. Without a cookie the encoding is UTF-8, for Python 2 ASCII. `path`
/// is the file in problems.
pub fn decode<'a>(
    source: &'a [u8],
    python2: bool,
    path: &Path,
) -> Result<Decoded<'a>, Box<Problem>> {
    let error = |line, message: &str, help: &str| {
        Err(Box::new(Problem::error(Code::HandlerSyntax, path, message, help).at(line, 1)))
    };
    let (bytes, bom) = match source.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => (rest, true),
        None => (source, false),
    };
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        let message = "the file is UTF-16, which Python does not read";
        return error(1, message, "save the file as UTF-8");
    }
    let cookie = cookie(bytes);
    let cookie_line = cookie.as_ref().map_or(1, |&(_, line)| line);
    let encoding = match cookie {
        Some((name, _)) => encoding(&name),
        None if python2 && !bom => Encoding::Ascii,
        None => Encoding::Utf8,
    };
    if bom && encoding != Encoding::Utf8 {
        let message = "the file begins with a UTF-8 byte order mark and declares another encoding";
        return error(cookie_line, message, "remove the coding line");
    }
    let bad_byte = |at, encoding| Err(Box::new(bad_byte(bytes, at, encoding, path)));
    let text = match (&encoding, std::str::from_utf8(bytes)) {
        (Encoding::SingleByte, _) | (Encoding::Unknown(_), Err(_)) => {
            Cow::Owned(bytes.iter().copied().map(char::from).collect())
        }
        (Encoding::Ascii, _) if !bytes.is_ascii() => {
            let at = bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or_default();
            return bad_byte(at, "ASCII");
        }
        (_, Ok(text)) => Cow::Borrowed(text),
        (_, Err(fault)) => return bad_byte(fault.valid_up_to(), "UTF-8"),
    };
    let unknown_cookie = match encoding {
        Encoding::Unknown(name) => {
            let message = format!("marwatch does not know the encoding `{name}`");
            let help = "save the file as UTF-8 and remove the coding line, unless the server's Python knows the encoding";
            Some(Problem::warning(Code::HandlerSyntax, path, message, help).at(cookie_line, 1))
        }
        _ => None,
    };
    Ok(Decoded { text, unknown_cookie })
}

/// The problem of a byte at `at`, before which everything is valid UTF-8.
fn bad_byte(bytes: &[u8], at: usize, encoding: &str, path: &Path) -> Problem {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let (line, column) = Lines::new(&before).position(before.len());
    let message = format!("the byte 0x{:02X} is not {encoding}", bytes[at]);
    let help = "save the file as UTF-8, or declare its encoding in the first line: `# -*- coding: latin-1 -*-`";
    Problem::error(Code::HandlerSyntax, path, message, help).at(line, column)
}

/// The coding cookie of PEP 263 and its line: in a comment on the first line, or on the second one if the
/// first has nothing but a comment.
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

/// The encoding with this name; Python's aliases as far as sources use them.
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

/// Where the lines of a text begin. As in Python, lines end with `\n`, `\r\n` or `\r`.
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let ends = bytes.iter().enumerate().filter(|&(at, &byte)| {
            byte == b'\n' || (byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
        });
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line and column of a byte offset, both counted from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (u32, u32) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts[line - 1];
        let column = self.text[start..offset].chars().count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// The text of a line, counted from 1; empty if there is no such line.
    pub fn text(&self, line: u32) -> &'a str {
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
    fn sources_are_decoded_as_python_does() {
        let text = |source: &[u8]| {
            decode(source, false, Path::new("")).map(|decoded| decoded.text.into_owned())
        };
        assert_eq!(text("é".as_bytes()).unwrap(), "é");
        assert_eq!(text(b"\xEF\xBB\xBFx = 1").unwrap(), "x = 1");
        assert_eq!(text(b"# coding: latin-1\n'\xE9'").unwrap(), "# coding: latin-1\n'é'");
        assert_eq!(
            text(b"#!/x\r\n# vim: fileencoding=cp1252\r\n'\xE9'").unwrap().chars().last(),
            Some('\'')
        );
        let fault = text(b"# \xC3\xA9\nab\xE9").unwrap_err();
        assert_eq!((fault.line, fault.column), (Some(2), Some(3)));
        assert!(text(b"x\n\n# coding: latin-1\n'\xE9'").is_err(), "a cookie in the third line");
        assert!(text(b"x = 1\n# coding: latin-1\n'\xE9'").is_err(), "a cookie behind code");
        assert!(text(b"# coding: ascii\n'\xC3\xA9'").is_err());
        assert!(text(b"\xFF\xFEx\0").unwrap_err().message.contains("UTF-16"));
        assert!(text(b"\xEF\xBB\xBF# coding: latin-1\n").is_err());
    }

    #[test]
    fn python_2_reads_ascii_unless_the_source_declares_otherwise() {
        let python2 = |source: &str| decode(source.as_bytes(), true, Path::new("")).is_ok();
        assert!(!python2("'é'"));
        assert!(python2("# coding: utf-8\n'é'"));
        assert!(python2("\u{feff}'é'"));
    }

    #[test]
    fn an_unknown_cookie_is_reported_with_its_line() {
        let source = b"#!/usr/bin/python\n# coding: klingon\n'\xE9'\n";
        let warning = decode(source, false, Path::new("")).unwrap().unknown_cookie.unwrap();
        assert!(warning.message.contains("`klingon`"));
        assert_eq!(warning.line, Some(2));
    }

    #[test]
    fn columns_count_characters() {
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
            let _ = decode(&bytes, python2, Path::new(""));
        }
    }
}
