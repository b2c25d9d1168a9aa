//! The Debian package under the real systemd: installed, upgraded while models are served, removed,
//! installed again, and purged.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::machine::{MODELS, Machine, STORE, repository};

/// The path of the package in the machine.
const PACKAGE: &str = "/var/cache/marwatch.deb";
const CONFIG: &str = "/etc/marwatch/marwatch.yaml";

/// Packs the programs of the tests into a package, in a temporary folder.
fn package() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    // Where cargo-deb expects the result of a release build.
    let built = folder.path().join("target/release");
    fs::create_dir_all(&built).unwrap();
    for program in [env!("CARGO_BIN_EXE_marwatch"), env!("CARGO_BIN_EXE_model-archiver")] {
        let name = Path::new(program).file_name().unwrap();
        fs::copy(program, built.join(name)).unwrap();
    }
    let output = Command::new(env!("CARGO"))
        .args(["deb", "--no-build", "--strip", "--fast", "--output"])
        .arg(folder.path())
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "needs `cargo install cargo-deb`: {output:?}");
    let is_package = |path: &PathBuf| path.extension().is_some_and(|end| end == "deb");
    let mut files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let package = files.find(is_package).expect("it has made a package");
    (folder, package)
}

/// A machine with the package, and with the list of packages that dpkg knows.
fn machine(package: &Path) -> Machine {
    let machine = Machine::booted();
    // Mounted there by the tests.
    machine.run(&["umount", "/usr/local/bin/marwatch"]);
    machine.run(&["rm", "/usr/local/bin/marwatch"]);
    // Container images have it, so that packages start no services.
    machine.run(&["rm", "-f", "/usr/sbin/policy-rc.d"]);
    let mut copy = Command::new("cp");
    copy.args(["-r", "/var/lib/dpkg"]).arg(machine.path("/var/lib/"));
    assert!(copy.status().unwrap().success());
    fs::copy(package, machine.path(PACKAGE)).unwrap();
    machine
}

/// Identifies the state of a file.
fn stamp(machine: &Machine, path: &str) -> (u64, i64, i64) {
    let metadata = fs::metadata(machine.path(path)).unwrap();
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[test]
#[ignore = "needs root, namespaces, systemd, dpkg and cargo-deb"]
fn a_package_is_installed_upgraded_removed_and_purged() {
    let (_folder, package) = package();
    let machine = machine(&package);
    let archive = format!("{STORE}/one.mar");
    let is_active = |machine: &Machine| {
        let output = machine.try_run(&["systemctl", "is-active", "marwatch"]).stdout;
        output.trim_ascii() == b"active"
    };

    machine.run(&["dpkg", "--install", PACKAGE]);
    assert!(is_active(&machine), "{}", machine.story());
    assert_eq!(machine.run(&["systemctl", "is-enabled", "marwatch"]), "enabled");
    assert_eq!(machine.run(&["stat", "-c", "%U %G %a", MODELS]), "root model-authors 3775");
    // The message catalog is installed.
    let catalog = machine.run(&["journalctl", "--list-catalog"]);
    assert!(catalog.contains("marwatch: "), "{catalog}");
    machine.run(&["useradd", "--groups", "model-authors", "author"]);
    machine.put_simple("one");
    machine.wait_for_generation("one", 1);
    let published = stamp(&machine, &archive);

    // An upgrade keeps the edited configuration and the store.
    let configured = fs::read_to_string(machine.path(CONFIG)).unwrap() + "rescan_interval: 5m\n";
    machine.put(CONFIG, &configured);
    let before = machine.main_pid();
    machine.run(&["dpkg", "--install", PACKAGE]);
    assert!(is_active(&machine), "{}", machine.story());
    assert_ne!(machine.main_pid(), before);
    assert_eq!(fs::read_to_string(machine.path(CONFIG)).unwrap(), configured);
    machine.put_simple("two");
    machine.wait_for_generation("two", 1);
    assert_eq!(stamp(&machine, &archive), published);
    assert_eq!(machine.property("NRestarts"), "0");

    // A removal stops the service and loses nothing.
    machine.run(&["dpkg", "--remove", "marwatch"]);
    assert!(!is_active(&machine));
    assert!(!machine.path("/usr/bin/marwatch").exists());
    assert_eq!(fs::read_to_string(machine.path(CONFIG)).unwrap(), configured);
    assert_eq!(stamp(&machine, &archive), published);

    // Installed again on what was left.
    machine.run(&["dpkg", "--install", PACKAGE]);
    assert!(is_active(&machine), "{}", machine.story());
    machine.put_simple("three");
    machine.wait_for_generation("three", 1);
    assert_eq!(stamp(&machine, &archive), published);

    // A purge removes the package's files; models and archives stay.
    machine.run(&["dpkg", "--purge", "marwatch"]);
    assert!(!is_active(&machine));
    assert!(!machine.path("/etc/marwatch").exists());
    assert!(!machine.path(&format!("{STORE}/.marwatch/state")).exists());
    assert!(machine.path(&format!("{STORE}/.marwatch/catalog.json")).exists());
    assert_eq!(stamp(&machine, &archive), published);
    assert!(machine.path(&format!("{MODELS}/one/service.py")).exists());
    let left = machine.run(&["sh", "-c", "find /etc /usr/lib /usr/share -name '*marwatch*'"]);
    assert_eq!(left, "");

    // A purge also removes an empty store.
    machine.run(&["dpkg", "--install", PACKAGE]);
    machine.run(&["systemctl", "stop", "marwatch"]);
    machine.run(&["sh", "-c", &format!("rm -r {STORE} {MODELS}/*")]);
    machine.run(&["systemctl", "start", "marwatch"]);
    machine.run(&["dpkg", "--purge", "marwatch"]);
    assert!(!machine.path(MODELS).exists());
}
