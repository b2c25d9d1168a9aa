//! Carrying entries over from an archive that differs from the record of it.
//!
//! A small model is packed, its archive is changed as the input says, and the model is packed again
//! after an edit, with that archive as the previous one. The daemon notices a changed archive by its
//! stat; this is what holds even if it did not. Either the archive is refused, or the new one has the
//! bytes of a cold build except within the data of carried entries: no header, no length, no other
//! entry and no part of the directory is trusted.
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use marwatch::archive::pack::{Before, pack_zip};
use marwatch::archive::verify::verify_packed;
use marwatch::archive::{Control, Entry, Input, Packed, Profile, Source, plan, probe};
use marwatch::model::{Compression, EntryPath};

const PROFILE: Profile = Profile { compression: Compression::Auto, level: 1, store_above: 0.85 };
const MANIFEST: &[u8] = b"{\"model\": {\"modelName\": \"m\"}}\n";
static NOT_CANCELLED: AtomicBool = AtomicBool::new(false);

struct Files(tempfile::TempDir, Vec<Input>);

impl Files {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let inputs = files.iter().map(|(path, content)| {
            fs::write(folder.path().join(path), content).expect("room in memory");
            Input { path: EntryPath::parse(path).expect("a path"), size: content.len() as u64 }
        });
        let inputs = inputs.collect();
        Self(folder, inputs)
    }
}

impl Source for Files {
    fn open(&self, path: &EntryPath) -> io::Result<File> {
        File::open(self.0.path().join(path.as_path()))
    }
}

struct Stage {
    after: Files,
    carried: Vec<Entry>,
    before: Vec<u8>,
    cold: Vec<u8>,
    cold_packed: Packed,
    folder: PathBuf,
}

fn control() -> Control<'static> {
    Control { threads: 1, durable: false, cancelled: &NOT_CANCELLED, progress: &|_| {} }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().expect("a length").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("it can be read");
    bytes
}

fn cold(files: &Files, folder: &PathBuf) -> (Vec<u8>, Packed) {
    let methods = probe(&files.1, &PROFILE, files, &control()).expect("a probe");
    let plan = plan(MANIFEST.into(), &files.1, &methods, vec![]);
    let out = tempfile::tempfile_in(folder).expect("a file");
    let packed = pack_zip(&plan, &PROFILE, files, &out, Before::default(), &control()).expect("an archive");
    (bytes_of(&out), packed)
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let text = "the quick brown fox jumps over the lazy dog\n".repeat(40).into_bytes();
    let mut files = vec![
        ("a.txt", text.clone()),
        ("b.bin", noise(1, 900)),
        ("c.txt", b"short\n".to_vec()),
        ("large.bin", noise(2, (1 << 20) + 5)),
        ("z.txt", text),
    ];
    let folder = PathBuf::from("/dev/shm");
    let before = Files::new(&files);
    files[2].1 = b"an edit that is somewhat longer\n".to_vec();
    let after = Files::new(&files);
    let (before, packed) = cold(&before, &folder);
    let (cold, cold_packed) = cold(&after, &folder);
    let is_kept = |entry: &&Entry| {
        files.iter().any(|file| file.0 == entry.path.as_str() && file.0 != "c.txt")
    };
    let carried = packed.entries.iter().filter(is_kept).cloned().collect();
    Stage { after, carried, before, cold, cold_packed, folder }
});

pub fn check(edits: &[u8]) {
    let stage = &*STAGE;
    let mut bytes = stage.before.clone();
    // Four bytes an edit: where, near a header or anywhere, and what to do there.
    for edit in edits.chunks_exact(4) {
        let end = bytes.len().max(1);
        let anchors = stage.carried.iter().map(|entry| entry.header_offset as usize);
        let anchors: Vec<usize> =
            anchors.chain([0, stage.cold.len().saturating_sub(600)]).collect();
        let anchor = anchors[edit[0] as usize % anchors.len()];
        let at = (anchor + usize::from(edit[1]) * if edit[0] & 0x80 == 0 { 1 } else { 997 }) % end;
        match edit[2] % 4 {
            0 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= edit[3].max(1)),
            1 => bytes.truncate(at),
            2 => bytes.splice(at..at, std::iter::repeat_n(edit[3], 7)).for_each(drop),
            _ => drop(bytes.drain(at..(at + usize::from(edit[3])).min(bytes.len()))),
        }
    }
    let previous = tempfile::tempfile_in(&stage.folder).expect("a file");
    previous.write_all_at(&bytes, 0).expect("room in memory");
    let out = tempfile::tempfile_in(&stage.folder).expect("a file");
    let inputs: Vec<Input> =
        stage.after.1.iter().filter(|input| input.path.as_str() == "c.txt").cloned().collect();
    let methods = probe(&inputs, &PROFILE, &stage.after, &control()).expect("a probe");
    let plan = plan(MANIFEST.into(), &inputs, &methods, stage.carried.clone());
    let before = Before { previous: Some(&previous), in_place: &[] };
    let packed = pack_zip(&plan, &PROFILE, &stage.after, &out, before, &control());
    let Ok(packed) = packed else { return };
    if verify_packed(&out, &packed).is_err() {
        return;
    }
    let mut made = bytes_of(&out);
    assert_eq!(packed.entries, stage.cold_packed.entries);
    assert_eq!(made.len(), stage.cold.len());
    for entry in stage.cold_packed.entries.iter().filter(|entry| !packed.is_new(entry)) {
        let data = entry.data_offset as usize..(entry.data_offset + entry.packed_size) as usize;
        made[data.clone()].copy_from_slice(&stage.cold[data]);
    }
    assert!(made == stage.cold, "more than data was trusted");
}
