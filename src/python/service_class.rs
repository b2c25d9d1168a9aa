//! The server's fallback if there is no function: exactly one class, which must be a service. The rules
//! are at the top of `entry_point`.

use ruff_python_ast::StmtClassDef;
use ruff_text_size::Ranged;

use super::callable::{Call, entry};
use super::finding::{DEFAULT, Finding};
use super::members::{Member, Module};
use super::namespace::{Binding, of_class};
use super::nearest::nearest;
use super::signature::{name_of, quoted, short};
use super::value::Value;
use crate::model::Handler;
use crate::model::problem::{Code, Severity};

/// The names that the server would count as classes, and whether each certainly is one.
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

/// The definition of a class, if a name certainly stands for it.
fn definition<'a>(binding: &Binding<'a>) -> Option<&'a StmtClassDef> {
    match binding.values[..] {
        [(Value::Class(class), _)] => Some(class),
        _ => None,
    }
}

/// The class of a module that has no other.
pub fn only_class<'a>(module: &Module<'a>) -> Option<&'a StmtClassDef> {
    let mut classes = classes(module);
    let first = definition(classes.next()?.1);
    first.filter(|_| classes.next().is_none())
}

/// Checks that there is exactly one class, and that it is a service.
pub fn check_classes(handler: &Handler, module: &Module<'_>) -> Vec<Finding> {
    let mut counted: Vec<_> = classes(module).collect();
    counted.sort_by_key(|class| class.1.place());
    match &counted[..] {
        [] => vec![no_class(handler, module)],
        [(_, binding, is_certain)] => {
            let mut findings = check_class_binding(binding, module);
            if !is_certain && findings.is_empty() {
                let message = "the only class of the module is defined only under a condition";
                findings.push(Finding::undecided(binding.place(), message));
            }
            findings
        }
        [_, second, ..] => {
            let names = quoted(counted.iter().map(|class| class.0));
            let at = second.1.place();
            if counted.iter().filter(|class| class.2).count() <= 1 {
                let message = format!(
                    "the module may define one or more of the classes {names}, and the server needs exactly one"
                );
                return vec![Finding::undecided(at, message)];
            }
            let message = format!(
                "the module defines no `handle` but {} classes, {names}; the server needs exactly one",
                counted.len(),
            );
            let help = one_class_help(&counted, module);
            vec![Finding::error(Code::HandlerEntryPoint, at, message, help)]
        }
    }
}

fn one_class_help(counted: &[(&str, &Binding<'_>, bool)], module: &Module<'_>) -> String {
    let start = |binding: &Binding<'_>| definition(binding).map(|class| class.name.start());
    let first = start(counted[0].1);
    if first.is_some() && counted.iter().all(|class| start(class.1) == first) {
        return "remove the alias: the server counts names".to_owned();
    }
    let is_service = |binding: &Binding<'_>| {
        definition(binding)
            .is_some_and(|class| matches!(module.member(class, DEFAULT), Member::Found(..)))
    };
    let service = counted.iter().find(|class| is_service(class.1)).unwrap_or(&counted[0]);
    format!(
        "add `_service = {}()` and a function `def handle(data, context)` that calls it, or move the other classes to another module",
        short(service.0)
    )
}

fn no_class(handler: &Handler, module: &Module<'_>) -> Finding {
    let mut values = module.names.values().flat_map(|binding| &binding.values);
    let message = "the module defines neither a function `handle` nor a class";
    if let Some((_, at)) = values.find(|(value, _)| *value == Value::Produced) {
        return Finding::undecided(Some(*at), format!("{message}, unless a call returns one"));
    }
    let functions = module.names.iter().filter_map(|(name, binding)| {
        let is_function =
            |value: &Value<'_>| matches!(value, Value::Function(_) | Value::Lambda(_));
        binding.values.iter().all(|(value, _)| is_function(value)).then_some(*name)
    });
    let written = handler.module();
    let fits = |name: &&str| {
        let values = &module.names[name].values;
        values.iter().all(|value| module.call(value, entry(name)).is_none())
    };
    let (at, help) = if let Some(near) = nearest(DEFAULT, functions.clone()) {
        (module.place(near), format!("rename `{near}` to `handle`, or write `{written}:{near}`"))
    } else if let [only] = functions.filter(fits).collect::<Vec<_>>()[..] {
        (module.place(only), format!("write `{written}:{}`", short(only)))
    } else {
        (None, "add `def handle(data, context)` at the top level of the module".to_owned())
    };
    Finding::error(Code::HandlerEntryPoint, at, message, help)
}

/// One name, and the class or classes that it may stand for.
fn check_class_binding(binding: &Binding<'_>, module: &Module<'_>) -> Vec<Finding> {
    let check = |(value, at): &(Value<'_>, _)| {
        let message = match value {
            Value::Class(class) => return check_class(class, module),
            Value::MadeClass => {
                "a call makes the only class of the module, so its methods are not known"
            }
            _ => {
                "a class of another module, which the server does not count, may replace the only class of this one"
            }
        };
        vec![Finding::undecided(Some(*at), message)]
    };
    let alternatives: Vec<_> = binding.values.iter().map(check).collect();
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
    let name = name_of(class);
    let at = Some(class.name.start());
    let mut undecided = Vec::new();
    let methods: [(Call<'_>, &str); 2] = [
        (entry("handle"), "calls with the data of every batch"),
        (
            Call { name: "initialize", arguments: &["context"], returns: false },
            "needs when it loads the model, even if it does nothing",
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
                    Some(fault) => findings.push(fault),
                    None if conditional => {
                        let message =
                            format!("`{name}.{}` is defined only under a condition", call.name);
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
        let message = format!("it is not certain that `{name}` has {names}: {reason}");
        findings.push(Finding::undecided(at, message));
    }
    if let Member::Found(values, false) = module.member(class, "__init__") {
        let call = Call { name: "__init__", arguments: &[], returns: false };
        findings.extend(module.call_member(class, &values, "__init__", call));
    }
    findings
}
