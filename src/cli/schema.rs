//! `marwatch schema`.

use std::io::Write;

use super::written;
use crate::config;
use crate::exit::Exit;
use crate::results::{Catalog, Record};
use crate::status::Status;

/// Print the JSON Schema of a file that marwatch writes or reads
///
/// By a schema, editors complete and check keys. Those with a YAML language server take it from
/// the first line of a file, which `marwatch init` and `marwatch new` write, with the schema in the
/// same folder: nothing is fetched. After an update of marwatch, write it anew.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch schema config > .marwatch.schema.json
  marwatch schema model > models/resnet/.mar.schema.json
  marwatch schema results | jq '.properties | keys'")]
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
    /// The settings of a model: .mar.yaml in its folder
    Model,
}

/// Prints the schema.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let schema = match args.what {
        What::Results => Record::json_schema(),
        What::Catalog => Catalog::json_schema(),
        What::Status => Status::json_schema(),
        What::Config => config::schema().to_value(),
        What::Model => config::settings_schema().to_value(),
    };
    written(writeln!(out, "{schema:#}"))
}

/// A file of settings and the schema that goes beside it.
#[derive(Debug)]
pub(super) struct ForEditors {
    /// The settings, below the line by which editors find the schema in the same folder. That works
    /// without a network, and the schema is that of the program which reads the file.
    pub(super) settings: String,
    /// The schema.
    pub(super) schema: String,
}

/// `settings` for editors. Their schema is what `marwatch schema WHAT` prints, and is to be written
/// to `file`.
pub(super) fn for_editors(
    settings: &str,
    schema: &schemars::Schema,
    what: &str,
    file: &str,
) -> ForEditors {
    ForEditors {
        settings: format!(
            "# yaml-language-server: $schema={file}\n\
             # (for editors; `marwatch schema {what}` prints that file anew)\n\n{settings}"
        ),
        schema: format!("{:#}\n", schema.as_value()),
    }
}
