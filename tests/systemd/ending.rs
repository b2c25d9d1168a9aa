//! The end of the service, and its restarts.

use std::time::Duration;

use crate::common::service;
use crate::machine::{MODELS, Machine, STORE};
use crate::running::{SLOW, put_large};

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn the_service_comes_back_after_twenty_kills_hangs_and_stops() {
    let machine = Machine::installed("");
    // Other tests may keep the machine busy: that must not look like a loop that hangs.
    machine.drop_in("WatchdogSec=1s\nRestartSec=20ms\n");
    machine.put_simple("m");
    machine.run(&["systemctl", "start", "marwatch"]);
    machine.wait_for_generation("m", 1);
    let mut process = machine.ready_pid().expect("it has started");
    for cycle in 0..20_u64 {
        // At a different moment each time: the edit may or may not be packed.
        let answer = format!("cycle {cycle}");
        machine.put(&format!("{MODELS}/m/service.py"), &service(&answer));
        machine.pause(Duration::from_millis(cycle * 37 % 120));
        match cycle % 3 {
            0 => machine.signal("KILL", process),
            // As if it hung: the watchdog must notice.
            1 => machine.signal("STOP", process),
            _ => {
                machine.run(&["systemctl", "stop", "marwatch"]);
                assert_eq!(machine.property("Result"), "success");
                machine.run(&["systemctl", "start", "marwatch"]);
            }
        }
        process = machine.wait_for_successor(process);
        machine.wait(&format!("{answer} in the store"), |machine| {
            let read = ["unzip", "-p", &format!("{STORE}/m.mar"), "service.py"];
            let output = machine.try_run(&read);
            assert!(output.status.success(), "a torn archive: {output:?}\n{}", machine.story());
            String::from_utf8_lossy(&output.stdout).contains(&answer).then_some(())
        });
    }
    // Exactly the processes that were killed or stopped have failed.
    let journal = machine.run(&["journalctl", "-u", "marwatch"]);
    assert_eq!(journal.matches("Failed with result 'signal'").count(), 7, "{journal}");
    assert_eq!(journal.matches("Failed with result 'watchdog'").count(), 7, "{journal}");
    machine.run(&["systemctl", "stop", "marwatch"]);
    assert_eq!(machine.staged(), 0);
    let verify = ["marwatch", "verify", "--config", "/etc/marwatch/marwatch.yaml"];
    assert!(machine.run(&verify).contains("no problems"));
}

/// systemd waits only two seconds.
const IMPATIENT: &str = "TimeoutStopSec=2s\n";

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn a_running_build_ends_before_the_service() {
    let machine = Machine::installed(SLOW);
    machine.drop_in(IMPATIENT);
    machine.run(&["systemctl", "start", "marwatch"]);
    put_large(&machine);
    let clock = marwatch::clock::Clock::new();
    machine.run(&["systemctl", "stop", "--no-block", "marwatch"]);
    let status = machine.wait_for_status(&["stopping"]);
    assert_eq!(status, "stopping; waiting for 1 under way");
    machine
        .wait("the end", |machine| (machine.property("ActiveState") == "inactive").then_some(()));
    let took = clock.now().since(marwatch::clock::Moment::default());
    assert!(took > Duration::from_millis(2500), "that was no long build: {took:?}");
    assert_eq!((machine.property("Result"), machine.staged()), ("success".into(), 0));
    machine.wait_for_generation("large", 1);
}

/// Control: without `EXTEND_TIMEOUT_USEC` systemd kills the build.
#[test]
#[ignore = "needs root, namespaces and systemd"]
fn control_without_more_time_the_build_is_lost() {
    let machine = Machine::installed(SLOW);
    machine.drop_in(&format!("{IMPATIENT}Type=exec\nNotifyAccess=none\nWatchdogSec=0\n"));
    machine.run(&["systemctl", "start", "marwatch"]);
    put_large(&machine);
    machine.run(&["systemctl", "stop", "marwatch"]);
    assert_eq!(machine.property("Result"), "timeout");
    assert!(!machine.path(&format!("{STORE}/large.mar")).exists());
    assert_eq!(machine.staged(), 1);
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn the_exit_code_decides_about_a_restart() {
    let machine = Machine::installed("");
    machine.drop_in("RestartSec=50ms\n");
    let ended = |machine: &Machine| {
        machine
            .wait("its end", |machine| (machine.property("ActiveState") == "failed").then_some(()));
        // Long enough for more restarts.
        machine.pause(Duration::from_millis(500));
        ["ActiveState", "ExecMainStatus", "NRestarts"].map(|name| machine.property(name))
    };
    // An invalid configuration.
    machine.put("/etc/marwatch/marwatch.yaml", "store: [\n");
    assert!(!machine.try_run(&["systemctl", "start", "marwatch"]).status.success());
    assert_eq!(ended(&machine), ["failed", "3", "0"]);
    let status = machine.property("StatusText");
    assert!(status.starts_with("cannot start: /etc/marwatch/marwatch.yaml:"), "{status}");
    let errors = machine.journal(&["PRIORITY=3"]);
    let says =
        |entry: &serde_json::Value| entry["MESSAGE"].as_str().unwrap().contains("marwatch.yaml:");
    assert!(errors.iter().any(says), "{errors:#?}");
    // Wrong usage: an unknown option.
    machine
        .drop_in("RestartSec=50ms\nExecStart=\nExecStart=/usr/local/bin/marwatch run --colour\n");
    assert!(!machine.try_run(&["systemctl", "start", "marwatch"]).status.success());
    assert_eq!(ended(&machine), ["failed", "2", "0"]);

    // A store that another marwatch holds becomes free some time. With the unit's RestartSec=
    // systemd's limit of five starts in ten seconds is not reached; with this one it is.
    machine.configure("");
    machine.drop_in("RestartSec=50ms\n[Unit]\nStartLimitIntervalSec=0\n");
    let store = "/var/lib/marwatch/model-store";
    let holding = ["marwatch", "run", "--watch", MODELS, "--store", store];
    let user = ["setpriv", "--reuid", "marwatch", "--regid", "marwatch", "--init-groups"];
    machine.run(&["install", "-d", "-o", "marwatch", "-g", "marwatch", "/var/lib/marwatch"]);
    let mut holder = machine.command(&[&user[..], &holding].concat()).spawn().unwrap();
    machine.wait_for_file(&format!("{STORE}/.marwatch/control.sock"));
    machine.run(&["systemctl", "start", "--no-block", "marwatch"]);
    machine.wait("some starts", |machine| {
        (machine.property("NRestarts").parse::<u32>().unwrap() >= 3).then_some(())
    });
    let said = machine.run(&["journalctl", "-u", "marwatch"]);
    assert!(said.contains("status=4/"), "{said}");
    machine.wait_for_status(&["cannot start: ", "process"]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    machine.run(&["pkill", "-f", "--", "--watch"]);
    machine.wait("it runs", |machine| (machine.property("ActiveState") == "active").then_some(()));
}
