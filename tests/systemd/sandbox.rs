//! marwatch works in the sandbox of the unit.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use crate::common::service;
use crate::machine::{MODELS, Machine, STORE};

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn links_are_followed_within_a_model_and_not_out_of_it() {
    let machine = Machine::started("");
    // Make sure that the sandbox really takes `openat2` away.
    let openat2 = r#"$n = 437; $h = pack("Q3", 0, 0, 0); $p = "/"; syscall($n, -100, $p, $h, 24); print 0 + $!"#;
    machine.put("/srv/asks.pl", openat2);
    let asked = |sandbox: &str| {
        let says = "Type=oneshot\nExecStart=perl /srv/asks.pl\nStandardOutput=truncate:/srv/answer";
        machine.put("/etc/systemd/system/asks.service", &format!("[Service]\n{says}\n{sandbox}\n"));
        machine.run(&["systemctl", "daemon-reload"]);
        machine.run(&["systemctl", "start", "asks"]);
        fs::read_to_string(machine.path("/srv/answer")).unwrap()
    };
    const ENOSYS: &str = "38";
    assert_eq!((asked(""), asked("RestrictSUIDSGID=yes")), ("0".into(), ENOSYS.into()));

    machine.put("/srv/secret.txt", "not the model's");
    machine.put("/srv/prepared/inside/data/real.txt", "in the model");
    machine.put("/srv/prepared/inside/service.py", &service("one"));
    symlink("data/real.txt", machine.path("/srv/prepared/inside/link.txt")).unwrap();
    machine.put("/srv/prepared/outside/service.py", &service("one"));
    symlink("../../secret.txt", machine.path("/srv/prepared/outside/link.txt")).unwrap();
    machine.put("/srv/prepared/around/service.py", &service("one"));
    symlink("/srv/models/inside/data", machine.path("/srv/prepared/around/data")).unwrap();
    for model in ["inside", "outside", "around"] {
        machine.run(&["mv", &format!("/srv/prepared/{model}"), MODELS]);
    }
    machine.wait_for_generation("inside", 1);
    let archive = format!("{STORE}/inside.mar");
    assert_eq!(machine.run(&["unzip", "-p", &archive, "link.txt"]), "in the model");
    machine.wait_for_status(&["3 models, 2 rejected: around: "]);
    for model in ["outside", "around"] {
        let model = format!("MODEL={model}");
        let errors = machine.journal(&[&model, "PRIORITY=3"]);
        let says =
            |entry: &serde_json::Value| entry["MESSAGE"].to_string().contains("symlink-outside");
        assert!(errors.iter().any(says), "{errors:#?}");
    }
    assert!(!machine.path(&format!("{STORE}/outside.mar")).exists());
}

/// Another user has had a file open for writing since before the start of marwatch, so no
/// notification shows it. Returns whether the model is published all the same.
fn published_while_it_is_written(machine: &Machine) -> bool {
    machine.put_simple("written");
    let file = format!("{MODELS}/written/service.py");
    let writer = format!("exec 3>>{file}; touch /tmp/open; exec sleep 60");
    let user = ["setpriv", "--reuid", "author", "--regid", "author", "--init-groups"];
    let mut writer =
        machine.command(&[&user[..], &["sh", "-c", &writer]].concat()).spawn().unwrap();
    machine.wait_for_file("/tmp/open");
    // Longer than any quiet time.
    machine.pause(Duration::from_millis(300));
    machine.run(&["systemctl", "start", "marwatch"]);
    machine.put_simple("other");
    machine.wait_for_generation("other", 1);
    machine.pause(Duration::from_millis(300));
    let is_published = machine.path(&format!("{STORE}/written.mar")).exists();
    if !is_published {
        let status = machine.wait_for_status(&["unstable"]);
        assert!(status.starts_with("2 models, 1 unstable: written: "), "{status}");
    }
    machine.run(&["pkill", "-u", "author"]);
    let _ = writer.wait();
    machine.wait_for_generation("written", 1);
    is_published
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn a_lease_shows_a_writer_of_another_user() {
    let machine = Machine::installed("");
    assert!(!published_while_it_is_written(&machine));
}

/// Control: without the capability, nothing shows the writer.
#[test]
#[ignore = "needs root, namespaces and systemd"]
fn control_without_the_capability_the_writer_is_missed() {
    let machine = Machine::installed("");
    machine.drop_in("AmbientCapabilities=\nCapabilityBoundingSet=\n");
    assert!(published_while_it_is_written(&machine));
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn only_the_servers_user_may_read_the_store() {
    let machine = Machine::started("");
    machine.put_simple("m");
    machine.put_model(
        "folder",
        &[("service.py", &service("one")), (".mar.yaml", "archive_format: no-archive\n")],
    );
    machine.wait_for_generation("m", 1);
    machine.wait_for_generation("folder", 1);
    let archive = format!("{STORE}/m.mar");
    assert!(machine.may("mms", &format!("unzip -tq {archive}")));
    assert!(machine.may("mms", &format!("cat {STORE}/folder/service.py")));
    assert!(!machine.may("mms", &format!("touch {archive}")));
    assert!(!machine.may("mms", &format!("touch {STORE}/own.mar")));
    assert!(!machine.may("author", &format!("cat {archive}")));
    assert!(machine.may("author", &format!("mkdir {MODELS}/own")));
    assert!(!machine.may("mms", &format!("mkdir {MODELS}/own2")));
    let metadata = machine.path(&archive).metadata().unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    // The same for the next archive, whether it is recycled or new.
    machine.put(&format!("{MODELS}/m/service.py"), &service("two"));
    machine.wait_for_generation("m", 2);
    assert!(machine.may("mms", &format!("unzip -tq {archive}")));
    // No system call that marwatch needs was refused.
    let warnings = machine.journal(&["PRIORITY=4"]);
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
#[ignore = "needs root, namespaces and systemd"]
fn edits_rollbacks_and_removals_work_in_the_sandbox() {
    let machine = Machine::started("on_remove: delete\nhistory: {keep: 2}\n");
    let large: String =
        (0..3_000_000).map(|n: u32| char::from(b'!' + (n.wrapping_mul(n) % 90) as u8)).collect();
    machine.put_model("m", &[("service.py", &service("one")), ("weights.txt", &large)]);
    machine.wait_for_generation("m", 1);
    machine.put(&format!("{MODELS}/m/service.py"), &service("two"));
    machine.wait_for_generation("m", 2);
    let record = machine.journal(&["MODEL=m", "OUTCOME=published", "GENERATION=2"]);
    assert_eq!(record.len(), 1);
    // The commands use the daemon's socket.
    let ask = |words: &str| {
        let line = format!("marwatch {words} --config /etc/marwatch/marwatch.yaml");
        assert!(machine.may("marwatch", &line), "{line}\n{}", machine.story());
    };
    ask("rollback m");
    machine.wait_for_generation("m", 3);
    ask("resume m");
    machine.wait_for_generation("m", 4);
    ask("verify");
    machine.put_simple("stays");
    machine.wait_for_generation("stays", 1);
    machine.run(&["rm", "-r", &format!("{MODELS}/m")]);
    machine.wait("the removal", |machine| {
        (!machine.path(&format!("{STORE}/m.mar")).exists()).then_some(())
    });
    assert_eq!(machine.journal(&["PRIORITY=3"]).len(), 0);
}
