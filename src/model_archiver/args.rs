//! The command line, parsed as Python's `argparse` does: `--option=value`, unambiguous prefixes, the last
//! value of a repeated option, and the same error messages.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, Parser};

use crate::model::{ArchiveFormat, Runtime};
use crate::text::printable;

/// The output of `-h`, in the layout of the specification.
pub(super) const HELP: &str = include_str!("help.txt");

/// Packages a model folder into a model archive for Multi-Model-Server
///
/// It has the options of the Python command of this name, which may be abbreviated, and packages by
/// the rules of marwatch.
// The comments of options are for the manual page; `-h` prints HELP.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(
    name = "model-archiver",
    override_help = HELP,
    disable_help_flag = true,
    infer_long_args = true,
    args_override_self = true,
    allow_negative_numbers = true
)]
pub(super) struct Args {
    /// Print help
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The model's name; the archive is NAME.mar
    #[arg(long)]
    pub(super) model_name: String,
    /// The folder with the model's files
    #[arg(long, value_parser = path())]
    pub(super) model_path: PathBuf,
    /// The entry point: MODULE or MODULE:FUNCTION
    #[arg(long)]
    pub(super) handler: String,
    /// The interpreter of the handler
    #[arg(long, default_value = "python")]
    pub(super) runtime: Runtime,
    /// The folder for the archive [default: the current folder]
    #[arg(long, value_parser = path())]
    pub(super) export_path: Option<PathBuf>,
    /// The format of the archive
    #[arg(long, default_value = "default")]
    pub(super) archive_format: ArchiveFormat,
    /// Replace an archive of the same name
    #[arg(short, long)]
    pub(super) force: bool,
    /// Refused: converting ONNX models needs Python
    #[arg(short, long)]
    pub(super) convert: bool,
}

/// Accepts an empty path, which clap's own parser refuses.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Why the command line names no work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ArgsError {
    /// It asks for the help.
    Help,
    /// It is wrong, for this reason.
    Usage(String),
}

impl Args {
    /// Parses the command line. Its first word is the name of the program.
    pub(super) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        Self::try_parse_from(words).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp => ArgsError::Help,
            _ => ArgsError::Usage(printable(&reason(&error))),
        })
    }
}

/// The usage without the rest of the help.
pub(super) fn usage() -> &'static str {
    HELP.split_once("\n\n").map_or(HELP, |(usage, _)| usage)
}

/// The error in the words of `argparse`.
fn reason(error: &clap::Error) -> String {
    let texts = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => vec![],
    };
    let of = |kind| texts(kind).into_iter().next().unwrap_or_default();
    let (option, value) = (of(ContextKind::InvalidArg), of(ContextKind::InvalidValue));
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            let missing = texts(ContextKind::InvalidArg);
            let names: Vec<_> = missing.iter().map(|option| bare(option)).collect();
            format!("the following arguments are required: {}", names.join(", "))
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("argument {}: expected one argument", with_short(&option))
        }
        ErrorKind::InvalidValue => {
            let choices: Vec<_> =
                texts(ContextKind::ValidValue).iter().map(|choice| format!("'{choice}'")).collect();
            format!(
                "argument {}: invalid choice: '{value}' (choose from {})",
                with_short(&option),
                choices.join(", ")
            )
        }
        ErrorKind::TooManyValues => {
            format!("argument {}: ignored explicit argument '{value}'", with_short(&option))
        }
        ErrorKind::UnknownArgument => match &candidates(&option)[..] {
            [] => format!("unrecognized arguments: {option}"),
            several => {
                format!("ambiguous option: {option} could match {}", several.join(", "))
            }
        },
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => error.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// `--runtime` of `--runtime <RUNTIME>`.
fn bare(option: &str) -> &str {
    option.split(' ').next().unwrap_or(option)
}

/// `-f/--force` of `--force`; options without a short form stay as they are.
fn with_short(option: &str) -> String {
    let option = bare(option);
    let command = Args::command();
    let short = command
        .get_arguments()
        .find(|arg| arg.get_long() == option.strip_prefix("--"))
        .and_then(clap::Arg::get_short);
    short.map_or_else(|| option.to_owned(), |short| format!("-{short}/{option}"))
}

