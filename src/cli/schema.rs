//! `marwatch schema`: JSON Schemas.

use std::io::Write;

use super::{Stop, written};
use crate::config;
use crate::exit::Exit;
use crate::results::{Catalog, Record};
use crate::status::Status;

/// Print the JSON Schema of a file that marwatch writes or reads
///
/// Editors with a YAML language server use a schema to complete and check keys. The first line of a
/// file from `marwatch init` or `marwatch new` names the schema in the same folder, so that nothing
/// is fetched. Write the schema again after an update of marwatch.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch schema config > .marwatch.schema.json
  marwatch schema model > models/resnet/.mar.schema.json
  marwatch schema results | jq '.properties | keys'")]
pub(super) struct Args {
    /// The file
    #[arg(value_name = "WHAT")]
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// A line of STORE/.marwatch/results.jsonl
    Results,
    /// STORE/.marwatch/catalog.json
    Catalog,
    /// The output of `marwatch status --json`
    Status,
    /// The configuration file
    Config,
    /// The settings file of a model: .mar.yaml in its folder
    Model,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
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
    /// The settings, after a line that names the schema in the same folder. Editors need no network,
    /// and the schema is that of the program which reads the file.
    pub(super) settings: String,
    pub(super) schema: String,
}

/// `settings` for editors. The caller writes their schema, the output of `marwatch schema WHAT`, to
/// `file`.
pub(super) fn for_editors(
    settings: &str,
    schema: &schemars::Schema,
    what: &str,
    file: &str,
) -> ForEditors {
    ForEditors {
        settings: format!(
            "# yaml-language-server: $schema={file}\n\
             # (for editors; `marwatch schema {what}` prints that file again)\n\n{settings}"
        ),
        schema: format!("{:#}\n", schema.as_value()),
    }
}
