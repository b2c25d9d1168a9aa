//! The server's search for an entry point, done on names instead of objects.
//!
//! `model_loader.MmsModelLoader.load` (1.1.11): FUNCTION, by default `handle`, is taken with
//! `hasattr(module, FUNCTION)` and called as `FUNCTION(None, context)` once at load time, then as
//! `FUNCTION(data, context)`. Whatever FUNCTION is, if the module lacks it the server falls back to
//! classes: it lists `inspect.getmembers(module)` for classes whose `__module__` is this module, **by
//! name**, so that an alias, a base class, an exception or a `namedtuple` counts as well; there must
//! be exactly one. It is made without arguments, and both `handle` and `initialize` are fetched with
//! a plain `getattr`, so that either one missing fails the load. `initialize(context)` is then called
//! inside a `try`: a wrong signature there is logged, and the model served without being initialised.

use ruff_python_ast::StmtClassDef;
use ruff_text_size::{Ranged, TextSize};

use super::callable::{Call, Fault, entry, quoted};
use super::members::{Member, Module};
use super::namespace::{Binding, Value};
use super::nearest::nearest;
use super::signature::short;
use crate::model::Handler;
use crate::problem::{Code, Severity};

/// A fault and its weight; without a place when it concerns the module as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) code: Code,
    pub(super) at: Option<TextSize>,
    pub(super) message: String,
    pub(super) help: String,
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        Self {
            severity: Severity::Error,
            code: fault.code,
            at: Some(fault.at),
            message: fault.message,
            help: fault.help,
        }
    }
}

impl Finding {
    fn error(code: Code, at: Option<TextSize>, message: String, help: String) -> Self {
        Self { severity: Severity::Error, code, at, message, help }
    }

    fn undecided(at: Option<TextSize>, message: String) -> Self {
        Self {
            severity: Severity::Warning,
            code: Code::HandlerUndecided,
            at,
            message,
            help: "load the model once on a test server to be sure".to_owned(),
        }
    }

    fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

const DEFAULT: &str = "handle";

/// Checks what the server would take as the handler's entry point.
pub(super) fn check(handler: &Handler, module: &Module<'_>) -> Vec<Finding> {
    let name = handler.function().unwrap_or(DEFAULT);
    if let Some(binding) = module.names.get(name) {
        return check_function(name, binding, module);
    }
    let doubt = doubt(name, module);
    if name != DEFAULT {
        return vec![match doubt {
            Some(doubt) => Finding::undecided(None, no_function(name) + ", but " + doubt),
            None => missing_function(handler, name, module),
        }];
    }
    let mut findings = check_classes(handler, module);
    let refused = findings.iter().any(Finding::is_error);
    match doubt {
        Some(doubt) if refused => {
            vec![Finding::undecided(None, no_function(name) + ", but " + doubt)]
        }
        None if !refused && handler.function().is_some() => {
            let written = handler.module();
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::HandlerEntryPoint,
                at: only_class(module).map(|class| class.name.start()),
                message: format!(
                    "{}; the server falls back to the class of the module",
                    no_function(name)
                ),
                help: format!(
                    "write `{written}` as the handler, or add `def handle(data, context)`"
                ),
            });
            findings
        }
        _ => findings,
    }
}

fn no_function(name: &str) -> String {
    format!("the module defines no `{}`", short(name))
}

/// Why a name that no statement binds may be there all the same.
fn doubt(name: &str, module: &Module<'_>) -> Option<&'static str> {
    if module.stars {
        Some("`from … import *` may bring it")
    } else if module.facts.globals.contains(name) {
        Some("a function declares it `global` and may bind it")
    } else if module.facts.dynamic {
        Some("names are bound through `globals()`, `exec` or `sys.modules`")
    } else if module.names.contains_key("__getattr__") {
        Some("the module has a `__getattr__`")
    } else {
        None
    }
}

fn check_function(name: &str, binding: &Binding<'_>, module: &Module<'_>) -> Vec<Finding> {
    let rebound = module.facts.globals.contains(name);
    let faults: Vec<_> =
        binding.values.iter().map(|value| module.call(value, entry(name))).collect();
    let certain = !rebound && faults.iter().all(Option::is_some);
    let mut findings: Vec<Finding> = Vec::new();
    for fault in faults.into_iter().flatten() {
        let mut finding = Finding::from(fault);
        if !certain {
            finding.severity = Severity::Warning;
            finding.message.push_str(" (in one of the branches that bind it)");
        }
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    if findings.is_empty() && binding.conditional {
        let at = binding.values.first().map(|value| value.1);
        let message = format!("`{}` is bound only under a condition", short(name));
        findings.push(Finding::undecided(at, message));
    }
    findings
}

/// The error of a function that is named and not there, with the best advice that the module gives.
fn missing_function(handler: &Handler, name: &str, module: &Module<'_>) -> Finding {
    let written = handler.module();
    let functions = || {
        module.names.iter().filter(|(_, binding)| {
            binding.values.iter().all(|(value, _)| {
                matches!(value, Value::Function(_) | Value::Lambda(_) | Value::Method(..))
            })
        })
    };
    let near = nearest(name, functions().map(|(name, _)| *name));
    let fitting = || {
        functions().filter(|(name, binding)| {
            binding.values.iter().all(|value| module.call(value, entry(name)).is_none())
        })
    };
    let class = only_class(module);
    let has = |class, name: &str| matches!(module.member(class, name), Member::Found(..));
    let by_class = || !check_classes(handler, module).iter().any(Finding::is_error);
    let mut at = class.filter(|&class| has(class, name)).map(|class| class.name.start());
    let help = if let Some(near) = near {
        at = place(near, module);
        format!("did you mean `{written}:{near}`?")
    } else if let Some(class) = class.filter(|&class| has(class, name)) {
        let (class, name) = (short(class.name.as_str()), short(name));
        if by_class() {
            format!(
                "it is a method of `{class}`: write `{written}` as the handler and the server calls `{class}.handle`"
            )
        } else {
            format!(
                "it is a method of `{class}`: add `_service = {class}()` and `def {name}(data, context): return _service.{name}(data, context)`"
            )
        }
    } else if let Some(class) = class.filter(|_| by_class()) {
        let class = short(class.name.as_str());
        format!("write `{written}` as the handler if the server is to call `{class}.handle`")
    } else if let Some((only, _)) = fitting().next().filter(|_| fitting().count() == 1) {
        at = place(only, module);
        format!("write `{written}:{}`, or add `def {}(data, context)`", short(only), short(name))
    } else {
        format!("add `def {}(data, context)` at the top level of the module", short(name))
    };
    Finding::error(Code::HandlerEntryPoint, at, no_function(name), help)
}

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
fn only_class<'a>(module: &Module<'a>) -> Option<&'a StmtClassDef> {
    let mut classes = classes(module);
    match (&classes.next()?.1.values[..], classes.next()) {
        ([(Value::Class(class), _)], None) => Some(class),
        _ => None,
    }
}

/// The fallback: exactly one class, and that a service.
fn check_classes(handler: &Handler, module: &Module<'_>) -> Vec<Finding> {
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

/// Where a name of the module is bound.
fn place(name: &str, module: &Module<'_>) -> Option<TextSize> {
    module.names.get(name)?.values.first().map(|value| value.1)
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
                let names = super::namespace::of_class(class, &module.names);
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
