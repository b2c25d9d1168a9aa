//! Whether a value can be called as the server calls it, and what it says when not.

use ruff_python_ast::{Decorator, Expr, Parameters, StmtClassDef, StmtFunctionDef};
use ruff_text_size::{Ranged, TextSize};

use super::facts::is_generator;
use super::members::{Member, Module};
use super::signature::{Misfit, first, misfit, render, short};
use super::value::{Bound, Value};
use crate::model::problem::Code;

/// What is wrong with a value, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) at: TextSize,
    pub(super) message: String,
    pub(super) help: String,
}

/// A call that the server makes.
#[derive(Clone, Copy)]
pub(super) struct Call<'n> {
    /// How the callee is named in messages: `handle`, `Service.handle`.
    pub(super) name: &'n str,
    /// The positional arguments, by the names that the server's documentation gives them.
    pub(super) arguments: &'n [&'n str],
    /// Whether the server looks at what comes back (it takes a list and nothing else).
    pub(super) returns: bool,
}

/// The call of an entry point.
pub(super) fn entry<'n>(name: &'n str) -> Call<'n> {
    Call { name, arguments: &["data", "context"], returns: true }
}

impl<'a> Module<'a> {
    /// The fault of calling a value by itself.
    pub(super) fn call(&self, (value, at): &Bound<'a>, call: Call<'_>) -> Option<Fault> {
        match value {
            Value::Function(function) => check_function(function, call, None),
            Value::Lambda(lambda) => {
                let parameters = lambda.parameters.as_deref();
                check_parameters(parameters, *at, call, None)
            }
            Value::Class(class) => self.class_as_function(class, *at, call),
            Value::Instance(class) => match self.member(class, "__call__") {
                Member::Found(values, _) => self.call_member(class, &values, "__call__", call),
                Member::Missing => Some(Fault {
                    code: Code::HandlerEntryPoint,
                    at: *at,
                    message: format!(
                        "`{}` is an instance of `{}`, which cannot be called",
                        call.name,
                        of(class)
                    ),
                    help: format!("name one of its methods: `{} = ….handle`", call.name),
                }),
                Member::Undecided(_) => None,
            },
            Value::Method(class, name) => match self.member(class, name) {
                Member::Found(values, _) => self.call_member(class, &values, name, call),
                // Every object has the attributes of `object`.
                Member::Missing if !name.starts_with("__") && !self.patches_instance(class) => {
                    Some(Fault {
                        code: Code::HandlerEntryPoint,
                        at: *at,
                        message: format!("`{}` has no attribute `{}`", of(class), short(name)),
                        help: format!("define `{}` in `{}`", short(name), of(class)),
                    })
                }
                Member::Missing | Member::Undecided(_) => None,
            },
            Value::Inert(what) => Some(Fault {
                code: Code::HandlerEntryPoint,
                at: *at,
                message: format!("`{}` is {what}, which cannot be called", call.name),
                help: format!("make it a function: `def {}`", suggestion(call, None)),
            }),
            Value::MadeClass | Value::Produced | Value::Unknown => None,
        }
    }

