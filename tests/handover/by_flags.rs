//! A server that the command line names, without a configuration file.

use std::fs;

use marwatch::results::Outcome;

use crate::common::daemon::Daemon;
use crate::common::site::Site;
use crate::common::{marwatch, service};
use crate::fake::{BROKEN, Fake};

#[test]
fn a_server_on_the_command_line_serves_each_edit_after_a_trial() {
    let mut site = Site::new();
    fs::remove_file(&site.config).unwrap();
    // The default store.
    site.store = site.root.join("model-store");
    let fake = Fake::start(&site.store);
    let folder = site.put("m", &[("service.py", &service("one"))]);
    let mut command = marwatch();
    command.current_dir(&site.root).args(["run", "--watch", "drop", "--server", &fake.url()]);
    let mut daemon = Daemon::start_command(&site, command);
    daemon.next("m", Outcome::Published);
    let served = |version: &str| {
        let holder = fake.holder("m").filter(|holder| holder.works)?;
        (holder.version != version).then_some(holder.version)
    };
    let first = daemon.wait("the first version on the server", |_| served(""));
    fs::write(folder.join("service.py"), service("two")).unwrap();
    daemon.next("m", Outcome::Published);
    let second = daemon.wait("the second version on the server", |_| served(&first));
    let trials = || {
        let asked = fake.asked();
        let is_trial = |(request, _): &&(String, String)| {
            request.starts_with("POST") && request.contains("m--marwatch-trial")
        };
        asked.iter().filter(is_trial).count()
    };
    assert_eq!(trials(), 1, "{:?}", fake.asked());
    // A version that fails its trial replaces nothing.
    fs::write(folder.join("service.py"), format!("{BROKEN}\n{}", service("three"))).unwrap();
    daemon.wait_for_line(&["refused the archive in a trial"]);
    assert_eq!((trials(), served("")), (2, Some(second.clone())));
    // A reload reads the same command line.
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_line(&["SIGHUP", "reloaded"]);
    fs::write(folder.join("service.py"), service("four")).unwrap();
    daemon.wait("the fourth version on the server", |_| served(&second));
    daemon.stop();
}
