//! Running servers take over published archives, or keep the old ones.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use marwatch::clock::{Clock, Stopwatch};
use marwatch::results::Outcome;
use serde_json::Value;

use crate::common::daemon::Daemon;
use crate::common::service;
use crate::common::site::Site;
use crate::http::ask;
use crate::server::{Server, free_ports};

/// A swap starts a Python process for the trial and one for the model.
const PATIENCE: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_millis(20);
const PROBE: &str = "probe: {path: '/predictions/{name}', body_file: probe.txt}";

/// A site that follows the servers at these ports.
fn site(ports: &[[u16; 2]], more: &str, top: &str) -> Site {
    let site = Site::new();
    configure(&site, ports, more, top);
    site
}

fn configure(site: &Site, ports: &[[u16; 2]], more: &str, top: &str) {
    fs::write(site.root.join("probe.txt"), "?").unwrap();
    let servers: String = ports
        .iter()
        .map(|[inference, management]| {
            format!(
                "  - {{management: 'http://127.0.0.1:{management}', inference: 'http://127.0.0.1:{inference}', check_interval: 1s, {more}}}\n"
            )
        })
        .collect();
    site.configure_quick(&format!("{top}servers:\n{servers}"));
}

/// Waits until a model gives this answer.
#[track_caller]
fn wait_for_answer(server: &Server, model: &str, wanted: &str) {
    wait(&format!("{model} to answer {wanted}"), || {
        server.ask_model(model).is_ok_and(|said| said.status == 200 && said.body == wanted)
    });
}

#[track_caller]
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::new();
    let start = clock.now();
    while !is_so() {
        assert!(clock.now().since(start) < PATIENCE, "waiting for {what}");
        thread::park_timeout(STEP);
    }
}

/// The catalog's entry for a model on a server.
fn state(site: &Site, model: &str, management: u16) -> Value {
    site.catalog()["models"][model]["servers"][format!("http://127.0.0.1:{management}")].clone()
}

#[track_caller]
fn wait_for_state(site: &Site, model: &str, management: u16, wanted: &str) {
    wait(&format!("{model} to be {wanted}"), || state(site, model, management)["state"] == wanted);
}

/// A handler that fails to load on a server that has a file `refuse` next to its workers' sockets.
fn picky(answer: &str) -> String {
    let refuse = "import os\n\
        for word in open('/proc/self/cmdline').read().split('\\0'):\n    \
        if '.sock' in word and os.path.exists(os.path.join(os.path.dirname(word), 'refuse')):\n        \
        raise ValueError('refused here')\n";
    format!("{refuse}{}", service(answer))
}

