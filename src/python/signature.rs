//! Whether a parameter list can be called with so many positional arguments.

use std::fmt::Write;

use ruff_python_ast::Parameters;

/// How a parameter list and a call miss each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misfit<'a> {
    /// Parameters without a default that the call leaves empty.
    Unfilled(Vec<&'a str>),
    /// It takes at most so many.
    TooMany(usize),
    /// Keyword-only parameters without a default: a positional call can never fill them.
    KeywordOnly(Vec<&'a str>),
}

/// What keeps `parameters` from being called with `given` positional arguments.
pub(super) fn misfit(parameters: &Parameters, given: usize) -> Option<Misfit<'_>> {
    let positional = || parameters.posonlyargs.iter().chain(&parameters.args);
    let unfilled: Vec<_> = positional()
        .skip(given)
        .filter(|parameter| parameter.default.is_none())
        .map(|parameter| parameter.parameter.name.as_str())
        .collect();
    if !unfilled.is_empty() {
        return Some(Misfit::Unfilled(unfilled));
    }
    let most = positional().count();
    if most < given && parameters.vararg.is_none() {
        return Some(Misfit::TooMany(most));
    }
    let keywords: Vec<_> = parameters
        .kwonlyargs
        .iter()
        .filter(|parameter| parameter.default.is_none())
        .map(|parameter| parameter.parameter.name.as_str())
        .collect();
    (!keywords.is_empty()).then_some(Misfit::KeywordOnly(keywords))
}

/// The name of the first positional parameter.
pub(super) fn first(parameters: &Parameters) -> Option<&str> {
    let parameter = parameters.posonlyargs.iter().chain(&parameters.args).next()?;
    Some(parameter.parameter.name.as_str())
}

/// The parameter list as its author would recognise it: `(self, data, *args, context=…)`.
pub(super) fn render(parameters: &Parameters) -> String {
    let mut parts = Vec::new();
    let mut push = |prefix: &str, name: &str, default: bool| {
        let mut part = format!("{prefix}{}", short(name));
        if default {
            let _ = write!(part, "=…");
        }
        parts.push(part);
    };
    for parameter in &parameters.posonlyargs {
        push("", parameter.parameter.name.as_str(), parameter.default.is_some());
    }
    if !parameters.posonlyargs.is_empty() {
        push("/", "", false);
    }
    for parameter in &parameters.args {
        push("", parameter.parameter.name.as_str(), parameter.default.is_some());
    }
    match &parameters.vararg {
        Some(vararg) => push("*", vararg.name.as_str(), false),
        None if !parameters.kwonlyargs.is_empty() => push("*", "", false),
        None => {}
    }
    for parameter in &parameters.kwonlyargs {
        push("", parameter.parameter.name.as_str(), parameter.default.is_some());
    }
    if let Some(kwarg) = &parameters.kwarg {
        push("**", kwarg.name.as_str(), false);
    }
    const MOST: usize = 8;
    if parts.len() > MOST {
        parts.truncate(MOST);
        parts.push("…".to_owned());
    }
    format!("({})", parts.join(", "))
}

/// A name cut to what a message can bear.
pub(super) fn short(name: &str) -> String {
    const MOST: usize = 60;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use ruff_python_ast::Stmt;

    use super::*;

    #[test]
    fn calls_with_two_positional_arguments() {
        for (list, fits) in [
            ("(data, context)", true),
            ("(data, context=None)", true),
            ("(data=None, context=None)", true),
            ("(data, context, extra=1)", true),
            ("(data, context, /)", true),
            ("(data, /, context)", true),
            ("(*args)", true),
            ("(data, *rest)", true),
            ("(data, context, *args, **kwargs)", true),
            ("(data, context, *, debug=False)", true),
            ("()", false),
            ("(data)", false),
            ("(data, /)", false),
            ("(**kwargs)", false),
            ("(data, *, context)", false),
            ("(data, context, extra)", false),
            ("(*args, debug)", false),
            ("(a, b, c, *args)", false),
        ] {
            let source = format!("def f{list}: pass\n");
            let parsed = ruff_python_parser::parse_module(&source).unwrap();
            let Stmt::FunctionDef(def) = &parsed.syntax().body[0] else { panic!("{source}") };
            assert_eq!(misfit(&def.parameters, 2).is_none(), fits, "{list}");
            assert_eq!(
                render(&def.parameters).replace('…', "1").len(),
                list.replace("None", "1").replace("False", "1").len(),
                "{list}"
            );
        }
    }
}
