//! `marwatch schema`.

use std::io::Write;

use clap::ValueEnum;

use super::written;
use crate::config;
use crate::exit::Exit;
use crate::results::{Catalog, Record};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A line of STORE/.marwatch/results.jsonl
    Results,
    /// STORE/.marwatch/catalog.json
    Catalog,
    /// The configuration file
    Config,
    /// The settings of a model: .mar.yaml in its folder
    Model,
}

impl What {
    /// The schema as text, with a line end.
    pub fn text(self) -> String {
        let schema = match self {
            Self::Results => Record::json_schema(),
            Self::Catalog => Catalog::json_schema(),
            Self::Config => config::schema().to_value(),
            Self::Model => config::settings_schema().to_value(),
        };
        format!("{schema:#}\n")
    }
}

/// `text` below the line by which editors find its schema: `file` in the same folder. That works
/// without a network, and the schema is that of the program which reads the file.
pub(super) fn for_editors(file: &str, what: What, text: &str) -> String {
    let name = what.to_possible_value().map(|value| value.get_name().to_owned());
    format!(
        "# yaml-language-server: $schema={file}\n\
         # (for editors; `marwatch schema {}` prints that file anew)\n\n{text}",
        name.unwrap_or_default()
    )
}

/// Prints the schema.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    written(out.write_all(args.what.text().as_bytes()))
}
