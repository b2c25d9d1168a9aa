//! Reports about servers: which of them are news, and the record of each.
//!
//! marwatch asks a server again and again, and records only what changed since the last answer. The
//! catalog keeps that answer, so neither a restart of marwatch nor a server that stays down causes
//! a record.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::{CatalogEntry, ServerStatus, ServingState};
use super::{Outcome, Record, Trigger};
use crate::model::ModelName;

/// The part of a record about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerResult {
    /// Address of the server's management API.
    pub management: String,
    /// Whether the server serves the archive, or why not.
    pub state: ServingState,
    /// Version in the archive that the server should serve.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// The server's state before marwatch corrected it; absent if there was nothing to correct.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub found: Option<String>,
    /// Why the server does not serve it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// The result of bringing a model to a server, or of checking it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    pub model: ModelName,
    /// Address of the server's management API.
    pub server: String,
    /// The server's state before marwatch corrected it, if it had to.
    pub found: Option<String>,
    /// Whether the store or the configuration asked for the change.
    pub is_asked: bool,
    pub status: ServerStatus,
}

impl ServerReport {
    /// Whether it says the same as `before`, apart from the time.
    pub fn is_same_as(&self, before: &ServerStatus) -> bool {
        *before == ServerStatus { since: before.since, ..self.status.clone() }
    }

    /// The record of it, if it is news. `entry` is the model's in the catalog, and `folder` the
    /// model's folder, if known.
    pub fn record(&self, entry: Option<&CatalogEntry>, folder: Option<PathBuf>) -> Option<Record> {
        let before = entry.and_then(|entry| entry.servers.get(&self.server));
        if !self.is_news(before) {
            return None;
        }
        let ServerStatus { state, generation, version, error, since, told: _ } =
            self.status.clone();
        let had_it = before.filter(|before| before.version == version);
        let is_by_itself = had_it.is_some() && !self.is_asked;
        let trigger = if is_by_itself { Trigger::Server } else { Trigger::Store };
        // `found` is news only of a server that was known to serve the archive.
        let had_it = had_it.filter(|before| before.state == ServingState::Serving);
        let found = self.found.clone().filter(|_| had_it.is_some());
        let mut record = Record::new(self.model.to_string(), folder.unwrap_or_default(), trigger);
        record.time = since;
        record.outcome = match state {
            ServingState::Serving => Outcome::Served,
            ServingState::Withdrawn => Outcome::Withdrawn,
            ServingState::Refused
            | ServingState::RolledBack
            | ServingState::Failed
            | ServingState::Unreachable => Outcome::NotServed,
        };
        record.generation = generation;
        // The report may be about an archive that was replaced since.
        if let Some(entry) = entry.filter(|entry| entry.generation == generation) {
            record.archive = Some(entry.archive.clone());
            record.bytes = Some(entry.bytes);
            record.digest = Some(entry.digest.clone());
            record.sha256.clone_from(&entry.sha256);
        }
        let management = self.server.clone();
        record.server = Some(ServerResult { management, state, version, found, error });
        Some(record)
    }

