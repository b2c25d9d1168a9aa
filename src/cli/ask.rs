//! Commands for one model: the daemon that holds the store carries them out, or this process does if
//! there is none.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::one_pass::{OnePass, unusable};
use super::output::write_line;
use super::source::Source;
use super::{Stop, block_on, written};
use crate::config::Config;
use crate::control::{ClientError, client};
use crate::exit::Exit;
use crate::model::ModelName;
use crate::model::name::NameError;
use crate::pipeline::command::Answer;
use crate::pipeline::command::{Command, CommandRequest};
use crate::store::{LockError, StoreError, hidden_folder};
use crate::text::chain;

/// Carries out a command and prints the answer.
pub(super) fn run(
    source: &Source,
    name: &str,
    command: Command,
    out: &mut dyn Write,
) -> Result<Exit, Stop> {
    let name = ModelName::parse(name)
        .map_err(|error| Stop::new(Exit::Usage, format!("{error} – {}", NameError::HELP)))?;
    let answer = ask(source.config()?, &name, command)?;
    written(write_line(out, answer.message))
}

/// Carries out a command.
pub(super) fn ask(config: Config, name: &ModelName, command: Command) -> Result<Answer, Stop> {
    block_on(config.jobs, decide(config, name, command))?
}

async fn decide(config: Config, name: &ModelName, command: Command) -> Result<Answer, Stop> {
    let hidden = hidden_folder(&config.store);
    let only = Some(BTreeSet::from([name.to_string()]));
    match OnePass::open(config, only, Arc::new(|_, _| {}), None) {
        Ok(pass) => carry_out(pass, name, command).await,
        Err(StoreError::Lock(held @ LockError::Held { .. })) => {
            client::ask(&hidden, name, command).await.map_err(|error| match error {
                ClientError::Refused(_) => Stop::new(Exit::ModelProblems, chain(&error)),
                ClientError::Connect { .. } => {
                    Stop::new(Exit::StoreHeld, format!("{held}; {}", chain(&error)))
                }
                _ => Stop::new(Exit::Unavailable, chain(&error)),
            })
        }
        Err(error) => Err(unusable(&error)),
    }
}

async fn carry_out(mut pass: OnePass, name: &ModelName, command: Command) -> Result<Answer, Stop> {
    pass.engine.find(name);
    let (reply, mut receiver) = oneshot::channel();
    pass.engine.command(CommandRequest { name: name.clone(), command, reply });
    let mut answer = None;
    loop {
        answer = answer.or_else(|| receiver.try_recv().ok());
        // A resumed model is packed before the command ends. No other command has more to do once it
        // is answered.
        let is_done = match &answer {
            None => pass.engine.is_idle(),
            Some(Ok(_)) if command == Command::Resume => pass.engine.is_idle(),
            Some(_) => true,
        };
        if is_done {
            break;
        }
        pass.step().await;
    }
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(refusal)) => {
            let message = format!("{} – {}", refusal.message, refusal.help);
            Err(Stop::new(Exit::ModelProblems, message))
        }
        None => Err(Stop::new(Exit::Unavailable, "the command was not carried out; see the log")),
    }
}