/// A fault that only running the handler shows.
const BROKEN: &str =
    "import no_such_module\n\ndef handle(data, context):\n    return ['bad' for _ in data or []]\n";

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn a_running_server_takes_over_each_published_archive() {
    const SWAPS: usize = 30;
    const CLIENTS: usize = 4;
    let ports = free_ports();
    let site = site(&[ports], PROBE, "");
    let edited = site.put("answer", &[("service.py", &service("0"))]).join("service.py");
    let mut daemon = Daemon::start(&site);
    daemon.next("answer", Outcome::Published);
    // A server that is down at first holds up nothing.
    let server = Server::start_at(&site.store, ports, None);
    wait_for_answer(&server, "answer", "0");

    let over = AtomicBool::new(false);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut times = Vec::new();
    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (over, server) = (&over, &server);
                scope.spawn(move || {
                    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
                    let mut longest = Duration::ZERO;
                    while !over.load(Ordering::Relaxed) {
                        let mut watch = Stopwatch::start();
                        let said = match server.ask_model("answer") {
                            Ok(said) => said.status.to_string(),
                            Err(error) => format!("{:?}", error.kind()),
                        };
                        longest = longest.max(watch.lap());
                        *seen.entry(said).or_default() += 1;
                    }
                    (seen, longest)
                })
            })
            .collect();
        for swap in 1..=SWAPS {
            let mut watch = Stopwatch::start();
            fs::write(&edited, service(&swap.to_string())).unwrap();
            wait_for_answer(&server, "answer", &swap.to_string());
            times.push(watch.lap());
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let (said, slowest) = client.join().unwrap();
            longest = longest.max(slowest);
            for (status, times) in said {
                *seen.entry(status).or_default() += times;
            }
        }
    });
    times.sort_unstable();
    println!(
        "{SWAPS} swaps under {CLIENTS} clients: {seen:?}, the longest answer took {longest:?}; saved to first new answer: {:?} in the middle, {:?} to {:?}",
        times[SWAPS / 2],
        times[0],
        times[SWAPS - 1]
    );
    // How many requests fail in the moment without a model depends on how quickly the server
    // refuses them. But they are only ever refused, or unanswered where the server lets a request
    // hang: at most one per client and swap.
    let refusals = ["404", "500", "503"];
    let silent: usize = seen
        .iter()
        .filter(|(said, _)| *said != "200" && !refusals.contains(&said.as_str()))
        .map(|(_, times)| times)
        .sum();
    assert!(silent <= SWAPS * CLIENTS && seen["200"] >= SWAPS, "{seen:?}");
    assert_eq!(server.models(), ["answer"], "a trial was left behind");
    wait_for_state(&site, "answer", ports[1], "serving");
    daemon.stop();
    assert_eq!(fs::read_dir(site.hidden().join("trial")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn the_old_version_still_answers_after_a_broken_one() {
    let ports = free_ports();
    let site = site(&[ports], "preflight: true", "");
    let edited = site.put("answer", &[("service.py", &service("good"))]).join("service.py");
    let mut daemon = Daemon::start(&site);
    daemon.next("answer", Outcome::Published);
    let server = Server::start_at(&site.store, ports, None);
    wait_for_answer(&server, "answer", "good");
    fs::write(&edited, BROKEN).unwrap();
    // It is published all the same.
    daemon.next("answer", Outcome::Published);
    wait("the refusal", || {
        assert_eq!(server.predict("answer", "?"), "good");
        state(&site, "answer", ports[1])["state"] == "refused"
    });
    assert_eq!(server.models(), ["answer"]);
    assert_eq!(server.predict("answer", "?"), "good");

    fs::write(&edited, service("better")).unwrap();
    daemon.next("answer", Outcome::Published);
    wait_for_answer(&server, "answer", "better");
    wait_for_state(&site, "answer", ports[1], "serving");
    daemon.stop();
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn with_a_preflight_gate_a_refused_archive_is_not_published() {
    let ports = free_ports();
    let site = site(&[ports], "preflight: gate", "");
    fs::create_dir(&site.store).unwrap();
    let server = Server::start_at(&site.store, ports, None);
    let log = server.folder().join("mms_log.log");
    let more = format!("preflight: gate, worker_log: {}", log.display());
    configure(&site, &[ports], &more, "");
    let mut daemon = Daemon::start(&site);
    let edited = site.put("answer", &[("service.py", &service("good"))]).join("service.py");
    daemon.next("answer", Outcome::Published);
    wait_for_answer(&server, "answer", "good");
    let before = fs::read(site.archive("answer")).unwrap();
    fs::write(&edited, BROKEN).unwrap();
    let refused = daemon.next("answer", Outcome::Rejected);
    let problem = serde_json::to_value(&refused.problems[0]).unwrap();
    assert_eq!(problem["code"], "server-refused", "{refused:#?}");
    let said = problem["message"].as_str().unwrap();
    assert!(said.contains("ModuleNotFoundError: No module named 'no_such_module'"), "{said}");
    assert!(said.contains("service.py\", line 1"), "{said}");
    assert!(fs::read(site.archive("answer")).unwrap() == before);
    assert_eq!(server.predict("answer", "?"), "good");
    assert_eq!(server.models(), ["answer"]);
    daemon.stop();
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn without_a_trial_a_broken_version_is_rolled_back() {
    let ports = free_ports();
    let site = site(&[ports], "preflight: false", "");
    let mut daemon = Daemon::start(&site);
    let server = Server::start_at(&site.store, ports, None);
    let edited = site.put("answer", &[("service.py", &service("good"))]).join("service.py");
    daemon.next("answer", Outcome::Published);
    wait_for_answer(&server, "answer", "good");
    let before = site.members("answer");
    fs::write(&edited, BROKEN).unwrap();
    daemon.next("answer", Outcome::Published);
    // The store follows the server.
    let record = daemon.next("answer", Outcome::RolledBack);
    assert_eq!(record.of_generation, Some(1), "{record:#?}");
    assert_eq!(site.members("answer"), before);
    wait_for_answer(&server, "answer", "good");
    // Until the folder changes.
    fs::write(&edited, service("mended")).unwrap();
    daemon.next("answer", Outcome::Published);
    wait_for_answer(&server, "answer", "mended");
    daemon.stop();
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn a_killed_server_gets_its_models_back_and_models_with_one_archive_swap_independently() {
    let ports = free_ports();
    let site = site(&[ports], "workers: 2", "on_remove: delete\n");
    let mut daemon = Daemon::start(&site);
    for name in ["one", "two"] {
        site.put(name, &[("service.py", &service("same"))]);
        daemon.next(name, Outcome::Published);
    }
    let server = Server::start_at(&site.store, ports, None);
    for name in ["one", "two"] {
        wait_for_answer(&server, name, "same");
    }
    // A model with the same archive swaps twice: the other goes on.
    for answer in ["other", "same"] {
        fs::write(site.drop.join("one/service.py"), service(answer)).unwrap();
        daemon.next("one", Outcome::Published);
        wait_for_answer(&server, "one", answer);
        assert_eq!(server.predict("two", "?"), "same");
    }
    server.stop();
    wait_for_state(&site, "one", ports[1], "unreachable");
    // A server that has just started, without models.
    let server = Server::start_at(&site.store, ports, None);
    for name in ["one", "two"] {
        wait_for_answer(&server, name, "same");
    }
    assert_eq!(server.models(), ["one", "two"]);
    let records = site.records_of("one");
    let away = records.iter().filter(|record| record.outcome == Outcome::NotServed);
    assert_eq!(away.count(), 2, "down at first, and killed: {records:#?}");
    // Another client removes a model.
    ask(ports[1], "DELETE", "/models/one", "").unwrap();
    wait_for_answer(&server, "one", "same");
    wait("the record of it", || {
        let last = site.records_of("one").into_iter().rfind(|record| record.server.is_some());
        last.and_then(|last| last.server?.found)
            .is_some_and(|found| found.contains("not registered"))
    });
    // Other registration values are corrected, too.
    fs::write(site.drop.join("one/.mar.yaml"), "serve: {workers: 1, batch_size: 3}\n").unwrap();
    wait("the batch size", || {
        ask(ports[1], "GET", "/models/one", "")
            .is_ok_and(|said| said.body.contains("\"batchSize\": 3"))
    });
    wait_for_answer(&server, "one", "same");
    // A model that is removed from the store is withdrawn. One of two models is not most of them.
    fs::remove_dir_all(site.drop.join("two")).unwrap();
    daemon.next("two", Outcome::Removed);
    wait("the end of a model", || server.models() == ["one"]);
    assert_eq!(server.predict("one", "?"), "same");
    daemon.stop();
}

#[test]
#[ignore = "needs Java and multi-model-server from PyPI; run by .ci/run"]
fn an_archive_that_the_second_server_refuses_is_rolled_back_on_the_first() {
    for rolling in [true, false] {
        give_back(rolling);
    }
}

fn give_back(rolling: bool) {
    let ports = [free_ports(), free_ports()];
    let site = site(&ports, "preflight: true", &format!("rolling: {rolling}\n"));
    let mut daemon = Daemon::start(&site);
    let servers = ports.map(|ports| Server::start_at(&site.store, ports, None));
    let edited = site.put("answer", &[("service.py", &picky("one"))]).join("service.py");
    daemon.next("answer", Outcome::Published);
    for server in &servers {
        wait_for_answer(server, "answer", "one");
    }
    fs::write(servers[1].folder().join("tmp/refuse"), "").unwrap();
    fs::write(&edited, picky("two")).unwrap();
    daemon.next("answer", Outcome::Published);
    let record = daemon.next("answer", Outcome::RolledBack);
    assert_eq!(record.of_generation, Some(1), "{record:#?}");
    for server in &servers {
        wait_for_answer(server, "answer", "one");
        assert_eq!(server.models(), ["answer"]);
    }
    daemon.stop();
}
