//! Names that are bound in other ways than by a statement in their scope: `global` in functions,
//! `globals()[…] = …`, attributes set on a class from outside, `self.x = …`.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, ExprNamed, Stmt, StmtClassDef, StmtFunctionDef};

use super::signature;
use super::targets::name;

/// Collected over a whole module, including functions, whether they run or not.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// Names that some function declares `global`.
    pub globals: BTreeSet<&'a str>,
    /// Whether names may be bound dynamically: by `globals()`, `exec`, `sys.modules`.
    pub dynamic: bool,
    /// Names whose attributes are set from outside: `Service.handle = …`, `setattr(Service, …)`.
    pub patched: BTreeSet<&'a str>,
}

impl<'a> Facts<'a> {
    pub fn of(body: &'a [Stmt]) -> Self {
        let mut facts = Self::default();
        facts.visit_body(body);
        facts
    }
}

impl<'a> Visitor<'a> for Facts<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        if let Stmt::Global(global) = statement {
            self.globals.extend(global.names.iter().map(|name| name.as_str()));
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            // Reading `globals()` binds nothing.
            Expr::Subscript(subscript)
                if subscript.ctx.is_load() && is_namespace(&subscript.value) =>
            {
                return self.visit_expr(&subscript.slice);
            }
            Expr::Attribute(attribute)
                if is_namespace(&attribute.value)
                    && matches!(
                        attribute.attr.as_str(),
                        "get" | "items" | "keys" | "values" | "copy"
                    ) =>
            {
                return;
            }
            Expr::Compare(compare) if compare.comparators.iter().all(is_namespace) => {
                return self.visit_expr(&compare.left);
            }
            Expr::Attribute(attribute) if attribute.ctx.is_store() => {
                self.patched.extend(name(&attribute.value));
            }
            Expr::Subscript(subscript) => {
                self.dynamic |= subscript.ctx.is_store()
                    && matches!(&*subscript.value, Expr::Call(call)
                        if matches!(name(&call.func), Some("locals" | "vars")));
                self.dynamic |= is_attribute(&subscript.value, "sys", "modules")
                    && name(&subscript.slice) == Some("__name__");
            }
            Expr::Call(call) => match name(&call.func) {
                Some("exec" | "execfile") => self.dynamic = true,
                Some("setattr") => {
                    self.patched.extend(call.arguments.args.first().and_then(name));
                }
                _ => {}
            },
            _ => {}
        }
        self.dynamic |= is_namespace(expression);
        walk_expr(self, expression);
    }
}

/// `globals()`. `locals()` and `vars()` are the same at module level, but are nearly always read.
fn is_namespace(expression: &Expr) -> bool {
    matches!(expression, Expr::Call(call) if name(&call.func) == Some("globals"))
}

pub fn is_attribute(expression: &Expr, object: &str, attribute: &str) -> bool {
    matches!(expression, Expr::Attribute(it)
        if it.attr.as_str() == attribute && name(&it.value) == Some(object))
}

/// The `:=` that are run with the expression, innermost first; not those inside a `lambda`.
pub fn assigned_in_expression(expression: &Expr) -> Vec<&ExprNamed> {
    struct Named<'a>(Vec<&'a ExprNamed>);
    impl<'a> Visitor<'a> for Named<'a> {
        fn visit_expr(&mut self, expression: &'a Expr) {
            if !expression.is_lambda_expr() {
                walk_expr(self, expression);
            }
            if let Expr::Named(named) = expression {
                self.0.push(named);
            }
        }
    }
    let mut named = Named(Vec::new());
    named.visit_expr(expression);
    named.0
}

/// Whether a method of the class sets the attribute `name` on its instance.
pub fn sets_on_instance(class: &StmtClassDef, attribute: &str) -> bool {
    struct Sets<'n> {
        this: &'n str,
        attribute: &'n str,
        found: bool,
    }
    impl<'a> Visitor<'a> for Sets<'_> {
        fn visit_expr(&mut self, expression: &'a Expr) {
            let is_this = |it: &Expr| name(it) == Some(self.this);
            self.found |= match expression {
                Expr::Attribute(attribute) if is_this(&attribute.value) => {
                    let set = attribute.attr.as_str();
                    set == "__dict__" || (attribute.ctx.is_store() && set == self.attribute)
                }
                Expr::Call(call) => {
                    let first = call.arguments.args.first();
                    name(&call.func) == Some("setattr") && first.is_some_and(is_this)
                }
                _ => false,
            };
            walk_expr(self, expression);
        }
    }
    class.body.iter().any(|member| {
        let Stmt::FunctionDef(method) = member else { return false };
        let Some(this) = signature::first(&method.parameters) else { return false };
        let mut sets = Sets { this, attribute, found: false };
        sets.visit_body(&method.body);
        sets.found
    })
}

/// Whether calling the function returns a generator instead of running it.
pub fn is_generator(function: &StmtFunctionDef) -> bool {
    struct Yields(bool);
    impl<'a> Visitor<'a> for Yields {
        fn visit_stmt(&mut self, statement: &'a Stmt) {
            if !matches!(statement, Stmt::FunctionDef(_) | Stmt::ClassDef(_)) {
                walk_stmt(self, statement);
            }
        }

        fn visit_expr(&mut self, expression: &'a Expr) {
            self.0 |= matches!(expression, Expr::Yield(_) | Expr::YieldFrom(_));
            if !expression.is_lambda_expr() {
                walk_expr(self, expression);
            }
        }
    }
    let mut yields = Yields(false);
    yields.visit_body(&function.body);
    yields.0
}
