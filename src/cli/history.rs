//! `marwatch history`: which archives of a model there are.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::source::Source;
use super::{fail, written};
use crate::exit::Exit;
use crate::model::ModelName;
use crate::results::catalog::CatalogEntry;
use crate::results::{CATALOG_FILE, Catalog};
use crate::store::{History, hidden_folder};
use crate::text::chain;
use crate::text::printable;

/// Show which earlier archives of models are kept and can be put back
///
/// The newest first, with the one that is in the store at the top. `history.keep` in the
/// configuration says how many are kept.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch history resnet
  marwatch history --json resnet | jq -r '.[].kept[].generation'
Put one back with `marwatch rollback`.")]
pub struct Args {
    /// Names of models; all without any
    #[arg(value_name = "MODEL")]
    pub models: Vec<String>,
    /// Print an array of objects: model, live, kept
    #[arg(long)]
    pub json: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
}

/// The archives of one model.
#[derive(Debug, Serialize)]
struct Archives {
    model: String,
    /// What the catalog says of the one in the store.
    live: Option<CatalogEntry>,
    /// Those in the history, the newest first.
    kept: Vec<KeptArchive>,
}

/// One in the history.
#[derive(Debug, Serialize)]
struct KeptArchive {
    generation: u64,
    /// The first digits of the digest; none of one that marwatch did not build.
    digest: Option<String>,
    bytes: Option<u64>,
    /// When it was packed.
    packed: Option<Timestamp>,
    path: PathBuf,
}

/// Prints them.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let config = match args.source.load() {
        Ok((config, _)) => config,
        Err(error) => return error.say(),
    };
    let hidden = hidden_folder(&config.store);
    let catalog = match Catalog::read(&hidden.join(CATALOG_FILE)) {
        Ok(catalog) => catalog.map(|catalog| catalog.models).unwrap_or_default(),
        Err(error) => return fail(Exit::Unavailable, &chain(&error)),
    };
    let history = History::of(&hidden);
    let kept = history.models().into_iter().map(|name| name.to_string());
    let all: BTreeSet<String> = catalog.keys().cloned().chain(kept).collect();
    if let Some(unknown) = args.models.iter().find(|name| !all.contains(*name)) {
        let names: Vec<_> = all.iter().map(String::as_str).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return fail(
            Exit::Usage,
            &format!("there is no archive of `{unknown}`; there are archives of: {there}"),
        );
    }
    let wanted = all.iter().filter(|name| args.models.is_empty() || args.models.contains(name));
    let archives: Vec<Archives> = wanted
        .map(|name| Archives {
            model: name.clone(),
            live: catalog.get(name).cloned(),
            kept: kept_of(&history, name),
        })
        .collect();
    written(if args.json { json(&archives, out) } else { table(&archives, out) })
}

fn kept_of(history: &History, name: &str) -> Vec<KeptArchive> {
    let kept = ModelName::parse(name).map(|name| history.list(&name)).unwrap_or_default();
    let tell = |kept: crate::store::Kept| {
        let metadata = kept.path.symlink_metadata().ok();
        let changed = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        KeptArchive {
            generation: kept.generation,
            digest: kept.digest,
            bytes: metadata.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len()),
            packed: changed.and_then(|changed| Timestamp::try_from(changed).ok()),
            path: kept.path,
        }
    };
    kept.into_iter().map(tell).collect()
}

fn json(archives: &[Archives], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", serde_json::to_string_pretty(archives)?)
}

fn table(archives: &[Archives], out: &mut dyn Write) -> io::Result<()> {
    if archives.is_empty() {
        return writeln!(out, "there is no archive yet");
    }
    let mut table = super::table();
    table.set_header(["MODEL", "GENERATION", "STATE", "PACKED", "SIZE", "DIGEST"]);
    let size = |bytes: Option<u64>| {
        bytes.map(|bytes| indicatif::HumanBytes(bytes).to_string()).unwrap_or_default()
    };
    // To the second: more tells nothing to people.
    let time =
        |time: Option<Timestamp>| time.map(|time| format!("{:.0}", time)).unwrap_or_default();
    for archives in archives {
        let name = printable(&archives.model);
        if let Some(live) = &archives.live {
            let state = match &live.held {
                Some(held) => format!("in the store, held: content of {}", held.of),
                None => "in the store".to_owned(),
            };
            let digest = live.digest.chars().take(19).collect();
            let generation = live.generation.to_string();
            table.add_row([
                name.clone(),
                generation,
                state,
                time(Some(live.published)),
                size(Some(live.bytes)),
                digest,
            ]);
        }
        for kept in &archives.kept {
            let digest = match &kept.digest {
                Some(digest) => format!("b3:{digest}"),
                None => "unknown".to_owned(),
            };
            let generation = kept.generation.to_string();
            table.add_row([
                name.clone(),
                generation,
                "kept".into(),
                time(kept.packed),
                size(kept.bytes),
                digest,
            ]);
        }
    }
    super::write_table(table, out)
}
