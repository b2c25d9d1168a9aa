//! `preflight: gate`: running servers try an archive before it is published.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::answer::Answer;
use super::api::Api;
use super::registration::Registration;
use super::trial::{self, Trial};
use crate::config;
use crate::config::Config;
use crate::model::{ModelName, Serve};
use crate::pipeline::preflight::{Preflight, PreflightRefusal};
use crate::text::chain;

/// The most requests to unregister a trial while the server does not confirm it.
const MOST_LOST: u32 = 3;

/// The servers that every archive has to pass.
#[derive(Debug, Clone)]
pub struct Gate {
    servers: Vec<Api>,
    runtime: Handle,
    store: PathBuf,
}

impl Gate {
    /// The gate of a configuration; `None` without a server that is one, or outside of a runtime.
    pub fn of(config: &Config) -> Option<Arc<dyn Preflight>> {
        let gates =
            config.servers.iter().filter(|server| server.preflight == config::Preflight::Gate);
        let servers: Vec<_> =
            gates.filter_map(|server| Api::new(Arc::new(server.clone())).ok()).collect();
        let runtime = Handle::try_current().ok()?;
        let gate = Self { servers, runtime, store: config.store.clone() };
        (!gate.servers.is_empty()).then(|| Arc::new(gate) as Arc<dyn Preflight>)
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
                    "cannot make a copy for a trial; publishing without a trial"
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

async fn until(cancelled: &AtomicBool) {
    while !cancelled.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn pass(
    api: &Api,
    name: &ModelName,
    serve: &Serve,
    trial: &Trial,
) -> Result<(), PreflightRefusal> {
    let registration = Registration::of(api.server(), serve);
    let trial_name = trial::name_of(name);
    let server = api.server().management.clone();
    // A server that is down is found sooner by a question that needs no work.
    if let Answer::Lost(why) = api.describe(name).await {
        tracing::warn!(
            server,
            "the server cannot try the archive; publishing without a trial: {why}"
        );
        return Ok(());
    }
    let mut answer = trial.register(api, &registration).await;
    if answer == Answer::Taken {
        // Left behind by a marwatch that was killed.
        api.unregister(&trial_name).await;
        answer = trial.register(api, &registration).await;
    }
    if answer == Answer::Good {
        answer = trial::probe(api, name, &registration).await;
    }
    // A trial that failed may hold its name too.
    for _ in 0..MOST_LOST {
        if matches!(api.unregister(&trial_name).await, Answer::Good | Answer::Absent) {
            break;
        }
    }
    match answer {
        Answer::Good => Ok(()),
        Answer::Refused(why) => Err(PreflightRefusal { server, why }),
        answer => {
            tracing::warn!(%server, ?answer, "the server cannot try the archive; publishing without a trial");
            Ok(())
        }
    }
}
