//! What names a body of statements leaves behind, without running it.
//!
//! The body is walked in order as Python would run it, every name mapped to the values that it may
//! then have: branches are walked apart and joined, loops run no time or once, a `try` may break off
//! anywhere. What cannot be known is [`Value::Unknown`], never a guess; a name that only some of the
//! ways bind is *conditional*.
//!
//! A branch records only what it changes and looks through to the scope around it, so the cost stays
//! proportional to the source.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{
    ElifElseClause, ExceptHandler, Expr, ExprLambda, Pattern, Stmt, StmtClassDef, StmtFunctionDef,
    StmtTry,
};
use ruff_text_size::{Ranged, TextSize};

use super::condition::truth;
use super::facts::assigned_in_expression;

/// What may be behind a name.
#[derive(Debug, Clone, PartialEq)]
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

/// A value and where it was bound.
pub(super) type Bound<'a> = (Value<'a>, TextSize);

/// The values that a name may have.
#[derive(Debug, Clone, Default)]
pub(super) struct Binding<'a> {
    /// Empty when the name was deleted.
    pub(super) values: Vec<Bound<'a>>,
    /// Whether some way through the body leaves the name unbound.
    pub(super) conditional: bool,
}

impl<'a> Binding<'a> {
    fn of(values: Vec<Value<'a>>, at: TextSize) -> Self {
        Self { values: values.into_iter().map(|value| (value, at)).collect(), conditional: false }
    }

    fn merge(&mut self, other: Binding<'a>) {
        /// More alternatives than any author writes: nothing is known then.
        const MOST: usize = 8;
        self.conditional |= other.conditional || other.values.is_empty();
        for value in other.values {
            if self.values.len() == MOST {
                self.values = vec![(Value::Unknown, value.1)];
            }
            if !self.values.contains(&value) {
                self.values.push(value);
            }
        }
    }
}

/// Names and their bindings.
pub(super) type Names<'a> = BTreeMap<&'a str, Binding<'a>>;

/// What the walk saw besides names.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    /// Modules of `from … import *`.
    pub(super) stars: Vec<TextSize>,
    /// Relative imports that run whenever the module is imported.
    pub(super) relative_imports: Vec<(TextSize, &'a str)>,
    /// `return` outside of a function.
    pub(super) stray_returns: Vec<TextSize>,
    /// What the bases of each class were worth where it was defined, by the place of its name.
    pub(super) bases: BTreeMap<TextSize, Vec<Vec<Value<'a>>>>,
    /// Where the body always leaves with an exception.
    pub(super) raises: Option<TextSize>,
}

/// Walks a module.
pub(super) fn of_module(body: &[Stmt]) -> (Names<'_>, Seen<'_>) {
    let mut walk = Walk { seen: Seen::default(), guarded: 0 };
    let mut scope = Scope { around: None, globals: None, changes: Names::new() };
    walk.body(body, &mut scope);
    scope.changes.retain(|_, binding| !binding.values.is_empty());
    (scope.changes, walk.seen)
}

/// Walks a class of the module whose names are `globals`.
pub(super) fn of_class<'a>(class: &'a StmtClassDef, globals: &Names<'a>) -> Names<'a> {
    let mut walk = Walk { seen: Seen::default(), guarded: 1 };
    let mut scope = Scope { around: None, globals: Some(globals), changes: Names::new() };
    walk.body(&class.body, &mut scope);
    scope.changes.retain(|_, binding| !binding.values.is_empty());
    scope.changes
}

/// One branch: what it changed so far, over what it began with.
struct Scope<'p, 'a> {
    around: Option<&'p Scope<'p, 'a>>,
    /// For the body of a class: the names of its module.
    globals: Option<&'p Names<'a>>,
    changes: Names<'a>,
}

