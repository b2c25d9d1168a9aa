//! Walks over statements in the order in which Python would run them.

use ruff_python_ast::{ElifElseClause, ExceptHandler, Expr, Stmt, StmtMatch, StmtTry};
use ruff_text_size::{Ranged, TextSize};

use super::condition::truth;
use super::facts::{assigned_in_expression, is_attribute};
use super::namespace::{Binding, Names, Scope, Seen};
use super::targets::{captured, elements, name, names_in};
use super::value::{Value, evaluate};

/// Where a body always raises an exception, if it does.
type Raises = Option<TextSize>;

pub struct Walk<'a> {
    pub seen: Seen<'a>,
    /// The number of branches, loops and `try` around the statement: inside them it may not run.
    pub guarded: usize,
}

impl<'a> Walk<'a> {
    pub fn body(&mut self, body: &'a [Stmt], scope: &mut Scope<'_, 'a>) -> Raises {
        for statement in body {
            // Rare at module level, and it only skips the rest of one iteration.
            if matches!(statement, Stmt::Break(_) | Stmt::Continue(_)) {
                return None;
            }
            if let Some(at) = self.statement(statement, scope) {
                if self.guarded == 0 {
                    self.seen.raises = Some(at);
                }
                return Some(at);
            }
        }
        None
    }

