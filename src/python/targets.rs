//! The names in expressions, targets and patterns.

use ruff_python_ast::visitor::{Visitor, walk_pattern};
use ruff_python_ast::{Expr, Pattern};
use ruff_text_size::{Ranged, TextSize};

/// The expression, if it is a plain name.
pub fn name(expression: &Expr) -> Option<&str> {
    expression.as_name_expr().map(|name| name.id.as_str())
}

/// The same, or the last part of a dotted name.
pub fn last_name(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
        other => name(other),
    }
}

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
        Expr::Starred(starred) => names_in(&starred.value),
        _ => name(target).into_iter().chain(elements(target).iter().flat_map(names_in)).collect(),
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