impl<'a> Scope<'_, 'a> {
    fn bind(&mut self, name: &'a str, binding: Binding<'a>) {
        self.changes.insert(name, binding);
    }

    fn local(&self, name: &str) -> Option<&Binding<'a>> {
        let mut scope = self;
        loop {
            if let Some(binding) = scope.changes.get(name) {
                return Some(binding);
            }
            scope = scope.around?;
        }
    }

    fn get(&self, name: &str) -> Option<&Binding<'a>> {
        let local = self.local(name).filter(|binding| !binding.values.is_empty());
        local.or_else(|| self.globals?.get(name))
    }

    fn branch(&self) -> Scope<'_, 'a> {
        Scope { around: Some(self), globals: self.globals, changes: Names::new() }
    }

    /// Takes over what each of the branches changed; a name that one of them left alone keeps what
    /// it had as one of its values.
    fn join(&mut self, branches: Vec<Names<'a>>) {
        let names: BTreeSet<&'a str> = branches.iter().flat_map(|b| b.keys().copied()).collect();
        for name in names {
            let before = self.local(name).cloned().unwrap_or_default();
            let mut merged: Option<Binding<'a>> = None;
            for branch in &branches {
                let binding = branch.get(name).unwrap_or(&before).clone();
                match &mut merged {
                    None => {
                        let conditional = binding.conditional || binding.values.is_empty();
                        merged = Some(Binding { conditional, ..binding });
                    }
                    Some(merged) => merged.merge(binding),
                }
            }
            if let Some(merged) = merged {
                self.bind(name, merged);
            }
        }
    }
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Falls,
    /// By an exception, always.
    Raises(TextSize),
}

struct Walk<'a> {
    seen: Seen<'a>,
    /// How many branches, loops and `try` stand around: what is said there may not run.
    guarded: usize,
}

impl<'a> Walk<'a> {
    fn body(&mut self, body: &'a [Stmt], scope: &mut Scope<'_, 'a>) -> End {
        for statement in body {
            match statement {
                // Rare at module level, and then only the rest of one turn of a loop is skipped.
                Stmt::Break(_) | Stmt::Continue(_) => return End::Falls,
                _ => {
                    let end = self.statement(statement, scope);
                    if let End::Raises(at) = end {
                        if self.guarded == 0 {
                            self.seen.raises = Some(at);
                        }
                        return end;
                    }
                }
            }
        }
        End::Falls
    }

    fn statement(&mut self, statement: &'a Stmt, scope: &mut Scope<'_, 'a>) -> End {
        let at = statement.start();
        match statement {
            Stmt::FunctionDef(def) => {
                let at = def.name.start();
                scope.bind(&def.name, Binding::of(vec![Value::Function(def)], at));
            }
            Stmt::ClassDef(def) => {
                let at = def.name.start();
                let bases = def.bases().iter().map(|base| evaluate(base, scope)).collect();
                self.seen.bases.insert(at, bases);
                scope.bind(&def.name, Binding::of(vec![Value::Class(def)], at));
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
                    scope.bind(name, Binding::of(vec![Value::Inert("a module")], alias.start()));
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
                    scope.bind(name, Binding::of(vec![Value::Unknown], alias.start()));
                }
            }
            Stmt::Expr(expression) => {
                self.expression(&expression.value, scope);
                if is_exit(&expression.value) {
                    return End::Raises(at);
                }
            }
            Stmt::Raise(_) => return End::Raises(at),
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
                return self.body(&with.body, scope);
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
        End::Falls
    }

