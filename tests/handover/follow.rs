//! Servers that differ from the store are corrected, and every correction is recorded.

use std::fs;
use std::time::Duration;

use marwatch::results::catalog::ServingState;
use marwatch::results::{Outcome, Record, Trigger};

use crate::common::daemon::Daemon;
use crate::common::site::Site;
use crate::common::{marwatch, service};
use crate::fake::{BROKEN, Fake, Holder};
use crate::faults::{quick, state};

/// The records about a model on servers so far.
fn server_records(site: &Site, model: &str) -> Vec<(Outcome, Trigger, ServingState)> {
    let records = site.records_of(model);
    let of_servers = records
        .iter()
        .filter_map(|record| Some((record.outcome, record.trigger, record.server.as_ref()?.state)));
    of_servers.collect()
}

/// Waits for the record number `count` with this outcome.
#[track_caller]
fn wait_for(daemon: &mut Daemon<'_>, model: &str, outcome: Outcome, count: usize) -> Record {
    daemon.wait(&format!("{} of {model} times {count}", outcome.as_str()), |seen| {
        let of_it = |record: &&Record| {
            record.model == model && record.server.is_some() && record.outcome == outcome
        };
        let found: Vec<_> = seen.records.iter().filter(of_it).collect();
        (found.len() >= count).then(|| found[count - 1].clone())
    })
}

#[test]
fn a_model_that_changes_on_a_server_is_corrected_and_recorded_once() {
    let site = Site::new();
    let fake = Fake::start(&site.store);
    site.configure_quick(&quick(&fake, ""));
    let service_file = site.put("m", &[("service.py", &service("one"))]).join("service.py");
    let theirs = Holder {
        version: "1.0".into(),
        works: true,
        workers: 1,
        query: [("url".to_owned(), "theirs.mar".to_owned())].into(),
    };
    fake.set("theirs", Some(theirs.clone()));
    fake.set("theirs--marwatch-trial", Some(theirs.clone()));
    // Left behind by a daemon that was killed.
    fake.set("m--marwatch-trial", Some(theirs.clone()));
    let mut daemon = Daemon::start(&site);
    let first = wait_for(&mut daemon, "m", Outcome::Served, 1);
    assert_eq!((first.generation, first.archive.as_deref()), (1, Some("m.mar")));
    assert_eq!(first.folder, site.drop.join("m"));
    let ours = fake.holder("m").unwrap();
    daemon.wait("the trial to be cleared away", |_| {
        fake.holder("m--marwatch-trial").is_none().then_some(())
    });

    // Another client removes the model, and then registers another archive under its name.
    fake.set("m", None);
    let mended = wait_for(&mut daemon, "m", Outcome::Served, 2);
    assert_eq!(mended.trigger, Trigger::Server);
    let found = mended.server.unwrap().found.unwrap();
    assert!(found.contains("not registered"), "{found}");
    fake.set("m", Some(theirs.clone()));
    let mended = wait_for(&mut daemon, "m", Outcome::Served, 3);
    assert!(mended.server.unwrap().found.unwrap().contains("version 1.0"));
    assert_eq!(fake.holder("m").unwrap().version, ours.version);

    // A refusal is recorded once, and the old version stays.
    fs::write(&service_file, format!("{BROKEN}\n{}", service("two"))).unwrap();
    let refused = wait_for(&mut daemon, "m", Outcome::NotServed, 1);
    assert_eq!((refused.generation, refused.trigger), (2, Trigger::Store));
    daemon.wait_for_line(&[
        "refused the archive in a trial",
        "no workers",
        refused.outcome.as_str(),
    ]);
    fs::write(&service_file, service("three")).unwrap();
    wait_for(&mut daemon, "m", Outcome::Served, 4);
    // With nothing to correct, nothing is recorded.
    daemon.stays_idle_for(Duration::from_millis(1500));
    let (served, serving) = (Outcome::Served, ServingState::Serving);
    assert_eq!(
        server_records(&site, "m"),
        [
            (served, Trigger::Store, serving),
            (served, Trigger::Server, serving),
            (served, Trigger::Server, serving),
            (Outcome::NotServed, Trigger::Store, ServingState::Refused),
            (served, Trigger::Store, serving),
        ]
    );
    daemon.stop();
    // Nor after a restart.
    let mut daemon = Daemon::start(&site);
    daemon.stays_idle_for(Duration::from_millis(1500));
    assert_eq!(server_records(&site, "m").len(), 5);
    // Models that are not ours are as they were.
    assert_eq!(fake.holder("theirs").as_ref(), Some(&theirs));
    assert_eq!(fake.holder("theirs--marwatch-trial").as_ref(), Some(&theirs));
    daemon.stop();
}

#[test]
fn an_unreachable_server_has_one_record_and_does_not_delay_another() {
    let site = Site::new();
    let fake = Fake::start(&site.store);
    let gone = "http://127.0.0.1:1";
    let more = format!("}}\n  - {{management: '{gone}', check_interval: 200ms");
    site.configure_quick(&quick(&fake, &more));
    let service_file = site.put("m", &[("service.py", &service("one"))]).join("service.py");
    let mut daemon = Daemon::start(&site);
    let away = wait_for(&mut daemon, "m", Outcome::NotServed, 1);
    assert_eq!(away.server.unwrap().state, ServingState::Unreachable);
    wait_for(&mut daemon, "m", Outcome::Served, 1);
    fs::write(&service_file, service("two")).unwrap();
    wait_for(&mut daemon, "m", Outcome::Served, 2);
    daemon.stays_idle_for(Duration::from_millis(1500));
    assert_eq!(server_records(&site, "m").len(), 3, "{:?}", server_records(&site, "m"));
    // When the configuration no longer names the server, neither does the catalog.
    assert_eq!(site.catalog()["models"]["m"]["servers"][gone]["state"], "unreachable");
    site.configure_quick(&quick(&fake, ""));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the catalog to forget it", |_| {
        site.catalog()["models"]["m"]["servers"].get(gone).is_none().then_some(())
    });
    assert_eq!(state(&site, &fake, "m")["state"], "serving");
    daemon.stop();
}

