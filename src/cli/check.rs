//! `marwatch check`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::source::Source;
use super::{fail, written};
use crate::config;
use crate::config::{Config, ConfigError};
use crate::exit::Exit;
use crate::model::problem::{Code, Problem};
use crate::pipeline::check::check;
use crate::source::discover;
use crate::text::{printable, printable_json};

/// Say what is wrong with the configuration and the models, building nothing
///
/// Prints every problem as `path:line:column: code: what – how to mend it`, the form that editors
/// can jump to. Without PATH, checks the configuration and every model it watches; a PATH is a
/// model's folder, a drop folder (one with nothing but folders in it), or a configuration file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch check                          marwatch.yaml and all its models
  marwatch check models/resnet            one model, before you commit it
  marwatch check --json | jq '.problems[].code'")]
pub struct Args {
    /// Model folders or configuration files
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
    /// Print one JSON object: problems, models, errors, warnings
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Findings {
    problems: Vec<Problem>,
    models: usize,
    errors: usize,
    warnings: usize,
    #[serde(skip)]
    bad_configuration: bool,
}

/// Checks and prints what was found.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    let mut findings = Findings::default();
    let read = if args.paths.is_empty() {
        findings.all(&args.source)
    } else {
        args.paths.iter().try_for_each(|path| findings.path(path, &args.source))
    };
    if let Err((exit, message)) = read {
        return fail(exit, &message);
    }
    findings.errors = findings.problems.iter().filter(|problem| problem.is_error()).count();
    findings.warnings = findings.problems.len() - findings.errors;
    let exit = match findings.errors {
        0 => Exit::Success,
        _ if findings.bad_configuration => Exit::Configuration,
        _ => Exit::ModelProblems,
    };
    match written(findings.write(args.json, out)) {
        Exit::Success => exit,
        failed => failed,
    }
}

type Unread = (Exit, String);

impl Findings {
    fn all(&mut self, source: &Source) -> Result<(), Unread> {
        match source.load() {
            Ok((config, warnings)) => {
                self.problems.extend(warnings);
                self.every_model(&config);
                Ok(())
            }
            Err(error) => {
                if let Some(message) = error.message {
                    return Err((error.exit, message));
                }
                self.bad_configuration = true;
                self.problems.extend(error.problems);
                Ok(())
            }
        }
    }

    fn path(&mut self, path: &Path, source: &Source) -> Result<(), Unread> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if path.is_dir() {
            // A configuration, where there is one, may say more of the model.
            let config = source.load().map(|(config, _)| config);
            let mut config =
                config.unwrap_or_else(|_| Config::with_defaults(PathBuf::new(), vec![]));
            if is_drop_folder(&path) {
                config.drop_folders = vec![path];
                config.models.clear();
                self.every_model(&config);
                return Ok(());
            }
            self.models += 1;
            self.problems.extend(check(&path, &config).problems);
            return Ok(());
        }
        match config::load(&path) {
            Ok((config, warnings)) => {
                self.problems.extend(warnings);
                self.every_model(&config);
            }
            Err(ConfigError::Invalid { problems }) => {
                self.bad_configuration = true;
                self.problems.extend(problems);
            }
            Err(ConfigError::Read { path, source }) => {
                let message = format!("cannot read {}: {source}", path.display());
                return Err((Exit::Usage, message));
            }
        }
        Ok(())
    }

    fn every_model(&mut self, config: &Config) {
        let mut names: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
        for listing in discover::list(config, &BTreeMap::new()) {
            let Some(models) = listing.models else {
                self.problems.push(Problem::warning(
                    Code::Unreadable,
                    listing.root,
                    "this folder is not there, or cannot be listed",
                    "create it, or take it out of the configuration; marwatch waits for it to appear",
                ));
                continue;
            };
            if discover::is_drop_folder(&listing.root, config) {
                let warning = |link| {
                    Problem::warning(
                        Code::NotAModel,
                        link,
                        "this is a link in a drop folder, which is taken for no model",
                        "move the folder here, or configure it under `models`",
                    )
                };
                self.problems.extend(discover::links(&listing.root).into_iter().map(warning));
            }
            for model in models {
                self.models += 1;
                let checked = check(&model.folder, config);
                self.problems.extend(checked.problems);
                if let Some(name) = checked.name {
                    names.entry(name).or_default().push(model.folder);
                }
            }
        }
        for (name, folders) in names.into_iter().filter(|(_, folders)| folders.len() > 1) {
            for (i, folder) in folders.iter().enumerate() {
                let others = folders.iter().enumerate().filter(|(j, _)| *j != i);
                let others: Vec<_> = others.map(|(_, path)| path.display().to_string()).collect();
                self.problems.push(Problem::error(
                    Code::NameTaken,
                    folder.clone(),
                    format!("the name `{name}` is also claimed by {}", others.join(" and ")),
                    "give one of them another name (`name:` in .mar.yaml), or remove one",
                ));
            }
        }
    }

    fn write(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        if json {
            return writeln!(out, "{}", printable_json(&serde_json::to_string_pretty(self)?));
        }
        for problem in &self.problems {
            writeln!(out, "{}", printable(&problem.to_string()))?;
        }
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let verdict = if self.problems.is_empty() { "all is well: " } else { "" };
        writeln!(
            out,
            "{verdict}{} checked, {}, {}",
            count(self.models, "model"),
            count(self.errors, "error"),
            count(self.warnings, "warning")
        )
    }
}

/// A folder with nothing but folders in it is no model, which has a module at its top level.
fn is_drop_folder(path: &Path) -> bool {
    let kinds = path.read_dir().into_iter().flatten().flatten().map(|entry| entry.file_type());
    let kinds: Vec<_> = kinds.flatten().collect();
    !kinds.is_empty() && kinds.iter().all(fs::FileType::is_dir)
}
