//! One model of a writer: its state, and the changes to the next state.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use marwatch::clock::{Clock, pause};

use super::content::{Files, SERVICE, broken_service, file, service};
use super::ledger::Ledger;
use super::ways::{Place, WAYS, remove};
use crate::common::random::Random;

/// What all models of a soak share.
#[derive(Clone)]
pub struct World {
    /// The drop folders.
    pub roots: Vec<PathBuf>,
    /// A folder on the same file system that is not watched.
    pub outside: PathBuf,
    /// The shortest time that marwatch waits.
    pub quiet: Duration,
    pub ledger: Arc<Ledger>,
}

/// A model and its state.
pub struct Model {
    pub folder: PathBuf,
    pub token: String,
    files: Files,
    /// The text of its settings file, if it has one.
    settings: Option<String>,
    /// The name in its settings.
    pub name: Option<String>,
    /// Whether it is a root itself, so that its folder stays where it is.
    pub is_fixed: bool,
    pub is_there: bool,
}

const SETTINGS: &str = ".mar.yaml";
const FOLDERS: [&str; 5] = ["", "data/", "data/more/", "deep/x/y/", "info/"];

impl Model {
    /// A model that does not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            token: String::from("none"),
            files: Files::new(),
            settings: None,
            name: None,
            is_fixed: false,
            is_there: false,
        }
    }

    /// A model that is a root itself.
    pub fn fixed(folder: PathBuf) -> Self {
        Self { is_fixed: true, ..Self::new(folder) }
    }

    /// Chooses the files of the next state.
    fn next_files(&self, random: &mut Random) -> Files {
        let mut files = self.files.clone();
        for path in self.files.keys() {
            match random.below(12) {
                0 => drop(files.remove(path)),
                1..=5 => drop(files.insert(path.clone(), length(random))),
                // The same length, with other content.
                _ => {}
            }
        }
        while files.len() < 2 || (files.len() < 8 && random.once_in(3)) {
            let path = format!("{}f{}.bin", random.pick(&FOLDERS), random.below(5));
            files.insert(path, length(random));
        }
        files
    }

    fn next_settings(&self, token: &str, random: &mut Random) -> Option<String> {
        if self.name.is_none() && random.once_in(2) {
            return None;
        }
        let mut text = format!("description: soak {token}\n");
        if let Some(name) = &self.name {
            text += &format!("name: {name}\n");
        }
        if random.once_in(3) {
            text += "compression: store\n";
        }
        Some(text)
    }

    /// Changes the model to its next state, with one file held open all the time and pauses longer
    /// than marwatch waits. Creates the model if it does not exist.
    pub fn latched(&mut self, token: String, world: &World, random: &mut Random) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let latch = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.folder.join(SERVICE))?;
        let most = world.quiet * 3;
        let mut breathe = |random: &mut Random| {
            if random.once_in(4) {
                pause(random.time(most));
            }
        };
        self.step(token, world, random, &mut breathe, Some(latch))
    }

    /// Changes the model to its next state as fast as possible, with no file held open.
    pub fn at_once(&mut self, token: String, world: &World, random: &mut Random) -> io::Result<()> {
        let former = self.token.clone();
        self.in_time(world, &[&former, &token.clone()], |model| {
            model.step(token, world, random, &mut |_| {}, None)
        })
    }

    /// Makes changes whose unfinished states are no states of the model. If they take too long,
    /// marwatch cannot know that, and the state counts as slow.
    pub fn in_time(
        &mut self,
        world: &World,
        tokens: &[&str],
        change: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        let clock = Clock::new();
        let start = clock.now();
        change(self)?;
        if clock.now().since(start) * 2 > world.quiet {
            tokens.iter().for_each(|token| world.ledger.forgive(token));
        }
        Ok(())
    }

    /// The steps from one state to the next, in any order; the handler comes last, through `latch`.
    fn step(
        &mut self,
        token: String,
        world: &World,
        random: &mut Random,
        breathe: &mut dyn FnMut(&mut Random),
        latch: Option<File>,
    ) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let files = self.next_files(random);
        let settings = self.next_settings(&token, random);
        let mut steps: Vec<Option<&str>> = files.keys().map(|path| Some(path.as_str())).collect();
        steps.extend(
            self.files.keys().filter(|p| !files.contains_key(*p)).map(|p| Some(p.as_str())),
        );
        steps.push(None);
        if latch.is_none() {
            steps.push(Some(SERVICE));
        }
        shuffle(&mut steps, random);
        let handler = service(&token, &files, settings.is_some());
        if random.once_in(6) {
            self.move_a_folder(random, breathe)?;
        }
        for step in steps {
            breathe(random);
            match step {
                None => self.write_settings(settings.as_deref())?,
                Some(path) => {
                    let content = match files.get(path) {
                        Some(&length) => file(&token, path, length),
                        None if path == SERVICE => handler.clone(),
                        None => {
                            remove(&self.folder.join(path))?;
                            continue;
                        }
                    };
                    let place = Place { model: &self.folder, file: path, outside: &world.outside };
                    random.pick(&WAYS).write(&place, &content, random, breathe)?;
                }
            }
        }
        if let Some(mut latch) = latch {
            breathe(random);
            latch.set_len(0)?;
            latch.rewind()?;
            latch.write_all(&handler)?;
        }
        self.prune()?;
        (self.token, self.files, self.settings) = (token, files, settings);
        self.is_there = true;
        world.ledger.count_state();
        Ok(())
    }

    /// Renames a folder of the model and back, with everything in it.
    fn move_a_folder(
        &self,
        random: &mut Random,
        breathe: &mut dyn FnMut(&mut Random),
    ) -> io::Result<()> {
        let (from, to) = (self.folder.join("data"), self.folder.join("moved"));
        if from.is_dir() {
            fs::rename(&from, &to)?;
            breathe(random);
            fs::rename(&to, &from)?;
        }
        Ok(())
    }

    fn write_settings(&self, settings: Option<&str>) -> io::Result<()> {
        let path = self.folder.join(SETTINGS);
        match settings {
            Some(text) => fs::write(path, text),
            None => remove(&path),
        }
    }

    /// Removes hidden versions without links to them, and empty folders.
    fn prune(&self) -> io::Result<()> {
        let wanted: Vec<PathBuf> = walkdir::WalkDir::new(&self.folder)
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.path_is_symlink())
            .filter_map(|entry| fs::canonicalize(entry.path()).ok())
            .collect();
        for entry in fs::read_dir(self.folder.join(".versions")).into_iter().flatten() {
            let path = entry?.path();
            if !wanted.contains(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Makes the model invalid, and later valid again.
    pub fn break_and_mend(
        &mut self,
        tokens: [String; 2],
        world: &World,
        random: &mut Random,
    ) -> io::Result<()> {
        let [broken, mended] = tokens;
        fs::write(self.folder.join(SERVICE), broken_service(&broken))?;
        pause(random.time(world.quiet * 4));
        self.latched(mended, world, random)
    }

    /// Creates the next state elsewhere, and moves it to the place of this one.
    pub fn replace_whole(
        &mut self,
        token: String,
        world: &World,
        random: &mut Random,
    ) -> io::Result<()> {
        let aside = world.outside.join(format!("{token}-old"));
        let mut next = Model::new(world.outside.join(format!("{token}-new")));
        next.name.clone_from(&self.name);
        next.at_once(token, world, random)?;
        if self.is_there {
            fs::rename(&self.folder, &aside)?;
        }
        fs::rename(&next.folder, &self.folder)?;
        if self.is_there {
            fs::remove_dir_all(aside)?;
        }
        (self.token, self.files, self.settings) = (next.token, next.files, next.settings);
        self.is_there = true;
        Ok(())
    }

    /// Copies a new state file by file into the model's place, with the handler held open.
    pub fn copy_in(&mut self, token: String, world: &World, random: &mut Random) -> io::Result<()> {
        let mut next = Model::new(world.outside.join(format!("{token}-new")));
        next.name.clone_from(&self.name);
        next.at_once(token, world, random)?;
        fs::create_dir_all(&self.folder)?;
        let mut latch = File::create(self.folder.join(SERVICE))?;
        for entry in walkdir::WalkDir::new(&next.folder).sort_by_file_name() {
            let entry = entry?;
            let inside = entry.path().strip_prefix(&next.folder).unwrap();
            let (from, to) = (entry.path(), self.folder.join(inside));
            if from.is_dir() {
                fs::create_dir_all(to)?;
            } else if inside == Path::new(SERVICE) {
                latch.write_all(&fs::read(from)?)?;
            } else {
                // The copy follows links.
                fs::copy(from, to)?;
                if random.once_in(5) {
                    pause(random.time(world.quiet * 2));
                }
            }
        }
        drop(latch);
        fs::remove_dir_all(&next.folder)?;
        (self.token, self.files, self.settings) = (next.token, next.files, next.settings);
        self.is_there = true;
        Ok(())
    }

    /// Removes the model: moves it out of the watched folder first, or removes it file by file.
    pub fn remove(&mut self, world: &World, random: &mut Random) -> io::Result<()> {
        let token = self.token.clone();
        if random.once_in(2) {
            let aside = world.outside.join(format!("{token}-gone"));
            fs::rename(&self.folder, &aside)?;
            fs::remove_dir_all(aside)?;
        } else {
            self.in_time(world, &[&token], |model| fs::remove_dir_all(&model.folder))?;
        }
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.files.clear();
        self.settings = None;
        self.is_there = false;
    }

    /// Renames its folder.
    pub fn move_to(&mut self, folder: PathBuf) -> io::Result<()> {
        fs::rename(&self.folder, &folder)?;
        self.folder = folder;
        Ok(())
    }

    /// Moves it out of the watched folder, and later back.
    pub fn out_and_in(&mut self, world: &World, random: &mut Random) -> io::Result<()> {
        let aside = world.outside.join(format!("{}-out", self.token));
        fs::rename(&self.folder, &aside)?;
        pause(random.time(world.quiet * 10));
        fs::rename(aside, &self.folder)
    }

    /// Changes times and modes, but no content.
    pub fn fiddle(&self, random: &mut Random) -> io::Result<()> {
        for path in self.files.keys() {
            let file = OpenOptions::new().append(true).open(self.folder.join(path))?;
            if random.once_in(2) {
                let age = Duration::from_secs(random.below(1_000_000_000));
                file.set_modified(std::time::SystemTime::UNIX_EPOCH + age)?;
            }
        }
        let empty = self.folder.join("empty/a/b/c/d/e/f/g");
        fs::create_dir_all(&empty)?;
        fs::remove_dir_all(self.folder.join("empty"))
    }
}

fn length(random: &mut Random) -> usize {
    match random.below(20) {
        0 => 200_000 + random.index(1_000_000),
        1..=4 => 4096,
        _ => 100 + random.index(8000),
    }
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for at in (1..items.len()).rev() {
        items.swap(at, random.index(at + 1));
    }
}
