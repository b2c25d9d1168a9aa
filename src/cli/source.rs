//! Where the configuration comes from: a file, or flags.

use std::path::{Path, PathBuf};

use crate::config;
use crate::config::{Config, ConfigError};
use crate::daemon::ConfigSource;
use crate::exit::Exit;
use crate::model::problem::Problem;
use crate::text::chain;

/// The file that is read when nothing else is said.
pub const DEFAULT_FILE: &str = "marwatch.yaml";

/// Where the configuration comes from.
#[derive(Debug, Clone, clap::Args)]
pub struct Source {
    /// The configuration file [default: marwatch.yaml here, if there is one]
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["watch", "store"])]
    pub config: Option<PathBuf>,
    /// Drop folders, every direct sub-folder of which is a model; needs --store
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "store")]
    pub watch: Vec<PathBuf>,
    /// The model store; needs --watch
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
    /// Reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<(Config, Vec<Problem>), NoConfig> {
        let invalid = |problems| NoConfig { exit: Exit::Configuration, problems, message: None };
        if let Some(store) = &self.store {
            let cwd = std::env::current_dir().map_err(|error| NoConfig {
                exit: Exit::Unavailable,
                problems: vec![],
                message: Some(format!("cannot tell the current folder: {error}")),
            })?;
            return config::from_flags(&self.watch, store, &cwd)
                .map(|config| (config, vec![]))
                .map_err(invalid);
        }
        let path = match &self.config {
            Some(path) => path.as_path(),
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => {
                return Err(NoConfig {
                    exit: Exit::Usage,
                    problems: vec![],
                    message: Some(format!(
                        "nothing to watch: there is no {DEFAULT_FILE} here; name a file with --config, give --watch DIR --store DIR, or write one with `marwatch init`"
                    )),
                });
            }
        };
        config::load(path).map_err(|error| match error {
            ConfigError::Invalid { problems } => invalid(problems),
            error @ ConfigError::Read { .. } => NoConfig {
                exit: Exit::Configuration,
                problems: vec![],
                message: Some(chain(&error)),
            },
        })
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

impl ConfigSource for Source {
    fn read(&self) -> Result<Config, Vec<String>> {
        self.load()
            .map(|(config, warnings)| {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                config
            })
            .map_err(|error| error.lines())
    }
}
