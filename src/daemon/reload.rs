//! SIGHUP: the configuration is read again.

use super::{ConfigSource, Daemon, watch_plan};
use crate::config::Config;
use tokio::time::Instant;

impl Daemon {
    /// Switches to the configuration as it is now; if it is not valid, the old one stays in effect.
    pub(super) fn reload(&mut self, source: &dyn ConfigSource) {
        self.notifier.reloading();
        let outcome = read(source, self.engine.config()).map(|config| {
            self.watcher.replace(watch_plan(&config));
            self.rescan_at = Instant::now() + config.rescan_interval;
            self.forwarder.reconfigure(&config);
            self.control.reconfigure(&config);
            self.engine.reconfigure(config);
        });
        self.notifier.reloaded(outcome);
    }
}

/// Reads the configuration; the first of its errors if it cannot take the place of `current`.
fn read(source: &dyn ConfigSource, current: &Config) -> Result<Config, String> {
    let config = source.read().map_err(|problems| {
        for problem in &problems {
            tracing::error!("{problem}");
        }
        tracing::error!("SIGHUP: the configuration is invalid; keeping the old one");
        problems.into_iter().next().unwrap_or_default()
    })?;
    if config.store != current.store || config.state_dir != current.state_dir {
        tracing::error!(
            "SIGHUP: `store` and `state_dir` cannot change while marwatch runs; keeping the old configuration (restart to change them)"
        );
        return Err("`store` and `state_dir` change only with a restart".into());
    }
    tracing::info!("SIGHUP: configuration reloaded");
    Ok(config)
}