    fn statement(&mut self, statement: &'a Stmt, scope: &mut Scope<'_, 'a>) -> Raises {
        let at = statement.start();
        match statement {
            Stmt::FunctionDef(def) => {
                scope.bind_one(&def.name, Value::Function(def), def.name.start());
            }
            Stmt::ClassDef(def) => {
                let at = def.name.start();
                let bases = def.bases().iter().map(|base| evaluate(base, scope)).collect();
                self.seen.bases.insert(at, bases);
                scope.bind_one(&def.name, Value::Class(def), at);
            }
            Stmt::Assign(assign) => {
                self.expression(&assign.value, scope);
                for target in &assign.targets {
                    self.assign(target, Some(&assign.value), scope);
                }
            }
            Stmt::AnnAssign(assign) => {
                if let Some(value) = &assign.value {
                    self.expression(value, scope);
                    self.assign(&assign.target, Some(value), scope);
                }
            }
            Stmt::AugAssign(assign) => self.assign(&assign.target, None, scope),
            Stmt::TypeAlias(alias) => self.assign(&alias.name, None, scope),
            Stmt::Delete(delete) => {
                for name in delete.targets.iter().flat_map(names_in) {
                    scope.bind(name, Binding::default());
                }
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let name = match &alias.asname {
                        Some(name) => name.as_str(),
                        None => alias.name.split('.').next().unwrap_or_default(),
                    };
                    scope.bind_one(name, Value::Inert("a module"), alias.start());
                }
            }
            Stmt::ImportFrom(import) => {
                if import.level > 0 && self.guarded == 0 {
                    let module = import.module.as_ref().map_or("", |module| module.as_str());
                    self.seen.relative_imports.push((at, module));
                }
                for alias in &import.names {
                    if alias.name.as_str() == "*" {
                        self.seen.stars.push(at);
                        continue;
                    }
                    let name = alias.asname.as_ref().unwrap_or(&alias.name);
                    scope.bind_one(name, Value::Unknown, alias.start());
                }
            }
            Stmt::Expr(expression) => {
                self.expression(&expression.value, scope);
                if is_exit(&expression.value, scope) {
                    return Some(at);
                }
            }
            Stmt::Raise(_) => return Some(at),
            Stmt::Return(_) => self.seen.stray_returns.push(at),
            Stmt::If(choice) => {
                let clauses = std::iter::once((Some(&*choice.test), &choice.body[..])).chain(
                    choice
                        .elif_else_clauses
                        .iter()
                        .map(|ElifElseClause { test, body, .. }| (test.as_ref(), &body[..])),
                );
                return self.choice(clauses, at, scope);
            }
            Stmt::Match(choice) => {
                self.expression(&choice.subject, scope);
                return self.cases(choice, at, scope);
            }
            Stmt::While(turn) => {
                self.expression(&turn.test, scope);
                match truth(&turn.test) {
                    Some(true) => return self.body(&turn.body, scope),
                    Some(false) => {}
                    None => self.maybe(&turn.body, None, scope),
                }
                return self.body(&turn.orelse, scope);
            }
            Stmt::For(turn) => {
                self.expression(&turn.iter, scope);
                self.maybe(&turn.body, Some(&turn.target), scope);
                return self.body(&turn.orelse, scope);
            }
            Stmt::With(with) => {
                for item in &with.items {
                    self.expression(&item.context_expr, scope);
                    if let Some(target) = &item.optional_vars {
                        self.assign(target, None, scope);
                    }
                }
                // The context may suppress exceptions of the body, as `contextlib.suppress` does.
                self.guarded += 1;
                self.body(&with.body, scope);
                self.guarded -= 1;
            }
            Stmt::Try(attempt) => return self.attempt(attempt, at, scope),
            Stmt::Assert(assert) => self.expression(&assert.test, scope),
            Stmt::Global(_)
            | Stmt::Nonlocal(_)
            | Stmt::Pass(_)
            | Stmt::Break(_)
            | Stmt::Continue(_)
            | Stmt::IpyEscapeCommand(_) => {}
        }
        None
    }

    /// Binds the `:=` in an expression that is evaluated.
    fn expression(&mut self, expression: &'a Expr, scope: &mut Scope<'_, 'a>) {
        for named in assigned_in_expression(expression) {
            self.assign(&named.target, Some(&named.value), scope);
        }
    }

    fn assign(&mut self, target: &'a Expr, value: Option<&'a Expr>, scope: &mut Scope<'_, 'a>) {
        match (target, value) {
            (Expr::Name(name), _) => {
                let values = value.map_or(vec![Value::Unknown], |value| evaluate(value, scope));
                scope.bind(name.id.as_str(), Binding::of(values, name.start()));
            }
            (Expr::Tuple(_) | Expr::List(_), Some(Expr::Tuple(_) | Expr::List(_)))
                if elements(target).len() == value.map_or(0, |value| elements(value).len())
                    && !elements(target).iter().any(Expr::is_starred_expr) =>
            {
                // All values are evaluated before the first name is bound: `a, b = b, a`.
                let values = value.map_or(&[][..], elements);
                let mut taken = Vec::new();
                for (target, value) in elements(target).iter().zip(values) {
                    match target {
                        Expr::Name(name) => {
                            let bound = Binding::of(evaluate(value, scope), name.start());
                            taken.push((name.id.as_str(), bound));
                        }
                        _ => self.assign(target, Some(value), scope),
                    }
                }
                for (name, binding) in taken {
                    scope.bind(name, binding);
                }
            }
            _ => {
                for name in names_in(target) {
                    scope.bind_one(name, Value::Unknown, target.start());
                }
            }
        }
    }

    /// Branches of which exactly one runs, or none without an `else`.
    fn choice(
        &mut self,
        clauses: impl Iterator<Item = (Option<&'a Expr>, &'a [Stmt])>,
        at: TextSize,
        scope: &mut Scope<'_, 'a>,
    ) -> Raises {
        let mut branches = Vec::new();
        let mut complete = false;
        for (test, body) in clauses {
            if let Some(test) = test {
                self.expression(test, scope);
            }
            let known = test.map_or(Some(true), truth);
            if known == Some(false) {
                continue;
            }
            if known == Some(true) && branches.is_empty() && test.is_some() {
                return self.body(body, scope);
            }
            branches.extend(self.branch(body, scope.branch()));
            if known == Some(true) {
                complete = true;
                break;
            }
        }
        join(branches, complete, at, scope)
    }

    fn cases(&mut self, choice: &'a StmtMatch, at: TextSize, scope: &mut Scope<'_, 'a>) -> Raises {
        let mut branches = Vec::new();
        let mut complete = false;
        for case in &choice.cases {
            let mut branch = scope.branch();
            for (name, at) in captured(&case.pattern) {
                branch.bind_one(name, Value::Unknown, at);
            }
            branches.extend(self.branch(&case.body, branch));
            complete |= case.guard.is_none() && case.pattern.is_irrefutable();
        }
        join(branches, complete, at, scope)
    }

    /// The changes of a branch; none if it always raises.
    fn branch(&mut self, body: &'a [Stmt], mut branch: Scope<'_, 'a>) -> Option<Names<'a>> {
        self.guarded += 1;
        let end = self.body(body, &mut branch);
        self.guarded -= 1;
        end.is_none().then_some(branch.changes)
    }

    /// A body that runs never or more often.
    fn maybe(&mut self, body: &'a [Stmt], target: Option<&'a Expr>, scope: &mut Scope<'_, 'a>) {
        let mut branch = scope.branch();
        if let Some(target) = target {
            self.assign(target, None, &mut branch);
        }
        self.guarded += 1;
        self.body(body, &mut branch);
        self.guarded -= 1;
        let changes = branch.changes;
        scope.join(vec![Names::new(), changes]);
    }

    fn attempt(&mut self, attempt: &'a StmtTry, at: TextSize, scope: &mut Scope<'_, 'a>) -> Raises {
        let mut tried = scope.branch();
        self.guarded += 1;
        let end = self.body(&attempt.body, &mut tried);
        let broken_off = tried.changes.clone();
        let mut branches = Vec::new();
        if end.is_none() && self.body(&attempt.orelse, &mut tried).is_none() {
            branches.push(tried.changes);
        }
        for ExceptHandler::ExceptHandler(handler) in &attempt.handlers {
            let mut branch = scope.branch();
            // The body may have reached any point before it raised.
            branch.join(vec![Names::new(), broken_off.clone()]);
            if let Some(name) = &handler.name {
                branch.bind_one(name, Value::Unknown, name.start());
            }
            if self.body(&handler.body, &mut branch).is_none() {
                if let Some(name) = &handler.name {
                    branch.bind(name, Binding::default());
                }
                branches.push(branch.changes);
            }
        }
        self.guarded -= 1;
        join(branches, true, at, scope).or_else(|| self.body(&attempt.finalbody, scope))
    }
}

/// Joins the branches of which one runs; or none, unless they are `complete`.
fn join<'a>(
    mut branches: Vec<Names<'a>>,
    complete: bool,
    at: TextSize,
    scope: &mut Scope<'_, 'a>,
) -> Raises {
    if !complete {
        branches.push(Names::new());
    }
    if branches.is_empty() {
        return Some(at);
    }
    scope.join(branches);
    None
}

/// `exit()`, `quit()` or `sys.exit()`.
fn is_exit(expression: &Expr, scope: &Scope<'_, '_>) -> bool {
    let Expr::Call(call) = expression else { return false };
    let builtin = name(&call.func).filter(|name| matches!(*name, "exit" | "quit"));
    builtin.is_some_and(|name| scope.get(name).is_none()) || is_attribute(&call.func, "sys", "exit")
}