    fn is_news(&self, before: Option<&ServerStatus>) -> bool {
        let Some(before) = before else { return true };
        let ServerStatus { state, generation, version, .. } = &self.status;
        let is_same =
            (before.state, before.generation, &before.version) == (*state, *generation, version);
        match self.status.state {
            // Each correction is news.
            ServingState::Serving => !is_same || self.found.is_some(),
            // A refused archive is not offered again by itself, so each of these is a new attempt.
            ServingState::Refused | ServingState::RolledBack | ServingState::Withdrawn => true,
            ServingState::Failed => !is_same,
            // While the server is down, it does not matter which archive it does not get.
            ServingState::Unreachable => before.state != ServingState::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::model::{Runtime, Serve};

    const SERVER: &str = "http://127.0.0.1:8081";

    fn served(state: ServingState, version: &str) -> ServerStatus {
        let error = (state != ServingState::Serving).then(|| "why".to_owned());
        let (version, since) = (Some(version.into()), clock::timestamp());
        ServerStatus { state, generation: 2, version, told: None, error, since }
    }

    fn report(state: ServingState, version: &str, found: Option<&str>) -> ServerReport {
        ServerReport {
            model: ModelName::parse("m").unwrap(),
            server: SERVER.into(),
            found: found.map(str::to_owned),
            is_asked: false,
            status: served(state, version),
        }
    }

    /// A catalog entry of generation 2, with the status of a server.
    fn entry(before: ServerStatus) -> CatalogEntry {
        CatalogEntry {
            archive: "m.mar".into(),
            bytes: 7,
            digest: "b3:00".into(),
            sha256: None,
            generation: 2,
            version: None,
            handler: "m:handle".into(),
            runtime: Runtime::Python,
            published: clock::timestamp(),
            held: None,
            serve: Serve::default(),
            servers: [(SERVER.to_owned(), before)].into(),
        }
    }

    #[test]
    fn only_news_about_a_server_is_recorded() {
        use ServingState::{Failed, Refused, RolledBack, Serving, Unreachable};
        let drift = Some("it was not registered");
        // The state before and now, what was found; outcome and trigger.
        let (served, not_served) = (Outcome::Served, Outcome::NotServed);
        for (before, now, found, expected) in [
            ((Serving, "1"), (Serving, "1"), None, None),
            ((Serving, "1"), (Serving, "1"), drift, Some((served, Trigger::Server))),
            ((Serving, "1"), (Serving, "2"), Some("1"), Some((served, Trigger::Store))),
            ((Serving, "1"), (Unreachable, "1"), None, Some((not_served, Trigger::Server))),
            ((Serving, "1"), (Unreachable, "2"), None, Some((not_served, Trigger::Store))),
            ((Unreachable, "1"), (Unreachable, "1"), None, None),
            ((Unreachable, "1"), (Unreachable, "2"), None, None),
            ((Unreachable, "1"), (Serving, "1"), None, Some((served, Trigger::Server))),
            ((Serving, "1"), (Refused, "2"), None, Some((not_served, Trigger::Store))),
            ((Refused, "2"), (Refused, "2"), None, Some((not_served, Trigger::Server))),
            ((RolledBack, "2"), (Serving, "3"), None, Some((served, Trigger::Store))),
            ((Serving, "1"), (Failed, "2"), drift, Some((not_served, Trigger::Store))),
            ((Failed, "2"), (Failed, "2"), drift, None),
        ] {
            let mut entry = entry(super::tests::served(before.0, before.1));
            let record = report(now.0, now.1, found).record(Some(&entry), None);
            let found = record.as_ref().map(|record| (record.outcome, record.trigger));
            assert_eq!(found, expected, "{before:?} {now:?}");
            // An archive with the same version but a new generation is another archive.
            let before = entry.servers.values_mut().next().unwrap();
            before.generation = 1;
            let is_recorded = report(now.0, now.1, None).record(Some(&entry), None).is_some();
            assert_eq!(is_recorded, expected.is_some() || now.0 != Unreachable, "{now:?}");
        }
    }

    #[test]
    fn a_record_about_a_server_names_the_archive_it_was_given() {
        let entry = entry(served(ServingState::Serving, "1"));
        let report = report(ServingState::Refused, "1", Some("version 0"));
        let record = report.record(Some(&entry), Some("/models/m".into())).unwrap();
        assert_eq!((record.generation, record.archive.as_deref()), (2, Some("m.mar")));
        let on = record.server.unwrap();
        assert_eq!((on.management.as_str(), on.error.as_deref()), (SERVER, Some("why")));
        assert_eq!((on.version.as_deref(), on.found.as_deref()), (Some("1"), Some("version 0")));
        // The server did not change without marwatch.
        let asked = ServerReport { is_asked: true, ..report.clone() };
        assert_eq!(asked.record(Some(&entry), None).unwrap().trigger, Trigger::Store);
        // The server did not serve it before, so `found` is no news.
        let new = super::tests::report(ServingState::Serving, "2", Some("version 1"));
        assert_eq!(new.record(Some(&entry), None).unwrap().server.unwrap().found, None);
        // A newer archive was published since.
        let late = ServerStatus { generation: 1, ..report.status.clone() };
        let late = ServerReport { status: late, ..report };
        let record = late.record(Some(&entry), None).unwrap();
        assert_eq!((record.generation, record.archive, record.digest), (1, None, None));
    }
}
