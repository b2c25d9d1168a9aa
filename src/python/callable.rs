//! Whether the server can call a value, and why not.

use ruff_python_ast::{Parameters, StmtClassDef, StmtFunctionDef};
use ruff_text_size::{Ranged, TextSize};

use super::facts::is_generator;
use super::finding::Finding;
use super::members::{Member, Module};
use super::signature::{Misfit, first, misfit, name_of, quoted, render, short};
use super::targets::name;
use super::value::{Bound, Value};
use crate::model::problem::Code;

/// A call that the server makes.
#[derive(Clone, Copy)]
pub struct Call<'n> {
    /// The name of the callee in messages: `handle`, `Service.handle`.
    pub name: &'n str,
    /// The positional arguments, with their names in the server's documentation.
    pub arguments: &'n [&'n str],
    /// Whether the server uses the result, which must be a list.
    pub returns: bool,
}

/// The call of an entry point.
pub fn entry(name: &str) -> Call<'_> {
    Call { name, arguments: &["data", "context"], returns: true }
}

impl<'a> Module<'a> {
    /// The fault of calling a value by itself.
    pub fn call(&self, (value, at): &Bound<'a>, call: Call<'_>) -> Option<Finding> {
        let not_callable =
            |message, help| Some(Finding::error(Code::HandlerEntryPoint, Some(*at), message, help));
        match value {
            Value::Function(function) => check_function(function, call, None),
            Value::Lambda(lambda) => {
                check_parameters(lambda.parameters.as_deref(), *at, call, None)
            }
            Value::Class(class) => self.class_as_function(class, *at, call),
            Value::Instance(class) => match self.member(class, "__call__") {
                Member::Found(values, _) => self.call_member(class, &values, "__call__", call),
                Member::Missing => not_callable(
                    format!(
                        "`{}` is an instance of `{}`, which cannot be called",
                        call.name,
                        name_of(class)
                    ),
                    format!("name one of its methods: `{} = ….handle`", call.name),
                ),
                Member::Undecided(_) => None,
            },
            Value::Method(class, name) => match self.member(class, name) {
                Member::Found(values, _) => self.call_member(class, &values, name, call),
                // Every object has the attributes of `object`.
                Member::Missing if !name.starts_with("__") && !self.patches_instance(class) => {
                    let (class, name) = (name_of(class), short(name));
                    not_callable(
                        format!("`{class}` has no attribute `{name}`"),
                        format!("define `{name}` in `{class}`"),
                    )
                }
                Member::Missing | Member::Undecided(_) => None,
            },
            Value::Inert(what) => not_callable(
                format!("`{}` is {what}, which cannot be called", call.name),
                format!("make it a function: `def {}`", suggestion(call, None)),
            ),
            Value::MadeClass | Value::Produced | Value::Unknown => None,
        }
    }

