//! For every form: the content comes back, the layout is as described, and the bytes depend on content
//! and settings alone.

mod carry_over;
mod layout;
mod other_readers;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::archive::CHUNK;
use crate::archive::plan::{Plan, Profile, plan};
use crate::archive::{Control, PackError};
use crate::archive::{Input, Method, Source, probe};
use crate::model::manifest::MANIFEST_PATH;
use crate::model::{Compression, EntryPath, ModelName};

pub(crate) const PROFILE: Profile =
    Profile { compression: Compression::Auto, level: 6, store_above: 0.85 };
pub(crate) const MANIFEST: &[u8] = b"{\"model\": {\"modelName\": \"m\"}}\n";
static NOT_CANCELLED: AtomicBool = AtomicBool::new(false);

/// A model in a temporary folder.
pub(crate) struct Files {
    pub(crate) folder: TempDir,
    pub(crate) content: BTreeMap<String, Vec<u8>>,
}

impl Files {
    pub(crate) fn new<P: Into<String>>(files: impl IntoIterator<Item = (P, Vec<u8>)>) -> Self {
        let folder = TempDir::new().unwrap();
        let content: BTreeMap<String, Vec<u8>> =
            files.into_iter().map(|(path, bytes)| (path.into(), bytes)).collect();
        for (path, bytes) in &content {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Self { folder, content }
    }

    /// In the order of paths.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        let input = |(path, bytes): (&String, &Vec<u8>)| Input {
            path: EntryPath::parse(path).unwrap(),
            size: bytes.len() as u64,
        };
        self.content.iter().map(input).collect()
    }

    /// The content that an archive of them must have.
    pub(crate) fn expected(&self) -> BTreeMap<String, Vec<u8>> {
        let mut expected = self.content.clone();
        expected.insert(MANIFEST_PATH.into(), MANIFEST.into());
        expected
    }

    pub(crate) fn zip(&self, profile: &Profile, threads: usize) -> (File, Packed) {
        self.try_zip(&self.inputs(), profile, &quiet(threads)).unwrap()
    }

    pub(crate) fn plan(
        &self,
        inputs: &[Input],
        profile: &Profile,
        control: &Control<'_>,
    ) -> Result<Plan, PackError> {
        let methods = probe(inputs, profile, self, control)?;
        Ok(plan(MANIFEST.into(), inputs, &methods, vec![]))
    }

    pub(crate) fn try_zip(
        &self,
        inputs: &[Input],
        profile: &Profile,
        control: &Control<'_>,
    ) -> Result<(File, Packed), PackError> {
        let plan = self.plan(inputs, profile, control)?;
        let out = tempfile::tempfile().unwrap();
        let packed = pack_zip(&plan, profile, self, &out, Before::default(), control)?;
        Ok((out, packed))
    }
}

impl Source for Files {
    fn open(&self, path: &EntryPath) -> io::Result<File> {
        File::open(self.folder.path().join(path.as_path()))
    }
}

/// A control without progress that is never cancelled.
pub(crate) fn quiet(threads: usize) -> Control<'static> {
    Control { threads, durable: false, cancelled: &NOT_CANCELLED, progress: &|_| {} }
}

/// Bytes that do not compress, different for every length.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compress well.
pub(crate) fn text(length: usize) -> Vec<u8> {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let line = |i: u64| format!("{} = {}\n", i * i, i % 97).into_bytes();
        (0..).flat_map(line).take(4 * CHUNK).collect()
    });
    TEXT[..length].to_vec()
}

pub(crate) fn bytes_of(file: &File) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Reads an archive back with the `zip` crate.
fn unzip(file: &File) -> BTreeMap<String, Vec<u8>> {
    let mut archive = ::zip::ZipArchive::new(file).unwrap();
    let count = archive.len();
    let read = |i| {
        let mut entry = archive.by_index(i).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.name().unwrap().into_owned(), content)
    };
    (0..count).map(read).collect()
}

/// Text and noise of lengths around a chunk, and names that are not ASCII.
pub(crate) fn varied() -> Files {
    let lengths = [0, 1, 2, 300, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 77];
    let both = lengths.into_iter().flat_map(|length| {
        [(format!("text/{length}"), text(length)), (format!("noise-{length}"), noise(length))]
    });
    let named = ["ä/ö ü.py", "模型/重み.bin", "z", "Z", "a:b"].map(|p| (p.into(), p.into()));
    Files::new(both.chain(named))
}

