//! The few conditions whose value during the import is known.

use ruff_python_ast::{BoolOp, CmpOp, Expr, Number, UnaryOp};

use super::targets::{last_name, name};

/// The value of a condition while the server imports the module, if it is certain: `TYPE_CHECKING` is
/// false, `__name__` is not `"__main__"`, constants have their value.
pub fn truth(test: &Expr) -> Option<bool> {
    match test {
        Expr::BooleanLiteral(literal) => Some(literal.value),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(number) => Some(number.as_u64() != Some(0)),
            _ => None,
        },
        Expr::NoneLiteral(_) => Some(false),
        _ if last_name(test) == Some("TYPE_CHECKING") => Some(false),
        Expr::UnaryOp(unary) if unary.op == UnaryOp::Not => truth(&unary.operand).map(|it| !it),
        Expr::BoolOp(operation) => {
            let decisive = operation.op == BoolOp::Or;
            let known: Vec<_> = operation.values.iter().map(truth).collect();
            if known.contains(&Some(decisive)) {
                Some(decisive)
            } else {
                known.iter().all(Option::is_some).then_some(!decisive)
            }
        }
        Expr::Compare(compare) => {
            let ([op], [right]) = (&compare.ops[..], &compare.comparators[..]) else { return None };
            let is_main = |a: &Expr, b: &Expr| {
                name(a) == Some("__name__")
                    && matches!(b, Expr::StringLiteral(text) if text.value.to_str() == "__main__")
            };
            if !is_main(&compare.left, right) && !is_main(right, &compare.left) {
                return None;
            }
            match op {
                CmpOp::Eq => Some(false),
                CmpOp::NotEq => Some(true),
                _ => None,
            }
        }
        _ => None,
    }
}
