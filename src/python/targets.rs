//! The names that targets and patterns bind.

use ruff_python_ast::visitor::{Visitor, walk_pattern};
use ruff_python_ast::{Expr, Pattern};
use ruff_text_size::{Ranged, TextSize};

/// The elements of a tuple or list.
pub fn elements(expression: &Expr) -> &[Expr] {
    match expression {
        Expr::Tuple(tuple) => &tuple.elts,
        Expr::List(list) => &list.elts,
        _ => &[],
    }
}

/// The names that a target binds, however nested.
pub fn names_in(target: &Expr) -> Vec<&str> {
    match target {
        Expr::Name(name) => vec![name.id.as_str()],
        Expr::Starred(starred) => names_in(&starred.value),
        _ => elements(target).iter().flat_map(names_in).collect(),
    }
}

/// The names that a pattern captures.
pub fn captured(pattern: &Pattern) -> Vec<(&str, TextSize)> {
    struct Captured<'a>(Vec<(&'a str, TextSize)>);
    impl<'a> Visitor<'a> for Captured<'a> {
        fn visit_pattern(&mut self, pattern: &'a Pattern) {
            let name = match pattern {
                Pattern::MatchMapping(mapping) => &mapping.rest,
                Pattern::MatchStar(star) => &star.name,
                Pattern::MatchAs(bound) => &bound.name,
                _ => &None,
            };
            self.0.extend(name.iter().map(|name| (name.as_str(), name.start())));
            walk_pattern(self, pattern);
        }
    }
    let mut captured = Captured(Vec::new());
    captured.visit_pattern(pattern);
    captured.0
}