#[test]
fn packed_content_comes_back() {
    let files = varied();
    for compression in [Compression::Auto, Compression::Store, Compression::Deflate] {
        for (level, threads) in [(1, 1), (6, 3)] {
            let profile = Profile { compression, level, ..PROFILE };
            let (file, packed) = files.zip(&profile, threads);
            assert!(unzip(&file) == files.expected(), "{profile:?}");
            layout::check(&file, &packed);
            for entry in &packed.entries {
                let content = &files.expected()[entry.path.as_str()];
                assert_eq!(entry.blake3, *blake3::hash(content).as_bytes(), "{}", entry.path);
            }
        }
    }
}

#[test]
fn only_content_that_shrinks_is_deflated() {
    let (_, packed) = varied().zip(&PROFILE, 2);
    for entry in packed.entries {
        let shrinks = entry.path.as_str().starts_with("text/") && entry.size >= 300
            || entry.path.as_str() == "text/300";
        let expected = if shrinks { Method::Deflated } else { Method::Stored };
        if entry.path.as_str() != MANIFEST_PATH {
            assert_eq!(entry.method, expected, "{}", entry.path);
        }
    }
}

#[test]
fn a_large_file_that_does_not_shrink_after_all_is_stored_in_its_place() {
    // Text where the samples are, noise everywhere else; and a plan that is wrong.
    let mut mixed = noise(4 * CHUNK + 1);
    for i in 0..8 {
        let at = (mixed.len() - (32 << 10)) * i / 7;
        mixed[at..at + (32 << 10)].copy_from_slice(&text(32 << 10));
    }
    let mixed = Files::new([("b", mixed), ("a", text(9)), ("c", text(2 * CHUNK))]);
    assert_eq!(probe(&mixed.inputs(), &PROFILE, &mixed, &quiet(1)).unwrap()[1], Method::Deflated);
    let noise = Files::new([("b", noise(3 * CHUNK)), ("a", text(9)), ("c", text(2 * CHUNK))]);
    for (files, expected) in [(mixed, Method::Deflated), (noise, Method::Stored)] {
        let plan = plan(MANIFEST.into(), &files.inputs(), &[Method::Deflated; 3], vec![]);
        let mut before = Vec::new();
        for threads in [1, 2, 4] {
            let out = tempfile::tempfile().unwrap();
            let packed =
                pack_zip(&plan, &PROFILE, &files, &out, Before::default(), &quiet(threads))
                    .unwrap();
            assert!(unzip(&out) == files.expected());
            layout::check(&out, &packed);
            let order: Vec<_> =
                packed.entries.iter().map(|e| (e.path.as_str(), e.method)).collect();
            assert_eq!(order[1..3], [("a", Method::Stored), ("b", expected)]);
            let bytes = bytes_of(&out);
            assert!(before.is_empty() || before == bytes, "{threads} threads");
            before = bytes;
        }
    }
}

#[test]
fn a_file_whose_length_differs_from_the_listing_has_moved() {
    for length in [5, CHUNK + 5] {
        for content in [text(length), noise(length)] {
            let files = Files::new([("a", content), ("b", text(1))]);
            for other in [length - 1, length + 1] {
                for threads in [1, 2] {
                    let mut inputs = files.inputs();
                    inputs[0].size = other as u64;
                    let control = quiet(threads);
                    let moved = |result: Result<Packed, PackError>| match result {
                        Err(PackError::Moved { path }) => assert_eq!(path.as_str(), "a"),
                        other => panic!("{other:?}"),
                    };
                    let methods = if length < CHUNK {
                        &[Method::Stored][..]
                    } else {
                        &[Method::Stored, Method::Deflated]
                    };
                    for &method in methods {
                        let plan = plan(MANIFEST.into(), &inputs, &[method; 2], vec![]);
                        let out = || tempfile::tempfile().unwrap();
                        moved(pack_zip(
                            &plan,
                            &PROFILE,
                            &files,
                            &out(),
                            Before::default(),
                            &control,
                        ));
                        let name = ModelName::parse("m").unwrap();
                        moved(pack_tgz(&plan, &PROFILE, &files, &name, &out(), &control));
                        let folder = TempDir::new().unwrap();
                        moved(pack_folder(&plan, &files, folder.path(), Modes::Fixed, &control));
                    }
                }
            }
        }
    }
}

