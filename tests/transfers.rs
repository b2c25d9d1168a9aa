//! Programs that write models in their usual ways: wherever they pause, no archive ever holds an
//! unsettled state, and the last state is published.
//!
//! The history keeps every archive that was ever published, and the tests check each.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod common;

#[path = "transfers/editors.rs"]
mod editors;
#[path = "transfers/tools.rs"]
mod tools;
#[path = "transfers/unknown.rs"]
mod unknown;
#[path = "transfers/writers.rs"]
mod writers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::archives::{self, Members};
use common::daemon::Daemon;
use common::random::Random;
use common::site::Site;

/// The longest quiet time.
const QUIET: Duration = Duration::from_millis(600);
/// Longer than any quiet time.
const STALL: Duration = Duration::from_millis(1800);

/// A site that keeps every archive; no transfer here reaches `max_wait`.
fn site() -> Site {
    Site::with(TERMS)
}

const TERMS: &str = "settle: {quiet: 300ms, quiet_long: 600ms, max_wait: 10m}\n\
                     history: {keep: 100000, spare: off}\nrescan_interval: 10h\n";

/// The files of a folder that marwatch packs.
fn packed(folder: &Path) -> Members {
    let is_visible = |path: &str| path.split('/').all(|part| !part.starts_with('.'));
    archives::folder(folder).into_iter().filter(|(path, _)| is_visible(path)).collect()
}

/// Every archive of a model that was ever published, the current one last, without manifests.
fn published(site: &Site, model: &str) -> Vec<(PathBuf, Members)> {
    let history = fs::read_dir(site.hidden().join("history").join(model));
    let mut paths: Vec<PathBuf> =
        history.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.extend(Some(site.archive(model)).filter(|path| path.exists()));
    let read = |path: PathBuf| {
        let mut members = archives::zip(&path);
        members.remove("MAR-INF/MANIFEST.json").unwrap();
        (path, members)
    };
    paths.into_iter().map(read).collect()
}

/// An error if an archive of the model holds none of `states`, or the last archive not the last of
/// them.
fn judge(site: &Site, model: &str, states: &[&Members]) -> Result<(), String> {
    let archives = published(site, model);
    for (path, members) in &archives {
        if !states.contains(&members) {
            let sizes: Vec<_> = members.iter().map(|(path, c)| (path, c.len())).collect();
            return Err(format!("{} holds no settled state: {sizes:?}", path.display()));
        }
    }
    match (archives.last(), states.last()) {
        (Some((_, found)), Some(wanted)) if found == *wanted => Ok(()),
        _ => Err(format!("the last state is not published, {} archives", archives.len())),
    }
}

/// Waits until the archive of a model holds `state`.
#[track_caller]
fn wait_for(daemon: &mut Daemon<'_>, archive: &Path, state: &Members) {
    daemon.wait("the last state", |_| {
        let members = archive.exists().then(|| archives::zip(archive))?;
        let is_same = members.len() == state.len() + 1
            && state.iter().all(|(path, content)| members.get(path) == Some(content));
        is_same.then_some(())
    });
}

/// Waits until the archive of `m` holds the present state of its folder, and stops the daemon. An
/// error if an archive holds neither that nor one of the states `before`.
#[track_caller]
fn judge_settled(mut daemon: Daemon<'_>, site: &Site, before: &[&Members]) -> Result<(), String> {
    let last = packed(&site.drop.join("m"));
    wait_for(&mut daemon, &site.archive("m"), &last);
    daemon.stop();
    judge(site, "m", &[before, &[&last]].concat())
}

/// Bytes that do not compress; other ones for each `word`.
fn noise(word: &str, length: usize) -> Vec<u8> {
    let seed = *blake3::hash(word.as_bytes()).as_bytes().first_chunk().unwrap();
    Random::new(u64::from_le_bytes(seed)).noise(length)
}
