//! Where the configuration comes from: a file, or flags.

use std::path::{Path, PathBuf};

use super::Stop;
use crate::config;
use crate::config::{Config, ConfigError, Flags};
use crate::exit::Exit;
use crate::model::problem::Problem;
use crate::text::chain;

/// The configuration file that is read by default.
pub(super) const DEFAULT_FILE: &str = "marwatch.yaml";
/// The store of `--watch` without `--store`.
const DEFAULT_STORE: &str = "model-store";

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Source {
    /// The configuration file [default: marwatch.yaml in the current folder, if it exists]
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["watch", "store"])]
    pub(super) config: Option<PathBuf>,
    /// Drop folder: each of its direct sub-folders is a model. Can be repeated
    #[arg(long, value_name = "DIR")]
    pub(super) watch: Vec<PathBuf>,
    /// The model store, with --watch [default: model-store in the current folder]
    #[arg(long, value_name = "DIR", requires = "watch")]
    pub(super) store: Option<PathBuf>,
}

/// For commands that need nothing but the store.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StoreSource {
    /// The configuration file [default: marwatch.yaml in the current folder, if it exists]
    #[arg(long, short, value_name = "FILE", conflicts_with = "store")]
    pub(super) config: Option<PathBuf>,
    /// The model store, instead of a configuration
    #[arg(long, value_name = "DIR")]
    pub(super) store: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug)]
pub(super) enum LoadError {
    /// It has these problems.
    Invalid(Vec<Problem>),
    /// It is missing or cannot be read.
    Stop(Stop),
}

impl From<LoadError> for Stop {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Stop(stop) => stop,
            LoadError::Invalid(problems) => {
                let lines = problems.iter().map(ToString::to_string).collect();
                Stop { exit: Exit::Configuration, lines }
            }
        }
    }
}

impl From<Stop> for LoadError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Invalid { problems } => Self::Invalid(problems),
            error @ ConfigError::Read { .. } => {
                Self::Stop(Stop::new(Exit::Configuration, chain(&error)))
            }
        }
    }
}

impl Source {
    /// The configuration.
    pub(super) fn config(&self) -> Result<Config, Stop> {
        Ok(self.load(&[])?.0)
    }

    /// The configuration, with its warnings in the log. `servers` are those of `--server`.
    pub(super) fn config_with_warnings(&self, servers: &[String]) -> Result<Config, Stop> {
        let (config, warnings) = self.load(servers)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(config)
    }

    /// The configuration and its warnings.
    pub(super) fn load(&self, servers: &[String]) -> Result<(Config, Vec<Problem>), LoadError> {
        if !self.watch.is_empty() {
            let cwd = std::env::current_dir()
                .map_err(|error| Stop::cannot("determine the current folder", &error))?;
            let store = self.store.as_deref().unwrap_or(Path::new(DEFAULT_STORE));
            let config = config::from_flags(Flags { watch: &self.watch, store, servers }, &cwd);
            return Ok((config.map_err(LoadError::Invalid)?, vec![]));
        }
        let path = file(self.config.as_deref()).ok_or_else(|| {
            let message = format!(
                "nothing to watch: there is no {DEFAULT_FILE} in the current folder; name a drop folder with --watch DIR or a configuration with --config FILE, or write {DEFAULT_FILE} with `marwatch init`"
            );
            Stop::new(Exit::Usage, message)
        })?;
        if !servers.is_empty() {
            let message = format!(
                "--server cannot be combined with a configuration file: list the server in {} under `servers:`, as `- management: http://HOST:PORT`",
                path.display()
            );
            return Err(Stop::new(Exit::Usage, message).into());
        }
        Ok(config::load(path)?)
    }

    /// A note that names the store of a command line that does not.
    pub(super) fn default_store(&self, config: &Config) -> Option<String> {
        let is_default = self.store.is_none() && !self.watch.is_empty();
        is_default.then(|| format!("the model store is {}", config.store.display()))
    }
}

impl StoreSource {
    /// The store's absolute path.
    pub(super) fn find(&self) -> Result<PathBuf, Stop> {
        if let Some(store) = &self.store {
            let what = format_args!("open the store {}", store.display());
            return store.canonicalize().map_err(|error| Stop::cannot(what, &error));
        }
        let path = file(self.config.as_deref()).ok_or_else(|| {
            let message = format!(
                "no store is named: there is no {DEFAULT_FILE} in the current folder; name the store with --store DIR or a configuration with --config FILE"
            );
            Stop::new(Exit::Usage, message)
        })?;
        let (config, _) = config::load(path).map_err(LoadError::from)?;
        Ok(config.store)
    }
}

/// The configuration file: the one that is named, or the default one if it exists.
fn file(named: Option<&Path>) -> Option<&Path> {
    let default = Path::new(DEFAULT_FILE);
    named.or_else(|| default.exists().then_some(default))
}
