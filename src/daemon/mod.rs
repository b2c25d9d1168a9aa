//! `marwatch run`: the loop that turns inputs into events.
//!
//! Every input arrives here: messages of workers and of the watcher, requests, signals, timers. Each
//! becomes one call of the engine; the loop itself decides only how to end.

mod collector;
pub mod engine;
mod forwarder;
mod memory;
mod reload;
pub mod service;
mod shutdown;
pub mod signals;

use std::ops::ControlFlow;
use std::sync::Arc;

use signal_hook_tokio::Signals;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt;

use crate::config::Config;
use crate::control::{AppState, Control, Question};
use crate::exit::Exit;
use crate::results::Trigger;
use crate::servers::Servers;
use crate::source::discover;
use crate::status::history::AttemptHistory;
use crate::status::metrics::Metrics;
use crate::store::{LockError, StoreError, hidden_folder};
use crate::subscribers::Subscribers;
use crate::text::chain;
use crate::watch::{RootKind, WatchPlan, WatchRoot, Watcher};
use collector::StatusCollector;
pub use collector::View;
use engine::{Engine, Message, Mode};
use forwarder::EventForwarder;
use service::ServiceNotifier;
use signals::Signal;

/// Messages that are handled in one turn, so that a burst costs one turn, and a flood of changes
/// does not hold up signals and timers.
const MOST_AT_ONCE: usize = 256;

/// The source of the configuration, for the start and for each SIGHUP.
pub trait ConfigSource {
    /// Reads the whole configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, as lines for the log.
    fn read(&self) -> Result<Config, Vec<String>>;
}

/// Runs until a signal ends it, and shows its work in `view`.
pub async fn run(source: &dyn ConfigSource, config: Config, view: Option<Box<dyn View>>) -> Exit {
    match Daemon::start(config, view) {
        Ok(daemon) => daemon.run(source).await,
        Err(exit) => exit,
    }
}

/// Logs why the store cannot be used; the exit code for that.
pub fn refused(error: &StoreError) -> Exit {
    tracing::error!("{}", chain(error));
    match error {
        StoreError::Lock(LockError::Held { .. }) => Exit::StoreHeld,
        _ => Exit::Unavailable,
    }
}

/// The running daemon: all that the loop owns.
struct Daemon {
    engine: Engine,
    inbox: UnboundedReceiver<Message>,
    questions: UnboundedReceiver<Question>,
    signals: Signals,
    watcher: Watcher,
    control: Control,
    forwarder: EventForwarder,
    notifier: ServiceNotifier,
    collector: StatusCollector,
    /// The next full rescan.
    rescan_at: Instant,
}

impl Daemon {
    /// Opens the store, arms the watches and queues the first pass.
    ///
    /// # Errors
    /// The exit code, if something is not available; the log has the reason.
    fn start(config: Config, view: Option<Box<dyn View>>) -> Result<Self, Exit> {
        let signals = signals::listen().map_err(|error| cannot("handle signals", &error))?;
        let metrics = Arc::new(Metrics::default());
        let (collector, summaries) = StatusCollector::new(Arc::clone(&metrics), view);
        let mode = Mode { once: false, only: None, progress: collector.on_progress() };
        let (mut engine, inbox) = Engine::open(config, mode, Some(summaries)).map_err(|error| {
            service::cannot_start(&chain(&error));
            refused(&error)
        })?;
        let watcher = Watcher::start(watch_plan(engine.config()), engine.sink(Message::Changed))
            .map_err(|error| cannot("watch", &error))?;
        let subscribers = Subscribers::new(Arc::clone(&metrics));
        let (asked, questions) = mpsc::unbounded_channel();
        let store = engine.config().store.clone();
        let history = AttemptHistory::of(&hidden_folder(&store));
        let state = AppState {
            store,
            commands: engine.sink(Message::Command),
            questions: asked,
            records: subscribers.records(),
            metrics,
            history: Arc::new(Mutex::new(history)),
        };
        let control = Control::start(engine.config(), state);
        let servers = Servers::new(
            engine.config(),
            engine.sink(Message::Server),
            engine.sink(Message::Command),
        );
        let forwarder = EventForwarder::start(engine.config(), servers, subscribers);
        engine.subscribe(forwarder.events());
        engine.scan_all(Trigger::Start);
        tracing::info!(
            store = %engine.config().store.display(),
            watched_folders = watcher.watched(),
            "watching"
        );
        let mut notifier = ServiceNotifier::from_environment();
        notifier.ready();
        let rescan_at = Instant::now() + engine.config().rescan_interval;
        Ok(Self {
            engine,
            inbox,
            questions,
            signals,
            watcher,
            control,
            forwarder,
            notifier,
            collector,
            rescan_at,
        })
    }

