//! Paused models, remembered over restarts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::Engine;
use crate::clock;
use crate::fs::write_atomically;
use crate::model::ModelName;
use crate::pipeline::command::{Answer, Refusal};
use crate::reconcile::Event;
use crate::store::hidden_folder;
use crate::text::chain;

/// The file's name in the store's hidden folder.
const FILE: &str = "paused.json";

/// The names of the paused models, and since when each is paused.
pub(super) type Paused = BTreeMap<String, Timestamp>;

pub(super) fn read(hidden: &Path) -> Paused {
    let path = hidden.join(FILE);
    let read = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Paused::new(),
        Err(error) => Err(error),
    };
    read.unwrap_or_else(|error| {
        tracing::error!(path = %path.display(), %error, "cannot read which models are paused; none is paused now");
        Paused::new()
    })
}

fn write(hidden: &Path, paused: &Paused) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(paused)?;
    bytes.push(b'\n');
    write_atomically(&hidden.join(FILE), &bytes)
}

impl Engine {
    /// Pauses a model, or resumes it. That takes effect only once it is on the disk. Pauses are rare,
    /// so the loop itself waits for the disk.
    pub(super) fn pause(&mut self, name: ModelName, is_wanted: bool) -> Result<Answer, Refusal> {
        let is_known = self.states.contains_key(&name) || self.reconciler.is_claimed(&name);
        if is_wanted && !is_known {
            let message = format!("there is no model `{name}`");
            let help = "`marwatch status` lists the models".to_owned();
            return Err(Refusal { message, help });
        }
        let mut paused = self.paused.clone();
        if is_wanted {
            paused.entry(name.to_string()).or_insert_with(clock::timestamp);
        } else {
            paused.remove(name.as_str());
        }
        write(&hidden_folder(self.builder.store.root()), &paused).map_err(|error| Refusal {
            message: format!("cannot write which models are paused: {}", chain(&error)),
            help: "check the store's hidden folder, and ask again".to_owned(),
        })?;
        self.paused = paused;
        let (event, message) = if is_wanted {
            let message = format!("`{name}` is paused until `marwatch resume {name}`");
            (Event::Paused(name.clone()), message)
        } else {
            (Event::Unpaused(name.clone()), format!("`{name}` is no longer paused"))
        };
        tracing::info!(model = %name, "{message}");
        self.handle(event);
        Ok(Answer { message, record: None })
    }
}
