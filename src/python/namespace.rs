//! The names that a body of statements binds, found without running it.
//!
//! The body is walked in the order in which Python would run it, and every name is mapped to the values
//! that it may have: branches are walked separately and joined, loops run never or once, a `try` may
//! break off anywhere. A value that cannot be known is `Value::Unknown`, never a guess; a name that only
//! some paths bind is *conditional*.
//!
//! A branch records only what it changes and refers to the scope around it, so the cost stays
//! proportional to the source.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{Stmt, StmtClassDef};
use ruff_text_size::TextSize;

use super::value::{Bound, Value};
use super::walk::Walk;

/// The values that a name may have.
#[derive(Debug, Clone, Default)]
pub struct Binding<'a> {
    /// Empty when the name was deleted.
    pub values: Vec<Bound<'a>>,
    /// Whether some path through the body leaves the name unbound.
    pub conditional: bool,
}

impl<'a> Binding<'a> {
    pub fn of(values: Vec<Value<'a>>, at: TextSize) -> Self {
        Self { values: values.into_iter().map(|value| (value, at)).collect(), conditional: false }
    }

    /// Where it was bound.
    pub fn place(&self) -> Option<TextSize> {
        self.values.first().map(|value| value.1)
    }

    fn merge(&mut self, other: Binding<'a>) {
        /// With more alternatives than any author writes, the value is unknown.
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
pub type Names<'a> = BTreeMap<&'a str, Binding<'a>>;

/// What the walk saw besides names.
#[derive(Debug, Default)]
pub struct Seen<'a> {
    /// Modules of `from … import *`.
    pub stars: Vec<TextSize>,
    /// Relative imports that run whenever the module is imported.
    pub relative_imports: Vec<(TextSize, &'a str)>,
    /// `return` outside of a function.
    pub stray_returns: Vec<TextSize>,
    /// The values of the bases of each class where it was defined, by the place of its name.
    pub bases: BTreeMap<TextSize, Vec<Vec<Value<'a>>>>,
    /// Where the body always raises an exception.
    pub raises: Option<TextSize>,
}

/// Walks a module.
pub fn of_module(body: &[Stmt]) -> (Names<'_>, Seen<'_>) {
    names_of(body, None, 0)
}

/// Walks a class of the module whose names are `globals`.
pub fn of_class<'a>(class: &'a StmtClassDef, globals: &Names<'a>) -> Names<'a> {
    names_of(&class.body, Some(globals), 1).0
}

fn names_of<'a>(
    body: &'a [Stmt],
    globals: Option<&Names<'a>>,
    guarded: usize,
) -> (Names<'a>, Seen<'a>) {
    let mut walk = Walk { seen: Seen::default(), guarded };
    let mut scope = Scope { around: None, globals, changes: Names::new() };
    walk.body(body, &mut scope);
    scope.changes.retain(|_, binding| !binding.values.is_empty());
    (scope.changes, walk.seen)
}

/// One branch: its changes so far, over the scope in which it began.
pub struct Scope<'p, 'a> {
    pub around: Option<&'p Scope<'p, 'a>>,
    /// In the body of a class: the names of its module.
    pub globals: Option<&'p Names<'a>>,
    pub changes: Names<'a>,
}

impl<'a> Scope<'_, 'a> {
    pub fn bind(&mut self, name: &'a str, binding: Binding<'a>) {
        self.changes.insert(name, binding);
    }

    pub fn bind_one(&mut self, name: &'a str, value: Value<'a>, at: TextSize) {
        self.bind(name, Binding::of(vec![value], at));
    }

    pub fn local(&self, name: &str) -> Option<&Binding<'a>> {
        let mut scope = self;
        loop {
            if let Some(binding) = scope.changes.get(name) {
                return Some(binding);
            }
            scope = scope.around?;
        }
    }

    pub fn get(&self, name: &str) -> Option<&Binding<'a>> {
        let local = self.local(name).filter(|binding| !binding.values.is_empty());
        local.or_else(|| self.globals?.get(name))
    }

    pub fn branch(&self) -> Scope<'_, 'a> {
        Scope { around: Some(self), globals: self.globals, changes: Names::new() }
    }

    /// Takes over the changes of all branches. A name that one of them did not change keeps its old
    /// values, too.
    pub fn join(&mut self, branches: Vec<Names<'a>>) {
        let names: BTreeSet<&'a str> = branches.iter().flat_map(|b| b.keys().copied()).collect();
        for name in names {
            let before = self.local(name).cloned().unwrap_or_default();
            let mut merged = Binding::default();
            for branch in &branches {
                merged.merge(branch.get(name).unwrap_or(&before).clone());
            }
            self.bind(name, merged);
        }
    }
}