#[test]
fn registration_values_reach_the_server_and_do_not_change_the_archive() {
    let site = Site::new();
    let fake = Fake::start(&site.store);
    site.configure_quick(&quick(&fake, ", workers: 2, batch_size: 2"));
    let folder = site.put("m", &[("service.py", &service("one"))]);
    let mut daemon = Daemon::start(&site);
    wait_for(&mut daemon, "m", Outcome::Served, 1);
    let of_server = |key: &str| fake.holder("m")?.query.get(key).cloned();
    assert_eq!(of_server("batch_size").as_deref(), Some("2"));
    let bytes = fs::read(site.archive("m")).unwrap();
    fs::write(folder.join(".mar.yaml"), "serve: {workers: 3}\n").unwrap();
    daemon.wait("more workers", |_| (fake.holder("m")?.workers == 3).then_some(()));
    let text = "serve: {workers: 3, batch_size: 8, response_timeout: 2m}\n";
    fs::write(folder.join(".mar.yaml"), text).unwrap();
    daemon.wait("another registration", |_| {
        (of_server("batch_size")? == "8" && of_server("response_timeout")? == "2").then_some(())
    });
    let asked = wait_for(&mut daemon, "m", Outcome::Served, 3);
    assert_eq!(asked.trigger, Trigger::Store, "nothing has changed by itself: {asked:?}");
    assert_eq!(fake.holder("m").unwrap().workers, 3);
    assert_eq!(site.catalog()["models"]["m"]["serve"]["batch_size"], 8);
    // The server does not report these values, so marwatch remembers them: no more requests, now or
    // after a restart.
    daemon.stays_idle_for(Duration::from_millis(1200));
    daemon.stop();
    let mut daemon = Daemon::start(&site);
    daemon.stays_idle_for(Duration::from_millis(1200));
    fs::remove_file(folder.join(".mar.yaml")).unwrap();
    daemon.wait("the server's own terms", |_| {
        (of_server("batch_size")? == "2" && fake.holder("m")?.workers == 2).then_some(())
    });
    assert!(fs::read(site.archive("m")).unwrap() == bytes, "it was packed again");
    let published = site.records_of("m").into_iter().filter(|record| record.server.is_none());
    assert_eq!(published.count(), 1);
    daemon.stop();
}

#[test]
fn secrets_are_read_from_credentials_and_never_shown() {
    let site = Site::new();
    let fake = Fake::start(&site.store);
    site.configure_quick(&quick(&fake, ", token_file: mms.token, header_file: mms.header"));
    let credentials = site.root.join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("mms.token"), "tok3n-s3cret\n").unwrap();
    fs::write(credentials.join("mms.header"), "X-Key: h3ader-s3cret\n").unwrap();
    site.put("m", &[("service.py", &service("one"))]);
    let mut command = marwatch();
    command.args(["run", "--config"]).arg(&site.config);
    command.env("CREDENTIALS_DIRECTORY", &credentials).env("RUST_LOG", "trace");
    let mut daemon = Daemon::started(&site, command);
    wait_for(&mut daemon, "m", Outcome::Served, 1);
    let asked = fake.asked();
    assert!(!asked.is_empty());
    for (request, headers) in asked {
        let has_both = headers.contains("authorization: Bearer tok3n-s3cret\r\n")
            && headers.contains("x-key: h3ader-s3cret\r\n");
        assert!(has_both, "{request}\n{headers}");
    }
    let written = fs::read_to_string(site.hidden().join("results.jsonl")).unwrap();
    let story = format!("{}{}{written}", daemon.story(), site.catalog());
    assert!(!story.contains("s3cret"), "{story}");
    daemon.stop();
}

#[test]
fn a_removed_model_is_withdrawn_from_the_server_once() {
    let site = Site::new();
    let fake = Fake::start(&site.store);
    site.configure_quick(&format!("on_remove: delete\n{}", quick(&fake, "")));
    for model in ["m", "n", "o"] {
        site.put(model, &[("service.py", &service("one"))]);
    }
    let mut daemon = Daemon::start(&site);
    for model in ["m", "n", "o"] {
        wait_for(&mut daemon, model, Outcome::Served, 1);
    }
    fs::remove_dir_all(site.drop.join("m")).unwrap();
    let withdrawn = wait_for(&mut daemon, "m", Outcome::Withdrawn, 1);
    assert_eq!((withdrawn.generation, withdrawn.archive), (1, None));
    assert_eq!(fake.names(), ["n", "o"]);
    // The model comes back.
    site.put("m", &[("service.py", &service("one"))]);
    let served = wait_for(&mut daemon, "m", Outcome::Served, 2);
    assert_eq!(served.generation, 2);
    assert_eq!(server_records(&site, "m").len(), 3);
    daemon.stop();
    // As after a removal by a daemon that was killed before it could withdraw the model.
    let state = site.hidden().join("state");
    fs::rename(state.join("m.state"), state.join("m.gone")).unwrap();
    fs::remove_file(site.archive("m")).unwrap();
    fs::remove_dir_all(site.drop.join("m")).unwrap();
    let mut daemon = Daemon::start(&site);
    wait_for(&mut daemon, "m", Outcome::Withdrawn, 2);
    assert_eq!(fake.names(), ["n", "o"]);
    daemon.stop();
}
