//! What an expression may be worth, as far as its text tells.

use ruff_python_ast::{Expr, ExprLambda, Stmt, StmtClassDef, StmtFunctionDef};
use ruff_text_size::TextSize;

use super::namespace::Scope;

/// What may be behind a name.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Function(&'a StmtFunctionDef),
    Lambda(&'a ExprLambda),
    Class(&'a StmtClassDef),
    /// A class that a call makes here, as `namedtuple("Point", "x y")` does.
    MadeClass,
    Instance(&'a StmtClassDef),
    /// An attribute of an instance, looked up when it is judged.
    Method(&'a StmtClassDef, &'a str),
    /// Something that is certainly not callable, in words: "None", "a string".
    Inert(&'static str),
    /// What a function of this module returned; it could even be a class of this module.
    Produced,
    Unknown,
}

/// Identity, as `is` in Python: the tree's own equality would compare whole bodies.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Function(a), Value::Function(b)) => std::ptr::eq(*a, *b),
            (Value::Lambda(a), Value::Lambda(b)) => std::ptr::eq(*a, *b),
            (Value::Class(a), Value::Class(b)) | (Value::Instance(a), Value::Instance(b)) => {
                std::ptr::eq(*a, *b)
            }
            (Value::Method(a, name), Value::Method(b, other)) => {
                std::ptr::eq(*a, *b) && name == other
            }
            (Value::Inert(a), Value::Inert(b)) => a == b,
            (Value::MadeClass, Value::MadeClass)
            | (Value::Produced, Value::Produced)
            | (Value::Unknown, Value::Unknown) => true,
            _ => false,
        }
    }
}

/// A value and where it was bound.
pub(super) type Bound<'a> = (Value<'a>, TextSize);

/// What an expression may be worth.
pub(super) fn evaluate<'a>(expression: &'a Expr, scope: &Scope<'_, 'a>) -> Vec<Value<'a>> {
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
        Expr::BooleanLiteral(_) => inert("a truth value"),
        Expr::List(_) | Expr::ListComp(_) => inert("a list"),
        Expr::Dict(_) | Expr::DictComp(_) => inert("a dictionary"),
        Expr::Set(_) | Expr::SetComp(_) => inert("a set"),
        Expr::Tuple(_) => inert("a tuple"),
        Expr::Generator(_) => inert("a generator"),
        _ => vec![Value::Unknown],
    }
}

/// Whether calling the class gives an instance of it: nothing decorates, makes or overrides it.
fn plain_instances(class: &StmtClassDef) -> bool {
    class.decorator_list.is_empty()
        && class.arguments.as_ref().is_none_or(|arguments| arguments.keywords.is_empty())
        && !class.body.iter().any(
            |member| matches!(member, Stmt::FunctionDef(def) if def.name.as_str() == "__new__"),
        )
}

/// Calls that make a class of the calling module (they take `__module__` from their caller).
fn makes_class(function: &Expr) -> bool {
    let name = match function {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => attribute.attr.as_str(),
        _ => return false,
    };
    matches!(
        name,
        "namedtuple"
            | "NamedTuple"
            | "TypedDict"
            | "Enum"
            | "IntEnum"
            | "StrEnum"
            | "Flag"
            | "IntFlag"
            | "make_dataclass"
            | "new_class"
    )
}
