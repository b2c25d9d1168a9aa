//! `hooks.on_result`: a command that runs for each record.

use std::process::Stdio;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::Hooks;
use crate::results::Record;

/// Records that may wait: a command that hangs must not take all memory.
const MAX_WAITING: usize = 1000;

/// Runs the command, a limited number of times at once.
#[derive(Debug)]
pub struct Hook {
    settings: Hooks,
    permits: Arc<Semaphore>,
    running: JoinSet<()>,
}

impl Hook {
    pub fn new(settings: &Hooks) -> Self {
        let permits = Arc::new(Semaphore::new(settings.jobs));
        Self { settings: settings.clone(), permits, running: JoinSet::new() }
    }

    /// Applies other settings to later records.
    pub fn reconfigure(&mut self, settings: &Hooks) {
        if *settings != self.settings {
            self.permits = Arc::new(Semaphore::new(settings.jobs));
            self.settings = settings.clone();
        }
    }

    /// Starts the command for a record.
    pub fn start(&mut self, record: &Record) {
        while self.running.try_join_next().is_some() {}
        if self.settings.on_result.is_empty() {
            return;
        }
        if self.running.len() >= MAX_WAITING {
            tracing::error!(model = %record.model, "`hooks.on_result` is too slow; this record is skipped");
            return;
        }
        let Ok(mut line) = serde_json::to_vec(record) else { return };
        line.push(b'\n');
        let (settings, permits) = (self.settings.clone(), Arc::clone(&self.permits));
        let model = record.model.clone();
        self.running.spawn(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            if let Err(failure) = run(&settings, &line).await {
                tracing::warn!(%model, command = settings.on_result.first(), "`hooks.on_result` {failure}");
            }
        });
    }

    /// Waits for the commands that run or wait.
    pub async fn finish(mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

/// Runs the command. It must succeed in time.
async fn run(settings: &Hooks, line: &[u8]) -> Result<(), String> {
    let [program, arguments @ ..] = &settings.on_result[..] else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start: {error}"))?;
    let done = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A command need not read its input.
            let _ = stdin.write_all(line).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(settings.timeout, done).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("ended with {status}")),
        Ok(Err(error)) => Err(format!("cannot be waited for: {error}")),
        Err(_) => {
            let after = humantime::format_duration(settings.timeout);
            Err(format!("was killed after {after} (`hooks.timeout`)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::results::Trigger;

    fn hooks(script: &str, timeout: Duration, jobs: usize) -> Hooks {
        let on_result = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Hooks { on_result, timeout, jobs }
    }

    fn record(model: &str) -> Record {
        Record::new(model.to_owned(), PathBuf::from("/m"), Trigger::Change)
    }

    #[tokio::test]
    async fn the_command_reads_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("records");
        let script = format!("cat >> {}", to.display());
        let mut hook = Hook::new(&hooks(&script, Duration::from_secs(20), 1));
        for model in ["a", "b"] {
            hook.start(&record(model));
        }
        hook.finish().await;
        let text = std::fs::read_to_string(to).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Record>(line).unwrap());
        assert_eq!(records.map(|record| record.model).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_and_one_that_fails_is_reported() {
        let record = serde_json::to_vec(&record("a")).unwrap();
        let slow = hooks("exec sleep 600", Duration::from_millis(100), 1);
        assert!(run(&slow, &record).await.unwrap_err().contains("was killed after 100ms"));
        let bad = hooks("exit 3", Duration::from_secs(20), 1);
        assert!(run(&bad, &record).await.unwrap_err().contains("exit status: 3"));
        let absent = Hooks { on_result: vec!["/no/such".into()], ..bad };
        assert!(run(&absent, &record).await.unwrap_err().contains("cannot start"));
    }

    #[tokio::test]
    async fn no_more_commands_run_at_once_than_configured() {
        let dir = tempfile::tempdir().unwrap();
        // Each run detects whether another one runs.
        let script = format!(
            "cd {} && mkdir one && sleep 0.05 && rmdir one || touch two",
            dir.path().display()
        );
        let mut hook = Hook::new(&hooks(&script, Duration::from_secs(20), 1));
        for _ in 0..5 {
            hook.start(&record("a"));
        }
        hook.finish().await;
        assert!(!dir.path().join("two").exists());
    }
}
