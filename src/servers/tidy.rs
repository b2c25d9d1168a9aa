//! Trials that were left behind on a server: by a marwatch that was killed, or by a lost request.

use std::collections::BTreeSet;

use super::answer::Answer;
use super::api::Api;
use super::trial;

/// Unregisters the trials of these models that are not under way; false if one is left.
pub(super) async fn tidy(api: &Api, models: &BTreeSet<String>) -> bool {
    let server = &api.server().management;
    let names = match api.list().await {
        Ok(names) => names,
        Err(why) => {
            tracing::debug!(server, "cannot list its models: {why}");
            return true;
        }
    };
    let mut is_tidy = true;
    for name in names {
        let is_ours = trial::model_of(&name).is_some_and(|model| models.contains(model));
        if !is_ours || trial::is_under_way(&name) {
            continue;
        }
        match api.unregister(&name).await {
            Answer::Good | Answer::Absent => {
                tracing::info!(server, model = %name, "removed a trial that was left behind");
            }
            _ => is_tidy = false,
        }
    }
    is_tidy
}
