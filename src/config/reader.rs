//! Takes values out of fields and gathers what is wrong with them.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::cursor::Cursor;
use super::field::{Field, List, shown};
use super::leaf::{Choice, Count, PathText, Size, Span, Switch};
use super::raw::{Section, keys_of, schema_of};
use super::suggest;
use crate::model::problem::{Code, Problem};

/// Unknown keys of one section that are reported; with more it is no settings file of ours.
const MAX_UNKNOWN: usize = 50;

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
    /// JSON's habit: `null` is as good as no key. In YAML an empty value is a slip.
    pub(super) null_is_absent: bool,
}

impl Reader {
    /// The value, if there is a good one.
    pub(super) fn take<T>(&mut self, at: &Cursor<'_>, field: Field<T>) -> Option<T> {
        match field {
            Field::Absent => None,
            Field::Value(value) => Some(value),
            Field::Empty if self.null_is_absent => None,
            Field::Empty => {
                self.wrong(at, "has no value", "write a value behind it, or take the key out");
                None
            }
            Field::Wrong(wrong) => {
                self.wrong(at, &wrong.what, &wrong.help);
                None
            }
        }
    }

    /// A section with its unknown keys reported. An empty one says nothing, so that all its keys
    /// can be commented out.
    pub(super) fn section<T: Section>(&mut self, at: &Cursor<'_>, field: Field<T>) -> Option<T> {
        let section = self.take(at, empty_is_absent(field))?;
        self.refuse_unknown(at, &section);
        Some(section)
    }

    /// The items of a list, each under its cursor. An empty one has none.
    pub(super) fn list<'d, T>(
        &mut self,
        at: &Cursor<'d>,
        field: Field<List<T>>,
    ) -> Option<Vec<(Cursor<'d>, Field<T>)>> {
        let List(items) = self.take(at, empty_is_absent(field))?;
        Some(items.into_iter().enumerate().map(|(index, item)| (at.item(index), item)).collect())
    }

    /// A time longer than none, or `default`.
    pub(super) fn span(
        &mut self,
        at: &Cursor<'_>,
        field: Field<Span>,
        default: Duration,
    ) -> Duration {
        match self.take(at, field) {
            Some(Span(Duration::ZERO)) => {
                self.wrong(at, "is zero", "write a time of 10ms or more");
                default
            }
            Some(Span(span)) => span,
            None => default,
        }
    }

    /// A count from 1 to `max`, or `default`.
    pub(super) fn count(
        &mut self,
        at: &Cursor<'_>,
        field: Field<Count>,
        max: usize,
        default: usize,
    ) -> usize {
        match self.take(at, field) {
            Some(Count(count)) if !(1..=max).contains(&count) => {
                let help = if max == usize::MAX {
                    "write 1 or more".to_owned()
                } else {
                    format!("write a number from 1 to {max}")
                };
                self.wrong(at, &format!("is {count}, which is out of range"), &help);
                default
            }
            Some(Count(count)) => count,
            None => default,
        }
    }

    /// A size of at least `min`, or `default`.
    pub(super) fn size(
        &mut self,
        at: &Cursor<'_>,
        field: Field<Size>,
        min: u64,
        default: u64,
    ) -> u64 {
        match self.take(at, field) {
            Some(Size(size)) if size < min => {
                let what = format!("is {size} bytes, which is too little");
                self.wrong(at, &what, &format!("write {min} or more"));
                default
            }
            Some(Size(size)) => size,
            None => default,
        }
    }

    /// One of the names of an enum, or `default`.
    pub(super) fn choice<E>(&mut self, at: &Cursor<'_>, field: Field<Choice<E>>, default: E) -> E {
        self.take(at, field).map_or(default, |Choice(choice)| choice)
    }

    /// True, false, or `default`.
    pub(super) fn switch(&mut self, at: &Cursor<'_>, field: Field<Switch>, default: bool) -> bool {
        self.take(at, field).map_or(default, |Switch(switch)| switch)
    }

    /// A path made absolute: relative ones begin at `base`.
    pub(super) fn path(
        &mut self,
        at: &Cursor<'_>,
        field: Field<PathText>,
        base: &Path,
    ) -> Option<PathBuf> {
        self.take(at, field).map(|PathText(text)| absolute(base, Path::new(&text)))
    }

    /// Reports the keys of `section` that it does not know.
    pub(super) fn refuse_unknown<T: Section>(&mut self, at: &Cursor<'_>, section: &T) {
        if section.unknown().is_empty() {
            return;
        }
        let schema = schema_of::<T>().to_value();
        let keys = keys_of(&schema);
        let names: Vec<&str> = keys.iter().map(|&(name, _)| name).collect();
        for key in section.unknown().keys().take(MAX_UNKNOWN) {
            // A key that a section below knows has most likely lost its indentation.
            let nested = keys.iter().find_map(|&(name, schema)| {
                let inside = keys_of(schema).iter().any(|&(inner, _)| inner == key);
                inside.then(|| at.member(name).member(key).key().to_owned())
            });
            let help = match (suggest::nearest(key, &names), nested) {
                (Some(name), _) => format!("did you mean `{name}`?"),
                (None, Some(nested)) => format!("did you mean `{nested}`?"),
                (None, None) => format!("known keys are {}", list_of(&names)),
            };
            let at = at.member(key);
            self.problems.push(Problem {
                message: format!("unknown key `{}`", at.key()),
                ..at.problem_at_key(Code::SettingsUnknownKey, "", help)
            });
        }
    }

    /// Reports a value that is wrong by itself.
    pub(super) fn wrong(&mut self, at: &Cursor<'_>, what: &str, help: &str) {
        self.problems.push(at.problem(Code::SettingsValue, what, help));
    }
}

/// `path` from `base`, without `.`, `..` and double slashes. Purely by the text: `link/..` is the
/// folder that the link stands in.
pub(super) fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in base.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            component => clean.push(component),
        }
    }
    clean
}

fn empty_is_absent<T>(field: Field<T>) -> Field<T> {
    if matches!(field, Field::Empty) { Field::Absent } else { field }
}

fn list_of(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{}`", shown(name))).collect::<Vec<_>>().join(", ")
}