    /// The fault of calling a member of an instance, when every value that it may have has one.
    pub(super) fn call_member(
        &self,
        class: &'a StmtClassDef,
        values: &[Bound<'a>],
        member: &str,
        call: Call<'_>,
    ) -> Option<Fault> {
        let name = format!("{}.{}", of(class), short(member));
        let call = Call { name: &name, ..call };
        let mut faults = values.iter().map(|bound| match &bound.0 {
            Value::Function(function) => check_function(function, call, Some(class)),
            Value::Lambda(lambda) => {
                check_parameters(lambda.parameters.as_deref(), bound.1, call, Some(class))
            }
            Value::Inert(_) => self.call(bound, call),
            _ => None,
        });
        let first = faults.next()?;
        if faults.all(|fault| fault.is_some()) { first } else { None }
    }

    /// A class named as the function: calling it makes an instance, which is never the list that
    /// the server wants, unless something in the class sees to it.
    fn class_as_function(
        &self,
        class: &'a StmtClassDef,
        at: TextSize,
        call: Call<'_>,
    ) -> Option<Fault> {
        let odd = class.arguments.is_some() || !class.decorator_list.is_empty();
        if odd || !matches!(self.member(class, "__new__"), Member::Missing) {
            return None;
        }
        let help = if matches!(self.member(class, "handle"), Member::Missing) {
            format!("write a function `def {}`", suggestion(call, None))
        } else {
            "leave the function out of the handler: the server then looks for the one class of the module and uses its `handle`".to_owned()
        };
        Some(Fault {
            code: Code::HandlerSignature,
            at,
            message: format!(
                "`{}` is a class: called as the entry point it returns an instance, and the server takes only a list",
                of(class)
            ),
            help,
        })
    }
}

/// A function, called by itself or as a method of an instance of `class`.
fn check_function(
    function: &StmtFunctionDef,
    call: Call<'_>,
    class: Option<&StmtClassDef>,
) -> Option<Fault> {
    let at = function.name.start();
    let this = match &function.decorator_list[..] {
        [] => class,
        [only] if class.is_some() && decorates(only, "staticmethod") => None,
        [only] if class.is_some() && decorates(only, "classmethod") => class,
        // What another decorator makes of it cannot be told.
        _ => return None,
    };
    let is_static = class.is_some() && this.is_none();
    if let Some(fault) = check_parameters(Some(&function.parameters), at, call, this) {
        return Some(fault);
    }
    let returned = match (function.is_async, is_generator(function)) {
        (true, _) if call.returns => {
            "a coroutine, which the server does not await: every prediction would fail"
        }
        (true, _) => "a coroutine, which the server does not await: its body would never run",
        (false, true) if call.returns => {
            "a generator, and the server takes only a list: every prediction would fail"
        }
        (false, true) => "a generator: its body would never run",
        (false, false) => return None,
    };
    let method = if is_static { "a static method" } else { "it" };
    Some(Fault {
        code: Code::HandlerSignature,
        at,
        message: format!("calling `{}` returns {returned}", call.name),
        help: if function.is_async {
            format!("make {method} a plain `def`, and run what is asynchronous with `asyncio.run`")
        } else {
            format!("make {method} return a list instead of yielding")
        },
    })
}

/// A parameter list against the arguments of the call; with `class`, behind the instance itself.
fn check_parameters(
    parameters: Option<&Parameters>,
    at: TextSize,
    call: Call<'_>,
    class: Option<&StmtClassDef>,
) -> Option<Fault> {
    let none = Parameters::default();
    let parameters = parameters.unwrap_or(&none);
    let given = call.arguments.len() + usize::from(class.is_some());
    let misfit = misfit(parameters, given)?;
    let passed = match call.arguments {
        [] => "no arguments".to_owned(),
        arguments => quoted(arguments.iter().copied()),
    };
    let behind =
        if class.is_some() && !call.arguments.is_empty() { " behind the instance" } else { "" };
    let written = format!("{}{}", call.name, render(parameters));
    let wants = suggestion(call, class);
    let this = first(parameters);
    let (what, help) = match misfit {
        Misfit::Unfilled(_) if class.is_none() && this == Some("self") => (
            "leaves a parameter without a value".to_owned(),
            format!("it is a function, not a method: drop `self` and write `def {wants}`"),
        ),
        Misfit::Unfilled(names) => {
            let names =
                quoted(names.into_iter().map(short).collect::<Vec<_>>().iter().map(String::as_str));
            (
                format!("leaves {names} without a value"),
                format!("give {names} a default, or write `def {wants}`"),
            )
        }
        Misfit::TooMany(0) if class.is_some() => (
            "it takes no arguments, not even the instance".to_owned(),
            format!("write `def {wants}`"),
        ),
        Misfit::TooMany(most) => {
            let help = match this {
                Some(this) if class.is_some() && this != "self" && this != "cls" => {
                    format!("the first parameter of a method is the instance: write `def {wants}`")
                }
                _ => format!("write `def {wants}`"),
            };
            (format!("it takes {most}, the call passes {given}"), help)
        }
        Misfit::KeywordOnly(names) => {
            let names =
                quoted(names.into_iter().map(short).collect::<Vec<_>>().iter().map(String::as_str));
            (
                format!("leaves the keyword-only {names} without a value"),
                format!("give {names} a default, or write `def {wants}`"),
            )
        }
    };
    Some(Fault {
        code: Code::HandlerSignature,
        at,
        message: format!("`{written}` cannot be called with {passed}{behind}: {what}"),
        help,
    })
}

/// The definition that fits: `handle(self, data, context)`.
fn suggestion(call: Call<'_>, class: Option<&StmtClassDef>) -> String {
    let name = call.name.rsplit('.').next().unwrap_or(call.name);
    let this = class.map(|_| "self");
    let parameters: Vec<_> = this.into_iter().chain(call.arguments.iter().copied()).collect();
    format!("{name}({})", parameters.join(", "))
}

/// `a`, `b` and `c`, at most a few of them.
pub(super) fn quoted<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const MOST: usize = 6;
    let mut names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
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

fn decorates(decorator: &Decorator, name: &str) -> bool {
    matches!(&decorator.expression, Expr::Name(it) if it.id.as_str() == name)
}

fn of(class: &StmtClassDef) -> String {
    short(class.name.as_str())
}
