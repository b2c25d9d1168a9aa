//! A model larger than the memory.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use marwatch::results::Outcome;

use crate::common::random::Random;
use crate::common::service;
use crate::common::site::Site;

/// Bytes of memory for a build, including the page cache.
const CAP: u64 = 40 << 20;
/// Bytes of the model.
const MODEL: usize = 160 << 20;

/// A control group with a memory limit. Dropping it removes it.
struct Group {
    folder: PathBuf,
    members: &'static str,
}

impl Group {
    /// A group with a limit of `bytes`, if this machine allows one.
    fn with(bytes: u64) -> Option<Self> {
        let name = format!("marwatch-{}", std::process::id());
        // cgroup v2 has another name for the limit.
        for (root, limit, members) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "cgroup.procs"),
            ("/sys/fs/cgroup", "memory.max", "cgroup.procs"),
        ] {
            let folder = Path::new(root).join(&name);
            if !Path::new(root).join("cgroup.procs").exists() || fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self { folder, members };
            if fs::write(group.folder.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }

    /// The peak of its memory use, where the kernel reports it.
    fn peak(&self) -> Option<u64> {
        let files = ["memory.max_usage_in_bytes", "memory.peak"];
        let found = files.iter().find_map(|file| fs::read_to_string(self.folder.join(file)).ok());
        found.and_then(|text| text.trim().parse().ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// One pass within the limit.
fn build(site: &Site, group: Option<&Group>) -> Output {
    let program = env!("CARGO_BIN_EXE_marwatch");
    let mut command = match group {
        Some(group) => {
            let mut command = Command::new("sh");
            command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
            command.arg(group.folder.join(group.members)).arg(program);
            command
        }
        // Without control groups, limit allocations instead: the page cache then does not count.
        None => {
            let mut command = Command::new("prlimit");
            command.arg(format!("--data={CAP}")).arg(program);
            command
        }
    };
    command.args(["build", "-c"]).arg(&site.config).output().unwrap()
}

#[test]
#[ignore = "needs root and a control group, and writes half a GB"]
fn a_model_larger_than_the_memory_is_built_cold_and_again_after_an_edit() {
    let site = Site::new();
    let folder = site.prepare("m", &[("service.py", &service("0"))]);
    // One file that is stored, and one that is compressed.
    let mut noise = fs::File::create(folder.join("weights.bin")).unwrap();
    for part in 0..MODEL / 2 / (1 << 20) {
        noise.write_all(&Random::new(part as u64).noise(1 << 20)).unwrap();
    }
    let text = fs::File::create(folder.join("vocabulary.txt")).unwrap();
    let mut text = std::io::BufWriter::new(text);
    for line in 0..MODEL / 2 / 32 {
        writeln!(text, "{line:08} {:022x}", line * line).unwrap();
    }
    text.flush().unwrap();
    drop((noise, text));
    fs::rename(folder, site.drop.join("m")).unwrap();
    let group = Group::with(CAP);
    for (round, answer) in ["0", "one"].into_iter().enumerate() {
        fs::write(site.drop.join("m/service.py"), service(answer)).unwrap();
        let output = build(&site, group.as_ref());
        assert_eq!(output.status.signal(), None, "killed for want of memory: {output:?}");
        assert!(output.status.success(), "{output:?}");
        let records = site.records_of("m");
        assert_eq!(records[round].outcome, Outcome::Published);
        assert_eq!(records[round].entries.unwrap().carried_over, 2 * round as u64);
    }
    match group.as_ref().and_then(Group::peak) {
        Some(peak) => {
            println!("{} MiB at most, of a model of {} MiB", peak >> 20, MODEL >> 20);
            assert!(peak <= CAP);
        }
        None => println!("no control group: what was allocated was limited"),
    }
    site.check_store();
    // Without a limit the bytes are the same.
    let other = Site::new();
    fs::rename(site.drop.join("m"), other.drop.join("m")).unwrap();
    assert!(other.run(&["build", "-c", "marwatch.yaml"]).status.success());
    let hash = |site: &Site| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs::File::open(site.archive("m")).unwrap()).unwrap();
        hasher.finalize()
    };
    assert_eq!(hash(&site), hash(&other));
}
