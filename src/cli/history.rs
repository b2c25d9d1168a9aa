//! `marwatch history`: the archives that the store keeps of each model.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::output::{size, table, write_json, write_table};
use super::source::Source;
use super::{Stop, unknown_models, written};
use crate::exit::Exit;
use crate::model::ModelName;
use crate::results::catalog::CatalogEntry;
use crate::results::{CATALOG_FILE, Catalog};
use crate::store::{History, hidden_folder};
use crate::text::{chain, printable};

/// List the earlier archives of models that can be put back
///
/// Newest first, beginning with the archive in the store. `history.keep` in the configuration says
/// how many are kept.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch history resnet
  marwatch history --json resnet | jq -r '.[].kept[].generation'
Put an archive back with `marwatch rollback`.")]
pub(super) struct Args {
    /// Names of models [default: all models]
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Print an array of objects: model, live, kept
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

/// The archives of one model.
#[derive(Debug, Serialize)]
struct Archives {
    model: String,
    /// The catalog's entry of the archive in the store.
    live: Option<CatalogEntry>,
    /// The archives in the history, newest first.
    kept: Vec<KeptArchive>,
}

/// An archive in the history.
#[derive(Debug, Serialize)]
struct KeptArchive {
    generation: u64,
    /// The first digits of the digest; `None` for an archive that marwatch did not build.
    digest: Option<String>,
    bytes: Option<u64>,
    /// When it was packed.
    packed: Option<Timestamp>,
    path: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let hidden = hidden_folder(&args.source.config()?.store);
    let catalog = Catalog::read(&hidden.join(CATALOG_FILE))
        .map_err(|error| Stop::new(Exit::Unavailable, chain(&error)))?
        .map(|catalog| catalog.models)
        .unwrap_or_default();
    let history = History::of(&hidden);
    let kept = history.models().into_iter().map(|name| name.to_string());
    let all: BTreeSet<String> = catalog.keys().cloned().chain(kept).collect();
    let unknown = args.models.iter().filter(|name| !all.contains(*name)).map(String::as_str);
    let unknown: Vec<&str> = unknown.collect();
    if !unknown.is_empty() {
        let known: Vec<&str> = all.iter().map(String::as_str).collect();
        return Err(unknown_models(&unknown, &known));
    }
    let wanted = all.iter().filter(|name| args.models.is_empty() || args.models.contains(name));
    let archives: Vec<Archives> = wanted
        .map(|name| Archives {
            model: name.clone(),
            live: catalog.get(name).cloned(),
            kept: kept_of(&history, name),
        })
        .collect();
    written(if args.json { write_json(out, &archives) } else { write(&archives, out) })
}

fn kept_of(history: &History, name: &str) -> Vec<KeptArchive> {
    let kept = ModelName::parse(name).map(|name| history.list(&name)).unwrap_or_default();
    let describe = |kept: crate::store::Kept| {
        let metadata = kept.path.symlink_metadata().ok();
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        KeptArchive {
            generation: kept.generation,
            digest: kept.digest,
            bytes: metadata.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len()),
            packed: modified.and_then(|modified| Timestamp::try_from(modified).ok()),
            path: kept.path,
        }
    };
    kept.into_iter().map(describe).collect()
}

fn write(archives: &[Archives], out: &mut dyn Write) -> io::Result<()> {
    if archives.is_empty() {
        return writeln!(out, "there are no archives yet");
    }
    let mut table = table();
    table.set_header(["MODEL", "GENERATION", "STATE", "PACKED", "SIZE", "DIGEST"]);
    let time = |time: Option<Timestamp>| time.map(|time| format!("{time:.0}")).unwrap_or_default();
    for Archives { model, live, kept } in archives {
        let mut add = |generation: u64, state, packed, bytes: Option<u64>, digest| {
            let generation = generation.to_string();
            table.add_row([printable(model), generation, state, time(packed), size(bytes), digest]);
        };
        if let Some(live) = live {
            let state = match &live.held {
                Some(held) => format!("in the store, held: content of generation {}", held.of),
                None => "in the store".to_owned(),
            };
            let digest = live.digest.chars().take(19).collect();
            add(live.generation, state, Some(live.published), Some(live.bytes), digest);
        }
        for kept in kept {
            let digest = match &kept.digest {
                Some(digest) => format!("b3:{digest}"),
                None => "unknown".to_owned(),
            };
            add(kept.generation, "kept".to_owned(), kept.packed, kept.bytes, digest);
        }
    }
    write_table(out, table)
}
