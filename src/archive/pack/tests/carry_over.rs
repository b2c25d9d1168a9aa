//! Whatever is carried over, and however: the bytes are those of a cold build.

use std::io::Write as _;

use super::*;
use crate::archive::Entry;

/// One version of a model: path, kind of content, length.
type Tree = BTreeMap<&'static str, (Kind, usize)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Noise,
    /// As long, and as much noise, but other bytes.
    OtherNoise,
    Text,
}

const PATHS: [&str; 7] = ["a", "b/large", "b/small", "c.py", "d", "e/e/e", "z"];

/// Lengths on both sides of the packer's limits.
const LENGTHS: [usize; 8] =
    [0, 1, 700, 300_000, CHUNK, CHUNK + 1, 2 * CHUNK + 4096, 2 * CHUNK + 9_000];

/// An edit of a file: it goes, or it gets this content.
type Edit = (&'static str, Option<(Kind, usize)>);

fn edit() -> impl Strategy<Value = Edit> {
    let kind = prop_oneof![Just(Kind::Noise), Just(Kind::OtherNoise), Just(Kind::Text)];
    let content = (kind, proptest::sample::select(&LENGTHS[..]));
    (proptest::sample::select(&PATHS[..]), proptest::option::weighted(0.7, content))
}

/// Edits from one version to the next, few enough that most files stay; and the manifest.
fn versions() -> impl Strategy<Value = Vec<(Vec<Edit>, usize)>> {
    let first = proptest::collection::vec(edit(), 6..16);
    let next = (proptest::collection::vec(edit(), 0..3), 0..3usize);
    (first, proptest::collection::vec(next, 1..5)).prop_map(|(first, mut rest)| {
        rest.insert(0, (first, 0));
        rest
    })
}

fn content(kind: Kind, length: usize) -> Vec<u8> {
    match kind {
        Kind::Noise => noise(length),
        Kind::OtherNoise => noise(length + 1).split_off(1),
        Kind::Text => text(length),
    }
}

fn files(tree: &Tree) -> Files {
    Files::new(tree.iter().map(|(path, &(kind, length))| (*path, content(kind, length))))
}

/// Packs `new`, carrying over what is the `same` as `before`; another `manifest` moves what follows it.
fn repack(
    new: &Files,
    manifest: &[u8],
    before: &Packed,
    same: &dyn Fn(&Entry) -> bool,
    out: &File,
    available: Before<'_>,
) -> Result<Packed, PackError> {
    let (carried, inputs): (Vec<_>, Vec<_>) = new
        .inputs()
        .into_iter()
        .map(|input| (before.entries.iter().find(|e| e.path == input.path && same(e)), input))
        .partition(|(entry, _)| entry.is_some());
    let carried = carried.into_iter().filter_map(|(entry, _)| entry.cloned()).collect();
    let inputs: Vec<Input> = inputs.into_iter().map(|(_, input)| input).collect();
    let methods = probe(&inputs, &PROFILE, new, &quiet(1))?;
    let plan = plan(manifest.into(), &inputs, &methods, carried);
    pack_zip(&plan, &PROFILE, new, out, available, &quiet(2))
}

fn cold(files: &Files, manifest: &[u8]) -> (Vec<u8>, Packed) {
    let inputs = files.inputs();
    let methods = probe(&inputs, &PROFILE, files, &quiet(2)).unwrap();
    let plan = plan(manifest.into(), &inputs, &methods, vec![]);
    let out = tempfile::tempfile().unwrap();
    let packed = pack_zip(&plan, &PROFILE, files, &out, Before::default(), &quiet(2)).unwrap();
    assert_eq!(packed.taken_over, [0; 0], "all of it must be read back");
    (bytes_of(&out), packed)
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn large(packed: &Packed) -> Vec<Entry> {
    packed.entries.iter().filter(|entry| entry.aligned).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn an_incremental_archive_has_the_bytes_of_a_cold_one(versions in versions()) {
        let manifests = [noise(40), noise(4_090), noise(9_000)];
        let mut before: Option<(Tree, Vec<u8>, Packed)> = None;
        let mut tree = Tree::new();
        for (edits, manifest) in versions {
            for (path, content) in edits {
                match content {
                    Some(content) => drop(tree.insert(path, content)),
                    None => drop(tree.remove(path)),
                }
            }
            let files = files(&tree);
            let (bytes, packed) = cold(&files, &manifests[manifest]);
            if let Some((old_tree, old_bytes, old)) = &before {
                let same = |e: &Entry| {
                    tree.get(e.path.as_str()).is_some_and(|f| old_tree.get(e.path.as_str()) == Some(f))
                };
                let previous = file_of(old_bytes);
                let out = tempfile::tempfile().unwrap();
                let available = Before { previous: Some(&previous), in_place: &[] };
                let new = repack(&files, &manifests[manifest], old, &same, &out, available).unwrap();
                prop_assert!(bytes_of(&out) == bytes);
                prop_assert_eq!(&new.entries, &packed.entries);
                prop_assert_eq!(new.bytes, packed.bytes);
                // Once more over a recycled archive, which may hold the same large entries or others.
                let recycled = file_of(old_bytes);
                let available = Before { in_place: &large(old), ..available };
                match repack(&files, &manifests[manifest], old, &same, &recycled, available) {
                    Ok(new) => {
                        prop_assert!(bytes_of(&recycled) == bytes);
                        prop_assert_eq!(&new.entries, &packed.entries);
                    }
                    Err(PackError::Recycled) => {
                        prop_assert!(bytes_of(&recycled) == *old_bytes, "a recycled archive that does not fit is not touched");
                        let places = |packed: &Packed| -> Vec<(EntryPath, u64, [u8; 32])> {
                            let place = |e: Entry| (e.path, e.data_offset, e.blake3);
                            large(packed).into_iter().map(place).collect()
                        };
                        prop_assert_ne!(places(old), places(&packed));
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            before = Some((tree.clone(), bytes, packed));
        }
    }
}

#[test]
fn the_cost_counts_what_was_carried_over_without_reading_it() {
    let old = Files::new([("w", noise(3 * CHUNK)), ("text", text(2 * CHUNK)), ("h.py", text(90))]);
    let (bytes, before) = cold(&old, MANIFEST);
    let new = Files::new([("w", vec![]), ("text", vec![]), ("h.py", text(91))]);
    let same = |entry: &Entry| entry.path.as_str() != "h.py";
    let (previous, out) = (file_of(&bytes), tempfile::tempfile().unwrap());
    let available = Before { previous: Some(&previous), in_place: &[] };
    let packed = repack(&new, MANIFEST, &before, &same, &out, available).unwrap();
    let cost = packed.cost;
    assert_eq!((cost.read, cost.compressed), (91, 91 + MANIFEST.len() as u64));
    assert!(
        cost.carried_over.copied + cost.carried_over.reflinked > 3 * CHUNK as u64
            && cost.written < packed.bytes + 200
    );
    let new_ones: Vec<_> = packed.entries.iter().filter(|entry| packed.is_new(entry)).collect();
    let paths: Vec<_> = new_ones.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, [MANIFEST_PATH, "h.py"]);

    let recycled = file_of(&bytes);
    let available = Before { in_place: &large(&before), ..available };
    let packed = repack(&new, MANIFEST, &before, &same, &recycled, available).unwrap();
    assert_eq!(packed.cost.carried_over.in_place, 3 * CHUNK as u64);
    assert!(packed.cost.written < CHUNK as u64, "{}", packed.cost.written);
    assert!(bytes_of(&recycled) == bytes_of(&out));
}

#[test]
fn a_previous_archive_that_was_cut_off_is_named_as_the_reason() {
    let files = Files::new([("w", noise(2 * CHUNK)), ("a", noise(CHUNK))]);
    let (bytes, before) = cold(&files, MANIFEST);
    for kept in [100, bytes.len() / 2, bytes.len() - CHUNK] {
        let (previous, out) = (file_of(&bytes[..kept]), tempfile::tempfile().unwrap());
        let available = Before { previous: Some(&previous), in_place: &[] };
        let result = repack(&files, MANIFEST, &before, &|_| true, &out, available);
        assert!(matches!(result, Err(PackError::Previous { .. })), "{kept}: {result:?}");
    }
}

#[test]
fn a_recycled_archive_is_used_only_if_every_large_entry_is_in_its_place() {
    let trees = [
        Tree::from([("w", (Kind::Noise, 2 * CHUNK)), ("x", (Kind::Noise, 3 * CHUNK))]),
        Tree::from([("w", (Kind::Noise, 2 * CHUNK)), ("x", (Kind::OtherNoise, 3 * CHUNK))]),
        Tree::from([("w", (Kind::Noise, 2 * CHUNK))]),
        Tree::from([("w", (Kind::Noise, 2 * CHUNK)), ("x", (Kind::Noise, CHUNK + 1))]),
    ];
    let manifests = [noise(40), noise(4_090)];
    for (new, manifest) in (0..trees.len()).flat_map(|tree| [(tree, 0), (tree, 1)]) {
        let files = files(&trees[new]);
        let (bytes, packed) = cold(&files, &manifests[manifest]);
        let previous = file_of(&bytes);
        for (old, tree) in trees.iter().enumerate() {
            let (old_bytes, before) = cold(&super::carry_over::files(tree), &manifests[0]);
            let recycled = file_of(&old_bytes);
            let available = Before { previous: Some(&previous), in_place: &large(&before) };
            let result =
                repack(&files, &manifests[manifest], &packed, &|_| true, &recycled, available);
            if (new, manifest) == (old, 0) {
                assert_eq!(result.unwrap().entries, packed.entries);
                assert!(bytes_of(&recycled) == bytes);
            } else {
                assert!(matches!(result, Err(PackError::Recycled)), "{new} {manifest} {old}");
                assert!(bytes_of(&recycled) == old_bytes);
            }
        }
    }
}

#[test]
fn bytes_between_carried_entries_are_left_out() {
    let all = [("a", 10), ("b", 70_000), ("c", 20), ("d", 30), ("e", 70_001)];
    let old = Files::new(all.map(|(path, length)| (path, text(length))));
    let (bytes, before) = cold(&old, MANIFEST);
    for gone in 0..all.len() {
        let left = all.iter().enumerate().filter(|(i, _)| *i != gone);
        let new = Files::new(left.map(|(_, &(path, length))| (path, text(length))));
        let (previous, out) = (file_of(&bytes), tempfile::tempfile().unwrap());
        let available = Before { previous: Some(&previous), in_place: &[] };
        let packed = repack(&new, MANIFEST, &before, &|_| true, &out, available).unwrap();
        assert_eq!(packed.carried_over, 4);
        assert!(bytes_of(&out) == cold(&new, MANIFEST).0, "without {}", all[gone].0);
    }
}
