//! `marwatch run`: the loop that turns inputs into events.
//!
//! Everything that happens arrives here: messages from workers and the watcher, signals, timers.
//! Each becomes one call of the engine; the loop itself decides nothing but how to end.

mod announcer;
mod collector;
pub mod engine;
mod memory;
pub mod service;
pub mod signals;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt;

use crate::config::Config;
use crate::control::{Control, Desk, Question};
use crate::exit::Exit;
use crate::results::Trigger;
use crate::servers;
use crate::source::discover;
use crate::status::history::Past;
use crate::status::metrics::Metrics;
use crate::store::{StoreError, hidden_folder};
use crate::subscribers::Subscribers;
use crate::text::chain;
use crate::watch::{RootKind, WatchPlan, WatchRoot, Watcher};
use announcer::Announcer;
use collector::Lookout;
pub use collector::View;
use engine::{Engine, Message, Mode};
use service::Herald;
use signals::Signal;

/// How long builds that were told to stop may take to do so.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// How long a thread that builds stays without work: always. A model that is edited now and then
/// would otherwise pay for a new thread each time, and an idle thread for waking up to end.
const THREADS_STAY: Duration = Duration::from_secs(365 * 24 * 3600);
/// Such threads at most, unless `jobs` asks for more. Many removals at once wait for each other
/// rather than leave hundreds of threads.
const MOST_THREADS: usize = 16;

/// Where the configuration comes from, for the start and for each SIGHUP.
pub trait ConfigSource {
    /// Reads the configuration as a whole.
    ///
    /// # Errors
    /// Everything that is wrong with it, ready to be logged line by line.
    fn read(&self) -> Result<Config, Vec<String>>;
}

/// Runs until a signal ends it, and shows what it does to whoever looks on.
pub fn run(source: &dyn ConfigSource, config: Config, view: Option<Box<dyn View>>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREADS_STAY)
        .max_blocking_threads(config.jobs + MOST_THREADS)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return Exit::Unavailable;
        }
    };
    let exit = runtime.block_on(follow(source, config, view));
    // A build that does not stop must not keep the process: what it leaves in staging is swept.
    runtime.shutdown_background();
    exit
}

async fn follow(source: &dyn ConfigSource, config: Config, view: Option<Box<dyn View>>) -> Exit {
    let mut signals = match signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot take signals");
            return Exit::Unavailable;
        }
    };
    let mut herald = Herald::of_environment();
    let metrics = Arc::new(Metrics::default());
    let (mut lookout, reports) = Lookout::new(Arc::clone(&metrics), view);
    let mode = Mode { once: false, only: None, progress: lookout.on_progress() };
    let (mut engine, mut inbox) = match Engine::open(config, mode, Some(reports)) {
        Ok(opened) => opened,
        Err(error) => {
            service::cannot_start(&chain(&error));
            return refused(&error);
        }
    };
    let changes = engine.sink(Message::Change);
    let watcher = match Watcher::start(watch_plan(engine.config()), changes) {
        Ok(watcher) => watcher,
        Err(error) => {
            service::cannot_start(&error.to_string());
            tracing::error!(%error, "cannot watch");
            return Exit::Unavailable;
        }
    };
    let onlookers = Subscribers::new(Arc::clone(&metrics));
    let (questions, mut asked) = mpsc::unbounded_channel();
    let desk = Desk {
        store: engine.config().store.clone(),
        commands: engine.sink(Message::Ordered),
        questions,
        records: onlookers.records(),
        metrics,
        past: Arc::new(Mutex::new(Past::of(&hidden_folder(&engine.config().store)))),
    };
    let mut control = Control::start(engine.config(), desk);
    let mut announcer = Announcer::start(
        engine.config(),
        engine.sink(|output| match output {
            servers::Output::Report(report) => Message::Served(report),
            servers::Output::Command(request) => Message::Ordered(request),
        }),
        onlookers,
    );
    engine.announce_to(announcer.news());
    engine.look_at_all(Trigger::Start);
    tracing::info!(
        store = %engine.config().store.display(),
        watched_folders = watcher.watched(),
        "watching"
    );
    herald.ready();
    let mut rescan = Instant::now() + engine.config().rescan_interval;
    let exit = loop {
        let deadline = engine.deadline().map(Instant::from_std);
        let telling = herald.deadline();
        let showing = lookout.deadline();
        tokio::select! {
            Some(message) = inbox.recv() => take_all(&mut engine, message, &mut inbox),
            Some(question) = asked.recv() => match question {
                Question::Now(reply) => {
                    // Whoever asked may be gone.
                    let _ = reply.send(lookout.now(&engine, &watcher));
                    continue;
                }
                Question::Rescan(reply) => {
                    tracing::info!("looking at everything, as asked");
                    watcher.rearm();
                    engine.look_at_all(Trigger::Rescan);
                    let _ = reply.send(());
                }
            },
            Some(number) = signals.next() => match signals::meaning(number) {
                Some(Signal::Stop) => {
                    break drain(&mut engine, &mut inbox, &mut signals, &mut herald, &mut lookout).await;
                }
                Some(Signal::Reload) => {
                    herald.reloading();
                    let outcome = reload(source, engine.config()).map(|config| {
                        watcher.replace(watch_plan(&config));
                        rescan = Instant::now() + config.rescan_interval;
                        announcer.reconfigure(&config);
                        control.reconfigure(&config);
                        engine.reconfigure(config);
                    });
                    herald.reloaded(outcome);
                }
                Some(Signal::Rescan) => {
                    tracing::info!("SIGUSR1: looking at everything");
                    watcher.rearm();
                    engine.look_at_all(Trigger::Rescan);
                }
                None => {}
            },
            () = sleep_until(rescan) => {
                rescan = Instant::now() + engine.config().rescan_interval;
                watcher.rearm();
                engine.look_at_all(Trigger::Rescan);
            }
            () = sleep_until(deadline.unwrap_or(rescan)), if deadline.is_some() => engine.tick(),
            () = sleep_until(telling.unwrap_or(rescan)), if telling.is_some() => {
                herald.tick(&engine, lookout.board(&engine));
                continue;
            }
            () = sleep_until(showing.unwrap_or(rescan)), if showing.is_some() => {
                lookout.tick(&engine, &watcher);
                continue;
            }
        }
        lookout.something_happened();
        herald.something_happened();
    };
    // The socket goes while the store is still held: the next daemon's would be another. What was
    // ordered and not begun is let go of with the engine, and whoever waits for it is told so.
    herald.leaving();
    let control = control.close();
    drop((engine, inbox, asked));
    let mut told = pin!(announcer.finish());
    loop {
        tokio::select! {
            () = &mut told => break,
            () = stop_again(&mut signals) => {
                tracing::warn!("stopped at once; servers may lack a model until the next start");
                break;
            }
            () = tokio::time::sleep(service::EXTEND_EVERY) => herald.leaving(),
        }
    }
    control.answered().await;
    exit
}

