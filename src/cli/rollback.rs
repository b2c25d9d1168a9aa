//! `marwatch rollback`, `marwatch pause` and `marwatch resume`.

use std::io::Write;

use super::source::Source;
use super::{Stop, ask};
use crate::exit::Exit;
use crate::pipeline::command::Command;

/// Put an earlier archive of a model back into the store
///
/// The archive is verified from end to end, then takes its place atomically; the archive that it
/// replaces goes to the history. The model is held: the archive stays until the model's folder
/// changes, or until `marwatch resume`. Without --to, the newest archive with other content is put
/// back; repeat the command to go further back. If a daemon holds the store, the daemon does it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch history resnet              what can be put back
  marwatch rollback resnet             the previous archive
  marwatch rollback resnet --to 12     the archive of generation 12")]
pub(super) struct Args {
    #[command(flatten)]
    model: Model,
    /// The generation to put back, as `marwatch history` shows it
    #[arg(long, value_name = "GENERATION")]
    to: Option<u64>,
}

/// Stop building and removing a model until `marwatch resume`
///
/// The store keeps the model's archive, whatever happens to the model's folder, across restarts too.
/// A build that is running still finishes. `marwatch rollback` works on a paused model.
#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    model: Model,
}

/// Build a model from its folder again, after a rollback or a pause
///
/// What the folder holds now is packed and published, as after any change.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    model: Model,
}

#[derive(Debug, clap::Args)]
struct Model {
    /// The model's name
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Stop> {
    args.model.ask(Command::RollBack { to: args.to }, out)
}

pub(super) fn pause(args: &PauseArgs, out: &mut dyn Write) -> Result<Exit, Stop> {
    args.model.ask(Command::Pause, out)
}

pub(super) fn resume(args: &ResumeArgs, out: &mut dyn Write) -> Result<Exit, Stop> {
    args.model.ask(Command::Resume, out)
}

impl Model {
    fn ask(&self, command: Command, out: &mut dyn Write) -> Result<Exit, Stop> {
        ask::run(&self.source, &self.model, command, out)
    }
}
