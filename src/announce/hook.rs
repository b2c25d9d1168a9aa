//! `hooks.on_result`: a command that is told what came of each attempt.

use std::process::Stdio;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::Hooks;
use crate::results::Record;

/// Records that wait for their command at most: a command that hangs must not take all memory.
const MOST_WAITING: usize = 1000;

/// Runs the command, a bounded number at the same time.
#[derive(Debug)]
pub struct Hook {
    settings: Hooks,
    places: Arc<Semaphore>,
    running: JoinSet<()>,
}

impl Hook {
    /// With these settings.
    pub fn new(settings: &Hooks) -> Self {
        let places = Arc::new(Semaphore::new(settings.jobs));
        Self { settings: settings.clone(), places, running: JoinSet::new() }
    }

    /// Goes over to other settings. What runs goes on.
    pub fn reconfigure(&mut self, settings: &Hooks) {
        if *settings != self.settings {
            self.places = Arc::new(Semaphore::new(settings.jobs));
            self.settings = settings.clone();
        }
    }

    /// Has the command told of a record.
    pub fn tell(&mut self, record: &Record) {
        while self.running.try_join_next().is_some() {}
        if self.settings.on_result.is_empty() {
            return;
        }
        if self.running.len() >= MOST_WAITING {
            tracing::error!(model = %record.model, "`hooks.on_result` is too slow; it is not told of this attempt");
            return;
        }
        let Ok(mut line) = serde_json::to_vec(record) else { return };
        line.push(b'\n');
        let (settings, places) = (self.settings.clone(), Arc::clone(&self.places));
        let model = record.model.clone();
        self.running.spawn(async move {
            let Ok(_place) = places.acquire().await else { return };
            if let Err(trouble) = run(&settings, &line).await {
                tracing::warn!(%model, command = settings.on_result.first(), "`hooks.on_result`: {trouble}");
            }
        });
    }

    /// Waits for what runs.
    pub async fn finish(mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

/// Runs the command to its end, which has to be good and in time.
async fn run(settings: &Hooks, line: &[u8]) -> Result<(), String> {
    let [program, arguments @ ..] = &settings.on_result[..] else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let told = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read what it is told may have a reason.
            let _ = stdin.write_all(line).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(settings.timeout, told).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("has ended with {status}")),
        Ok(Err(error)) => Err(format!("is lost: {error}")),
        Err(_) => {
            let after = humantime::format_duration(settings.timeout);
            Err(format!("was stopped after {after} (`hooks.timeout`)"))
        }
    }
}
