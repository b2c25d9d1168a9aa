//! The names of an archive's entries: those that the server refuses, that lead out of the model, that
//! collide, or that the specification excludes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::findings::{Findings, REBUILD};
use crate::model::exclude::is_built_in;
use crate::model::manifest::{MANIFEST_PATH, MAR_INF};
use crate::model::problem::Code;
use crate::text::shown;

/// The longest component of a path on the server's disk (`NAME_MAX`).
const MAX_COMPONENT: usize = 255;
/// The longest path on the server's disk (`PATH_MAX`), less the path of the model's folder.
pub const MAX_PATH: usize = 4000;

/// Checks all names together. A folder's name ends in `/`.
pub fn check<'a>(names: impl Iterator<Item = &'a [u8]> + Clone, findings: &mut Findings) {
    for name in names.clone() {
        check_one(name, findings);
    }
    check_collisions(names.clone(), findings);
    check_excluded(names, findings);
}

fn check_one(name: &[u8], findings: &mut Findings) {
    let shown = shown(name);
    let mut refused = |what: &str, help: &str| {
        findings.error(Code::FileName, format!("the entry `{shown}` {what}"), help);
    };
    let Ok(text) = std::str::from_utf8(name) else {
        let help = "rename the file; with this one in its store, the server can fail to start";
        refused("has a name that is not UTF-8", help);
        return;
    };
    let plain = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        refused("has no name", REBUILD);
    }
    if text.contains('\0') {
        refused("has a zero byte in its name", "rename the file; the server cannot create it");
    }
    if text.starts_with('/') {
        let help = "pack paths relative to the model folder; other tools would write outside it";
        refused("has an absolute path", help);
    }
    if plain.split('/').any(|part| part == "..") {
        let help = "do not load this archive: the server would write outside the model's folder";
        refused("leads out of the model's folder", help);
    }
    if plain.split('/').any(|part| part.len() > MAX_COMPONENT) || plain.len() > MAX_PATH {
        refused("has a name that is too long for a file system", "shorten it");
    }
    let odd = |part: &str| part.is_empty() || part == ".";
    if !text.starts_with('/') && !text.is_empty() && plain.split('/').any(odd) {
        let message = format!("the entry `{shown}` is not a plain path");
        findings.warning(Code::FileName, message, "pack paths without `./` and `//`");
    }
    if text.chars().any(|c| c == '\\' || (c != '\0' && c.is_control())) {
        let message =
            format!("the entry `{shown}` has a backslash or a control character in its name");
        findings.warning(Code::FileName, message, "rename it; tools disagree on its meaning");
    }
}

fn check_collisions<'a>(names: impl Iterator<Item = &'a [u8]> + Clone, findings: &mut Findings) {
    let mut files: BTreeMap<&[u8], usize> = BTreeMap::new();
    for name in names.clone().filter(|name| !name.ends_with(b"/")) {
        *files.entry(name).or_default() += 1;
    }
    for (name, count) in files.iter().filter(|&(_, &count)| count > 1) {
        let message = format!("the entry `{}` occurs {count} times", shown(name));
        let help =
            "build the archive again; the server keeps the last one, other tools may keep another";
        findings.error(Code::FileName, message, help);
    }
    let mut blocked = BTreeSet::new();
    // Longer names were refused above, and could take very long here.
    for name in names.filter(|name| name.len() <= MAX_PATH) {
        for (place, _) in name.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            if files.contains_key(&name[..place]) && blocked.insert(&name[..place]) {
                let message = format!("`{}` is both a file and a folder", shown(&name[..place]));
                let help = "rename one of them; the server cannot create both";
                findings.error(Code::FileName, message, help);
            }
        }
    }
    let mut folded: HashMap<String, &[u8]> = HashMap::new();
    for &name in files.keys() {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        if let Some(other) = folded.insert(text.to_lowercase(), name) {
            let message = format!("`{}` and `{}` differ only in case", shown(other), shown(name));
            let help =
                "rename one of them; on a file system that ignores case, one replaces the other";
            findings.warning(Code::FileName, message, help);
        }
    }
}

/// Warns of entries that the specification excludes, and of those in its reserved folder.
fn check_excluded<'a>(names: impl Iterator<Item = &'a [u8]>, findings: &mut Findings) {
    // One problem for an excluded folder, not one for each file in it.
    let mut excluded: BTreeMap<&[u8], usize> = BTreeMap::new();
    for name in names.filter(|&name| name != MANIFEST_PATH.as_bytes()) {
        let plain = name.strip_suffix(b"/").unwrap_or(name);
        let mut start = 0;
        for part in plain.split(|&byte| byte == b'/') {
            let end = start + part.len();
            if !matches!(part, b"." | b"..")
                && is_built_in(OsStr::from_bytes(part), end < name.len())
            {
                *excluded.entry(&plain[..end]).or_default() += 1;
                break;
            }
            start = end + 1;
        }
        if plain.split(|&byte| byte == b'/').next() == Some(MAR_INF.as_bytes())
            && plain != MAR_INF.as_bytes()
        {
            let message = format!("`{}` is in the reserved folder {MAR_INF}", shown(name));
            findings.warning(Code::ReservedName, message, "move it elsewhere");
        }
    }
    for (name, count) in excluded {
        let many = if count > 1 { format!(" ({count} entries)") } else { String::new() };
        let message = format!("`{}`{many} is excluded by the specification", shown(name));
        let help = "do not pack hidden files, Python caches and archives";
        findings.unusual(message, help);
    }
}
