//! What names a body of statements leaves behind, without running it.
//!
//! The body is walked in order as Python would run it, every name mapped to the values that it may
//! then have: branches are walked apart and joined, loops run no time or once, a `try` may break off
//! anywhere. What cannot be known is `Value::Unknown`, never a guess; a name that only some of the
//! ways bind is *conditional*.
//!
//! A branch records only what it changes and looks through to the scope around it, so the cost stays
//! proportional to the source.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{Stmt, StmtClassDef};
use ruff_text_size::TextSize;

use super::value::{Bound, Value};
use super::walk::Walk;

/// The values that a name may have.
#[derive(Debug, Clone, Default)]
pub(super) struct Binding<'a> {
    /// Empty when the name was deleted.
    pub(super) values: Vec<Bound<'a>>,
    /// Whether some way through the body leaves the name unbound.
    pub(super) conditional: bool,
}

impl<'a> Binding<'a> {
    pub(super) fn of(values: Vec<Value<'a>>, at: TextSize) -> Self {
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
pub(super) struct Scope<'p, 'a> {
    pub(super) around: Option<&'p Scope<'p, 'a>>,
    /// For the body of a class: the names of its module.
    pub(super) globals: Option<&'p Names<'a>>,
    pub(super) changes: Names<'a>,
}

impl<'a> Scope<'_, 'a> {
    pub(super) fn bind(&mut self, name: &'a str, binding: Binding<'a>) {
        self.changes.insert(name, binding);
    }

    pub(super) fn local(&self, name: &str) -> Option<&Binding<'a>> {
        let mut scope = self;
        loop {
            if let Some(binding) = scope.changes.get(name) {
                return Some(binding);
            }
            scope = scope.around?;
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Binding<'a>> {
        let local = self.local(name).filter(|binding| !binding.values.is_empty());
        local.or_else(|| self.globals?.get(name))
    }

    pub(super) fn branch(&self) -> Scope<'_, 'a> {
        Scope { around: Some(self), globals: self.globals, changes: Names::new() }
    }

    /// Takes over what each of the branches changed; a name that one of them left alone keeps what
    /// it had as one of its values.
    pub(super) fn join(&mut self, branches: Vec<Names<'a>>) {
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
