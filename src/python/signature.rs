//! Parameter lists, and names in messages.

use ruff_python_ast::{ParameterWithDefault, Parameters, StmtClassDef};

/// Why a parameter list does not fit a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Misfit<'a> {
    /// Parameters without a default that the call leaves empty.
    Unfilled(Vec<&'a str>),
    /// It takes at most so many arguments.
    TooMany(usize),
    /// Keyword-only parameters without a default, which a positional call never fills.
    KeywordOnly(Vec<&'a str>),
}

/// Why `parameters` do not take `given` positional arguments.
pub fn misfit(parameters: &Parameters, given: usize) -> Option<Misfit<'_>> {
    fn required<'a>(
        parameters: impl Iterator<Item = &'a ParameterWithDefault>,
    ) -> Option<Vec<&'a str>> {
        let required = parameters.filter(|it| it.default.is_none());
        let names: Vec<_> = required.map(|it| it.parameter.name.as_str()).collect();
        (!names.is_empty()).then_some(names)
    }
    let positional = || parameters.posonlyargs.iter().chain(&parameters.args);
    if let Some(unfilled) = required(positional().skip(given)) {
        return Some(Misfit::Unfilled(unfilled));
    }
    let most = positional().count();
    if most < given && parameters.vararg.is_none() {
        return Some(Misfit::TooMany(most));
    }
    required(parameters.kwonlyargs.iter()).map(Misfit::KeywordOnly)
}

/// The name of the first positional parameter.
pub fn first(parameters: &Parameters) -> Option<&str> {
    let parameter = parameters.posonlyargs.iter().chain(&parameters.args).next()?;
    Some(parameter.parameter.name.as_str())
}

/// The parameter list in the form of the source: `(self, data, *args, context=…)`.
pub fn render(parameters: &Parameters) -> String {
    let plain = |it: &ParameterWithDefault| {
        let default = if it.default.is_some() { "=…" } else { "" };
        short(it.parameter.name.as_str()) + default
    };
    let mut parts: Vec<String> = parameters.posonlyargs.iter().map(plain).collect();
    if !parts.is_empty() {
        parts.push("/".to_owned());
    }
    parts.extend(parameters.args.iter().map(plain));
    match &parameters.vararg {
        Some(vararg) => parts.push(format!("*{}", short(vararg.name.as_str()))),
        None if !parameters.kwonlyargs.is_empty() => parts.push("*".to_owned()),
        None => {}
    }
    parts.extend(parameters.kwonlyargs.iter().map(plain));
    parts.extend(parameters.kwarg.iter().map(|kwarg| format!("**{}", short(kwarg.name.as_str()))));
    const MOST: usize = 8;
    if parts.len() > MOST {
        parts.truncate(MOST);
        parts.push("…".to_owned());
    }
    format!("({})", parts.join(", "))
}

/// A name, shortened for a message.
pub fn short(name: &str) -> String {
    const MOST: usize = 60;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

pub fn name_of(class: &StmtClassDef) -> String {
    short(class.name.as_str())
}

/// `a`, `b` and `c`; only the first few of many.
pub fn quoted(names: impl IntoIterator<Item: AsRef<str>>) -> String {
    const MOST: usize = 6;
    let quote = |name: &str| format!("`{}`", short(name));
    let mut names: Vec<_> = names.into_iter().map(|name| quote(name.as_ref())).collect();
    if names.len() > MOST {
        let more = names.len() - (MOST - 1);
        names.truncate(MOST - 1);
        names.push(format!("{more} more"));
    }
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use ruff_python_ast::Stmt;

    use super::*;

    #[test]
    fn parameter_lists_that_take_two_positional_arguments_fit() {
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