/// The long options that `option` abbreviates.
fn candidates(option: &str) -> Vec<String> {
    let Some(prefix) = option.strip_prefix("--").filter(|prefix| !prefix.is_empty()) else {
        return vec![];
    };
    let command = Args::command();
    let longs = command.get_arguments().filter_map(clap::Arg::get_long);
    longs.filter(|long| long.starts_with(prefix)).map(|long| format!("--{long}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: &[&str] = &["--model-name", "m", "--model-path", "p", "--handler", "h"];

    fn read(words: &[&str]) -> Result<Args, ArgsError> {
        Args::read(["model-archiver"].iter().chain(words).map(OsString::from))
    }

    fn with(words: &[&str]) -> Result<Args, ArgsError> {
        read(&[COMPLETE, words].concat())
    }

    #[test]
    fn options_have_the_defaults_of_the_specification() {
        let args = with(&[]).unwrap();
        let expected = Args {
            help: None,
            model_name: "m".into(),
            model_path: "p".into(),
            handler: "h".into(),
            runtime: Runtime::Python,
            export_path: None,
            archive_format: ArchiveFormat::Default,
            force: false,
            convert: false,
        };
        assert_eq!(args, expected);
    }

    #[test]
    fn the_command_line_is_parsed_as_argparse_does() {
        let short = read(&["--model-n=m", "--model-p", "p", "--ha=h"]).unwrap();
        assert_eq!(short, with(&[]).unwrap());
        let args = with(&["--r", "python3", "--a=no-archive", "-fc", "--e", "out"]).unwrap();
        assert_eq!(
            (args.runtime, args.archive_format),
            (Runtime::Python3, ArchiveFormat::NoArchive)
        );
        assert!(args.force && args.convert);
        assert_eq!(args.export_path, Some("out".into()));
        let last = with(&["--model-name", "b", "--model-n", "c", "-f", "-f"]).unwrap();
        assert_eq!(last.model_name, "c");
        assert_eq!(with(&["--handler", "-1"]).unwrap().handler, "-1");
        assert_eq!(with(&["--handler=-x", "--model-name="]).unwrap().handler, "-x");
    }

    #[test]
    fn errors_are_in_the_words_of_argparse() {
        let required = "the following arguments are required";
        for (words, expected) in [
            (&[][..], format!("{required}: --model-name, --model-path, --handler")),
            (&["--model-path", "p"], format!("{required}: --model-name, --handler")),
            (
                &["--model=3"],
                "ambiguous option: --model could match --model-name, --model-path".into(),
            ),
            (&["--h", "s"], "ambiguous option: --h could match --help, --handler".into()),
            (&["--handler"], "argument --handler: expected one argument".into()),
            (&["--handler", "-f"], "argument --handler: expected one argument".into()),
            (
                &["--run", "ruby"],
                "argument --runtime: invalid choice: 'ruby' (choose from 'python', 'python2', 'python3')".into(),
            ),
            (&["--force=1"], "argument -f/--force: ignored explicit argument '1'".into()),
            (&["--bogus"], "unrecognized arguments: --bogus".into()),
            (&["-x"], "unrecognized arguments: -x".into()),
            (&["extra\x1b[m"], "unrecognized arguments: extra\\u{1b}[m".into()),
        ] {
            assert_eq!(read(words), Err(ArgsError::Usage(expected)), "{words:?}");
        }
        for words in [&["-h"][..], &["--help"], &["--model-name", "m", "-h"]] {
            assert_eq!(read(words), Err(ArgsError::Help));
        }
    }

    #[test]
    fn the_help_names_every_option() {
        for arg in Args::command().get_arguments() {
            let long = arg.get_long().unwrap();
            assert!(
                HELP.contains(&format!("  --{long} ")) || HELP.contains(&format!(", --{long} "))
            );
            let short = arg.get_short().map_or(format!("--{long}"), |short| format!("-{short}"));
            assert!(usage().contains(&short), "{short}");
        }
        assert!(HELP.lines().all(|line| line.len() < 80));
    }
}
