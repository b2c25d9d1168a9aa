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
//!
//! Two answers are stricter than the server. That wrong signature is an error here. And a function
//! that is named has to be there, as the specification says: the fallback would serve a class under
//! a name that nobody defined. `handle` alone is excused with a warning, since naming it and naming
//! nothing are the same to the server.

use ruff_text_size::{Ranged, TextSize};

use super::callable::{Fault, entry};
use super::members::{Member, Module};
use super::namespace::Binding;
use super::nearest::nearest;
use super::service_class::{check_classes, only_class};
use super::signature::short;
use super::value::Value;
use crate::model::Handler;
use crate::model::problem::{Code, Severity};

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
    pub(super) fn error(code: Code, at: Option<TextSize>, message: String, help: String) -> Self {
        Self { severity: Severity::Error, code, at, message, help }
    }

    pub(super) fn undecided(at: Option<TextSize>, message: String) -> Self {
        Self {
            severity: Severity::Warning,
            code: Code::HandlerUndecided,
            at,
            message,
            help: "load the model once on a test server to be sure".to_owned(),
        }
    }

    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// What FUNCTION is when the handler names none.
pub(super) const DEFAULT: &str = "handle";

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

/// Where a name of the module is bound.
pub(super) fn place(name: &str, module: &Module<'_>) -> Option<TextSize> {
    module.names.get(name)?.values.first().map(|value| value.1)
}