#[test]
fn a_missing_file_has_moved_and_an_unreadable_one_is_an_error() {
    struct Unreadable(io::ErrorKind);
    impl Source for Unreadable {
        fn open(&self, _: &EntryPath) -> io::Result<File> {
            Err(self.0.into())
        }
    }
    let inputs = [Input { path: EntryPath::parse("a").unwrap(), size: 3 }];
    let plan = plan(MANIFEST.into(), &inputs, &[Method::Stored], vec![]);
    let pack = |kind| {
        let out = tempfile::tempfile().unwrap();
        pack_zip(&plan, &PROFILE, &Unreadable(kind), &out, Before::default(), &quiet(1))
            .unwrap_err()
    };
    assert!(matches!(pack(io::ErrorKind::NotFound), PackError::Moved { .. }));
    let error = pack(io::ErrorKind::PermissionDenied);
    assert!(matches!(error, PackError::Read { .. }));
    assert_eq!(error.to_string(), "cannot read `a`");
}

#[test]
fn an_archive_that_cannot_be_written_is_an_error() {
    let files = varied();
    let plan = files.plan(&files.inputs(), &PROFILE, &quiet(1)).unwrap();
    for threads in [1, 2] {
        let read_only = File::open("/dev/null").unwrap();
        let result =
            pack_zip(&plan, &PROFILE, &files, &read_only, Before::default(), &quiet(threads));
        assert!(matches!(result, Err(PackError::Write { .. })));
    }
}

#[test]
fn a_cancelled_build_ends_soon() {
    let files = varied();
    let plan = files.plan(&files.inputs(), &PROFILE, &quiet(1)).unwrap();
    for threads in [1, 2] {
        let (cancelled, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
        let progress = |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            cancelled.store(true, Ordering::Relaxed);
        };
        let control = Control { cancelled: &cancelled, progress: &progress, ..quiet(threads) };
        let out = tempfile::tempfile().unwrap();
        let result = pack_zip(&plan, &PROFILE, &files, &out, Before::default(), &control);
        assert!(matches!(result, Err(PackError::Cancelled)));
        assert!(calls.load(Ordering::Relaxed) < 12);
        let result =
            pack_folder(&plan, &files, TempDir::new().unwrap().path(), Modes::Fixed, &control);
        assert!(matches!(result, Err(PackError::Cancelled)));
    }
}

#[test]
fn progress_grows_to_the_bytes_of_all_inputs() {
    let files = varied();
    let plan = files.plan(&files.inputs(), &PROFILE, &quiet(1)).unwrap();
    for threads in [1, 2] {
        let seen = std::sync::Mutex::new(Vec::new());
        let progress = |done| seen.lock().unwrap().push(done);
        let control = Control { progress: &progress, ..quiet(threads) };
        let out = tempfile::tempfile().unwrap();
        let packed = pack_zip(&plan, &PROFILE, &files, &out, Before::default(), &control).unwrap();
        let name = ModelName::parse("m").unwrap();
        let seen = || std::mem::take(&mut *seen.lock().unwrap());
        let zip = seen();
        pack_tgz(&plan, &PROFILE, &files, &name, &out, &control).unwrap();
        let tgz = seen();
        pack_folder(&plan, &files, TempDir::new().unwrap().path(), Modes::Fixed, &control).unwrap();
        for seen in [zip, tgz, seen()] {
            assert!(seen.is_sorted());
            assert_eq!(seen.last(), Some(&plan.input_bytes()));
        }
        assert_eq!(packed.cost.read, plan.input_bytes());
        assert!(packed.cost.written >= packed.bytes);
    }
}

#[test]
fn a_tarball_holds_the_model_under_its_name() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let mut files = varied();
    files = Files::new(std::mem::take(&mut files.content).into_iter().chain([(long, text(700))]));
    let name = ModelName::parse("cats").unwrap();
    let mut before = Vec::new();
    for threads in [1, 2, 4] {
        let plan = files.plan(&files.inputs(), &PROFILE, &quiet(threads)).unwrap();
        let out = tempfile::tempfile().unwrap();
        let packed = pack_tgz(&plan, &PROFILE, &files, &name, &out, &quiet(threads)).unwrap();
        let bytes = bytes_of(&out);
        assert_eq!(packed.bytes, bytes.len() as u64);
        let mut tar = tar::Archive::new(flate2::bufread::GzDecoder::new(&bytes[..]));
        let mut held = BTreeMap::new();
        for (i, entry) in tar.entries().unwrap().enumerate() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(header.mode().unwrap(), 0o644);
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 315_532_800);
            assert_eq!(entry.raw_file_position(), packed.entries[i].data_offset);
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            assert_eq!(packed.entries[i].crc32, crc32fast::hash(&content));
            held.insert(path.strip_prefix("cats/").unwrap().to_owned(), content);
        }
        assert!(held == files.expected());
        assert_eq!(packed.digest(), files.zip(&PROFILE, 2).1.digest());
        assert!(before.is_empty() || before == bytes, "{threads} threads");
        before = bytes;
    }
}

