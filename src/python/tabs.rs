//! Indentation with inconsistent tabs and spaces: `TabError` in Python 3.
//!
//! Python measures each indentation twice, with tab stops every eight columns and every column
//! (`tok_get_normal_mode` in CPython's tokenizer); if the two disagree, the module does not compile.
//! The parser refuses some of these modules and accepts others.

use ruff_python_ast::token::{TokenKind as T, Tokens};
use ruff_text_size::{Ranged, TextSize};

/// Where the text begins of the first line whose indentation depends on the width of a tab.
pub fn inconsistent(tokens: &Tokens, text: &str) -> Option<TextSize> {
    let mut levels = vec![(0, 0)];
    let mut begins = true;
    for token in tokens {
        match token.kind() {
            T::Newline => begins = true,
            // None of these begins a logical line.
            T::NonLogicalNewline | T::Comment | T::Indent | T::Dedent => {}
            T::EndOfFile => return None,
            _ if begins => {
                begins = false;
                if !fits(&mut levels, columns(&text[..token.start().to_usize()])) {
                    return Some(token.start());
                }
            }
            _ => {}
        }
    }
    None
}

/// Both measures of the indentation at the end of `before`.
fn columns(before: &str) -> (usize, usize) {
    let line = before.rfind(['\n', '\r']).map_or(0, |end| end + 1);
    before[line..].chars().fold((0, 0), |(wide, narrow), character| match character {
        '\t' => ((wide / 8 + 1) * 8, narrow + 1),
        '\u{c}' => (0, 0),
        _ => (wide + 1, narrow + 1),
    })
}

/// Goes to the level of an indentation. Returns false if the two measures disagree about it.
fn fits(levels: &mut Vec<(usize, usize)>, (wide, narrow): (usize, usize)) -> bool {
    while levels.len() > 1 && levels.last().is_some_and(|level| wide < level.0) {
        levels.pop();
    }
    let level = levels.last().copied().unwrap_or_default();
    if wide > level.0 {
        levels.push((wide, narrow));
        return narrow > level.1;
    }
    narrow == level.1
}

#[cfg(test)]
mod tests {
    use ruff_python_ast::PySourceType;
    use ruff_python_parser::parse_unchecked_source;

    use super::*;

    #[test]
    fn tabs_and_spaces_have_to_agree() {
        let line = |text: &str| {
            let parsed = parse_unchecked_source(text, PySourceType::Python);
            let refused = parsed.errors().first().map(|error| error.location.start());
            let at = refused.or_else(|| inconsistent(parsed.tokens(), text))?;
            Some(text[..at.to_usize()].matches('\n').count() + 1)
        };
        for (text, expected) in [
            ("def f():\n\tif 1:\n        return 2\n", Some(3)),
            ("def f():\n        x = 1\n\treturn x\n", Some(3)),
            ("if 1:\n\tx = 1\n        y = 2\n", Some(3)),
            ("def f():\n\tif 1:\n\t\treturn 2\n\treturn 3\n", None),
            ("def f():\n    if 1:\n    \treturn 2\n", None),
            ("def f():\n\tx = (1,\n        2)\n\treturn x\n", None),
            ("def f():\n\tx = 1\n        # only a comment\n\treturn x\n", None),
            ("x = '''\n\ta\n        b'''\n", None),
            ("", None),
        ] {
            assert_eq!(line(text), expected, "{text:?}");
        }
    }
}
