//! A store on a disk that will be cut off, and what it may hold afterwards.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags};

use crate::common::marwatch;
use crate::common::random::Random;
use crate::cuts::Moment;
use crate::models::{CONTENTS, Goods, Model, configuration};

/// One of the contents of a model, or `None` if it was removed.
pub(crate) type Content = Option<usize>;

/// How many archives of a model the history keeps.
pub(crate) const KEEP: usize = 2;

/// Models in memory, and a store on a disk.
pub(crate) struct Scene<'a> {
    pub(crate) models: &'a [Model],
    pub(crate) goods: &'a Goods,
    pub(crate) store: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) config: PathBuf,
    drop: PathBuf,
    /// By model.
    pub(crate) past: BTreeMap<&'static str, Past>,
    /// The durable part of the results log.
    pub(crate) recorded: Vec<u8>,
    /// The results log on another disk.
    pub(crate) recorded_elsewhere: Option<Vec<u8>>,
    /// A protection that is switched off.
    pub(crate) disabled: Option<&'static str>,
}

/// The contents of a model since its last check.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    /// In order; the last is now in its folder.
    pub(crate) contents: Vec<Content>,
    /// The first that the store may hold: earlier ones are known to be replaced.
    pub(crate) oldest: usize,
}

impl Past {
    /// The last time that the model had this content.
    pub(crate) fn last(&self, content: Content) -> Option<usize> {
        self.contents.iter().rposition(|&past| past == content)
    }

    /// The content of the model's folder.
    pub(crate) fn now(&self) -> Content {
        self.contents.last().copied().flatten()
    }
}

impl<'a> Scene<'a> {
    /// A store on `disk` with its state in `state`, and everything else below `root`.
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
            recorded_elsewhere: None,
            disabled: None,
        }
    }

    /// `marwatch ARGS` with the configuration.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut program = marwatch();
        program.args([command, "-c"]).arg(&self.config);
        if let Some(protection) = self.disabled {
            program.env(marwatch::failpoints::VARIABLE, protection);
        }
        program
    }

    /// Changes a model: mostly its content; sometimes it is removed or comes back.
    pub(crate) fn change(&mut self, random: &mut Random) {
        let model = &self.models[random.index(self.models.len())];
        let past = &self.past[model.name];
        // Removes at most one model: if more vanish at once, none counts as removed.
        let is_removable = self.past.values().all(|past| {
            let since = &past.contents[past.oldest..];
            past.oldest > 0 && since.iter().all(Option::is_some)
        });
        let next = match past.now() {
            Some(_) if is_removable && random.once_in(4) => None,
            // To the next content: each differs from the one before, and only some change the large
            // files.
            Some(content) => Some((content + 1) % CONTENTS),
            None => Some(random.index(CONTENTS)),
        };
        self.bring(model.name, next);
    }

    /// Changes a model to a content.
    pub(crate) fn bring(&mut self, name: &str, next: Content) {
        let model = self.models.iter().find(|model| model.name == name).unwrap();
        match next {
            Some(content) => model.put(&self.drop, content),
            None => fs::remove_dir_all(self.drop.join(model.name)).unwrap(),
        }
        self.past.get_mut(model.name).unwrap().contents.push(next);
    }

    /// Brings the models and what the store may hold to another moment of the record.
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

    /// Everything so far is in the store and in the results log: earlier contents cannot come back.
    pub(crate) fn acknowledge(&mut self) {
        for past in self.past.values_mut() {
            past.oldest = past.contents.len() - 1;
        }
        self.recorded = fs::read(self.hidden("results.jsonl")).unwrap_or_default();
    }

    /// The path of a model's archive.
    pub(crate) fn archive(&self, model: &str) -> PathBuf {
        self.store.join(format!("{model}.mar"))
    }

    /// A path in the hidden folder of the store.
    pub(crate) fn hidden(&self, path: &str) -> PathBuf {
        self.store.join(".marwatch").join(path)
    }
}

/// The files that show that a moment has come.
pub(crate) struct Signs {
    moment: Moment,
    files: Vec<PathBuf>,
}

impl Scene<'_> {
    /// The files that show that `moment` has come.
    pub(crate) fn signs(&self, moment: Moment) -> Signs {
        let files = match moment {
            Moment::Any => vec![],
            Moment::Placed => self.models.iter().map(|model| self.archive(model.name)).collect(),
            Moment::Recorded => vec![self.hidden("results.jsonl")],
        };
        Signs { moment, files }
    }

    /// Mounts another disk's results log over the store's.
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

    /// Takes the other disk's results log away, and remembers its content.
    pub(crate) fn records_go_back(&mut self) {
        let here = self.hidden("results.jsonl");
        self.recorded_elsewhere = Some(fs::read(&here).unwrap());
        nix::mount::umount2(&here, MntFlags::empty()).unwrap();
    }

    /// Flushes some files, as the kernel does over time, in any order.
    pub(crate) fn write_back(&self, random: &mut Random) {
        for (folder, of) in [(&self.state, 2), (&self.store, 4)] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                if is_file && random.once_in(of) {
                    // The disk may have been cut off.
                    let _ = File::open(entry.path()).and_then(|file| file.sync_all());
                }
            }
        }
    }
}

impl Signs {
    /// Waits until one of the files changes.
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
