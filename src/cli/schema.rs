//! `marwatch schema`.

use std::io::Write;

use super::written;
use crate::config;
use crate::exit::Exit;
use crate::results::{Catalog, Record};
use crate::status::Status;

/// Print the JSON Schema of a file that marwatch writes or reads
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one
    #[arg(value_name = "WHAT")]
    pub what: What,
}

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// A line of STORE/.marwatch/results.jsonl
    Results,
    /// STORE/.marwatch/catalog.json
    Catalog,
    /// What `marwatch status --json` prints
    Status,
    /// The configuration file
    Config,
}

/// Prints the schema.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let schema = match args.what {
        What::Results => Record::json_schema(),
        What::Catalog => Catalog::json_schema(),
        What::Status => Status::json_schema(),
        What::Config => config::schema().to_value(),
    };
    written(writeln!(out, "{schema:#}"))
}
