//! The fallback of the server where there is no function: exactly one class, and that a service.
//! The rules and their source stand at the top of `entry_point`.

use ruff_python_ast::StmtClassDef;
use ruff_text_size::Ranged;

use super::callable::{Call, entry, quoted};
use super::entry_point::{DEFAULT, Finding, place};
use super::members::{Member, Module};
use super::namespace::{Binding, of_class};
use super::nearest::nearest;
use super::signature::short;
use super::value::Value;
use crate::model::Handler;
use crate::model::problem::{Code, Severity};

/// The classes that the server would count, by name, and whether each is certainly one.
fn classes<'m, 'a>(
    module: &'m Module<'a>,
) -> impl Iterator<Item = (&'a str, &'m Binding<'a>, bool)> {
    module.names.iter().filter_map(|(name, binding)| {
        let is_class = |value: &Value<'_>| matches!(value, Value::Class(_) | Value::MadeClass);
        let possible = binding.values.iter().any(|(value, _)| is_class(value));
        let certain =
            !binding.conditional && binding.values.iter().all(|(value, _)| is_class(value));
        possible.then_some((*name, binding, certain))
    })
}

/// The class of a module that has no other.
pub(super) fn only_class<'a>(module: &Module<'a>) -> Option<&'a StmtClassDef> {
    let mut classes = classes(module);
    match (&classes.next()?.1.values[..], classes.next()) {
        ([(Value::Class(class), _)], None) => Some(class),
        _ => None,
    }
}

/// The fallback: exactly one class, and that a service.
pub(super) fn check_classes(handler: &Handler, module: &Module<'_>) -> Vec<Finding> {
    let mut counted: Vec<_> = classes(module).collect();
    counted.sort_by_key(|class| class.1.values.first().map(|value| value.1));
    let certain = counted.iter().filter(|class| class.2).count();
    match &counted[..] {
        [] => vec![no_class(handler, module)],
        [(_, binding, is_certain)] => {
            let mut findings = check_class_binding(binding, module);
            if !is_certain && findings.is_empty() {
                let at = binding.values.first().map(|value| value.1);
                let message = "the only class of the module is bound only under a condition";
                findings.push(Finding::undecided(at, message.to_owned()));
            }
            findings
        }
        _ => {
            let names = quoted(counted.iter().map(|class| class.0));
            let at = counted[1].1.values.first().map(|value| value.1);
            if certain <= 1 {
                let message = format!(
                    "how many of the classes {names} the module ends up with cannot be told, and the server wants exactly one"
                );
                return vec![Finding::undecided(at, message)];
            }
            let message = format!(
                "the module defines no `handle` and {} classes, {names}, where the server wants exactly one",
                counted.len(),
            );
            vec![Finding::error(
                Code::HandlerEntryPoint,
                at,
                message,
                one_class_help(&counted, module),
            )]
        }
    }
}