    /// `:=` in an expression that the body evaluates.
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
                // All values are taken before the first name is bound: `a, b = b, a`.
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
                    scope.bind(name, Binding::of(vec![Value::Unknown], target.start()));
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
    ) -> End {
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
            branches.extend(self.branch(body, scope));
            if known == Some(true) {
                complete = true;
                break;
            }
        }
        if !complete {
            branches.push(Names::new());
        }
        if branches.is_empty() {
            return End::Raises(at);
        }
        scope.join(branches);
        End::Falls
    }

    fn cases(
        &mut self,
        choice: &'a ruff_python_ast::StmtMatch,
        at: TextSize,
        scope: &mut Scope<'_, 'a>,
    ) -> End {
        let mut branches = Vec::new();
        let mut complete = false;
        for case in &choice.cases {
            let mut branch = scope.branch();
            for (name, at) in captured(&case.pattern) {
                branch.bind(name, Binding::of(vec![Value::Unknown], at));
            }
            self.guarded += 1;
            let end = self.body(&case.body, &mut branch);
            self.guarded -= 1;
            if end == End::Falls {
                branches.push(branch.changes);
            }
            complete |= case.guard.is_none() && case.pattern.is_irrefutable();
        }
        if !complete {
            branches.push(Names::new());
        }
        if branches.is_empty() {
            return End::Raises(at);
        }
        scope.join(branches);
        End::Falls
    }

    /// What a branch changes; nothing when it always raises.
    fn branch(&mut self, body: &'a [Stmt], scope: &Scope<'_, 'a>) -> Option<Names<'a>> {
        let mut branch = scope.branch();
        self.guarded += 1;
        let end = self.body(body, &mut branch);
        self.guarded -= 1;
        (end == End::Falls).then_some(branch.changes)
    }

    /// A body that runs no time or more.
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

    fn attempt(&mut self, attempt: &'a StmtTry, at: TextSize, scope: &mut Scope<'_, 'a>) -> End {
        let mut tried = scope.branch();
        self.guarded += 1;
        let end = self.body(&attempt.body, &mut tried);
        let broken_off = tried.changes.clone();
        let mut branches = Vec::new();
        if end == End::Falls && self.body(&attempt.orelse, &mut tried) == End::Falls {
            branches.push(tried.changes);
        }
        for ExceptHandler::ExceptHandler(handler) in &attempt.handlers {
            let mut branch = scope.branch();
            // The body may have come to any point before it raised.
            branch.join(vec![Names::new(), broken_off.clone()]);
            if let Some(name) = &handler.name {
                branch.bind(name, Binding::of(vec![Value::Unknown], name.start()));
            }
            if self.body(&handler.body, &mut branch) == End::Falls {
                if let Some(name) = &handler.name {
                    branch.bind(name, Binding::default());
                }
                branches.push(branch.changes);
            }
        }
        self.guarded -= 1;
        if branches.is_empty() {
            return End::Raises(at);
        }
        scope.join(branches);
        self.body(&attempt.finalbody, scope)
    }
}

fn elements(expression: &Expr) -> &[Expr] {
    match expression {
        Expr::Tuple(tuple) => &tuple.elts,
        Expr::List(list) => &list.elts,
        _ => &[],
    }
}

/// The names that a target binds, however nested.
fn names_in(target: &Expr) -> Vec<&str> {
    match target {
        Expr::Name(name) => vec![name.id.as_str()],
        Expr::Starred(starred) => names_in(&starred.value),
        _ => elements(target).iter().flat_map(names_in).collect(),
    }
}

/// The names that a pattern captures.
fn captured(pattern: &Pattern) -> Vec<(&str, TextSize)> {
    let named = |name: &'_ Option<ruff_python_ast::Identifier>| name.as_ref().map(Ranged::start);
    let mut names = Vec::new();
    let mut open = vec![pattern];
    while let Some(pattern) = open.pop() {
        let name = match pattern {
            Pattern::MatchValue(_) | Pattern::MatchSingleton(_) => &None,
            Pattern::MatchSequence(sequence) => {
                open.extend(&sequence.patterns);
                &None
            }
            Pattern::MatchMapping(mapping) => {
                open.extend(&mapping.patterns);
                &mapping.rest
            }
            Pattern::MatchClass(class) => {
                open.extend(&class.arguments.patterns);
                open.extend(class.arguments.keywords.iter().map(|keyword| &keyword.pattern));
                &None
            }
            Pattern::MatchStar(star) => &star.name,
            Pattern::MatchAs(bound) => {
                open.extend(bound.pattern.as_deref());
                &bound.name
            }
            Pattern::MatchOr(either) => {
                open.extend(&either.patterns);
                &None
            }
        };
        if let (Some(name), Some(at)) = (name.as_ref(), named(name)) {
            names.push((name.as_str(), at));
        }
    }
    names
}

/// `exit()`, `sys.exit()` and their like.
fn is_exit(expression: &Expr) -> bool {
    let Expr::Call(call) = expression else { return false };
    match &*call.func {
        Expr::Name(name) => matches!(name.id.as_str(), "exit" | "quit"),
        Expr::Attribute(attribute) => {
            matches!(&*attribute.value, Expr::Name(name) if name.id.as_str() == "sys")
                && attribute.attr.as_str() == "exit"
        }
        _ => false,
    }
}

/// What an expression may be worth.
fn evaluate<'a>(expression: &'a Expr, scope: &Scope<'_, 'a>) -> Vec<Value<'a>> {
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
