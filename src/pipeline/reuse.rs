//! What of the archive before the new one can keep: the entries of files whose content is known to
//! be what it was.

use std::collections::BTreeMap;

use crate::archive::{Entry, Input};
use crate::source::snapshot::Snapshot;
use crate::store::ModelState;

/// How the files of a listing stand to those that were packed last.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept<'k> {
    /// For each file of the listing, in its order, what was packed of it, if it has the same content
    /// for certain.
    pub entries: Vec<Option<&'k Entry>>,
    /// Files whose content has to be looked at, by their position in the listing: they have the
    /// length that they had, but another identity, or one that cannot be trusted.
    pub doubtful: BTreeMap<usize, &'k Entry>,
}

impl<'k> Kept<'k> {
    /// Holds a listing against what was packed last, by stats alone.
    pub fn by_stat(known: &'k ModelState, snapshot: &Snapshot) -> Self {
        let mut kept = Self::default();
        let mut old = known.files.iter().peekable();
        for (i, file) in snapshot.files.iter().enumerate() {
            // Both are sorted by path.
            while old.next_if(|known| known.entry.path < file.path).is_some() {}
            let known = old.next_if(|known| known.entry.path == file.path);
            let entry = match known {
                Some(known) if known.id == file.id && known.settled => Some(&known.entry),
                Some(known) if known.entry.size == file.id.size => {
                    kept.doubtful.insert(i, &known.entry);
                    None
                }
                _ => None,
            };
            kept.entries.push(entry);
        }
        kept
    }

    /// The doubtful files, to be hashed.
    pub fn doubtful_inputs(&self, snapshot: &Snapshot) -> Vec<Input> {
        let files = self.doubtful.keys().filter_map(|&i| snapshot.files.get(i));
        files.map(|file| Input { path: file.path.clone(), size: file.id.size }).collect()
    }

    /// Settles the doubt: `hashes` are the BLAKE3 of the doubtful files.
    pub fn by_content(mut self, hashes: &[[u8; 32]]) -> Self {
        for ((i, entry), hash) in std::mem::take(&mut self.doubtful).into_iter().zip(hashes) {
            if entry.blake3 == *hash {
                self.entries[i] = Some(entry);
            }
        }
        self
    }

    /// What is carried over, and what is packed anew, given the files of the listing.
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
