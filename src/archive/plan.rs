//! The plan of an archive: the steps that make it, in their order. Pure.
//!
//! The order is the layout: the manifest, the large stored files by path, then everything else by
//! path. It depends on the inputs alone, not on the order in which they were listed.

use super::{CHUNK, Entry, Input, Method};
use crate::config::PackDefaults;
use crate::model::{Compression, EntryPath, manifest};

/// What is compressed, and how hard. Together with the content it determines every byte of an
/// archive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// What is compressed.
    pub compression: Compression,
    /// 1 to 9; other values are clamped.
    pub level: u8,
    /// With [`Compression::Auto`], files whose ratio of compressed to plain size is above this are
    /// stored.
    pub store_above: f64,
}

impl From<PackDefaults> for Profile {
    fn from(pack: PackDefaults) -> Self {
        let PackDefaults { compression, level, store_above } = pack;
        Self { compression, level, store_above }
    }
}

impl Profile {
    /// Whether deflating `size` bytes pays off if they become `packed` bytes.
    pub(crate) fn is_worth(&self, packed: u64, size: u64) -> bool {
        match self.compression {
            Compression::Store => false,
            Compression::Deflate => packed < size,
            Compression::Auto => packed < size && (packed as f64) <= self.store_above * size as f64,
        }
    }
}

/// What an archive is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The bytes of the manifest, which comes first.
    pub manifest: Vec<u8>,
    /// The large stored files, then everything else.
    pub steps: Vec<Step>,
}

/// One step; each makes one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Stores a large file, its data on a page boundary.
    StoreLarge(Input),
    /// Deflates a large file in chunks.
    DeflateLarge(Input),
    /// Packs a file of at most [`CHUNK`] bytes, stored or deflated, whichever suits it.
    Small(Input),
    /// Carries an entry of the previous archive over as it is.
    Carry(Entry),
}

impl Plan {
    /// Bytes of all files that will be read.
    pub fn input_bytes(&self) -> u64 {
        self.steps.iter().filter_map(Step::input).map(|input| input.size).sum()
    }
}

impl Step {
    /// The file that the step reads, if it reads one.
    pub fn input(&self) -> Option<&Input> {
        match self {
            Step::Carry(_) => None,
            Step::StoreLarge(input) | Step::DeflateLarge(input) | Step::Small(input) => Some(input),
        }
    }

    /// The path of the entry.
    pub fn path(&self) -> &EntryPath {
        match self {
            Step::Carry(entry) => &entry.path,
            Step::StoreLarge(input) | Step::DeflateLarge(input) | Step::Small(input) => &input.path,
        }
    }

    /// Whether the entry is one of the large stored ones at the front.
    pub fn is_aligned(&self) -> bool {
        match self {
            Step::StoreLarge(_) => true,
            Step::Carry(entry) => entry.aligned,
            _ => false,
        }
    }
}

/// Plans the archive of `manifest`, of `inputs` with the methods that probing chose for them, and of
/// `carried`, entries of the previous archive. Every path occurs once, and none is the manifest's.
///
/// A carried entry gets the place that packing it again would give it: the form of an entry depends
/// on its content and the profile alone.
pub fn plan(manifest: Vec<u8>, inputs: &[Input], methods: &[Method], carried: Vec<Entry>) -> Plan {
    debug_assert_eq!(inputs.len(), methods.len());
    let packed = inputs.iter().zip(methods).map(|(input, method)| match method {
        _ if !is_large(input) => Step::Small(input.clone()),
        Method::Stored => Step::StoreLarge(input.clone()),
        Method::Deflated => Step::DeflateLarge(input.clone()),
    });
    let mut steps = Vec::with_capacity(inputs.len() + carried.len());
    steps.extend(packed);
    steps.extend(carried.into_iter().map(Step::Carry));
    // Mostly runs that are in order already: a stable sort merges them.
    steps.sort_by(|a, b| place(a).cmp(&place(b)));
    Plan { manifest, steps }
}

/// Whether a file is packed in pieces.
pub(crate) fn is_large(input: &Input) -> bool {
    input.size > CHUNK as u64
}

/// The key that orders steps: large stored ones first, then by path.
fn place(step: &Step) -> (bool, &EntryPath) {
    (!step.is_aligned(), step.path())
}

/// The path of the manifest as an entry.
pub(crate) fn manifest_path() -> EntryPath {
    #[expect(clippy::expect_used, reason = "the constant is a plain relative path")]
    EntryPath::parse(manifest::MANIFEST_PATH).expect("a valid path")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(path: &str, size: u64) -> Input {
        Input { path: EntryPath::parse(path).unwrap(), size }
    }

    #[test]
    fn large_stored_files_come_before_everything_else() {
        let large = CHUNK as u64 + 1;
        let inputs = [input("z", 1), input("y", large), input("b", large), input("a", large)];
        let methods = [Method::Stored, Method::Stored, Method::Deflated, Method::Stored];
        let [z, y, b, a] = inputs.clone();
        assert_eq!(
            plan(vec![1], &inputs, &methods, vec![]).steps,
            [Step::StoreLarge(a), Step::StoreLarge(y), Step::DeflateLarge(b), Step::Small(z)]
        );
    }

    #[test]
    fn a_file_of_one_chunk_is_not_large() {
        assert!(!is_large(&input("a", CHUNK as u64)));
        assert!(is_large(&input("a", CHUNK as u64 + 1)));
    }

    #[test]
    fn deflating_pays_off_as_the_profile_says() {
        let profile = |compression| Profile { compression, level: 6, store_above: 0.85 };
        assert!(profile(Compression::Auto).is_worth(85, 100));
        assert!(!profile(Compression::Auto).is_worth(86, 100));
        assert!(profile(Compression::Deflate).is_worth(99, 100));
        assert!(!profile(Compression::Deflate).is_worth(100, 100));
        assert!(!profile(Compression::Store).is_worth(1, 100));
        let generous = Profile { store_above: 2.0, ..profile(Compression::Auto) };
        assert!(!generous.is_worth(100, 100), "content that grows is never deflated");
    }

    proptest! {
        #[test]
        fn the_plan_does_not_depend_on_the_order_of_the_listing(
            files in proptest::collection::btree_map("[a-c/]{0,2}[a-z]", (0..3u64, any::<bool>()), 0..12),
            seed in any::<prop::sample::Index>(),
        ) {
            let mut listed: Vec<_> = files
                .iter()
                .filter_map(|(path, &(chunks, stored))| {
                    let path = EntryPath::parse(path).ok()?;
                    let method = if stored { Method::Stored } else { Method::Deflated };
                    Some((Input { path, size: chunks * CHUNK as u64 }, method))
                })
                .collect();
            let planned = |listed: &[(Input, Method)]| {
                let (inputs, methods): (Vec<_>, Vec<_>) = listed.iter().cloned().unzip();
                plan(Vec::new(), &inputs, &methods, vec![])
            };
            let first = planned(&listed);
            if !listed.is_empty() {
                let middle = seed.index(listed.len());
                listed.rotate_left(middle);
                listed.reverse();
            }
            prop_assert_eq!(first, planned(&listed));
        }
    }
}
