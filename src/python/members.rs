//! What an instance of a class has, as far as the module tells: own members, those of base classes
//! of the same module, attributes that methods set.

use ruff_python_ast::{Expr, StmtClassDef};

use super::facts::{Facts, sets_on_instance};
use super::namespace::{Bound, Names, Value, of_class};
use super::signature::short;

/// The names of a module and what else it says of them.
pub(super) struct Module<'a> {
    pub(super) names: Names<'a>,
    pub(super) facts: Facts<'a>,
    /// Whether `from … import *` may have brought names.
    pub(super) stars: bool,
}

/// An attribute of an instance.
pub(super) enum Member<'a> {
    /// Its possible values, and whether it may be absent after all.
    Found(Vec<Bound<'a>>, bool),
    /// Certainly not there; a call would raise `AttributeError`.
    Missing,
    /// Not to be told from this module, for this reason.
    Undecided(String),
}

impl<'a> Module<'a> {
    /// Looks `name` up as `getattr(instance, name)` would.
    pub(super) fn member(&self, class: &'a StmtClassDef, name: &str) -> Member<'a> {
        self.member_within(class, name, &mut Vec::new())
    }

    fn member_within(
        &self,
        class: &'a StmtClassDef,
        name: &str,
        above: &mut Vec<&'a StmtClassDef>,
    ) -> Member<'a> {
        /// Longer chains of base classes are not followed.
        const LONGEST: usize = 20;
        if above.len() >= LONGEST || above.iter().any(|&seen| std::ptr::eq(seen, class)) {
            return Member::Undecided(format!("`{}` has a long chain of bases", of(class)));
        }
        let own = of_class(class, &self.names);
        if let Some(binding) = own.get(name) {
            return Member::Found(binding.values.clone(), binding.conditional);
        }
        if !is_dunder(name) && sets_on_instance(class, name) {
            return Member::Found(vec![(Value::Unknown, class.name.range.start())], false);
        }
        if let Some(reason) = self.elsewhere(class, &own) {
            return Member::Undecided(reason);
        }
        above.push(class);
        let found = self.inherited(class, name, above);
        above.pop();
        found
    }

    fn inherited(
        &self,
        class: &'a StmtClassDef,
        name: &str,
        above: &mut Vec<&'a StmtClassDef>,
    ) -> Member<'a> {
        let mut undecided = None;
        for base in class.bases() {
            let found = match self.base(base) {
                Base::Plain => Member::Missing,
                Base::Local(base) => self.member_within(base, name, above),
                Base::Foreign => Member::Undecided(format!(
                    "`{}` inherits from `{}`, which is not in this module",
                    of(class),
                    spelled(base),
                )),
            };
            match found {
                Member::Missing => {}
                Member::Undecided(reason) => undecided = undecided.or(Some(reason)),
                // A base before it that is not known may have its own.
                Member::Found(values, _) if undecided.is_some() => {
                    let at = values.first().map_or(class.name.range.start(), |value| value.1);
                    return Member::Found(vec![(Value::Unknown, at)], false);
                }
                found @ Member::Found(..) => return found,
            }
        }
        undecided.map_or(Member::Missing, Member::Undecided)
    }

    /// Why attributes of the class may come from elsewhere than its bodies and bases.
    fn elsewhere(&self, class: &StmtClassDef, own: &Names<'a>) -> Option<String> {
        let name = class.name.as_str();
        let decorated = !class.decorator_list.iter().all(|it| keeps_attributes(&it.expression));
        let class = of(class);
        if own.contains_key("__getattr__") || own.contains_key("__getattribute__") {
            Some(format!("`{class}` makes up its attributes in `__getattr__`"))
        } else if decorated {
            Some(format!("a decorator may give `{class}` other attributes"))
        } else if self.facts.patched.contains(name) {
            Some(format!("attributes of `{class}` are set from outside of its body"))
        } else {
            None
        }
    }

    fn base(&self, base: &Expr) -> Base<'a> {
        let (name, bare) = match base {
            Expr::Name(name) => (name.id.as_str(), true),
            Expr::Attribute(attribute) => (attribute.attr.as_str(), false),
            Expr::Subscript(subscript) => return self.base(&subscript.value),
            _ => return Base::Foreign,
        };
        if bare && let Some(binding) = self.names.get(name) {
            match &binding.values[..] {
                [(Value::Class(class), _)] if !binding.conditional => return Base::Local(class),
                [(Value::Unknown, _)] if is_plain_import(name) => return Base::Plain,
                _ => return Base::Foreign,
            }
        }
        if is_plain_import(name) || (bare && !self.stars && is_builtin(name)) {
            return Base::Plain;
        }
        Base::Foreign
    }
}

/// Decorators of the standard library that add no plain attribute.
fn keeps_attributes(decorator: &Expr) -> bool {
    match decorator {
        Expr::Name(name) => {
            matches!(name.id.as_str(), "final" | "total_ordering" | "runtime_checkable")
        }
        Expr::Attribute(attribute) => matches!(attribute.attr.as_str(), "final" | "total_ordering"),
        _ => false,
    }
}

enum Base<'a> {
    Local(&'a StmtClassDef),
    /// Known to have neither a `handle` nor an `initialize`, nor a constructor with arguments.
    Plain,
    Foreign,
}

/// Bases from the standard library that only mark a class.
fn is_plain_import(name: &str) -> bool {
    matches!(name, "ABC" | "Generic" | "Protocol")
}

fn is_builtin(name: &str) -> bool {
    matches!(name, "object" | "dict" | "list" | "set" | "tuple" | "str" | "int" | "float" | "bytes")
        || name.ends_with("Error")
        || name.ends_with("Warning")
        || matches!(name, "Exception" | "BaseException")
}

fn is_dunder(name: &str) -> bool {
    name.starts_with("__")
}

fn of(class: &StmtClassDef) -> String {
    short(class.name.as_str())
}

/// A base class as its author wrote it, where that is short.
fn spelled(base: &Expr) -> String {
    match base {
        Expr::Name(name) => short(name.id.as_str()),
        Expr::Attribute(attribute) => match &*attribute.value {
            Expr::Name(name) => short(&format!("{}.{}", name.id, attribute.attr)),
            _ => short(&format!("….{}", attribute.attr)),
        },
        _ => "…".to_owned(),
    }
}
