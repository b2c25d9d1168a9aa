//! Tests under low limits of inotify.
//!
//! The limits of a user namespace are set without effect on other processes. So an outer test starts
//! its program again in such a namespace, where one inner test may set limits and mount as it likes.

use std::process::Command;

/// The limit of inotify watches in this user namespace.
pub const WATCHES: &str = "/proc/sys/user/max_inotify_watches";
/// The limit of inotify instances in this user namespace.
pub const INSTANCES: &str = "/proc/sys/user/max_inotify_instances";

/// Set for inner tests.
const VARIABLE: &str = "MARWATCH_INNER_TEST";

/// Runs the test `inner` of this program in a namespace with `limit` set to `value`.
#[track_caller]
pub fn within(limit: &str, value: u32, inner: &str) {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .args(["sh", "-c", "echo $0 > $1 && shift && exec \"$@\""])
        .args([&value.to_string(), limit])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", inner, "--nocapture"])
        .env(VARIABLE, inner)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}\n{errors}");
}

/// Whether [`within`] has started this test. Otherwise an inner test does nothing.
pub fn is_inner() -> bool {
    std::env::var_os(VARIABLE).is_some()
}
