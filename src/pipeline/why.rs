//! Why a model was packed, in words for its record.

use super::Attempt;
use super::compare::{EntryChange, changed_files};
use super::fingerprint::{LEVEL, PACK, PACKER, SERVERS, SETTINGS, STORE_ABOVE};
use super::snapshot::Scan;
use crate::archive::pack::Packed;
use crate::fs::identity::Identity;
use crate::store::{ChangedPart, ModelState};

/// How many changed files are named.
const MOST_NAMED: usize = 3;

impl Attempt<'_> {
    /// The reasons for which this archive was packed.
    pub(super) fn reasons(&self, scan: &Scan, packed: &Packed) -> Vec<String> {
        let mut why = Vec::new();
        if self.job.is_rebuild() {
            why.push("rebuild requested".to_owned());
        }
        let Some(known) = self.known() else {
            why.push(match (&self.job.listed, self.last_generation) {
                (Some(_), _) => "it is not known what the last archive was packed from".to_owned(),
                (None, 0) => "first archive".to_owned(),
                (None, last) => format!("first archive since generation {last}"),
            });
            return why;
        };
        if !self.job.is_rebuild() {
            why.extend(self.archive_reason(known, scan));
        }
        if known.folder != scan.folder.path() {
            why.push(format!("its folder was {} before", known.folder.display()));
        }
        match (&known.held, &scan.changes) {
            (Some(held), _) => {
                if !held.is_against(&scan.resolved.settings_fingerprint) {
                    why.push("the settings in its folder changed".to_owned());
                }
            }
            (None, Some(changes)) => why.extend(changes.parts().iter().map(part_reason)),
            (None, None) if self.job.is_rebuild() => {}
            // The end of a hold forgets the files too.
            (None, None) if known.files.is_empty() => {
                why.push("the earlier archive is no longer held".to_owned());
            }
            (None, None) => {
                why.push("a power cut may have damaged the archive in the store".to_owned());
            }
        }
        if !known.files.is_empty() {
            why.extend(file_reasons(known, packed));
        }
        why
    }

    /// What is wrong with the archive in the store, if anything is.
    fn archive_reason(&self, known: &ModelState, scan: &Scan) -> Option<String> {
        let name = scan.name.as_ref()?;
        let place = self.builder.store.place(name, known.archive.format);
        match Identity::at(&place).ok()? {
            Some(found) if found == known.archive.identity => None,
            Some(_) => Some("the archive in the store was not the one published last".to_owned()),
            None => Some("the archive in the store was missing".to_owned()),
        }
    }
}

fn part_reason(part: &ChangedPart) -> String {
    let version = |value: &Option<String>| value.as_ref().and_then(|text| text.parse::<u32>().ok());
    match part.name.as_str() {
        PACKER if version(&part.before) > version(&part.now) => {
            "packed by a newer version of marwatch".to_owned()
        }
        PACKER => "packed by an older version of marwatch".to_owned(),
        SERVERS if part.now.is_some() => "servers were configured".to_owned(),
        SERVERS => "servers are no longer configured".to_owned(),
        SETTINGS => "a setting changed".to_owned(),
        PACK => "`pack` changed".to_owned(),
        LEVEL | STORE_ABOVE => format!("`pack.{}` changed", part.name),
        "engine" | "version" | "description" | "license" | "publisher" | "extensions"
        | "user_data" => format!("the manifest's `{}` changed", part.name),
        name => format!("`{name}` changed"),
    }
}

/// The files whose content differs from the last build, by path.
fn file_reasons(known: &ModelState, packed: &Packed) -> Vec<String> {
    let changed = changed_files(known, packed);
    let named = changed.iter().take(MOST_NAMED).map(|(path, change)| match change {
        EntryChange::Added => format!("{path} is new"),
        EntryChange::Changed => format!("{path} changed"),
        EntryChange::Removed => format!("{path} was removed"),
    });
    let rest = match changed.len().saturating_sub(MOST_NAMED) {
        0 => None,
        1 => Some("and 1 more file changed".to_owned()),
        more => Some(format!("and {more} more files changed")),
    };
    named.chain(rest).collect()
}
