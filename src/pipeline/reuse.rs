//! What a new archive can take from the previous one: the entries of files whose content is unchanged.

use std::collections::BTreeMap;

use crate::archive::{Entry, Input};
use crate::source::snapshot::Snapshot;
use crate::store::ModelState;

/// The files of a listing, compared with the last build.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reuse<'k> {
    /// For each file of the listing, in its order: its entry in the last build, if its content is
    /// certainly the same.
    pub entries: Vec<Option<&'k Entry>>,
    /// The entries of files that have to be read, by their position in the listing: they have the same
    /// length, but another identity, or one that cannot be trusted.
    pub doubtful: BTreeMap<usize, &'k Entry>,
}

impl<'k> Reuse<'k> {
    /// Compares a listing with the last build, by stats alone.
    pub fn by_stat(known: &'k ModelState, snapshot: &Snapshot) -> Self {
        let mut reuse = Self::default();
        let mut old = known.files.iter().peekable();
        for (i, file) in snapshot.files.iter().enumerate() {
            // Both are sorted by path.
            while old.next_if(|known| known.entry.path < file.path).is_some() {}
            let known = old.next_if(|known| known.entry.path == file.path);
            let entry = match known {
                Some(known) if known.id == file.id && known.settled => Some(&known.entry),
                Some(known) if known.entry.size == file.id.size => {
                    reuse.doubtful.insert(i, &known.entry);
                    None
                }
                _ => None,
            };
            reuse.entries.push(entry);
        }
        reuse
    }

    /// The doubtful files, to be hashed.
    pub fn doubtful_inputs(&self, snapshot: &Snapshot) -> Vec<Input> {
        let files = self.doubtful.keys().filter_map(|&i| snapshot.files.get(i));
        files.map(|file| Input { path: file.path.clone(), size: file.id.size }).collect()
    }

    /// Decides about the doubtful files by their BLAKE3, in their order.
    pub fn by_content(mut self, hashes: &[[u8; 32]]) -> Self {
        for ((i, entry), hash) in std::mem::take(&mut self.doubtful).into_iter().zip(hashes) {
            if entry.blake3 == *hash {
                self.entries[i] = Some(entry);
            }
        }
        self
    }

    /// The entries to carry over, and the files to pack.
    pub fn divide(&self, snapshot: &Snapshot) -> (Vec<Entry>, Vec<Input>) {
        let mut carried = Vec::new();
        let mut inputs = Vec::new();
        for (file, entry) in snapshot.files.iter().zip(&self.entries) {
            match entry {
                Some(entry) => carried.push((*entry).clone()),
                None => inputs.push(Input { path: file.path.clone(), size: file.id.size }),
            }
        }
        (carried, inputs)
    }
}
