//! `marwatch man`: the manual pages, made from the command line's own definition and from the template
//! of the configuration.

mod configuration;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Cli, Stop, written};
use crate::exit::Exit;
use crate::model_archiver;

/// Print a manual page
///
/// The pages are marwatch, marwatch-run and so on for each subcommand, marwatch.yaml and
/// model-archiver.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch man run | man -l -             read the page of `marwatch run`
  marwatch man marwatch.yaml | man -l -   read about every key of the configuration
  marwatch man --all /usr/local/share/man install all pages")]
pub(super) struct Args {
    /// The name of a page or a subcommand
    #[arg(value_name = "PAGE", default_value = "marwatch", conflicts_with = "all")]
    page: String,
    /// Write all pages below this folder, as man1/NAME.1 and man5/NAME.5
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,
}

/// A manual page.
#[derive(Debug)]
pub struct Page {
    /// The name that `man` finds it by.
    pub name: String,
    /// 1 for commands, 5 for files.
    pub section: u8,
    /// In the language of man(7).
    pub text: String,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let pages = pages().map_err(|error| Stop::cannot("make the pages", &error))?;
    if let Some(dir) = &args.all {
        let cannot = |error| Stop::cannot(format_args!("write to {}", dir.display()), &error);
        pages.iter().try_for_each(|page| page.write(dir)).map_err(cannot)?;
        return Ok(Exit::Success);
    }
    let of_subcommand = format!("marwatch-{}", args.page);
    let page = pages.iter().find(|page| page.name == args.page || page.name == of_subcommand);
    let page = page.ok_or_else(|| {
        let names: Vec<_> = pages.iter().map(|page| page.name.as_str()).collect();
        let message =
            format!("there is no page `{}`; the pages are: {}", args.page, names.join(", "));
        Stop::new(Exit::Usage, message)
    })?;
    written(out.write_all(page.text.as_bytes()))
}

impl Page {
    fn new(name: String, section: u8, text: &str) -> Self {
        // Without a date, so that the page is the same tomorrow. The field is empty, not missing.
        let text = text.replacen(&format!(" {section}  \""), &format!(" {section} \"\" \""), 1);
        Self { name, section, text }
    }

    /// Writes it where `man` looks for it, below `dir`.
    fn write(&self, dir: &Path) -> io::Result<()> {
        let dir = dir.join(format!("man{}", self.section));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(format!("{}.{}", self.name, self.section)), &self.text)
    }
}

/// All pages.
///
/// # Errors
/// Those of writing to memory, which does not fail.
pub fn pages() -> io::Result<Vec<Page>> {
    // `marwatch help` is the same as `--help` and needs no page.
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let subcommands: Vec<Command> = root.get_subcommands().cloned().collect();
    let names: Vec<String> = subcommands.iter().map(name).collect();
    let mut archiver = model_archiver::command();
    archiver.build();

    let mut of_root = vec!["marwatch.yaml(5)".to_owned(), "model-archiver(1)".to_owned()];
    of_root.extend(names.iter().map(|name| format!("{name}(1)")));
    let of_others = ["marwatch(1)".to_owned(), "marwatch.yaml(5)".to_owned()];
    let mut pages = vec![command(root, &of_root)?];
    for subcommand in subcommands {
        pages.push(command(subcommand, &of_others)?);
    }
    pages.push(configuration::page());
    pages.push(command(archiver, &of_others)?);
    Ok(pages)
}

/// `marwatch-run` of the subcommand `run`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn command(command: Command, see_also: &[String]) -> io::Result<Page> {
    let name = name(&command);
    let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let has_subcommands = command.has_subcommands();
    let page = Man::new(command)
        .title(name.to_uppercase())
        .source(concat!("marwatch ", env!("CARGO_PKG_VERSION")))
        .manual("marwatch");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if has_subcommands {
        page.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    closing(&mut rest, &after);
    rest.control("SH", ["SEE ALSO"]);
    for (i, page) in see_also.iter().enumerate() {
        let (page, section) = page.split_once('(').unwrap_or((page, ""));
        let end = if i + 1 == see_also.len() { "" } else { "," };
        rest.text([bold(page), roman(format!("({section}{end}"))]);
    }
    rest.to_writer(&mut text)?;
    Ok(Page::new(name, 1, &String::from_utf8_lossy(&text)))
}

/// The end of the long help. Examples keep their line breaks.
fn closing(page: &mut Roff, help: &str) {
    const CODES: &str = "Exit codes: ";
    let (examples, codes) = match help.find(CODES) {
        Some(at) => help.split_at(at),
        None => (help, ""),
    };
    if !examples.is_empty() {
        page.control("SH", ["EXAMPLES"]);
    }
    let lines: Vec<&str> =
        examples.lines().filter(|line| !line.is_empty() && *line != "Examples:").collect();
    for lines in lines.chunk_by(|before, line| before.starts_with(' ') == line.starts_with(' ')) {
        if lines.iter().all(|line| line.starts_with(' ')) {
            verbatim(page, lines.iter().map(|line| line.trim_start()));
        } else {
            page.text([roman(lines.join(" "))]);
        }
    }
    if let Some(codes) = codes.strip_prefix(CODES) {
        page.control("SH", ["EXIT STATUS"]).text([roman(codes.replace('\n', " "))]);
    }
}

/// Lines that keep their breaks.
fn verbatim<'l>(page: &mut Roff, lines: impl IntoIterator<Item = &'l str>) {
    page.control("RS", ["4"]).control("nf", []);
    for line in lines {
        page.text([roman(line)]);
    }
    page.control("fi", []).control("RE", []);
}
