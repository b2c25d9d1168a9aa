//! Trials that were left behind on a server: by a marwatch that was killed, or a call that was lost.

use std::collections::BTreeSet;

use super::api::Api;
use super::swap::Answer;
use super::trial;

/// Unregisters the trials of these models that nobody is trying now; false if one is left.
pub(super) async fn tidy(api: &Api, models: &BTreeSet<String>) -> bool {
    let names = match api.list().await {
        Ok(names) => names,
        Err(why) => {
            tracing::debug!(server = %api.server().management, "cannot list its models: {why}");
            return true;
        }
    };
    let mut is_done = true;
    for name in names {
        let is_ours = trial::model_of(&name).is_some_and(|model| models.contains(model));
        if !is_ours || trial::is_under_way(&name) {
            continue;
        }
        match api.unregister(&name).await {
            Answer::Good | Answer::Absent => {
                let server = &api.server().management;
                tracing::info!(server, model = %name, "removed a trial that was left behind");
            }
            _ => is_done = false,
        }
    }
    is_done
}
