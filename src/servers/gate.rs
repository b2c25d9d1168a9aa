//! `preflight: gate`: an archive is tried on running servers before it is published.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::api::Api;
use super::deliver::try_out;
use super::swap::Answer;
use super::trial;
use super::trial::Trial;
use super::wanted::Wanted;
use crate::config;
use crate::config::Config;
use crate::model::{ModelName, Serve};
use crate::pipeline::preflight::{Preflight, PreflightRefusal};
use crate::text::chain;

/// How often a trial is unregistered at most where that is not confirmed.
const MOST_LOST: u32 = 3;

/// The servers that an archive has to pass.
#[derive(Debug, Clone)]
pub struct Gate {
    servers: Vec<Api>,
    runtime: Handle,
    store: PathBuf,
}

impl Gate {
    /// The gate of a configuration; none where no server is one, or outside of a runtime.
    pub fn of(config: &Config) -> Option<Self> {
        let gates =
            config.servers.iter().filter(|server| server.preflight == config::Preflight::Gate);
        let servers: Vec<_> =
            gates.filter_map(|server| Api::new(Arc::new(server.clone())).ok()).collect();
        let runtime = Handle::try_current().ok()?;
        (!servers.is_empty()).then_some(Self { servers, runtime, store: config.store.clone() })
    }
}

impl Preflight for Gate {
    fn pass(
        &self,
        name: &ModelName,
        archive: &File,
        serve: &Serve,
        cancelled: &AtomicBool,
    ) -> Result<(), PreflightRefusal> {
        let trial = match Trial::of(archive, name, &self.store) {
            Ok(trial) => trial,
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "cannot make a copy for a trial; publishing without"
                );
                return Ok(());
            }
        };
        self.servers.iter().try_for_each(|api| {
            self.runtime.block_on(async {
                tokio::select! {
                    passed = pass(api, name, serve, &trial) => passed,
                    () = until(cancelled) => Ok(()),
                }
            })
        })
    }
}

/// Waits until somebody wants an end.
async fn until(cancelled: &AtomicBool) {
    while !cancelled.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn pass(
    api: &Api,
    name: &ModelName,
    serve: &Serve,
    copy: &Trial,
) -> Result<(), PreflightRefusal> {
    let wanted = Wanted::of(api.server(), serve);
    let trial_name = trial::name_of(name);
    // A question that needs no work tells sooner whether anybody is there.
    if let Answer::Lost(why) = api.describe(name).await {
        let server = &api.server().management;
        tracing::warn!(server, "the server cannot try the archive; publishing without: {why}");
        return Ok(());
    }
    let mut answer = try_out(api, name, copy, wanted.batching).await;
    if answer == Answer::Taken {
        // Left behind by a marwatch that was killed.
        api.unregister(&trial_name).await;
        answer = try_out(api, name, copy, wanted.batching).await;
    }
    if let (Answer::Good, Some(probe)) = (&answer, &wanted.probe) {
        answer = api.probe(&trial_name, probe).await;
    }
    // Whatever came of it: one that failed can leave its name taken.
    for _ in 0..MOST_LOST {
        if matches!(api.unregister(&trial_name).await, Answer::Good | Answer::Absent) {
            break;
        }
    }
    let server = api.server().management.clone();
    match answer {
        Answer::Good => Ok(()),
        Answer::Refused(why) => Err(PreflightRefusal { server, why }),
        answer => {
            tracing::warn!(%server, ?answer, "the server cannot try the archive; publishing without");
            Ok(())
        }
    }
}
