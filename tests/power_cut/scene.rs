//! A store on a disk that will be cut off, and what may be in it then.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::chance::Chance;
use crate::common::marwatch;
use crate::models::{CONTENTS, Goods, Model, configuration};

/// What a model was brought to: one of its contents, or `None` if it was removed.
pub(crate) type Content = Option<usize>;

/// Models in memory, a store on a disk.
pub(crate) struct Scene<'a> {
    pub(crate) models: &'a [Model],
    pub(crate) goods: &'a Goods,
    pub(crate) store: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) config: PathBuf,
    drop: PathBuf,
    /// By model.
    pub(crate) past: BTreeMap<&'static str, Past>,
    /// What the results log holds of it for good.
    pub(crate) recorded: Vec<u8>,
    /// A protection that is taken out.
    pub(crate) sabotage: Option<&'static str>,
}

/// What a model went through since it was last seen at rest.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    /// In order; the last is what is in its folder now.
    pub(crate) contents: Vec<Content>,
    /// The first of them that may be in the store: what came before is known to be superseded.
    pub(crate) oldest: usize,
}

impl Past {
    /// The last place at which the model was brought to `content`.
    pub(crate) fn last(&self, content: Content) -> Option<usize> {
        self.contents.iter().rposition(|&past| past == content)
    }

    /// What is in the model's folder now.
    pub(crate) fn now(&self) -> Content {
        self.contents.last().copied().flatten()
    }
}

impl<'a> Scene<'a> {
    /// A store below `disk`, its state at `state`, all else below `root`. The configuration says
    /// `more` beside.
    pub(crate) fn new(
        root: &Path,
        disk: &Path,
        state: Option<&Path>,
        models: &'a [Model],
        goods: &'a Goods,
        more: &str,
    ) -> Self {
        let (drop, store) = (root.join("drop"), disk.join("store"));
        fs::create_dir_all(&drop).unwrap();
        let config = root.join("marwatch.yaml");
        let state = state.map_or_else(|| store.join(".marwatch/state"), |disk| disk.join("state"));
        let more = format!("on_remove: delete\nstate_dir: {}\n{more}", state.display());
        fs::write(&config, configuration(&drop, &store, &more)).unwrap();
        let past = |model: &Model| (model.name, Past { contents: vec![None], oldest: 0 });
        let past = models.iter().map(past).collect();
        Self { models, goods, store, state, config, drop, past, recorded: Vec::new(), sabotage: None }
    }

    /// `marwatch ARGS` with the configuration.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut program = marwatch();
        program.args([command, "-c"]).arg(&self.config);
        if let Some(protection) = self.sabotage {
            program.env("MARWATCH_SABOTAGE", protection);
        }
        program
    }

    /// Changes some model: mostly its content, now and then it is removed or comes back.
    pub(crate) fn change(&mut self, chance: &mut Chance) {
        let model = &self.models[chance.below(self.models.len() as u64) as usize];
        let past = &self.past[model.name];
        // Where more than one is gone at once, none counts as removed.
        let is_removable = self.past.values().all(|past| {
            let since = &past.contents[past.oldest..];
            past.oldest > 0 && since.iter().all(Option::is_some)
        });
        let next = match past.now() {
            Some(_) if is_removable && chance.once_in(4) => None,
            // To the next content, so that it differs and only some change the large files.
            Some(content) => Some((content + 1) % CONTENTS),
            None => Some(chance.below(CONTENTS as u64) as usize),
        };
        self.bring(model.name, next);
    }

    /// Brings a model to a content.
    pub(crate) fn bring(&mut self, name: &str, next: Content) {
        let model = self.models.iter().find(|model| model.name == name).unwrap();
        match next {
            Some(content) => model.put(&self.drop, content),
            None => fs::remove_dir_all(self.drop.join(model.name)).unwrap(),
        }
        self.past.get_mut(model.name).unwrap().contents.push(next);
    }

    /// Goes back, or on, to another time.
    pub(crate) fn turn_to(&mut self, past: &BTreeMap<&'static str, Past>, recorded: &[u8]) {
        for model in self.models {
            match past[model.name].now() {
                Some(content) => model.put(&self.drop, content),
                None => {
                    let folder = self.drop.join(model.name);
                    if folder.exists() {
                        fs::remove_dir_all(folder).unwrap();
                    }
                }
            }
        }
        self.past.clone_from(past);
        self.recorded = recorded.to_owned();
    }

    /// All that was done so far is in the store and in the results log: what came before cannot come
    /// back.
    pub(crate) fn acknowledge(&mut self) {
        for past in self.past.values_mut() {
            past.oldest = past.contents.len() - 1;
        }
        self.recorded = fs::read(self.hidden("results.jsonl")).unwrap_or_default();
    }

    /// Where the archive of a model stands.
    pub(crate) fn archive(&self, model: &str) -> PathBuf {
        self.store.join(format!("{model}.mar"))
    }

    /// The hidden folder of the store.
    pub(crate) fn hidden(&self, path: &str) -> PathBuf {
        self.store.join(".marwatch").join(path)
    }
}