#[test]
fn a_folder_holds_the_model_with_fixed_modes() {
    let files = varied();
    let plan = files.plan(&files.inputs(), &PROFILE, &quiet(1)).unwrap();
    for (threads, durable) in [(1, true), (3, false)] {
        let folder = TempDir::new().unwrap();
        let control = Control { durable, ..quiet(threads) };
        let packed = pack_folder(&plan, &files, folder.path(), Modes::Fixed, &control).unwrap();
        let mut held = BTreeMap::new();
        for found in walkdir::WalkDir::new(folder.path()) {
            let found = found.unwrap();
            let mode = found.metadata().unwrap().permissions().mode() & 0o7777;
            if found.file_type().is_dir() {
                assert_eq!(mode, 0o755, "{}", found.path().display());
            } else {
                assert_eq!(mode, 0o644, "{}", found.path().display());
                let path = found.path().strip_prefix(folder.path()).unwrap();
                held.insert(
                    path.to_str().unwrap().to_owned(),
                    std::fs::read(found.path()).unwrap(),
                );
            }
        }
        assert!(held == files.expected());
        assert_eq!(packed.digest(), files.zip(&PROFILE, 1).1.digest());
        assert_eq!(packed.bytes, held.values().map(|v| v.len() as u64).sum::<u64>());
    }
}

#[test]
fn the_bytes_depend_on_content_and_settings_alone() {
    let files = varied();
    let (first, _) = files.zip(&PROFILE, 1);
    let copy = Files::new(files.content.clone());
    for path in copy.content.keys() {
        let file = File::options().write(true).open(copy.folder.path().join(path)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    for threads in [1, 2, 4] {
        assert!(bytes_of(&first) == bytes_of(&copy.zip(&PROFILE, threads).0), "{threads} threads");
    }
}

#[test]
fn early_write_back_does_not_change_the_archive() {
    let files = Files::new([("a", text(9))]);
    let mut inputs = files.inputs();
    let size = 70 << 20;
    File::create(files.folder.path().join("large")).unwrap().set_len(size).unwrap();
    inputs.push(Input { path: EntryPath::parse("large").unwrap(), size });
    let plan = plan(MANIFEST.into(), &inputs, &[Method::Stored; 2], vec![]);
    let pack = |control: &Control<'_>| {
        let out = tempfile::tempfile().unwrap();
        let packed = pack_zip(&plan, &PROFILE, &files, &out, Before::default(), control).unwrap();
        layout::check(&out, &packed);
        (bytes_of(&out), packed)
    };
    let plain = pack(&quiet(2));
    assert!(pack(&Control { durable: true, ..quiet(2) }) == plain);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_bytes_do_not_depend_on_listing_order_or_threads(
        kinds in proptest::collection::btree_map(
            "[a-c]{1,2}(/[xyä]{1,2}){0,2}x", (0..=2 * CHUNK + 9, 0..3u8), 0..8),
        level in 1..=9u8,
        compression in prop_oneof![Just(Compression::Auto), Just(Compression::Deflate), Just(Compression::Store)],
        turn in any::<prop::sample::Index>(),
    ) {
        // No path can be a folder of another one.
        let paths: Vec<_> = kinds.keys().cloned().collect();
        let files = Files::new(kinds.into_iter().filter(|(path, _)| {
            !paths.iter().any(|other| other.starts_with(&format!("{path}/")))
        }).map(|(path, (length, kind))| {
            (path, match kind { 0 => text(length), 1 => noise(length), _ => vec![7; length] })
        }));
        let profile = Profile { compression, level, ..PROFILE };
        let (file, packed) = files.zip(&profile, 1);
        let expected = bytes_of(&file);
        prop_assert!(unzip(&file) == files.expected());
        layout::check(&file, &packed);
        let mut inputs = files.inputs();
        if !inputs.is_empty() {
            let turn = turn.index(inputs.len());
            inputs.rotate_left(turn);
            inputs.reverse();
        }
        for threads in [2, 4] {
            let (file, again) = files.try_zip(&inputs, &profile, &quiet(threads)).unwrap();
            prop_assert!(bytes_of(&file) == expected, "{} threads", threads);
            prop_assert_eq!(&again.entries, &packed.entries);
        }
    }
}
