//! Whatever is carried over, and however: the bytes are those of an archive packed anew.

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

/// Lengths on both sides of what the packer does differently with.
const LENGTHS: [usize; 8] =
    [0, 1, 700, 300_000, CHUNK, CHUNK + 1, 2 * CHUNK + 4096, 2 * CHUNK + 9_000];

/// What becomes of a file: nothing is left of it, or it has this content from now on.
type Edit = (&'static str, Option<(Kind, usize)>);

fn edit() -> impl Strategy<Value = Edit> {
    let kind = prop_oneof![Just(Kind::Noise), Just(Kind::OtherNoise), Just(Kind::Text)];
    let content = (kind, proptest::sample::select(&LENGTHS[..]));
    (proptest::sample::select(&PATHS[..]), proptest::option::weighted(0.7, content))
}

/// Edits from one version to the next, few enough that most of it stays; and the manifest.
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

/// Packs `new` on what is left of `old`; `manifest` is another one, to move what follows it.
fn repack(
    new: &Files,
    manifest: &[u8],
    before: &Packed,
    same: &dyn Fn(&Entry) -> bool,
    ground: Ground<'_>,
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
    repack_zip(&plan, &PROFILE, new, ground, &quiet(2))
}

fn cold(files: &Files, manifest: &[u8]) -> (Vec<u8>, Packed) {
    let inputs = files.inputs();
    let methods = probe(&inputs, &PROFILE, files, &quiet(2)).unwrap();
    let plan = plan(manifest.into(), &inputs, &methods, vec![]);
    let out = tempfile::tempfile().unwrap();
    let packed = pack_zip(&plan, &PROFILE, files, &out, &quiet(2)).unwrap();
    assert_eq!(packed.taken_over, [0; 0], "all of it is to be read back");
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
    fn an_incremental_archive_is_a_cold_one(versions in versions()) {
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
                let ground = Ground { out: &out, previous: Some(&previous), in_place: &[] };
                let new = repack(&files, &manifests[manifest], old, &same, ground).unwrap();
                prop_assert!(bytes_of(&out) == bytes);
                prop_assert_eq!(&new.entries, &packed.entries);
                prop_assert_eq!(new.bytes, packed.bytes);
                // Once more on a spare, which may hold just the same large entries or others.
                let spare = file_of(old_bytes);
                let ground = Ground { out: &spare, in_place: &large(old), ..ground };
                match repack(&files, &manifests[manifest], old, &same, ground) {
                    Ok(new) => {
                        prop_assert!(bytes_of(&spare) == bytes);
                        prop_assert_eq!(&new.entries, &packed.entries);
                    }
                    Err(PackError::Spare) => {
                        prop_assert!(bytes_of(&spare) == *old_bytes, "a spare that does not fit is not touched");
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
fn costs_say_what_was_carried_over_and_nothing_is_read_for_it() {
    let old = Files::new([("w", noise(3 * CHUNK)), ("text", text(2 * CHUNK)), ("h.py", text(90))]);
    let (bytes, before) = cold(&old, MANIFEST);
    let new = Files::new([("w", vec![]), ("text", vec![]), ("h.py", text(91))]);
    let same = |entry: &Entry| entry.path.as_str() != "h.py";
    let (previous, out) = (file_of(&bytes), tempfile::tempfile().unwrap());
    let ground = Ground { out: &out, previous: Some(&previous), in_place: &[] };
    let packed = repack(&new, MANIFEST, &before, &same, ground).unwrap();
    let cost = packed.cost;
    assert_eq!((cost.read, cost.compressed), (91, 91 + MANIFEST.len() as u64));
    assert!(cost.carried.total() > 3 * CHUNK as u64 && cost.written < packed.bytes + 200);
    let new_ones: Vec<_> = packed.entries.iter().filter(|entry| packed.is_new(entry)).collect();
    let paths: Vec<_> = new_ones.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, [MANIFEST_PATH, "h.py"]);

    let spare = file_of(&bytes);
    let ground = Ground { out: &spare, in_place: &large(&before), ..ground };
    let packed = repack(&new, MANIFEST, &before, &same, ground).unwrap();
    assert_eq!(packed.cost.carried.in_place, 3 * CHUNK as u64);
    assert!(packed.cost.written < CHUNK as u64, "{}", packed.cost.written);
    assert!(bytes_of(&spare) == bytes_of(&out));
}

#[test]
fn an_archive_before_that_was_cut_off_is_said_to_be_the_reason() {
    let files = Files::new([("w", noise(2 * CHUNK)), ("a", noise(CHUNK))]);
    let (bytes, before) = cold(&files, MANIFEST);
    for kept in [100, bytes.len() / 2, bytes.len() - CHUNK] {
        let (previous, out) = (file_of(&bytes[..kept]), tempfile::tempfile().unwrap());
        let ground = Ground { out: &out, previous: Some(&previous), in_place: &[] };
        let result = repack(&files, MANIFEST, &before, &|_| true, ground);
        assert!(matches!(result, Err(PackError::Previous { .. })), "{kept}: {result:?}");
    }
}

#[test]
fn a_spare_is_used_only_if_it_holds_every_large_entry_where_it_is_wanted() {
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
            let spare = file_of(&old_bytes);
            let ground =
                Ground { out: &spare, previous: Some(&previous), in_place: &large(&before) };
            let result = repack(&files, &manifests[manifest], &packed, &|_| true, ground);
            if (new, manifest) == (old, 0) {
                assert_eq!(result.unwrap().entries, packed.entries);
                assert!(bytes_of(&spare) == bytes);
            } else {
                assert!(matches!(result, Err(PackError::Spare)), "{new} {manifest} {old}");
                assert!(bytes_of(&spare) == old_bytes);
            }
        }
    }
}

#[test]
fn what_stands_between_entries_that_are_carried_over_is_left_out() {
    let all = [("a", 10), ("b", 70_000), ("c", 20), ("d", 30), ("e", 70_001)];
    let old = Files::new(all.map(|(path, length)| (path, text(length))));
    let (bytes, before) = cold(&old, MANIFEST);
    for gone in 0..all.len() {
        let left = all.iter().enumerate().filter(|(i, _)| *i != gone);
        let new = Files::new(left.map(|(_, &(path, length))| (path, text(length))));
        let (previous, out) = (file_of(&bytes), tempfile::tempfile().unwrap());
        let ground = Ground { out: &out, previous: Some(&previous), in_place: &[] };
        let packed = repack(&new, MANIFEST, &before, &|_| true, ground).unwrap();
        assert_eq!(packed.carried_over, 4);
        assert!(bytes_of(&out) == cold(&new, MANIFEST).0, "without {}", all[gone].0);
    }
}
