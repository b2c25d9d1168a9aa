//! An upper bound of the depth of a module's syntax tree, from its tokens alone.
//!
//! A tree is dropped and walked recursively, so a megabyte of `a.a.a.…` would end the daemon with a
//! stack overflow instead of a refused model. The bound decides first which stack the tree needs.
//! Python's compiler gives up at 3,000 to 6,000 levels.

use ruff_python_ast::token::TokenKind as T;
use ruff_python_parser::Mode;
use ruff_python_parser::lexer::lex;

/// Depth for which any thread's stack is large enough.
const SHALLOW: usize = 400;
/// The greatest depth for which a stack is made: four times what Python compiles. Mistakes reach it,
/// because an unclosed bracket makes the rest of the file one expression for the lexer.
const DEEPEST: usize = 25_000;
/// Stack for one level: the frames of a walk or a drop, with a margin, without optimisation.
const STACK_PER_LEVEL: usize = 8 * 1024;

/// Runs `check` with a stack that fits the tree of `text`; `None` if that stack would be too large.
pub fn with_room<T: Send>(text: &str, check: impl FnOnce() -> T + Send) -> Option<T> {
    let depth = bound(text);
    if depth <= SHALLOW {
        return Some(check());
    }
    if depth > DEEPEST {
        return None;
    }
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("python-syntax".to_owned())
            .stack_size(STACK_PER_LEVEL * depth)
            .spawn_scoped(scope, check)
            .ok()?
            .join()
            .ok()
    })
}

/// An open bracket: operators since its last comma, and the most between two commas.
#[derive(Default)]
struct Level {
    chain: usize,
    longest: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.chain.max(self.longest)
    }
}

/// Every level of the tree takes at least one bracket, operator, keyword or indentation; commas and
/// line ends begin a sibling. The content of a closed bracket counts for the rest of its segment, since
/// `f(…).a.b` wraps the part before it.
fn bound(text: &str) -> usize {
    let mut lexer = lex(text, Mode::Module);
    let mut levels = vec![Level::default()];
    let (mut indent, mut deepest, mut outer) = (0usize, 0usize, 0usize);
    loop {
        let kind = lexer.next_token();
        let inside = levels.len() > 1;
        let Some(level) = levels.last_mut() else { return deepest };
        match kind {
            T::EndOfFile => return deepest,
            T::Indent => indent += 1,
            T::Dedent => indent = indent.saturating_sub(1),
            T::Newline | T::Semi => {
                levels.truncate(1);
                levels[0] = Level::default();
                outer = 0;
            }
            T::Comma => {
                level.longest = level.depth();
                level.chain = 0;
            }
            T::Lpar | T::Lsqb | T::Lbrace | T::FStringStart | T::TStringStart => {
                level.chain += 1;
                outer += level.chain;
                levels.push(Level::default());
            }
            T::Rpar | T::Rsqb | T::Rbrace | T::FStringEnd | T::TStringEnd if inside => {
                let inner = levels.pop().map_or(0, |level| level.depth());
                if let Some(level) = levels.last_mut() {
                    outer = outer.saturating_sub(level.chain);
                    level.chain += inner;
                }
            }
            T::Name
            | T::Int
            | T::Float
            | T::Complex
            | T::String
            | T::FStringMiddle
            | T::TStringMiddle
            | T::Comment
            | T::NonLogicalNewline => {}
            _ => level.chain += 1,
        }
        if let Some(level) = levels.last() {
            deepest = deepest.max(indent + outer + level.depth());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_do_not_add_to_the_depth() {
        let table = format!("x = [{}]\n", "f(1, 2), a.b, ".repeat(10_000));
        assert!(bound(&table) < 10);
        let lines = "x = a.b(c)\nif x:\n    y = 1\n".repeat(1_000);
        assert!(bound(&lines) < 10);
    }

    #[test]
    fn the_bound_covers_chains_and_nesting() {
        for (text, depth) in [
            ("a".to_owned() + &".a".repeat(900), 900),
            ("(".repeat(900) + &")".repeat(900), 900),
            ("not ".repeat(900) + "x", 900),
            ("x = 1".to_owned() + &" + 1".repeat(900), 900),
            ("f".to_owned() + &"()".repeat(900), 900),
            ("f(".repeat(300) + "a.a.a" + &").a".repeat(300), 600),
            ((0..90).map(|level| " ".repeat(level) + "if x:\n").collect::<String>(), 89),
        ] {
            let bound = bound(&text);
            assert!(bound >= depth, "{bound} < {depth}: {}", &text[..40]);
        }
    }

    #[test]
    fn the_stack_fits_the_tree_or_the_module_is_not_checked() {
        let parse = |text: &str| with_room(text, || drop(ruff_python_parser::parse_module(text)));
        for unit in [".a", "()", " + 1", "[0]"] {
            assert!(parse(&("a".to_owned() + &unit.repeat(DEEPEST - 9))).is_some(), "{unit}");
            assert!(parse(&("a".to_owned() + &unit.repeat(DEEPEST * 9))).is_none(), "{unit}");
        }
        assert!(parse(&"(".repeat(20_000)).is_some());
        assert!(parse(&("not ".repeat(20_000) + "x")).is_some());
    }
}
