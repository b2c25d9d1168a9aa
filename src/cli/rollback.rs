//! `marwatch rollback`, `marwatch pause` and `marwatch resume`.

use std::io::Write;

use super::ask;
use super::source::Source;
use crate::exit::Exit;
use crate::pipeline::command::Command;
use crate::reconcile::OrderKind;

/// Put an earlier archive of a model back into the store
///
/// It is read from end to end first, and takes its place as atomically as a build's; the archive that
/// it replaces goes to the history. It stays until the model's folder changes, or until
/// `marwatch resume`. Without --to it is the newest one of other content; again and again, it goes
/// further back. A daemon that holds the store is asked to do it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  marwatch history resnet              what can be put back
  marwatch rollback resnet             the archive before
  marwatch rollback resnet --to 12     the one of generation 12")]
pub struct Args {
    /// The model's name
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// The generation to put back, as `marwatch history` shows it
    #[arg(long, value_name = "GENERATION")]
    pub to: Option<u64>,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
}

/// Rolls back.
pub fn run(args: &Args, out: &mut dyn Write) -> Exit {
    ask::run(&args.source, &args.model, Command::Order(OrderKind::RollBack { to: args.to }), out)
}

/// Leave a model alone: nothing of it is built or removed until `marwatch resume`
///
/// What is in the store stays there, whatever happens to the model's folder, over restarts too. A
/// build that is under way is the last. `rollback` works all the same.
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// The model's name
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
}

/// Pauses.
pub fn pause(args: &PauseArgs, out: &mut dyn Write) -> Exit {
    ask::run(&args.source, &args.model, Command::Pause, out)
}

/// Let a model's folder decide again what is in the store, after a rollback or a pause
///
/// What the folder holds now is packed and published, as after any change.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The model's name
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: Source,
}

/// Resumes.
pub fn resume(args: &ResumeArgs, out: &mut dyn Write) -> Exit {
    ask::run(&args.source, &args.model, Command::Order(OrderKind::Resume), out)
}
