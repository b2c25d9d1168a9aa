//! The inputs of an archive besides its files.

use serde::{Deserialize, Serialize};

/// The inputs of an archive besides its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuildFingerprint {
    /// Each setting that the archive depends on, and the version of the packer.
    Parts(Parts),
    /// As marwatch 0.1.0 kept it: hashes of a text that held all parts.
    Hashes {
        /// Of everything but the files.
        build: [u8; 32],
        /// Of that on which the packed form of a file depends.
        pack: [u8; 32],
    },
}

/// The parts of a fingerprint, in a fixed order: a name and its value, or the hash of a long value.
/// A setting that is not set has no part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts(Vec<(String, String)>);

/// One part that differs between two fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedPart {
    /// Its name.
    pub name: String,
    /// Its value in the older fingerprint, if it was set.
    pub before: Option<String>,
    /// Its value in the newer one, if it is set.
    pub now: Option<String>,
}

/// The longest value that is kept as it is.
const LONGEST_VALUE: usize = 40;

impl Parts {
    /// Adds a part.
    pub fn add(&mut self, name: &str, value: &impl Serialize) {
        let value = serde_json::to_string(value).unwrap_or_default();
        let is_short = value.len() <= LONGEST_VALUE;
        let value =
            if is_short { value } else { blake3::hash(value.as_bytes()).to_hex().to_string() };
        self.0.push((name.to_owned(), value));
    }

    /// Adds a part if it is set.
    pub fn add_some(&mut self, name: &str, value: Option<&impl Serialize>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// The value of a part.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(part, _)| part == name).map(|(_, value)| &**value)
    }

    /// The parts that differ from those of an older fingerprint.
    pub fn changed_since(&self, older: &Parts) -> Vec<ChangedPart> {
        let removed = older.0.iter().filter(|(name, _)| self.get(name).is_none());
        let names = self.0.iter().chain(removed).map(|(name, _)| name);
        let changes = names.map(|name| ChangedPart {
            name: name.clone(),
            before: older.get(name).map(str::to_owned),
            now: self.get(name).map(str::to_owned),
        });
        changes.filter(|part| part.before != part.now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(values: &[(&str, &str)]) -> Parts {
        let mut parts = Parts::default();
        for (name, value) in values {
            parts.add(name, value);
        }
        parts
    }

    #[test]
    fn changed_parts_are_named_with_both_values() {
        let long = "x".repeat(100);
        let older = parts(&[("level", "6"), ("exclude", &long), ("license", "MIT")]);
        assert_eq!(older.changed_since(&older), []);
        let newer = parts(&[("level", "9"), ("exclude", &long), ("runtime", "python3")]);
        let changed: Vec<_> = newer
            .changed_since(&older)
            .into_iter()
            .map(|part| (part.name, part.before, part.now))
            .collect();
        let text = |text: &str| Some(format!("\"{text}\""));
        assert_eq!(
            changed,
            [
                ("level".into(), text("6"), text("9")),
                ("runtime".into(), None, text("python3")),
                ("license".into(), text("MIT"), None),
            ]
        );
    }

    #[test]
    fn a_long_value_is_kept_as_its_hash() {
        let parts = parts(&[("a", &"x".repeat(100)), ("b", &"y".repeat(100))]);
        assert_eq!(parts.get("a").unwrap().len(), 64);
        assert_ne!(parts.get("a"), parts.get("b"));
    }
}