fn one_class_help(counted: &[(&str, &Binding<'_>, bool)], module: &Module<'_>) -> String {
    let definition = |binding: &Binding<'_>| match binding.values[..] {
        [(Value::Class(class), _)] => Some(class.name.start()),
        _ => None,
    };
    let first = definition(counted[0].1);
    if first.is_some() && counted.iter().all(|class| definition(class.1) == first) {
        return "the server counts names: remove the alias".to_owned();
    }
    let service = counted.iter().find_map(|(name, binding, _)| match binding.values[..] {
        [(Value::Class(class), _)] => {
            matches!(module.member(class, DEFAULT), Member::Found(..)).then_some(*name)
        }
        _ => None,
    });
    let service = short(service.unwrap_or(counted[0].0));
    format!(
        "add `_service = {service}()` and a function `def handle(data, context)` that calls it, or move the other classes into a module of their own"
    )
}

fn no_class(handler: &Handler, module: &Module<'_>) -> Finding {
    let produced = module.names.values().find_map(|binding| {
        binding.values.iter().find(|(value, _)| *value == Value::Produced).map(|value| value.1)
    });
    let message = "the module defines neither a function `handle` nor a class";
    if let Some(at) = produced {
        return Finding::undecided(Some(at), format!("{message}, unless a call returns one"));
    }
    let functions = module.names.iter().filter_map(|(name, binding)| {
        let is_function =
            |value: &Value<'_>| matches!(value, Value::Function(_) | Value::Lambda(_));
        binding.values.iter().all(|(value, _)| is_function(value)).then_some(*name)
    });
    let written = handler.module();
    let (at, help) = match nearest(DEFAULT, functions.clone()) {
        Some(near) => (
            place(near, module),
            format!("rename `{near}` to `handle`, or write `{written}:{near}`"),
        ),
        None => {
            let fitting: Vec<_> = functions
                .filter(|name| {
                    let values = &module.names[name].values;
                    values.iter().all(|value| module.call(value, entry(name)).is_none())
                })
                .collect();
            match fitting[..] {
                [only] => (place(only, module), format!("write `{written}:{}`", short(only))),
                _ => (
                    None,
                    "add `def handle(data, context)` at the top level of the module".to_owned(),
                ),
            }
        }
    };
    Finding::error(Code::HandlerEntryPoint, at, message.to_owned(), help)
}

/// One name, and the class or classes that it may stand for.
fn check_class_binding(binding: &Binding<'_>, module: &Module<'_>) -> Vec<Finding> {
    let alternatives: Vec<_> = binding
        .values
        .iter()
        .map(|(value, at)| match value {
            Value::Class(class) => check_class(class, module),
            Value::MadeClass => {
                let message = "the only class of the module is made by a call, so its methods are not known";
                vec![Finding::undecided(Some(*at), message.to_owned())]
            }
            _ => {
                let message = "the only class of the module may be replaced by one from elsewhere, which the server does not count";
                vec![Finding::undecided(Some(*at), message.to_owned())]
            }
        })
        .collect();
    let certain = alternatives.iter().all(|findings| findings.iter().any(Finding::is_error));
    let mut findings: Vec<_> = alternatives.into_iter().flatten().collect();
    if !certain {
        findings.iter_mut().for_each(|finding| finding.severity = Severity::Warning);
    }
    findings
}

/// The rules for the one class: constructible, `handle` and `initialize` callable.
fn check_class<'a>(class: &'a StmtClassDef, module: &Module<'a>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = short(class.name.as_str());
    let at = Some(class.name.start());
    let mut undecided = Vec::new();
    let methods: [(Call<'_>, &str); 2] = [
        (entry("handle"), "calls with the data of every batch"),
        (
            Call { name: "initialize", arguments: &["context"], returns: false },
            "fetches when it loads the model, even if there is nothing to do",
        ),
    ];
    for (call, purpose) in methods {
        match module.member(class, call.name) {
            Member::Found(values, conditional) => {
                // The server tests `initialize is not None` before it calls it.
                let absent = |value: &Value<'_>| *value == Value::Inert("None");
                if call.name == "initialize" && values.iter().all(|(value, _)| absent(value)) {
                    continue;
                }
                match module.call_member(class, &values, call.name, call) {
                    Some(fault) => findings.push(fault.into()),
                    None if conditional => {
                        let message =
                            format!("`{name}.{}` is bound only under a condition", call.name);
                        findings.push(Finding::undecided(values.first().map(|it| it.1), message));
                    }
                    None => {}
                }
            }
            Member::Missing => {
                let parameters = call.arguments.join(", ");
                let message =
                    format!("`{name}` has no method `{}`, which the server {purpose}", call.name);
                let add = format!("`def {}(self, {parameters})`", call.name);
                let names = of_class(class, &module.names);
                let help = match nearest(call.name, names.keys().copied()) {
                    Some(near) => format!("rename `{near}`, or add {add} to the class"),
                    None => format!("add {add} to the class"),
                };
                findings.push(Finding::error(Code::HandlerEntryPoint, at, message, help));
            }
            Member::Undecided(reason) => undecided.push((call.name, reason)),
        }
    }
    if let Some((_, reason)) = undecided.first() {
        let names = quoted(undecided.iter().map(|it| it.0));
        let message = format!("whether `{name}` has {names} cannot be told: {reason}");
        findings.push(Finding::undecided(at, message));
    }
    if let Member::Found(values, false) = module.member(class, "__init__") {
        let call = Call { name: "__init__", arguments: &[], returns: false };
        findings.extend(module.call_member(class, &values, "__init__", call).map(Finding::from));
    }
    findings
}
