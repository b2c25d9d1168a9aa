//! The notifications to the service manager, received by a socket in its place.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use marwatch::clock::{self, Clock, Moment};
use marwatch::results::Outcome;
use rustix::process::Signal;

use crate::common::daemon::Daemon;
use crate::common::marwatch;
use crate::common::site::Site;

/// The limit of every wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// A socket that receives the notifications.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(site: &Site) -> Self {
        let path = site.root.join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    fn command(&self, site: &Site) -> Command {
        let mut command = marwatch();
        command.args(["run", "--config"]).arg(&site.config).env("NOTIFY_SOCKET", &self.path);
        command
    }

    fn start<'a>(&self, site: &'a Site) -> Daemon<'a> {
        Daemon::start_command(site, self.command(site))
    }

    /// The next message, as lines, if one comes within `time`.
    fn next_within(&self, time: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).unwrap();
        let mut buffer = [0; 8192];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                let text = std::str::from_utf8(&buffer[..length]).unwrap();
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        self.next_within(PATIENCE).expect("there is no message in time")
    }

    /// The next message that is not just a status. How many statuses come before it depends on how
    /// long builds take.
    #[track_caller]
    fn next_event(&self) -> Vec<String> {
        let messages = std::iter::from_fn(|| Some(self.next()));
        messages.into_iter().find(|message| !message[0].starts_with("STATUS=")).unwrap()
    }

    /// Waits for a status that contains all of `parts`, and returns it.
    #[track_caller]
    fn status(&self, parts: &[&str]) -> String {
        let has_all = |status: &str| parts.iter().all(|part| status.contains(part));
        self.wait_for_status(&format!("a status with {parts:?}"), has_all)
    }

    /// Waits for exactly this status: a build of more than a second has another status before it.
    #[track_caller]
    fn exact_status(&self, expected: &str) {
        self.wait_for_status(expected, |status| status == expected);
    }

    #[track_caller]
    fn wait_for_status(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let clock = Clock::new();
        let mut heard = Vec::new();
        while clock.now() < Moment::at(PATIENCE) {
            let Some(message) = self.next_within(PATIENCE) else { break };
            if let Some(status) = value(&message, "STATUS").filter(|status| fits(status)) {
                return status.to_owned();
            }
            heard.push(message);
        }
        panic!("no status as expected: {what}; only {heard:#?}")
    }
}

fn value<'a>(message: &'a [String], name: &str) -> Option<&'a str> {
    message.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// Longer than the second after which the daemon reports a new status.
const UNTIL_REPORTED: Duration = Duration::from_millis(1500);

/// Edits `good` until an edit is published in clearly less than the second after which it would be
/// reported. On a busy machine the first may take longer.
#[track_caller]
fn edit_quickly(site: &Site, daemon: &mut Daemon<'_>, manager: &Manager) {
    const QUICK: Duration = Duration::from_millis(800);
    const MOST: usize = 20;
    for edit in 0..MOST {
        while manager.next_within(UNTIL_REPORTED).is_some() {}
        let clock = Clock::new();
        fs::write(site.drop.join("good/more.txt"), format!("edit {edit}")).unwrap();
        daemon.next("good", Outcome::Published);
        if clock.now() < Moment::at(QUICK) {
            return;
        }
    }
    panic!("none of {MOST} edits was published within {QUICK:?}");
}

#[test]
fn ready_comes_first_and_the_status_describes_the_models() {
    let site = Site::new();
    site.put_simple("good");
    site.put(
        "resnet",
        &[("service.py", "import json\n\n\ndef handel(data, context):\n    pass\n")],
    );
    let manager = Manager::new(&site);
    let mut daemon = manager.start(&site);
    assert_eq!(manager.next()[0], "READY=1");
    manager.exact_status(
        "2 models, 1 rejected: resnet: service.py:4: the module defines neither a function `handle` nor a class",
    );
    // The rejected model goes away.
    fs::remove_dir_all(site.drop.join("resnet")).unwrap();
    manager.exact_status("1 model");
    daemon.next("good", Outcome::Published);
    edit_quickly(&site, &mut daemon, &manager);
    assert_eq!(
        manager.next_within(UNTIL_REPORTED),
        None,
        "an edit of less than a second is not reported"
    );
    daemon.signal(Signal::TERM);
    let ended = daemon.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.story());
    assert_eq!(manager.next(), ["STOPPING=1"]);
    let extended = manager.next();
    assert_eq!(value(&extended, "EXTEND_TIMEOUT_USEC"), Some("20000000"));
}

#[test]
fn ready_is_sent_once_the_watches_are_armed() {
    let site = Site::new();
    let manager = Manager::new(&site);
    // Fill the socket: the daemon then blocks in its next notification.
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    full.connect(&manager.path).unwrap();
    while full.send(b"X=1\n").is_ok() {}
    let mut daemon = Daemon::start_command(&site, manager.command(&site));
    let descriptors = PathBuf::from(format!("/proc/{}/fdinfo", daemon.id()));
    daemon.wait("a watch", |_| {
        let infos = fs::read_dir(&descriptors).ok()?.flatten();
        let mut texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
        texts.any(|text| text.contains("inotify wd:")).then_some(())
    });
    let first = std::iter::from_fn(|| Some(manager.next())).find(|message| message[0] != "X=1");
    assert_eq!(first.unwrap()[0], "READY=1");
    daemon.stop();
}

