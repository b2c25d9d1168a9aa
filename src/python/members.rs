//! The attributes of an instance, as far as the module shows: members of the class, those of base
//! classes in the same module, and attributes that methods set.

use std::collections::BTreeMap;

use ruff_python_ast::{Expr, StmtClassDef};
use ruff_text_size::{Ranged, TextSize};

use super::facts::{Facts, sets_on_instance};
use super::namespace::{Names, of_class};
use super::signature::{name_of, short};
use super::targets::{last_name, name};
use super::value::{Bound, Value};

/// A module: its names, and what else is known of them.
pub struct Module<'a> {
    pub names: Names<'a>,
    pub facts: Facts<'a>,
    /// The values of the bases of each class, by the place of the class's name.
    pub bases: BTreeMap<TextSize, Vec<Vec<Value<'a>>>>,
    /// Whether `from … import *` may bind names.
    pub stars: bool,
}

impl Module<'_> {
    /// Where a name of the module is bound.
    pub fn place(&self, name: &str) -> Option<TextSize> {
        self.names.get(name)?.place()
    }
}

/// An attribute of an instance.
pub enum Member<'a> {
    /// Its possible values, and whether it may be absent nevertheless.
    Found(Vec<Bound<'a>>, bool),
    /// Certainly absent: a call would raise `AttributeError`.
    Missing,
    /// This module does not show it, for this reason.
    Undecided(String),
}

impl<'a> Module<'a> {
    /// Looks `name` up as `getattr(instance, name)` would.
    pub fn member(&self, class: &'a StmtClassDef, name: &str) -> Member<'a> {
        self.member_within(class, name, &mut Vec::new())
    }

    /// Whether attributes are set from outside on an instance that has a name.
    pub fn patches_instance(&self, class: &StmtClassDef) -> bool {
        let is_one =
            |value: &Value<'_>| matches!(value, Value::Instance(it) if std::ptr::eq(*it, class));
        self.facts
            .patched
            .iter()
            .filter_map(|name| self.names.get(name))
            .any(|binding| binding.values.iter().any(|(value, _)| is_one(value)))
    }

    fn member_within(
        &self,
        class: &'a StmtClassDef,
        name: &str,
        seen: &mut Vec<&'a StmtClassDef>,
    ) -> Member<'a> {
        /// Families of base classes larger than this are not followed.
        const MOST: usize = 50;
        if seen.iter().any(|&before| std::ptr::eq(before, class)) {
            // Its members were checked when it was reached through another base.
            return Member::Missing;
        }
        if seen.len() == MOST {
            return Member::Undecided(format!("`{}` has too many base classes", name_of(class)));
        }
        seen.push(class);
        let own = of_class(class, &self.names);
        if let Some(binding) = own.get(name) {
            let mut values = binding.values.clone();
            if self.facts.patched.contains(class.name.as_str()) {
                values.push((Value::Unknown, class.name.start()));
            }
            return Member::Found(values, binding.conditional);
        }
        if !name.starts_with("__") && sets_on_instance(class, name) {
            return Member::Found(vec![(Value::Unknown, class.name.start())], false);
        }
        if let Some(reason) = self.elsewhere(class, &own) {
            return Member::Undecided(reason);
        }
        self.inherited(class, name, seen)
    }

    fn inherited(
        &self,
        class: &'a StmtClassDef,
        name: &str,
        seen: &mut Vec<&'a StmtClassDef>,
    ) -> Member<'a> {
        let mut undecided = None;
        let values = self.bases.get(&class.name.start());
        for (index, base) in class.bases().iter().enumerate() {
            let value = values.and_then(|values| values.get(index)).map(Vec::as_slice);
            let found = match self.base(base, value.unwrap_or_default()) {
                Base::Plain => Member::Missing,
                Base::Local(base) => self.member_within(base, name, seen),
                Base::Foreign => Member::Undecided(format!(
                    "`{}` inherits from `{}`, which is not in this module",
                    name_of(class),
                    spelled(base),
                )),
            };
            match found {
                Member::Missing => {}
                Member::Undecided(reason) => undecided = undecided.or(Some(reason)),
                // An unknown base before it may have its own.
                Member::Found(values, _) if undecided.is_some() => {
                    let at = values.first().map_or(class.name.start(), |value| value.1);
                    return Member::Found(vec![(Value::Unknown, at)], false);
                }
                found @ Member::Found(..) => return found,
            }
        }
        undecided.map_or(Member::Missing, Member::Undecided)
    }

    /// Why attributes of the class may come from elsewhere than its body and bases.
    fn elsewhere(&self, class: &StmtClassDef, own: &Names<'a>) -> Option<String> {
        let name = class.name.as_str();
        let decorated = !class.decorator_list.iter().all(|it| keeps_attributes(&it.expression));
        let class = name_of(class);
        if own.contains_key("__getattr__") || own.contains_key("__getattribute__") {
            Some(format!("`{class}` defines `__getattr__`"))
        } else if decorated {
            Some(format!("a decorator may give `{class}` other attributes"))
        } else if self.facts.patched.contains(name) {
            Some(format!("attributes of `{class}` are set outside its body"))
        } else {
            None
        }
    }

    /// A base class: its expression, and the values of it.
    fn base(&self, written: &Expr, values: &[Value<'a>]) -> Base<'a> {
        if let [Value::Class(class)] = values {
            return Base::Local(class);
        }
        // `Generic[T]`; the value of a subscripted class of this module is not known.
        if let Expr::Subscript(subscript) = written {
            return self.base(&subscript.value, &[Value::Unknown]);
        }
        let Some(name) = last_name(written) else { return Base::Foreign };
        let unknown = matches!(values, [Value::Unknown]);
        if unknown && is_plain_import(name) {
            return Base::Plain;
        }
        if unknown
            && written.is_name_expr()
            && !self.stars
            && !self.names.contains_key(name)
            && is_builtin(name)
        {
            return Base::Plain;
        }
        Base::Foreign
    }
}

/// Decorators of the standard library that add no method that matters here.
fn keeps_attributes(decorator: &Expr) -> bool {
    name(decorator) == Some("runtime_checkable")
        || matches!(last_name(decorator), Some("final" | "total_ordering"))
}

enum Base<'a> {
    Local(&'a StmtClassDef),
    /// Certainly has no `handle`, no `initialize`, and no constructor with arguments.
    Plain,
    Foreign,
}

/// Bases from the standard library that only mark a class.
fn is_plain_import(name: &str) -> bool {
    matches!(name, "ABC" | "Generic" | "Protocol")
}

fn is_builtin(name: &str) -> bool {
    matches!(name, "object" | "dict" | "list" | "set" | "tuple" | "str" | "int" | "float" | "bytes")
        || matches!(name, "Exception" | "BaseException")
        || name.ends_with("Error")
        || name.ends_with("Warning")
}

/// A base class as it is written, if that is short.
fn spelled(base: &Expr) -> String {
    match (base, last_name(base)) {
        (Expr::Attribute(attribute), Some(last)) => {
            short(&format!("{}.{last}", name(&attribute.value).unwrap_or("…")))
        }
        (_, last) => short(last.unwrap_or("…")),
    }
}
