//! The names that targets and patterns bind.

use ruff_python_ast::{Expr, Identifier, Pattern};
use ruff_text_size::{Ranged, TextSize};

/// The elements of a tuple or list.
pub(super) fn elements(expression: &Expr) -> &[Expr] {
    match expression {
        Expr::Tuple(tuple) => &tuple.elts,
        Expr::List(list) => &list.elts,
        _ => &[],
    }
}

/// The names that a target binds, however nested.
pub(super) fn names_in(target: &Expr) -> Vec<&str> {
    match target {
        Expr::Name(name) => vec![name.id.as_str()],
        Expr::Starred(starred) => names_in(&starred.value),
        _ => elements(target).iter().flat_map(names_in).collect(),
    }
}

/// The names that a pattern captures.
pub(super) fn captured(pattern: &Pattern) -> Vec<(&str, TextSize)> {
    let named = |name: &'_ Option<Identifier>| name.as_ref().map(Ranged::start);
    let mut names = Vec::new();
    let mut open = vec![pattern];
    while let Some(pattern) = open.pop() {
        let name = match pattern {
            Pattern::MatchValue(_) | Pattern::MatchSingleton(_) => &None,
            Pattern::MatchSequence(sequence) => {
                open.extend(&sequence.patterns);
                &None
            }
            Pattern::MatchMapping(mapping) => {
                open.extend(&mapping.patterns);
                &mapping.rest
            }
            Pattern::MatchClass(class) => {
                open.extend(&class.arguments.patterns);
                open.extend(class.arguments.keywords.iter().map(|keyword| &keyword.pattern));
                &None
            }
            Pattern::MatchStar(star) => &star.name,
            Pattern::MatchAs(bound) => {
                open.extend(bound.pattern.as_deref());
                &bound.name
            }
            Pattern::MatchOr(either) => {
                open.extend(&either.patterns);
                &None
            }
        };
        if let (Some(name), Some(at)) = (name.as_ref(), named(name)) {
            names.push((name.as_str(), at));
        }
    }
    names
}
