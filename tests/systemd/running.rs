//! The running service: its start, reloads and watchdog.

use std::fs;
use std::time::Duration;

use crate::common::{service, slow_text};
use crate::machine::{MODELS, Machine, QUICK, STORE, repository};

/// Slow compression, so that the test can act during a build.
pub const SLOW: &str = "pack: {compression: deflate, level: 9}\n";

/// A model that takes seconds to pack.
pub fn put_large(machine: &Machine) {
    let weights = slow_text(7, 160);
    machine.put_model("large", &[("service.py", &service("one")), ("weights.txt", &weights)]);
    machine.wait("a build", |machine| (machine.staged() > 0).then_some(()));
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn a_started_service_watches_and_its_status_describes_the_models() {
    let machine = Machine::installed("");
    machine.put_simple("good");
    machine.put_model("resnet", &[("service.py", "import json\n\ndef handel(data):\n    pass\n")]);
    machine.run(&["systemctl", "start", "marwatch"]);
    machine.put_simple("late");
    let status = machine.wait_for_status(&["3 models", "rejected"]);
    let expected = "3 models, 1 rejected: resnet: service.py:3: the module defines neither";
    assert!(status.starts_with(expected), "{status}");
    machine.wait_for_generation("good", 1);
    machine.wait_for_generation("late", 1);
    machine.put(&format!("{MODELS}/resnet/service.py"), &service("mended"));
    machine.wait_for_generation("resnet", 1);
    let status = machine.wait_for_status(&["models"]);
    assert!(!status.contains("building"), "{status}");
    machine.wait("a status without it", |machine| {
        (machine.property("StatusText") == "3 models").then_some(())
    });
    let properties = ["Type", "ActiveState", "SubState", "Result", "NRestarts"];
    let found = properties.map(|name| machine.property(name));
    assert_eq!(found, ["notify", "active", "running", "success", "0"]);
    // An idle daemon only feeds the watchdog, twice in half a minute.
    let before = switches(&machine);
    machine.pause(Duration::from_secs(3));
    let woken = switches(&machine) - before;
    assert!(woken <= 2, "woken {woken} times\n{}", machine.story());
    machine.run(&["systemctl", "stop", "marwatch"]);
    let properties = ["ActiveState", "Result", "ExecMainStatus"];
    assert_eq!(properties.map(|name| machine.property(name)), ["inactive", "success", "0"]);
}

/// How often threads of the service were woken.
fn switches(machine: &Machine) -> u64 {
    let tasks = machine.run(&["ls", &format!("/proc/{}/task", machine.main_pid())]);
    let of_task = |task: &str| {
        let status = machine.path(&format!("/proc/{task}/status"));
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    tasks.lines().map(of_task).sum()
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn a_reload_applies_a_valid_configuration_and_rejects_an_invalid_one() {
    let machine = Machine::started("");
    machine.put_simple("a");
    machine.wait_for_generation("a", 1);
    let process = machine.main_pid();
    let reload = || machine.run(&["systemctl", "reload", "marwatch"]);

    machine.put("/srv/more/b/service.py", &service("b"));
    machine.put(
        "/etc/marwatch/marwatch.yaml",
        &format!("store: {STORE}\ndrop_folders: [{MODELS}, /srv/more]\n{QUICK}"),
    );
    reload();
    machine.wait_for_generation("b", 1);
    machine
        .wait("two models", |machine| (machine.property("StatusText") == "2 models").then_some(()));

    machine.put("/etc/marwatch/marwatch.yaml", "store: [\n");
    reload();
    let status = machine.wait_for_status(&["is invalid; keeping the old one", "; 2 models"]);
    assert!(status.contains("/etc/marwatch/marwatch.yaml:"), "{status}");
    assert_eq!(machine.property("ActiveState"), "active");
    // The old configuration stays in effect, including the folder that it added.
    machine.put("/srv/more/b/service.py", &service("again"));
    machine.wait_for_generation("b", 2);

    // And then a valid one again.
    machine.configure("");
    reload();
    machine
        .wait("one model", |machine| (machine.property("StatusText") == "1 model").then_some(()));
    assert_eq!((machine.main_pid(), machine.property("NRestarts")), (process, "0".into()));
    assert!(machine.path(&format!("{STORE}/b.mar")).exists());
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn the_watchdog_restarts_a_stuck_loop_but_not_a_long_build() {
    let machine = Machine::installed(SLOW);
    machine.drop_in("WatchdogSec=1s\nRestartSec=100ms\n");
    machine.run(&["systemctl", "start", "marwatch"]);
    let process = machine.main_pid();
    put_large(&machine);
    // Several times the limit of the watchdog.
    machine.pause(Duration::from_millis(2500));
    assert!(!machine.path(&format!("{STORE}/large.mar")).exists(), "that was no long build");
    machine.wait_for_generation("large", 1);
    assert_eq!((machine.main_pid(), machine.property("NRestarts")), (process, "0".into()));

    // The loop hangs: it opens a configuration that is a FIFO without a writer. Only the loop
    // hangs.
    let file = "/etc/marwatch/marwatch.yaml";
    machine.run(&["sh", "-c", &format!("mv {file} /etc/good; mkfifo -m 644 {file}")]);
    machine.run(&["systemctl", "kill", "--signal=HUP", "marwatch"]);
    machine.wait_for_status(&["reading the configuration"]);
    machine.run(&["mv", "/etc/good", file]);
    machine.wait_for_successor(process);
    assert_eq!(machine.property("NRestarts"), "1");
    let said = machine.run(&["journalctl", "-u", "marwatch"]);
    assert!(said.contains("Failed with result 'watchdog'"), "{said}");
    machine.wait_for_status(&["1 model"]);
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn the_port_answers_on_this_machine() {
    let machine =
        Machine::installed("control: {listen: '127.0.0.1:8170', token_file: control.token}\n");
    let port = repository().join("systemd/with-port/marwatch.service.d/port.conf");
    let port = fs::read_to_string(port).unwrap();
    machine.drop_in(port.split_once("[Service]\n").unwrap().1);
    machine.put("/etc/marwatch/control.token", "secret");
    machine.run(&["chgrp", "marwatch", "/etc/marwatch/control.token"]);
    machine.run(&["chmod", "640", "/etc/marwatch/control.token"]);
    machine.put_simple("good");
    machine.run(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "start", "marwatch"]);
    machine.wait_for_generation("good", 1);
    let ask = |line: &str, header: &str| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/8170; \
             printf '{line} HTTP/1.0\\r\\nHost: localhost\\r\\n{header}\\r\\n' >&3; cat <&3"
        );
        machine.run(&["bash", "-c", &script])
    };
    let answer = ask("GET /metrics", "");
    assert!(answer.contains("marwatch_models{state=\"published\"} 1"), "{answer}");
    assert!(ask("POST /rescan", "").starts_with("HTTP/1.0 401"));
    let answer = ask("POST /rescan", "Authorization: Bearer secret\\r\\n");
    assert!(answer.starts_with("HTTP/1.0 202"), "{answer}");
}