#[test]
fn a_models_name_cannot_forge_a_notification() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let _daemon = manager.start(&site);
    site.put_simple("m\nSTOPPING=1\nX=\u{1b}[2J");
    let status = manager.status(&["1 rejected"]);
    assert!(status.contains("m\\nSTOPPING=1\\nX=\\u{1b}[2J"), "{status}");
}

#[test]
fn a_reload_sends_reloading_and_then_ready() {
    let site = Site::new();
    site.put_simple("m");
    let manager = Manager::new(&site);
    let mut daemon = manager.start(&site);
    daemon.next("m", Outcome::Published);
    manager.exact_status("1 model");
    let before = clock::since_boot().as_micros();
    daemon.signal(Signal::HUP);
    let message = manager.next_event();
    let after = clock::since_boot().as_micros();
    assert_eq!(message[0], "RELOADING=1");
    let moment: u128 = value(&message, "MONOTONIC_USEC").unwrap().parse().unwrap();
    assert!((before..=after).contains(&moment), "{before} {moment} {after}");
    let message = manager.next_event();
    assert_eq!(message[0], "READY=1");
    assert!(value(&message, "STATUS").unwrap().starts_with("configuration reloaded"));
    manager.exact_status("1 model");

    fs::write(&site.config, "store: store\nsettel: {}\ndrop_folders: [drop]\n").unwrap();
    daemon.signal(Signal::HUP);
    assert_eq!(manager.next_event()[0], "RELOADING=1");
    let message = manager.next_event();
    assert_eq!(message[0], "READY=1", "it goes on with the old one");
    let status = value(&message, "STATUS").unwrap();
    assert!(status.starts_with("the new configuration is invalid; keeping the old one: "));
    assert!(status.contains("marwatch.yaml:2:1: settings-unknown-key"), "{status}");
    // The status stays until the configuration is valid.
    assert!(manager.status(&["; 1 model"]).contains("marwatch.yaml:2:1"));

    site.configure_quick("");
    daemon.signal(Signal::HUP);
    assert_eq!(manager.next_event()[0], "RELOADING=1");
    assert_eq!(manager.next_event()[0], "READY=1");
    manager.exact_status("1 model");
    daemon.stop();
}

#[test]
fn only_the_loop_feeds_the_watchdog() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let mut command = manager.command(&site);
    command.env("WATCHDOG_USEC", "400000");
    let daemon = Daemon::start_command(&site, command);
    assert_eq!(manager.next()[0], "READY=1");
    let clock = Clock::new();
    let fed = std::iter::from_fn(|| Some(manager.next())).filter(|m| *m == ["WATCHDOG=1"]);
    assert_eq!(fed.take(6).count(), 6);
    // Twice per interval and not more often: a busy daemon does not feed faster.
    let took = clock.now().since(Moment::default());
    assert!(took > Duration::from_millis(1000), "six times in {took:?}");

    // As on a disk that hangs: the configuration is a FIFO without a writer, and the loop waits for
    // it. The threads that watch and build go on.
    fs::remove_file(&site.config).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &site.config, 0o600.into()).unwrap();
    daemon.signal(Signal::HUP);
    let is_reloading = |message: &Vec<String>| message[0] == "RELOADING=1";
    assert!(std::iter::from_fn(|| Some(manager.next())).any(|m| is_reloading(&m)));
    assert_eq!(manager.next_within(Duration::from_millis(1500)), None, "a stuck loop is silent");
    daemon.kill();
}

#[test]
fn a_watchdog_for_another_process_is_not_fed() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let mut command = manager.command(&site);
    command.env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let daemon = Daemon::start_command(&site, command);
    assert_eq!(manager.next()[0], "READY=1");
    manager.status(&["0 models"]);
    assert_eq!(manager.next_within(Duration::from_millis(500)), None);
    daemon.stop();
}

#[test]
fn a_failed_start_sends_its_reason() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let holder = site.start();
    let output = manager.command(&site).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let status = manager.status(&["cannot start: "]);
    assert!(status.contains(&format!("process {}", holder.id())), "{status}");
    holder.stop();
    fs::write(&site.config, "store: [\n").unwrap();
    let output = manager.command(&site).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let status = manager.status(&["cannot start: "]);
    assert!(status.contains("marwatch.yaml:"), "{status}");
    assert_eq!(manager.next_within(Duration::from_millis(10)), None, "it was never ready");
}

#[test]
fn the_daemon_runs_although_no_service_manager_listens() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let command = manager.command(&site);
    fs::remove_file(&manager.path).unwrap();
    drop(manager);
    let mut daemon = Daemon::start_command(&site, command);
    daemon.wait_for_line(&["cannot notify the service manager"]);
    site.put_simple("m");
    daemon.next("m", Outcome::Published);
    daemon.stop();
}
