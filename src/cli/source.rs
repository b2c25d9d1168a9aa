//! Where the configuration comes from: a file, or flags.

use std::path::{Path, PathBuf};

use crate::config;
use crate::config::{Config, ConfigError, Flags};
use crate::exit::Exit;
use crate::model::problem::Problem;
use crate::text::chain;

/// The configuration file that is read by default.
pub const DEFAULT_FILE: &str = "marwatch.yaml";
/// The store of `--watch` without `--store`.
const DEFAULT_STORE: &str = "model-store";

/// Where the configuration comes from.
#[derive(Debug, Clone, clap::Args)]
pub struct Source {
    /// The configuration file [default: marwatch.yaml here, if there is one]
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["watch", "store"])]
    pub config: Option<PathBuf>,
    /// Drop folder: each of its direct sub-folders is a model. Can be repeated
    #[arg(long, value_name = "DIR")]
    pub watch: Vec<PathBuf>,
    /// The model store [default with --watch: model-store in the current folder]
    #[arg(long, value_name = "DIR", requires = "watch")]
    pub store: Option<PathBuf>,
}

/// Where the store is, for what asks nothing else of the configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreSource {
    /// The configuration file [default: marwatch.yaml here, if there is one]
    #[arg(long, short, value_name = "FILE", conflicts_with = "store")]
    pub config: Option<PathBuf>,
    /// The model store, instead of a configuration
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

impl StoreSource {
    /// The store's absolute path.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn find(&self) -> Result<PathBuf, NoConfig> {
        let Some(store) = &self.store else {
            let source = Source { config: self.config.clone(), watch: vec![], store: None };
            return source.load().map(|(config, _)| config.store);
        };
        store.canonicalize().map_err(|error| NoConfig {
            exit: Exit::Unavailable,
            problems: vec![],
            message: Some(format!("cannot look into {}: {error}", store.display())),
        })
    }
}

/// Why there is no configuration, and how to end for it.
#[derive(Debug)]
pub struct NoConfig {
    /// How to end.
    pub exit: Exit,
    /// What to say.
    pub problems: Vec<Problem>,
    /// What to say where no problem of a file tells it.
    pub message: Option<String>,
}

impl Source {
    /// Reads the configuration, with warnings about it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<(Config, Vec<Problem>), NoConfig> {
        self.load_with(&[])
    }

    /// Reads the configuration with the servers of `--server`, with warnings about it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_with(&self, servers: &[String]) -> Result<(Config, Vec<Problem>), NoConfig> {
        let invalid = |problems| NoConfig { exit: Exit::Configuration, problems, message: None };
        let usage =
            |message| NoConfig { exit: Exit::Usage, problems: vec![], message: Some(message) };
        if !self.watch.is_empty() {
            let cwd = std::env::current_dir().map_err(|error| NoConfig {
                exit: Exit::Unavailable,
                problems: vec![],
                message: Some(format!("cannot tell the current folder: {error}")),
            })?;
            let store = self.store.as_deref().unwrap_or(Path::new(DEFAULT_STORE));
            return config::from_flags(Flags { watch: &self.watch, store, servers }, &cwd)
                .map(|config| (config, vec![]))
                .map_err(invalid);
        }
        let path = match &self.config {
            Some(path) => path.as_path(),
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => {
                return Err(usage(format!(
                    "nothing to watch: there is no {DEFAULT_FILE} in the current folder; name a drop folder with --watch DIR or a configuration with --config FILE, or write {DEFAULT_FILE} with `marwatch init`"
                )));
            }
        };
        if !servers.is_empty() {
            return Err(usage(format!(
                "`--server` cannot be combined with a configuration file: list the server in {} under `servers:`, as `- management: http://HOST:PORT`",
                path.display()
            )));
        }
        config::load(path).map_err(|error| match error {
            ConfigError::Invalid { problems } => invalid(problems),
            error @ ConfigError::Read { .. } => NoConfig {
                exit: Exit::Configuration,
                problems: vec![],
                message: Some(chain(&error)),
            },
        })
    }

    /// The store that is used by default, for the user to know; `None` where one is named.
    pub fn default_store(&self, config: &Config) -> Option<String> {
        let is_default = self.store.is_none() && !self.watch.is_empty();
        is_default.then(|| format!("the model store is {}", config.store.display()))
    }
}

impl NoConfig {
    /// Everything there is to say, line by line.
    pub fn lines(&self) -> Vec<String> {
        let problems = self.problems.iter().map(ToString::to_string);
        problems.chain(self.message.clone()).collect()
    }

    /// Says it on standard error.
    pub fn say(&self) -> Exit {
        for line in self.lines() {
            super::fail(self.exit, &line);
        }
        self.exit
    }
}
