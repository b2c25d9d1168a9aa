//! `marwatch check`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{count, write_json, write_line};
use super::source::{LoadError, Source};
use super::{Stop, written};
use crate::config;
use crate::config::{Config, ConfigError};
use crate::exit::Exit;
use crate::model::problem::{Code, Problem};
use crate::pipeline::check::check;
use crate::source::discover;

/// Check the configuration and the models without building anything
///
/// Prints every problem as `path:line:column: code: what – how to fix it`, a form that editors can
/// jump to. Without PATH, it checks the configuration and every model that marwatch would watch. A
/// PATH is the folder of a model, a drop folder (a folder that holds only folders) or a
/// configuration file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch check                          marwatch.yaml and all its models
  marwatch check models/resnet            one model, before you commit it
  marwatch check --json | jq '.problems[].code'")]
pub(super) struct Args {
    /// Model folders, drop folders or configuration files
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Print one JSON object: problems, models, errors, warnings
    #[arg(long)]
    json: bool,
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

/// Checks and prints the problems.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    let mut findings = Findings::default();
    if args.paths.is_empty() {
        findings.configuration(args.source.load(&[]))?;
    }
    for path in &args.paths {
        findings.path(path, &args.source)?;
    }
    findings.errors = findings.problems.iter().filter(|problem| problem.is_error()).count();
    findings.warnings = findings.problems.len() - findings.errors;
    written(findings.write(args.json, out))?;
    Ok(match findings.errors {
        0 => Exit::Success,
        _ if findings.bad_configuration => Exit::Configuration,
        _ => Exit::ModelProblems,
    })
}

impl Findings {
    fn configuration(
        &mut self,
        loaded: Result<(Config, Vec<Problem>), LoadError>,
    ) -> Result<(), Stop> {
        match loaded {
            Ok((config, warnings)) => {
                self.problems.extend(warnings);
                self.every_model(&config);
            }
            Err(LoadError::Invalid(problems)) => {
                self.bad_configuration = true;
                self.problems.extend(problems);
            }
            Err(LoadError::Stop(stop)) => return Err(stop),
        }
        Ok(())
    }

    fn path(&mut self, path: &Path, source: &Source) -> Result<(), Stop> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if !path.is_dir() {
            return match config::load(&path) {
                Err(ConfigError::Read { path, source }) => {
                    let message = format!("cannot read {}: {source}", path.display());
                    Err(Stop::new(Exit::Usage, message))
                }
                loaded => self.configuration(loaded.map_err(LoadError::from)),
            };
        }
        // A configuration, if there is one, may have settings for the model.
        let mut config =
            source.config().unwrap_or_else(|_| Config::with_defaults(PathBuf::new(), vec![]));
        if is_drop_folder(&path) {
            config.drop_folders = vec![path];
            config.models.clear();
            self.every_model(&config);
        } else {
            self.models += 1;
            self.problems.extend(check(&path, &config).problems);
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
                    "the folder does not exist, or cannot be listed",
                    "create it, or remove it from the configuration; marwatch waits for it to appear",
                ));
                continue;
            };
            if discover::is_drop_folder(&listing.root, config) {
                let warning = |link| {
                    Problem::warning(
                        Code::NotAModel,
                        link,
                        "a symbolic link in a drop folder is not a model",
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
            return write_json(out, self);
        }
        for problem in &self.problems {
            write_line(out, problem)?;
        }
        let verdict = if self.problems.is_empty() { "no problems: " } else { "" };
        writeln!(
            out,
            "{verdict}{} checked, {}, {}",
            count(self.models, "model"),
            count(self.errors, "error"),
            count(self.warnings, "warning")
        )
    }
}

/// A folder that holds only folders is not a model, which has a module at its top level.
fn is_drop_folder(path: &Path) -> bool {
    let kinds = path.read_dir().into_iter().flatten().flatten().map(|entry| entry.file_type());
    let kinds: Vec<_> = kinds.flatten().collect();
    !kinds.is_empty() && kinds.iter().all(fs::FileType::is_dir)
}
