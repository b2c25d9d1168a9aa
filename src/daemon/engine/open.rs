//! The engine at the start: what the disk tells of the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{Engine, Message, Mode, catalog, paused, policy, untold};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::ModelName;
use crate::pipeline::Listed;
use crate::pipeline::Workshop;
use crate::pipeline::generations::Ended;
use crate::pipeline::report::Summary;
use crate::reconcile::{Event, Reconciler};
use crate::results::ResultsWriter;
use crate::results::catalog::CatalogEntry;
use crate::results::writer::CatalogChange;
use crate::store::{Store, StoreError, hidden_folder};

impl Engine {
    /// Opens the store and remembers what was built before.
    ///
    /// # Errors
    /// When the store cannot be used or is held by another marwatch.
    pub fn open(
        config: Config,
        mode: Mode,
        reports: Option<UnboundedSender<Summary>>,
    ) -> Result<(Self, UnboundedReceiver<Message>), StoreError> {
        let store = Store::open(&config)?;
        let loaded = store.load_states().map_err(|source| {
            let path = store.states().folder().to_owned();
            StoreError::Prepare { path, source }
        })?;
        let states = loaded.states.into_iter().map(|(name, state)| (name, Arc::new(state)));
        let states: BTreeMap<_, _> = states.collect();
        let mut catalog = catalog::read(&store);
        let amended = catalog::amend(&catalog, &store, &states);
        let hidden = hidden_folder(store.root());
        let results = ResultsWriter::start(&hidden, config.results, catalog.clone());
        // Those that were removed and are not recorded yet: nor may a server have been told.
        let removed = store.states().gone();
        // Before the catalog names what they tell of.
        for (record, reminder) in untold::records(&catalog, &store, &states) {
            results.recover(record, reminder);
        }
        let mut gone = Vec::new();
        for (name, entry) in amended {
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
        let listed = catalog
            .models
            .iter()
            .filter_map(|(name, entry)| {
                let digest = entry.digest.parse().ok()?;
                let CatalogEntry { archive, generation, held, .. } = entry.clone();
                Some((name.clone(), Listed { archive, digest, generation, held }))
            })
            .collect();
        let serves = catalog.models.iter().filter(|(_, entry)| !entry.serve.is_empty());
        let serves = serves
            .filter_map(|(name, entry)| Some((ModelName::parse(name).ok()?, entry.serve.clone())));
        let serves = serves.collect();
        let (outbox, inbox) = mpsc::unbounded_channel();
        let reconciler = Reconciler::new(policy(&config, mode.once));
        let shop = Workshop {
            ended: Arc::new(Ended::of(&config)),
            config: Arc::new(config),
            store: Arc::new(store),
            cancelled: Arc::new(AtomicBool::new(false)),
            progress: Arc::clone(&mode.progress),
            gate: None,
        };
        let clock = Clock::new();
        let mut engine = Self {
            clock,
            mode,
            shop,
            reconciler,
            states,
            paused: paused::read(&hidden),
            listed,
            serves,
            gone,
            waiting: BTreeMap::new(),
            orders: 0,
            removing: BTreeMap::new(),
            put_off: Vec::new(),
            results,
            outbox,
            reports,
            outstanding: 0,
            churn: 0,
            sees_all: loaded.is_all,
        };
        engine.configured();
        for name in engine.paused.keys().cloned().collect::<Vec<_>>() {
            engine.handle(Event::Paused(name));
        }
        Ok((engine, inbox))
    }
}