    /// The fault of calling a member of an instance, if all its possible values have one.
    pub fn call_member(
        &self,
        class: &'a StmtClassDef,
        values: &[Bound<'a>],
        member: &str,
        call: Call<'_>,
    ) -> Option<Finding> {
        let name = format!("{}.{}", name_of(class), short(member));
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

    /// A class as the entry point: calling it makes an instance, never the list that the server needs,
    /// unless something in the class changes that.
    fn class_as_function(
        &self,
        class: &'a StmtClassDef,
        at: TextSize,
        call: Call<'_>,
    ) -> Option<Finding> {
        let odd = class.arguments.is_some() || !class.decorator_list.is_empty();
        if odd || !matches!(self.member(class, "__new__"), Member::Missing) {
            return None;
        }
        let help = if matches!(self.member(class, "handle"), Member::Missing) {
            format!("write a function `def {}`", suggestion(call, None))
        } else {
            "remove the function from the handler: the server then uses `handle` of the only class of the module".to_owned()
        };
        let message = format!(
            "`{}` is a class: called as the entry point it returns an instance, and the server accepts only a list",
            name_of(class)
        );
        Some(Finding::error(Code::HandlerSignature, Some(at), message, help))
    }
}

/// A function, called by itself or as a method of an instance of `class`.
fn check_function(
    function: &StmtFunctionDef,
    call: Call<'_>,
    class: Option<&StmtClassDef>,
) -> Option<Finding> {
    let at = function.name.start();
    let this = match &function.decorator_list[..] {
        [] => class,
        [only] if class.is_some() && name(&only.expression) == Some("staticmethod") => None,
        [only] if class.is_some() && name(&only.expression) == Some("classmethod") => class,
        // Another decorator may change the parameters.
        _ => return None,
    };
    if let Some(fault) = check_parameters(Some(&function.parameters), at, call, this) {
        return Some(fault);
    }
    let returned = match (function.is_async, is_generator(function)) {
        (true, _) if call.returns => {
            "a coroutine, which the server does not await: every prediction would fail"
        }
        (true, _) => "a coroutine, which the server does not await: its body would never run",
        (false, true) if call.returns => {
            "a generator, and the server accepts only a list: every prediction would fail"
        }
        (false, true) => "a generator: its body would never run",
        (false, false) => return None,
    };
    let it = if class.is_some() && this.is_none() { "a static method" } else { "it" };
    let help = if function.is_async {
        format!("make {it} a plain `def`, and run asynchronous code with `asyncio.run`")
    } else {
        format!("make {it} return a list instead of yielding")
    };
    let message = format!("calling `{}` returns {returned}", call.name);
    Some(Finding::error(Code::HandlerSignature, Some(at), message, help))
}

/// A parameter list against the arguments of the call; with `class`, the instance comes first.
fn check_parameters(
    parameters: Option<&Parameters>,
    at: TextSize,
    call: Call<'_>,
    class: Option<&StmtClassDef>,
) -> Option<Finding> {
    let none = Parameters::default();
    let parameters = parameters.unwrap_or(&none);
    let given = call.arguments.len() + usize::from(class.is_some());
    let misfit = misfit(parameters, given)?;
    let passed = match (call.arguments, class) {
        ([], _) => "no arguments".to_owned(),
        (arguments, None) => quoted(arguments),
        (arguments, Some(_)) => format!("{} after the instance", quoted(arguments)),
    };
    let wanted = format!("write `def {}`", suggestion(call, class));
    let this = first(parameters);
    let (what, help) = match misfit {
        Misfit::Unfilled(_) if class.is_none() && this == Some("self") => (
            "leaves a parameter without a value".to_owned(),
            format!("it is a function, not a method: remove `self` and {wanted}"),
        ),
        Misfit::Unfilled(names) => {
            let names = quoted(names);
            let help = format!("give {names} a default, or {wanted}");
            (format!("leaves {names} without a value"), help)
        }
        Misfit::KeywordOnly(names) => {
            let names = quoted(names);
            let help = format!("give {names} a default, or {wanted}");
            (format!("leaves the keyword-only {names} without a value"), help)
        }
        Misfit::TooMany(0) if class.is_some() => {
            ("it takes no arguments, not even the instance".to_owned(), wanted)
        }
        Misfit::TooMany(most) => {
            let help = match this {
                Some(this) if class.is_some() && this != "self" && this != "cls" => {
                    format!("the first parameter of a method is the instance: {wanted}")
                }
                _ => wanted,
            };
            (format!("it takes {most}, the call passes {given}"), help)
        }
    };
    let written = format!("{}{}", call.name, render(parameters));
    let message = format!("`{written}` cannot be called with {passed}: {what}");
    Some(Finding::error(Code::HandlerSignature, Some(at), message, help))
}

/// A definition that fits: `handle(self, data, context)`.
fn suggestion(call: Call<'_>, class: Option<&StmtClassDef>) -> String {
    let name = call.name.rsplit('.').next().unwrap_or(call.name);
    let this = class.map(|_| "self");
    let parameters: Vec<_> = this.into_iter().chain(call.arguments.iter().copied()).collect();
    format!("{name}({})", parameters.join(", "))
}