    async fn run(mut self, source: &dyn ConfigSource) -> Exit {
        while self.turn(source).await.is_continue() {}
        let exit = self.drain().await;
        self.finish().await;
        exit
    }

    /// Handles the next input; breaks at a signal to stop.
    async fn turn(&mut self, source: &dyn ConfigSource) -> ControlFlow<()> {
        let engine_due = self.engine.deadline().map(Instant::from_std);
        let (notifier_due, collector_due) = (self.notifier.deadline(), self.collector.deadline());
        tokio::select! {
            Some(message) = self.inbox.recv() => self.take(message),
            Some(question) = self.questions.recv() => match question {
                Question::Now(reply) => {
                    // Fails if the client is gone.
                    let _ = reply.send(self.collector.now(&self.engine, &self.watcher));
                    return ControlFlow::Continue(());
                }
                Question::Rescan(reply) => {
                    tracing::info!("rescanning everything, as requested");
                    self.rescan();
                    let _ = reply.send(());
                }
            },
            Some(number) = self.signals.next() => match signals::meaning(number) {
                Some(Signal::Stop) => return ControlFlow::Break(()),
                Some(Signal::Reload) => self.reload(source),
                Some(Signal::Rescan) => {
                    tracing::info!("SIGUSR1: rescanning everything");
                    self.rescan();
                }
                None => {}
            },
            () = sleep_until(self.rescan_at) => {
                self.rescan_at = Instant::now() + self.engine.config().rescan_interval;
                self.rescan();
            }
            () = until(engine_due) => self.engine.tick(),
            () = until(notifier_due) => {
                self.notify();
                return ControlFlow::Continue(());
            }
            () = until(collector_due) => {
                self.collector.tick(&self.engine, &self.watcher);
                return ControlFlow::Continue(());
            }
        }
        self.collector.changed();
        self.notifier.changed();
        ControlFlow::Continue(())
    }

    /// Handles a message, and those that have arrived since.
    fn take(&mut self, first: Message) {
        self.engine.take(first);
        for message in std::iter::from_fn(|| self.inbox.try_recv().ok()).take(MOST_AT_ONCE) {
            self.engine.take(message);
        }
    }

    fn rescan(&mut self) {
        self.watcher.rearm();
        self.engine.scan_all(Trigger::Rescan);
    }

    fn notify(&mut self) {
        self.notifier.tick(&self.engine, self.collector.issues(&self.engine));
    }
}

fn cannot(what: &str, error: &std::io::Error) -> Exit {
    service::cannot_start(&error.to_string());
    tracing::error!(%error, "cannot {what}");
    Exit::Unavailable
}

fn watch_plan(config: &Config) -> WatchPlan {
    let roots = discover::roots(config).map(|path| {
        let is_drop = config.drop_folders.contains(path);
        let kind = if is_drop { RootKind::Drop } else { RootKind::Model };
        WatchRoot { path: path.clone(), kind }
    });
    WatchPlan {
        roots: roots.collect(),
        ignore: vec![config.store.clone(), config.state_dir.clone()],
        mode: config.watch_mode,
        poll_interval: config.poll_interval,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
