//! The server's search for an entry point, done on names instead of objects.
//!
//! `model_loader.MmsModelLoader.load` (1.1.11): FUNCTION, by default `handle`, is taken with
//! `hasattr(module, FUNCTION)` and called as `FUNCTION(None, context)` once at load time, then as
//! `FUNCTION(data, context)`. If the module lacks FUNCTION, whatever it is, the server falls back to
//! classes: it lists `inspect.getmembers(module)` for classes whose `__module__` is this module, **by
//! name**, so that an alias, a base class, an exception or a `namedtuple` counts, too; there must be
//! exactly one. It is instantiated without arguments, and both `handle` and `initialize` are fetched
//! with a plain `getattr`, so that the load fails if either is missing. `initialize(context)` is then
//! called inside a `try`: a wrong signature there is logged, and the model is served uninitialised.
//!
//! Two answers are stricter than the server's. That wrong signature is an error here. And a named
//! function must exist, as the specification says: the fallback would serve a class under a name that
//! is not defined. For `handle` this is only a warning, since naming it and naming nothing are the
//! same to the server.

use ruff_text_size::Ranged;

use super::callable::entry;
use super::finding::{DEFAULT, Finding};
use super::members::{Member, Module};
use super::namespace::Binding;
use super::nearest::nearest;
use super::service_class::{check_classes, only_class};
use super::signature::{name_of, short};
use super::value::Value;
use crate::model::Handler;
use crate::model::problem::{Code, Severity};

/// Checks what the server would use as the handler's entry point.
pub fn check(handler: &Handler, module: &Module<'_>) -> Vec<Finding> {
    let name = handler.function().unwrap_or(DEFAULT);
    if let Some(binding) = module.names.get(name) {
        return check_function(name, binding, module);
    }
    let undefined = format!("the module defines no `{}`", short(name));
    let doubt = doubt(name, module)
        .map(|doubt| vec![Finding::undecided(None, format!("{undefined}, but {doubt}"))]);
    if name != DEFAULT {
        return doubt.unwrap_or_else(|| vec![missing_function(handler, name, undefined, module)]);
    }
    let mut findings = check_classes(handler, module);
    let refused = findings.iter().any(Finding::is_error);
    match doubt {
        Some(doubt) if refused => return doubt,
        None if !refused && handler.function().is_some() => {
            let finding = Finding::error(
                Code::HandlerEntryPoint,
                only_class(module).map(|class| class.name.start()),
                format!("{undefined}; the server falls back to the class of the module"),
                format!(
                    "write `{}` as the handler, or add `def handle(data, context)`",
                    handler.module()
                ),
            );
            findings.push(Finding { severity: Severity::Warning, ..finding });
        }
        _ => {}
    }
    findings
}

/// Why a name may exist although no statement binds it.
fn doubt(name: &str, module: &Module<'_>) -> Option<&'static str> {
    if module.stars {
        Some("`from … import *` may import it")
    } else if module.facts.globals.contains(name) {
        Some("a function declares it `global` and may define it")
    } else if module.facts.dynamic {
        Some("names are defined through `globals()`, `exec` or `sys.modules`")
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
    for mut finding in faults.into_iter().flatten() {
        if !certain {
            finding.severity = Severity::Warning;
            finding.message.push_str(" (in one of the branches that define it)");
        }
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    if findings.is_empty() && binding.conditional {
        let message = format!("`{}` is defined only under a condition", short(name));
        findings.push(Finding::undecided(binding.place(), message));
    }
    findings
}

/// The error of a named function that does not exist, with the best advice that the module gives.
fn missing_function(
    handler: &Handler,
    name: &str,
    undefined: String,
    module: &Module<'_>,
) -> Finding {
    let written = handler.module();
    let functions = || {
        module.names.iter().filter(|(_, binding)| {
            binding.values.iter().all(|(value, _)| {
                matches!(value, Value::Function(_) | Value::Lambda(_) | Value::Method(..))
            })
        })
    };
    let fitting: Vec<_> = functions()
        .filter(|(name, binding)| {
            binding.values.iter().all(|value| module.call(value, entry(name)).is_none())
        })
        .collect();
    let class = only_class(module);
    let with_method = class.filter(|class| matches!(module.member(class, name), Member::Found(..)));
    let by_class = || !check_classes(handler, module).iter().any(Finding::is_error);
    let name = short(name);
    let mut at = with_method.map(|class| class.name.start());
    let help = if let Some(near) = nearest(&name, functions().map(|(name, _)| *name)) {
        at = module.place(near);
        format!("did you mean `{written}:{near}`?")
    } else if let Some(class) = with_method.map(name_of) {
        if by_class() {
            format!(
                "it is a method of `{class}`: write `{written}` as the handler, and the server calls `{class}.handle`"
            )
        } else {
            format!(
                "it is a method of `{class}`: add `_service = {class}()` and `def {name}(data, context): return _service.{name}(data, context)`"
            )
        }
    } else if let Some(class) = class.filter(|_| by_class()).map(name_of) {
        format!("write `{written}` as the handler if the server should call `{class}.handle`")
    } else if let [(only, _)] = fitting[..] {
        at = module.place(only);
        format!("write `{written}:{}`, or add `def {name}(data, context)`", short(only))
    } else {
        format!("add `def {name}(data, context)` at the top level of the module")
    };
    Finding::error(Code::HandlerEntryPoint, at, undefined, help)
}
