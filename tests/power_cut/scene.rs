//! A store on a disk that will be cut off, and what may be in it then.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags};

use crate::common::chance::Chance;
use crate::common::marwatch;
use crate::cuts::Moment;
use crate::models::{CONTENTS, Goods, Model, configuration};

/// What a model was brought to: one of its contents, or `None` if it was removed.
pub(crate) type Content = Option<usize>;

/// How many archives of a model are kept in the history.
pub(crate) const KEEP: usize = 2;

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
    /// The results log of another disk.
    pub(crate) told_elsewhere: Option<Vec<u8>>,
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
    /// A store below `disk`, its state at `state`, all else below `root`.
    pub(crate) fn new(
        root: &Path,
        disk: &Path,
        state: Option<&Path>,
        models: &'a [Model],
        goods: &'a Goods,
    ) -> Self {
        let (drop, store) = (root.join("drop"), disk.join("store"));
        fs::create_dir_all(&drop).unwrap();
        let config = root.join("marwatch.yaml");
        let state = state.map_or_else(|| store.join(".marwatch/state"), |disk| disk.join("state"));
        let more = format!(
            "on_remove: delete\nstate_dir: {}\nhistory: {{keep: {KEEP}}}\n",
            state.display()
        );
        fs::write(&config, configuration(&drop, &store, &more)).unwrap();
        let past = |model: &Model| (model.name, Past { contents: vec![None], oldest: 0 });
        let past = models.iter().map(past).collect();
        Self {
            models,
            goods,
            store,
            state,
            config,
            drop,
            past,
            recorded: Vec::new(),
            told_elsewhere: None,
            sabotage: None,
        }
    }

    /// `marwatch ARGS` with the configuration.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut program = marwatch();
        program.args([command, "-c"]).arg(&self.config);
        if let Some(protection) = self.sabotage {
            program.env(marwatch::failpoints::VARIABLE, protection);
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

/// What tells that the moment has come.
pub(crate) struct Signs {
    moment: Moment,
    files: Vec<PathBuf>,
}

impl Scene<'_> {
    /// What tells that the `moment` has come.
    pub(crate) fn signs(&self, moment: Moment) -> Signs {
        let files = match moment {
            Moment::Any => vec![],
            Moment::Placed => self.models.iter().map(|model| self.archive(model.name)).collect(),
            Moment::Told => vec![self.hidden("results.jsonl")],
        };
        Signs { moment, files }
    }

    /// From now on the results log lies on another disk.
    pub(crate) fn records_go_to(&self, disk: &Path) {
        let (there, here) = (disk.join("results.jsonl"), self.hidden("results.jsonl"));
        fs::create_dir_all(self.hidden("")).unwrap();
        if here.exists() {
            fs::copy(&here, &there).unwrap();
        } else {
            File::create(&there).unwrap();
            File::create(&here).unwrap().sync_all().unwrap();
        }
        let nothing = None::<&Path>;
        nix::mount::mount(Some(&there), &here, nothing, MsFlags::MS_BIND, nothing).unwrap();
    }

    /// The other disk is taken out again: what it holds will be found where it belongs.
    pub(crate) fn records_go_back(&mut self) {
        let here = self.hidden("results.jsonl");
        self.told_elsewhere = Some(fs::read(&here).unwrap());
        nix::mount::umount2(&here, MntFlags::empty()).unwrap();
    }

    /// Has some files written to the disk, as the kernel does by and by, in no order.
    pub(crate) fn write_back(&self, chance: &mut Chance) {
        for (folder, of) in [(&self.state, 2), (&self.store, 4)] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                if is_file && chance.once_in(of) {
                    // It may have been cut off meanwhile.
                    let _ = File::open(entry.path()).and_then(|file| file.sync_all());
                }
            }
        }
    }
}

impl Signs {
    /// Waits for the moment.
    pub(crate) fn wait(&self) {
        if self.moment == Moment::Any {
            return;
        }
        let before = self.look();
        while self.look() == before {
            std::hint::spin_loop();
        }
    }

    fn look(&self) -> Vec<Option<(u64, u64)>> {
        let look = |path: &PathBuf| path.metadata().ok().map(|m| (m.ino(), m.len()));
        self.files.iter().map(look).collect()
    }
}
