//! The checks after a power cut, before and after the next start of marwatch.
//!
//! They collect all damage by kind, so that a test can assert that it would find damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use marwatch::results::{Outcome, Record};
use serde_json::Value;

use crate::common::schema;
use crate::scene::{Content, KEEP, Scene};

/// Damage. Each line begins with a word for its kind.
pub(crate) type Damage = Vec<String>;

impl Scene<'_> {
    /// Checks the store as the cut left it, and remembers what it holds.
    pub(crate) fn check_cut(&mut self) -> Damage {
        let mut damage = Damage::new();
        if let Some(log) = self.recorded_elsewhere.take() {
            fs::create_dir_all(self.hidden("")).unwrap();
            fs::write(self.hidden("results.jsonl"), log).unwrap();
        }
        let records = self.records(&mut damage);
        let log = fs::read(self.hidden("results.jsonl")).unwrap_or_default();
        if !log.starts_with(&self.recorded) {
            damage.push("record: one that was there is gone or changed".into());
        }
        for model in self.models {
            let name = model.name;
            let standing = match self.standing(name) {
                Ok(standing) => standing,
                Err(torn) => {
                    damage.push(torn);
                    continue;
                }
            };
            let past = &self.past[name];
            let Some(at) = past.last(standing).filter(|&at| at >= past.oldest) else {
                damage.push(format!("lost: {name} is {standing:?}, of {past:?}"));
                continue;
            };
            // A record with a failure says that its archive may not survive a power cut.
            let is_of_it = |r: &&Record| r.model == name && r.failure.is_none();
            let recorded = records.iter().rfind(is_of_it).map(|r| self.content_of(r));
            match recorded.map(|content| past.last(content)) {
                // From before the last check.
                None | Some(None) => {}
                Some(Some(recorded)) if recorded > at => damage.push(format!(
                    "record: it tells of {:?} of {name}, which is {standing:?}",
                    past.contents[recorded]
                )),
                Some(Some(_)) => {}
            }
            self.past.get_mut(name).unwrap().oldest = at;
        }
        // The oldest archive may not have been removed yet.
        damage.extend(self.check_history(KEEP + 1));
        damage.extend(self.check_catalog());
        damage
    }

    /// Starts marwatch again, and checks the result.
    pub(crate) fn check_recovery(&mut self) -> Damage {
        let mut damage = Damage::new();
        let before = self.records(&mut damage).len();
        let output = self.command("build").output().unwrap();
        if !output.status.success() {
            damage.push(format!("recovery: {output:?}"));
        }
        let records = self.records(&mut damage);
        for record in records.get(before..).unwrap_or_default() {
            let is_fine = matches!(
                record.outcome,
                Outcome::Published | Outcome::Unchanged | Outcome::Removed
            );
            if !is_fine || record.failure.is_some() || !record.problems.is_empty() {
                damage.push(format!("refused: {}", serde_json::to_string(record).unwrap()));
            }
        }
        for model in self.models {
            let now = self.past[model.name].now();
            match self.standing(model.name) {
                Ok(standing) if standing == now => {}
                Ok(standing) => {
                    damage
                        .push(format!("recovery: {} is {standing:?} and not {now:?}", model.name));
                }
                Err(torn) => damage.push(torn),
            }
        }
        self.acknowledge();
        damage.extend(self.check_history(KEEP));
        damage.extend(self.check_generations(&records));
        damage.extend(self.check_catalog());
        damage.extend(self.check_leftovers());
        let again = self.command("build").output().unwrap();
        if !again.status.success() || self.records(&mut damage).len() != records.len() {
            damage.push(format!("recovery: a second run changes something: {again:?}"));
        }
        damage
    }

    /// The bytes that builds found in place in a recycled archive, according to the records.
    pub(crate) fn in_place(&self) -> u64 {
        let records = self.records(&mut Damage::new());
        let costs = records.iter().filter_map(|record| record.cost);
        costs.map(|cost| cost.carried_over.in_place).sum()
    }

    /// The content of a model's archive in the store.
    fn standing(&self, model: &str) -> Result<Content, String> {
        let path = self.archive(model);
        if !path.exists() {
            return Ok(None);
        }
        match self.goods.content(model, &path) {
            Some(content) => Ok(Some(content)),
            None => Err(format!("torn: {} is no archive that was made", path.display())),
        }
    }

    /// The content that a record reports.
    fn content_of(&self, record: &Record) -> Content {
        record.archive.as_ref()?;
        self.goods.by_digest(&record.model, record.digest.as_ref()?)
    }

    /// Every complete record; the last line may be torn.
    fn records(&self, damage: &mut Damage) -> Vec<Record> {
        let log = fs::read(self.hidden("results.jsonl")).unwrap_or_default();
        let mut records = Vec::new();
        let whole = log.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in log[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Value>(line) {
                Ok(value) => {
                    schema::check_record(&value);
                    records.push(serde_json::from_value(value).unwrap());
                }
                Err(error) => {
                    damage.push(format!("log: {error}: {}", String::from_utf8_lossy(line)));
                }
            }
        }
        records
    }

    /// The archives of the history are as complete as those in the store.
    fn check_history(&self, most: usize) -> Damage {
        let mut damage = Damage::new();
        for model in self.models {
            let mut seen = BTreeMap::new();
            let mut kept = 0;
            for path in list(&self.hidden("history").join(model.name)) {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let (generation, rest) = name.split_once('-').unwrap_or((&name, ""));
                kept += 1;
                let Some(content) = self.goods.content(model.name, &path) else {
                    damage.push(format!("torn: {}", path.display()));
                    continue;
                };
                // An archive without state has the generation of the one before it.
                if rest.starts_with("unknown") {
                    continue;
                }
                let digest = &self.goods.get(model.name, content).digest;
                if rest.get(..16) != digest.get(3..19) {
                    damage.push(format!("history: {} is {digest}", path.display()));
                }
                if let Some(other) = seen.insert(generation.to_owned(), name.clone()) {
                    damage.push(format!("generation: {name} and {other}"));
                }
            }
            if kept > most {
                damage.push(format!("history: more is kept than was asked for: {seen:?}"));
            }
        }
        damage
    }

    /// The catalog names nothing newer than the store.
    fn check_catalog(&self) -> Damage {
        let Ok(text) = fs::read(self.hidden("catalog.json")) else { return Damage::new() };
        let catalog: Value = match serde_json::from_slice(&text) {
            Ok(catalog) => catalog,
            Err(error) => return vec![format!("catalog: {error}: {text:?}")],
        };
        schema::check_catalog(&catalog);
        let mut damage = Damage::new();
        for (name, entry) in catalog["models"].as_object().unwrap() {
            let past = &self.past[name.as_str()];
            let named = self.goods.by_digest(name, entry["digest"].as_str().unwrap());
            let named_at = past.last(named);
            // `oldest` is what the store holds, or its check has failed.
            if named_at.is_some_and(|named_at| named_at > past.oldest) {
                damage.push(format!("catalog: it names {named:?} of {name}, of {past:?}"));
            }
        }
        damage
    }

    /// The generations of a model only grow.
    fn check_generations(&self, records: &[Record]) -> Damage {
        let mut damage = Damage::new();
        for model in self.models {
            let is_new = |r: &&Record| r.model == model.name && r.outcome == Outcome::Published;
            let generations: Vec<_> =
                records.iter().filter(is_new).map(|record| record.generation).collect();
            if !generations.is_sorted_by(|a, b| a < b) {
                damage.push(format!("generation: those of {} are {generations:?}", model.name));
                for r in records.iter().filter(|r| r.model == model.name) {
                    damage.push(format!(
                        "    {:?} {} {:?} {:?} {:?}",
                        r.outcome, r.generation, r.digest, r.failure, r.trigger
                    ));
                }
            }
        }
        damage
    }

    /// Nothing is left where marwatch would never remove it.
    fn check_leftovers(&self) -> Damage {
        let mut left = list(&self.hidden("staging"));
        let hidden = [self.state.clone(), self.hidden("")];
        let hidden = hidden.iter().flat_map(|folder| list(folder)).filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.ends_with(".next") || name.ends_with(".new")
        });
        left.extend(hidden);
        let visible = list(&self.store).into_iter().filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            !self.models.iter().any(|model| name == format!("{}.mar", model.name))
                && name != ".marwatch"
        });
        left.extend(visible);
        left.into_iter().map(|path| format!("leftover: {}", path.display())).collect()
    }
}

fn list(folder: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}
