//! The value of an expression, as far as its text shows.

use std::mem::{self, Discriminant};
use std::ptr;

use ruff_python_ast::{Expr, ExprLambda, Stmt, StmtClassDef, StmtFunctionDef};
use ruff_text_size::TextSize;

use super::namespace::Scope;
use super::targets::last_name;

/// A value that a name may have.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    Function(&'a StmtFunctionDef),
    Lambda(&'a ExprLambda),
    Class(&'a StmtClassDef),
    /// A class that a call makes here, for example `namedtuple("Point", "x y")`.
    MadeClass,
    Instance(&'a StmtClassDef),
    /// An attribute of an instance, looked up when it is checked.
    Method(&'a StmtClassDef, &'a str),
    /// Certainly not callable; in words: "None", "a string".
    Inert(&'static str),
    /// The result of a function of this module; it could even be a class of this module.
    Produced,
    Unknown,
}

/// Identity, like `is` in Python: the tree's own equality would compare whole bodies.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Value<'_> {
    fn identity(&self) -> (Discriminant<Self>, *const (), &str) {
        let (node, text) = match *self {
            Value::Function(def) => (ptr::from_ref(def).cast(), ""),
            Value::Lambda(lambda) => (ptr::from_ref(lambda).cast(), ""),
            Value::Class(class) | Value::Instance(class) => (ptr::from_ref(class).cast(), ""),
            Value::Method(class, name) => (ptr::from_ref(class).cast(), name),
            Value::Inert(what) => (ptr::null(), what),
            Value::MadeClass | Value::Produced | Value::Unknown => (ptr::null(), ""),
        };
        (mem::discriminant(self), node, text)
    }
}

/// A value and where it was bound.
pub type Bound<'a> = (Value<'a>, TextSize);

/// The values that an expression may have.
pub fn evaluate<'a>(expression: &'a Expr, scope: &Scope<'_, 'a>) -> Vec<Value<'a>> {
    let inert = |what| vec![Value::Inert(what)];
    match expression {
        Expr::Lambda(lambda) => vec![Value::Lambda(lambda)],
        Expr::Name(name) => match scope.get(name.id.as_str()) {
            Some(binding) => binding.values.iter().map(|(value, _)| value.clone()).collect(),
            None => vec![Value::Unknown],
        },
        Expr::Named(named) => evaluate(&named.value, scope),
        Expr::If(choice) => {
            let mut values = evaluate(&choice.body, scope);
            values.extend(evaluate(&choice.orelse, scope));
            values.truncate(8);
            values
        }
        Expr::Call(call) => match &evaluate(&call.func, scope)[..] {
            [Value::Class(class)] if plain_instances(class) => vec![Value::Instance(class)],
            [Value::Function(_) | Value::Lambda(_) | Value::Produced] => vec![Value::Produced],
            _ if makes_class(&call.func) => vec![Value::MadeClass],
            _ => vec![Value::Unknown],
        },
        Expr::Attribute(attribute) => match &evaluate(&attribute.value, scope)[..] {
            [Value::Instance(class)] => vec![Value::Method(class, attribute.attr.as_str())],
            _ => vec![Value::Unknown],
        },
        Expr::NoneLiteral(_) => inert("None"),
        Expr::StringLiteral(_) | Expr::FString(_) => inert("a string"),
        Expr::BytesLiteral(_) => inert("bytes"),
        Expr::NumberLiteral(_) => inert("a number"),
        Expr::BooleanLiteral(_) => inert("a boolean"),
        Expr::List(_) | Expr::ListComp(_) => inert("a list"),
        Expr::Dict(_) | Expr::DictComp(_) => inert("a dictionary"),
        Expr::Set(_) | Expr::SetComp(_) => inert("a set"),
        Expr::Tuple(_) => inert("a tuple"),
        Expr::Generator(_) => inert("a generator"),
        _ => vec![Value::Unknown],
    }
}

/// Whether calling the class certainly returns an instance of it.
fn plain_instances(class: &StmtClassDef) -> bool {
    class.decorator_list.is_empty()
        && class.arguments.as_ref().is_none_or(|arguments| arguments.keywords.is_empty())
        && !class.body.iter().any(
            |member| matches!(member, Stmt::FunctionDef(def) if def.name.as_str() == "__new__"),
        )
}

/// Calls that make a class of the calling module: they take `__module__` from their caller.
fn makes_class(function: &Expr) -> bool {
    const MAKERS: &str = "namedtuple NamedTuple TypedDict Enum IntEnum StrEnum Flag IntFlag make_dataclass new_class";
    last_name(function).is_some_and(|name| MAKERS.split(' ').any(|maker| maker == name))
}
