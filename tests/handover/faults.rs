//! Every fault in every call: in the end the server has the new archive or the old one.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::common::daemon::Daemon;
use crate::common::service;
use crate::common::site::Site;
use crate::fake::{BROKEN, Fake, Fault, Manner, Script};

const FAULTS: [Fault; 5] =
    [Fault::Status(500), Fault::Status(503), Fault::Reset, Fault::Lost, Fault::Silence];
/// Short waits.
const QUICK: &str = "retry: {initial: 20ms, max: 200ms}\njobs: 4\n";

/// One model, and what goes wrong with it.
struct Case {
    model: String,
    works: bool,
    fault: Fault,
    call: usize,
    before: String,
}

/// The server's section of the configuration.
pub(crate) fn quick(fake: &Fake, more: &str) -> String {
    let url = fake.url();
    format!(
        "{QUICK}servers:\n  - {{management: '{url}', timeout: 400ms, check_interval: 500ms{more}}}\n"
    )
}

/// The catalog's entry for a model on the server.
pub(crate) fn state(site: &Site, fake: &Fake, model: &str) -> Value {
    site.catalog()["models"][model]["servers"][fake.url()].clone()
}

/// `calls` is how many calls an edit that works makes, and one that is refused.
fn sweep(preflight: bool, manners: &[Manner], calls: [usize; 2]) {
    let site = Site::new();
    let fake = Fake::start(&site.store);
    site.configure_quick(&quick(&fake, &format!(", preflight: {preflight}")));
    let mut cases = Vec::new();
    for (works, calls) in [(true, calls[0]), (false, calls[1])] {
        for &manner in manners.iter().filter(|manner| !works || **manner == Manner::Clean) {
            for call in 0..calls {
                for fault in FAULTS {
                    let model = format!("m{}", cases.len());
                    site.put(&model, &[("service.py", &service("old"))]);
                    let before = String::new();
                    cases.push((Case { model, works, fault, call, before }, manner));
                }
            }
        }
    }
    let mut daemon = Daemon::start(&site);
    daemon.wait("all to be served", |_| {
        let all = cases.iter().all(|(case, _)| fake.holder(&case.model).is_some());
        (all && cases
            .iter()
            .all(|(case, _)| state(&site, &fake, &case.model)["state"] == "serving"))
        .then_some(())
    });
    for (case, manner) in &mut cases {
        case.before = fake.holder(&case.model).unwrap().version;
        let (after, manner) = (case.before.clone(), *manner);
        let (call, fault) = (case.call, case.fault);
        let script = Script { after, call, fault, manner, calls: 0, fired: false };
        fake.play(&case.model, script);
    }
    for (case, _) in &cases {
        let text =
            if case.works { service("new") } else { format!("{BROKEN}\n{}", service("new")) };
        fs::write(site.drop.join(&case.model).join("service.py"), text).unwrap();
    }
    for (case, _) in &cases {
        let settled = daemon.wait(&format!("{} to settle", case.describe()), |seen| {
            // A model that the catalog calls `serving` is served, also while others are not
            // finished.
            let catalog = site.catalog();
            let said = |model: &str| catalog["models"][model]["servers"][fake.url()].clone();
            for (other, _) in &cases {
                let said = said(&other.model);
                if said["state"] == "serving" && said["generation"].as_u64() >= Some(2) {
                    other.check(&fake, &said["state"]);
                }
            }
            let now = said(&case.model);
            let (what, generation) = (now["state"].as_str()?, now["generation"].as_u64()?);
            let is_over = generation >= 2 && matches!(what, "serving" | "refused" | "rolled_back");
            let is_recorded = seen.records.iter().any(|record| {
                record.server.is_some()
                    && (&record.model, record.generation) == (&case.model, generation)
            });
            (is_over && is_recorded && fake.script(&case.model).fired)
                .then_some(now["state"].clone())
        });
        case.check(&fake, &settled);
    }
    // And it stays so.
    daemon.pause(Duration::from_millis(700));
    for (case, _) in &cases {
        case.check(&fake, &state(&site, &fake, &case.model)["state"]);
    }
    let left: Vec<_> = fake.names().into_iter().filter(|name| name.contains("--")).collect();
    assert_eq!(left, Vec::<String>::new(), "trials were left behind");
    daemon.stop();
}

impl Case {
    fn describe(&self) -> String {
        let Case { model, works, fault, call, .. } = self;
        format!("{model} (works: {works}, {fault:?} at call {call})")
    }

    /// A model that works has the name: the new one, unless it was refused.
    #[track_caller]
    fn check(&self, fake: &Fake, state: &Value) {
        let holder = fake.holder(&self.model);
        let holder = holder.unwrap_or_else(|| panic!("nothing holds {}", self.describe()));
        assert!(holder.works, "{}: {state}, {holder:?}", self.describe());
        let is_old = holder.version == self.before;
        // The server's own 500 counts as a refusal.
        let may_be_old = !self.works || self.fault == Fault::Status(500);
        assert!(!is_old || may_be_old, "{}: {state}", self.describe());
        assert!(is_old || self.works, "{}: {state}", self.describe());
    }
}

#[test]
fn after_a_fault_in_a_swap_with_a_trial_the_server_has_a_working_version() {
    sweep(true, &[Manner::Clean, Manner::Zombie], [5, 3]);
}

#[test]
fn after_a_fault_in_a_swap_without_a_trial_the_server_has_a_working_version() {
    sweep(false, &[Manner::Clean, Manner::Zombie], [3, 5]);
}
