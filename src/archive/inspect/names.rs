//! The names of an archive's entries: what the server cannot take, what leads out of the model,
//! what collides, and what the specification leaves out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::findings::Findings;
use crate::model::exclude::is_built_in;
use crate::model::manifest::{MANIFEST_PATH, MAR_INF};
use crate::model::problem::Code;
use crate::text::shown;

/// The longest component of a path on the server's disk (`NAME_MAX`).
const MAX_COMPONENT: usize = 255;
/// The longest path on the server's disk (`PATH_MAX`), where the model's folder comes before it.
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
        refused("has no name", "build the archive anew");
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
        refused("has a longer name than a file system takes", "shorten it");
    }
    let odd = |part: &str| part.is_empty() || part == ".";
    if !text.starts_with('/') && !text.is_empty() && plain.split('/').any(odd) {
        let message = format!("the entry `{shown}` is not a plain path");
        findings.warning(Code::FileName, message, "pack paths without `./` and `//`");
    }
    if text.chars().any(|c| c == '\\' || (c != '\0' && c.is_control())) {
        let message =
            format!("the entry `{shown}` has a backslash or a control character in its name");
        findings.warning(Code::FileName, message, "rename it; tools disagree on what it means");
    }
}

fn check_collisions<'a>(names: impl Iterator<Item = &'a [u8]> + Clone, findings: &mut Findings) {
    let mut files: BTreeMap<&[u8], usize> = BTreeMap::new();
    for name in names.clone().filter(|name| !name.ends_with(b"/")) {
        *files.entry(name).or_default() += 1;
    }
    for (name, count) in files.iter().filter(|&(_, &count)| count > 1) {
        let message = format!("the entry `{}` is there {count} times", shown(name));
        findings.error(
            Code::FileName,
            message,
            "build the archive anew; the server keeps the last one, other tools may keep another",
        );
    }
    let mut blocked = BTreeSet::new();
    // Longer names were refused above, and could be made to take for ever here.
    for name in names.filter(|name| name.len() <= MAX_PATH) {
        for (place, _) in name.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            if files.contains_key(&name[..place]) && blocked.insert(&name[..place]) {
                let message = format!("`{}` is both a file and a folder", shown(&name[..place]));
                findings.error(
                    Code::FileName,
                    message,
                    "rename one of them; the server cannot create both",
                );
            }
        }
    }
    let mut folded: HashMap<String, &[u8]> = HashMap::new();
    for &name in files.keys() {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        if let Some(other) = folded.insert(text.to_lowercase(), name) {
            let message = format!("`{}` and `{}` differ only in case", shown(other), shown(name));
            findings.warning(
                Code::FileName,
                message,
                "rename one of them; where case does not count, one replaces the other",
            );
        }
    }
}

/// What the specification leaves out, and what stands in its reserved folder.
fn check_excluded<'a>(names: impl Iterator<Item = &'a [u8]>, findings: &mut Findings) {
    // One problem for a folder that should not be there, not one for each file in it.
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
            let message = format!("`{}` stands in the reserved folder {MAR_INF}", shown(name));
            findings.warning(Code::ReservedName, message, "move it elsewhere");
        }
    }
    for (name, count) in excluded {
        let many = if count > 1 { format!(" ({count} entries)") } else { String::new() };
        let message = format!("`{}`{many} is left out by the specification", shown(name));
        findings.warning(
            Code::ArchiveUnusual,
            message,
            "leave out hidden files, Python caches and archives when packing",
        );
    }
}
