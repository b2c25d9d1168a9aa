//! Startup of the engine: the store is opened, and the catalog is brought up to date with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{Engine, Message, Mode, catalog, paused, policy, unrecorded};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::ModelName;
use crate::pipeline::generations::LastGenerations;
use crate::pipeline::report::Summary;
use crate::pipeline::{Builder, Listed};
use crate::reconcile::{Event, Reconciler};
use crate::results::catalog::CatalogEntry;
use crate::results::writer::CatalogChange;
use crate::results::{Catalog, ResultsWriter};
use crate::store::{Store, StoreError, hidden_folder};

impl Engine {
    /// Opens the store. A summary of every build goes to `summaries`.
    ///
    /// # Errors
    /// When the store cannot be used, or another marwatch holds it.
    pub fn open(
        config: Config,
        mode: Mode,
        summaries: Option<UnboundedSender<Summary>>,
    ) -> Result<(Self, UnboundedReceiver<Message>), StoreError> {
        let store = Store::open(&config)?;
        let loaded = store.load_states().map_err(|source| {
            let path = store.states().folder().to_owned();
            StoreError::Prepare { path, source }
        })?;
        let states = loaded.states.into_iter().map(|(name, state)| (name, Arc::new(state)));
        let states: BTreeMap<_, _> = states.collect();
        let mut catalog = catalog::read(&store);
        let amendments = catalog::amendments(&catalog, &store, &states);
        let hidden = hidden_folder(store.root());
        let results = ResultsWriter::start(&hidden, config.results, catalog.clone());
        // Removed models whose removal is not recorded: no server was notified of it either.
        let removed = store.states().gone();
        // Records come before the catalog entries that go with them.
        for (record, reminder) in unrecorded::records(&catalog, &store, &states) {
            results.recover(record, reminder);
        }
        let mut gone = Vec::new();
        for (name, entry) in amendments {
            match entry {
                Some(entry) => {
                    catalog.models.insert(name.clone(), entry.clone());
                    results.change(CatalogChange::List(name, Box::new(entry)));
                }
                None => {
                    let entry = catalog.models.remove(&name);
                    let is_removed = removed.iter().any(|(gone, ..)| gone.as_str() == name);
                    gone.extend(entry.filter(|_| is_removed).map(|entry| (name.clone(), entry)));
                    results.change(CatalogChange::Delist(name));
                }
            }
        }
        let (outbox, inbox) = mpsc::unbounded_channel();
        let reconciler = Reconciler::new(policy(&config, mode.once));
        let builder = Builder {
            generations: Arc::new(LastGenerations::new(&config)),
            config: Arc::new(config),
            store: Arc::new(store),
            cancelled: Arc::new(AtomicBool::new(false)),
            progress: Arc::clone(&mode.progress),
            gate: None,
        };
        let mut engine = Self {
            clock: Clock::new(),
            mode,
            builder,
            reconciler,
            states,
            paused: paused::read(&hidden),
            listed: listed(&catalog),
            serves: catalog
                .models
                .iter()
                .filter(|(_, entry)| !entry.serve.is_empty())
                .filter_map(|(name, entry)| {
                    Some((ModelName::parse(name).ok()?, entry.serve.clone()))
                })
                .collect(),
            gone,
            replies: BTreeMap::new(),
            last_command: 0,
            removing: BTreeMap::new(),
            deferred: Vec::new(),
            results,
            outbox,
            summaries,
            outstanding: 0,
            churn: 0,
            sees_all: loaded.is_all,
        };
        engine.configured();
        let paused: Vec<_> =
            engine.paused.keys().filter_map(|name| ModelName::parse(name).ok()).collect();
        for name in paused {
            engine.handle(Event::Paused(name));
        }
        Ok((engine, inbox))
    }
}

fn listed(catalog: &Catalog) -> BTreeMap<String, Listed> {
    let listed = catalog.models.iter().filter_map(|(name, entry)| {
        let digest = entry.digest.parse().ok()?;
        let CatalogEntry { archive, generation, held, .. } = entry.clone();
        Some((name.clone(), Listed { archive, digest, generation, held }))
    });
    listed.collect()
}
