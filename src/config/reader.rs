//! Reads values and collects every problem with them.

use std::cell::OnceCell;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::path::{Component, Path, PathBuf};

use serde_yaml::Value;

use super::leaf::{Wrong, kind, shown};
use super::setting::{Section, Setting, keys_of};
use super::suggest;
use super::tree::Cursor;
use crate::model::problem::{Code, Problem};

/// The number of unknown keys that are reported for one section.
const MAX_UNKNOWN: usize = 50;

/// The number of problems that are listed for one file.
const MAX_PROBLEMS: usize = 100;

/// Keys of former versions: since when they are gone, and what to do.
const DROPPED: [(&str, &str, &str); 1] = [(
    "durability",
    "was dropped in marwatch 0.2.0",
    "remove the key: every archive is flushed to the disk before it is published",
)];

/// The problems found so far, and how to read.
#[derive(Debug, Default)]
pub struct Reader {
    pub problems: Vec<Problem>,
    /// The folder at which relative paths start. `None` where no file may be named: in the settings
    /// that a model's folder brings along, which could name files that only marwatch may read.
    pub base: Option<PathBuf>,
    /// Whether `null` means the same as no key, as is usual in JSON. In YAML an empty value is a
    /// mistake.
    pub null_is_absent: bool,
}

impl Reader {
    /// The value, if it is in `range`.
    pub fn within<T: Setting + PartialOrd + fmt::Debug>(
        &mut self,
        at: &Cursor<'_>,
        range: impl RangeBounds<T>,
    ) -> Option<T> {
        let value = T::read(self, at)?;
        if range.contains(&value) {
            return Some(value);
        }
        let help = match (range.start_bound(), range.end_bound()) {
            (Bound::Included(min), Bound::Included(max)) => {
                format!("write a number from {min:?} to {max:?}")
            }
            (Bound::Excluded(min), Bound::Included(max)) => {
                format!("write a number above {min:?}, up to {max:?}")
            }
            (Bound::Included(min), _) => format!("write {min:?} or more"),
            _ => "write a smaller number".to_owned(),
        };
        self.wrong(at, Wrong::out_of_range(at.value(), help));
        None
    }

    /// A section, with its unknown keys reported. An empty one counts as absent, so that all its keys
    /// can be commented out.
    pub fn section<T: Section>(&mut self, at: &Cursor<'_>) -> Option<T> {
        match at.value()? {
            Value::Null => None,
            Value::Mapping(_) => {
                self.reject_unknown::<T>(at);
                Some(T::read_keys(self, at))
            }
            other => {
                let what = format!("is {}, not a section", kind(other));
                let help = "write its keys below it, indented, as `key: value`";
                self.wrong(at, Wrong::new(what, help));
                None
            }
        }
    }

    /// The items of a list that are right, each with its position. `None` without a list; an empty
    /// key is an empty list.
    pub fn items<'d, T: Setting>(&mut self, at: &Cursor<'d>) -> Option<Vec<(Cursor<'d>, T)>> {
        match at.value()? {
            Value::Null => None,
            Value::Sequence(_) => {
                Some(at.items().filter_map(|at| Some((at.clone(), T::read(self, &at)?))).collect())
            }
            other => {
                let what = format!("is {}, not a list", kind(other));
                let help = "write each item on its own line below it, beginning with `- `";
                self.wrong(at, Wrong::new(what, help));
                None
            }
        }
    }

    /// The value of a key that may not be empty.
    pub fn present<'d>(&mut self, at: &Cursor<'d>) -> Option<&'d Value> {
        match at.value()? {
            Value::Null if self.null_is_absent => None,
            Value::Null => {
                self.wrong(
                    at,
                    Wrong::new("has no value", "write a value after the key, or remove the key"),
                );
                None
            }
            value => Some(value),
        }
    }

    /// Reports the keys at `at` that the section does not have.
    pub fn reject_unknown<T: Section>(&mut self, at: &Cursor<'_>) {
        let known = T::keys();
        let keys = at.value().and_then(Value::as_mapping).into_iter().flat_map(|keys| keys.keys());
        let unknown = keys.filter_map(Value::as_str).filter(|key| !known.contains(key));
        let schema = OnceCell::new();
        for key in unknown.take(MAX_UNKNOWN) {
            let key_at = at.member(key);
            // Only marwatch.yaml had them, and only there files may be named.
            let dropped = DROPPED.iter().find(|(name, ..)| *name == key_at.key());
            if let Some((_, what, help)) = dropped.filter(|_| self.base.is_some()) {
                self.problems.push(key_at.problem_at_key(Code::SettingsUnknownKey, what, *help));
                continue;
            }
            let nested = misplaced(key, schema.get_or_init(T::schema));
            let help = match (suggest::nearest(key, &known), nested) {
                (Some(name), _) => format!("did you mean `{name}`?"),
                (None, Some(section)) => {
                    format!("did you mean `{}`?", at.member(&section).member(key).key())
                }
                (None, None) => format!("known keys are {}", list_of(&known)),
            };
            self.problems.push(Problem {
                message: format!("unknown key `{}`", key_at.key()),
                ..key_at.problem_at_key(Code::SettingsUnknownKey, "", help)
            });
        }
    }

    /// Reports that the section at `at` lacks `key`.
    pub fn require(&mut self, at: &Cursor<'_>, key: &str, help: &str) {
        if !at.member(key).is_there() {
            let what = format!("has no `{key}`");
            self.problems.push(at.problem_at_key(Code::SettingsMissing, what, help));
        }
    }

    /// The result of a check of the value at `at`, if it is good.
    pub fn checked<T>(&mut self, at: &Cursor<'_>, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.wrong(at, wrong)).ok()
    }

    /// All problems in the order of the file, limited to a number that a person reads: a file that is
    /// made for it has a mistake in every byte.
    pub fn finish(self) -> Vec<Problem> {
        let mut problems = self.problems;
        problems.sort_by_key(|problem| (problem.line, problem.column));
        if problems.len() > MAX_PROBLEMS {
            let more = problems.split_off(MAX_PROBLEMS);
            let severity = more.iter().map(|problem| problem.severity).max();
            problems.extend(more.first().map(|first| Problem {
                severity: severity.unwrap_or(first.severity),
                message: format!("{} more problems follow", more.len()),
                help: "fix those above first".to_owned(),
                ..first.clone()
            }));
        }
        problems
    }

    /// Reports a wrong value.
    pub fn wrong(&mut self, at: &Cursor<'_>, Wrong { what, help }: Wrong) {
        self.problems.push(at.problem(Code::SettingsValue, what, help));
    }
}

/// The section among the keys of `schema` that has the unknown `key`, which most likely lost its
/// indentation.
fn misplaced(key: &str, schema: &schemars::Schema) -> Option<String> {
    let keys = keys_of(schema.as_value());
    let section =
        keys.iter().find(|(_, inner)| keys_of(inner).iter().any(|&(name, _)| name == key));
    section.map(|&(name, _)| name.to_owned())
}

/// `path` from `base`, without `.`, `..` and double slashes. Links are not followed: `link/..` is the
/// folder that contains the link.
pub fn absolute(base: &Path, path: &Path) -> PathBuf {
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

fn list_of(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{}`", shown(name))).collect::<Vec<_>>().join(", ")
}