/// Waits until somebody wants an end once more.
async fn stop_again(signals: &mut signal_hook_tokio::Signals) {
    while let Some(number) = signals.next().await {
        if signals::meaning(number) == Some(Signal::Stop) {
            return;
        }
    }
    std::future::pending().await
}

/// Takes a message and what has come meanwhile, so that a burst costs one round; not without end, or
/// a flood of changes would hold up signals and timers.
fn take_all(engine: &mut Engine, first: Message, inbox: &mut UnboundedReceiver<Message>) {
    const MOST: usize = 256;
    engine.take(first);
    for message in std::iter::from_fn(|| inbox.try_recv().ok()).take(MOST) {
        engine.take(message);
    }
}

/// Lets running builds end within the grace period; a second signal ends at once.
async fn drain(
    engine: &mut Engine,
    inbox: &mut UnboundedReceiver<Message>,
    signals: &mut signal_hook_tokio::Signals,
    herald: &mut Herald,
    lookout: &mut Lookout,
) -> Exit {
    engine.drain();
    herald.stopping(engine.outstanding());
    let grace = engine.config().shutdown_grace;
    tracing::info!(
        work = engine.outstanding(),
        "stopping; letting builds end for up to {} s",
        grace.as_secs()
    );
    let mut until = Instant::now() + grace;
    let mut cancelled = false;
    while engine.outstanding() > 0 {
        let telling = herald.deadline();
        tokio::select! {
            Some(message) = inbox.recv() => take_all(engine, message, inbox),
            Some(number) = signals.next() => {
                if signals::meaning(number) == Some(Signal::Stop) {
                    tracing::warn!("stopped at once; what is left in staging is swept at the next start");
                    engine.cancel();
                    return Exit::Interrupted;
                }
            }
            () = sleep_until(telling.unwrap_or(until)), if telling.is_some() => {
                herald.tick(engine, lookout.board(engine));
            }
            () = sleep_until(until) => {
                if cancelled {
                    return Exit::Interrupted;
                }
                tracing::warn!(work = engine.outstanding(), "the grace period is over; stopping builds");
                engine.cancel();
                cancelled = true;
                until = Instant::now() + STOP_WAIT;
            }
        }
    }
    tracing::info!("stopped");
    if cancelled { Exit::Interrupted } else { Exit::Success }
}

/// Reads the configuration again: as a whole, or not at all, with what is wrong first.
fn reload(source: &dyn ConfigSource, current: &Config) -> Result<Config, String> {
    let config = match source.read() {
        Ok(config) => config,
        Err(problems) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            tracing::error!("SIGHUP: the configuration is not valid; keeping the old one");
            return Err(problems.into_iter().next().unwrap_or_default());
        }
    };
    if config.store != current.store || config.state_dir != current.state_dir {
        tracing::error!(
            "SIGHUP: `store` and `state_dir` cannot change while marwatch runs; keeping the old configuration (restart to change them)"
        );
        return Err("`store` and `state_dir` change only with a restart".into());
    }
    tracing::info!("SIGHUP: the configuration was read again");
    Ok(config)
}

/// Says why a store cannot be used, and how to end for it.
pub fn refused(error: &StoreError) -> Exit {
    tracing::error!("{}", chain(error));
    match error {
        StoreError::Lock(crate::store::LockError::Held { .. }) => Exit::StoreHeld,
        _ => Exit::Unavailable,
    }
}

/// What to watch for a configuration.
pub fn watch_plan(config: &Config) -> WatchPlan {
    let kind = |path: &Path| {
        if config.drop_folders.iter().any(|drop| drop == path) {
            RootKind::Drop
        } else {
            RootKind::Model
        }
    };
    WatchPlan {
        roots: discover::roots(config)
            .map(|path| WatchRoot { path: path.clone(), kind: kind(path) })
            .collect(),
        ignore: vec![config.store.clone(), config.state_dir.clone()],
        mode: config.watch_mode,
        poll_interval: config.poll_interval,
    }
}
