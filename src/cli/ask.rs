//! What is asked of a model by name: of the daemon if one holds the store, done here if not.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::source::Source;
use super::{fail, written};
use crate::config::Config;
use crate::control::{ClientError, client};
use crate::daemon::engine::{Engine, Mode};
use crate::daemon::refused;
use crate::exit::Exit;
use crate::model::ModelName;
use crate::model::name::NameError;
use crate::pipeline::command::Answer;
use crate::pipeline::command::{Command, CommandRequest};
use crate::reconcile::OrderKind;
use crate::store::{LockError, StoreError, hidden_folder};
use crate::text::chain;
use crate::text::printable;

/// Has it done, and prints the answer.
pub(super) fn run(source: &Source, name: &str, demand: Command, out: &mut dyn Write) -> Exit {
    let name = match ModelName::parse(name) {
        Ok(name) => name,
        Err(error) => return fail(Exit::Usage, &format!("{error} – {}", NameError::HELP)),
    };
    let config = match source.load() {
        Ok((config, _)) => config,
        Err(error) => return error.say(),
    };
    match ask(config, &name, demand) {
        Ok(answer) => written(tell(&answer, out)),
        Err(exit) => exit,
    }
}

fn tell(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", printable(&answer.message))
}

/// Has it done, by whoever holds the store.
///
/// # Errors
/// How to end where it was not done; why was said.
pub(super) fn ask(config: Config, name: &ModelName, demand: Command) -> Result<Answer, Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| fail(Exit::Unavailable, &format!("cannot start: {error}")))?;
    let answer = runtime.block_on(decide(config, name, demand));
    runtime.shutdown_background();
    answer
}

async fn decide(config: Config, name: &ModelName, demand: Command) -> Result<Answer, Exit> {
    let hidden = hidden_folder(&config.store);
    let only = Some(BTreeSet::from([name.to_string()]));
    let mode = Mode { once: true, only, progress: Arc::new(|_, _| {}) };
    let (mut engine, mut inbox) = match Engine::open(config, mode, None) {
        Ok(opened) => opened,
        Err(StoreError::Lock(held @ LockError::Held { .. })) => {
            return client::ask(&hidden, name, demand).await.map_err(|error| match error {
                ClientError::Refused(_) => fail(Exit::ModelProblems, &chain(&error)),
                ClientError::Connect { .. } => {
                    fail(Exit::StoreHeld, &format!("{held}; {}", chain(&error)))
                }
                _ => fail(Exit::Unavailable, &chain(&error)),
            });
        }
        Err(error) => return Err(refused(&error)),
    };
    engine.find(name);
    let (reply, mut answer) = oneshot::channel();
    engine.command(CommandRequest { name: name.clone(), demand, reply });
    let mut told = None;
    loop {
        if told.is_none() {
            told = answer.try_recv().ok();
        }
        // What follows from it is done too: the folder of a model that is held no longer is packed.
        // Nothing follows from anything else.
        let is_done = match &told {
            None => engine.is_idle(),
            Some(Ok(_)) if demand == Command::Order(OrderKind::Resume) => engine.is_idle(),
            Some(_) => true,
        };
        if is_done {
            break;
        }
        let deadline = engine.deadline().map(tokio::time::Instant::from_std);
        let until = deadline.unwrap_or_else(tokio::time::Instant::now);
        tokio::select! {
            Some(message) = inbox.recv() => engine.take(message),
            () = tokio::time::sleep_until(until), if deadline.is_some() => engine.tick(),
        }
    }
    match told {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(refusal)) => {
            let text = format!("{} – {}", refusal.message, refusal.help);
            Err(fail(Exit::ModelProblems, &text))
        }
        None => Err(fail(Exit::Unavailable, "it was not done; standard error says why")),
    }
}
