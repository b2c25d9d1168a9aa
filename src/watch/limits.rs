//! Messages for inotify's limits: which one was reached, its value, and the value to set.

use std::fs;
use std::time::Duration;

use super::source::WatchError;
use crate::config::WatchMode;

/// A limit and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    sysctl: &'static str,
    value: Option<u64>,
}

/// The limit in effect: the lower of the machine's and the user namespace's (a container's).
fn in_effect(machine: &'static str, namespace: &'static str) -> Limit {
    let read = |sysctl: &'static str| Limit {
        sysctl,
        value: fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/")))
            .ok()
            .and_then(|text| text.trim().parse().ok()),
    };
    let (machine, namespace) = (read(machine), read(namespace));
    match (machine.value, namespace.value) {
        (Some(all), Some(own)) if own < all => namespace,
        (None, Some(_)) => namespace,
        _ => machine,
    }
}

/// The message when marwatch falls back to polling because of `error`; `needed` is the number of
/// folders to watch.
pub(super) fn degraded(
    error: &WatchError,
    mode: WatchMode,
    needed: usize,
    interval: Duration,
) -> String {
    let cause = match error {
        WatchError::TooManyWatches => too_many_watches(
            &in_effect("fs.inotify.max_user_watches", "user.max_inotify_watches"),
            needed,
        ),
        WatchError::TooManyInstances if no_descriptors() => String::from(
            "the process cannot open another file; raise its limit \
             (LimitNOFILE= of the unit, or ulimit -n)",
        ),
        WatchError::TooManyInstances => too_many_instances(&in_effect(
            "fs.inotify.max_user_instances",
            "user.max_inotify_instances",
        )),
        WatchError::TooManyToEnd => error.to_string(),
        WatchError::Failed(error) => format!("the kernel's notifications do not work: {error}"),
    };
    report(&cause, mode, interval)
}

/// The message for a root on a network file system.
pub(super) fn network(filesystem: &str, interval: Duration) -> String {
    format!(
        "it is on {filesystem}, which does not report changes made on other machines, so it is polled \
         every {}; if all changes are made on this machine, set watch_mode: native",
        humantime::format_duration(interval)
    )
}

fn report(cause: &str, mode: WatchMode, interval: Duration) -> String {
    let asked = match mode {
        WatchMode::Native => "error: watch_mode is native, but ",
        WatchMode::Auto | WatchMode::Poll => "",
    };
    format!(
        "{asked}{cause}; until then all folders are polled every {}, and every rescan retries \
         notifications",
        humantime::format_duration(interval)
    )
}

fn too_many_watches(limit: &Limit, needed: usize) -> String {
    /// What desktop distributions ship; a watch costs about 1 KB of kernel memory.
    const USUAL: u64 = 65_536;
    let needed = needed as u64;
    let enough = (2 * needed).max(limit.value.unwrap_or(0) + needed).max(USUAL).next_power_of_two();
    format!(
        "{needed} folders need one watch each, and {} for all programs of this user is {}; raise it: \
         sysctl {}={enough}",
        limit.sysctl,
        shown(limit.value),
        limit.sysctl,
    )
}

fn too_many_instances(limit: &Limit) -> String {
    let enough = (2 * limit.value.unwrap_or(0)).max(1024);
    format!(
        "one inotify instance is needed, and {} for all programs of this user is {}; raise it: \
         sysctl {}={enough}",
        limit.sysctl,
        shown(limit.value),
        limit.sysctl,
    )
}

fn shown(value: Option<u64>) -> String {
    value.map_or_else(|| String::from("unknown"), |value| value.to_string())
}

/// Whether EMFILE meant this process's descriptors: then nothing else can be opened either.
fn no_descriptors() -> bool {
    const TOO_MANY: i32 = rustix::io::Errno::MFILE.raw_os_error();
    fs::File::open("/dev/null").is_err_and(|error| error.raw_os_error() == Some(TOO_MANY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_limit_and_the_remedy() {
        let interval = Duration::from_secs(2);
        let limit = |sysctl, value| Limit { sysctl, value };
        let watches = too_many_watches(&limit("fs.inotify.max_user_watches", Some(8192)), 40_000);
        insta::assert_snapshot!(report(&watches, WatchMode::Auto, interval), @"40000 folders need one watch each, and fs.inotify.max_user_watches for all programs of this user is 8192; raise it: sysctl fs.inotify.max_user_watches=131072; until then all folders are polled every 2s, and every rescan retries notifications");
        let instances = too_many_instances(&limit("user.max_inotify_instances", Some(0)));
        insta::assert_snapshot!(report(&instances, WatchMode::Native, interval), @"error: watch_mode is native, but one inotify instance is needed, and user.max_inotify_instances for all programs of this user is 0; raise it: sysctl user.max_inotify_instances=1024; until then all folders are polled every 2s, and every rescan retries notifications");
        insta::assert_snapshot!(network("nfs", interval), @"it is on nfs, which does not report changes made on other machines, so it is polled every 2s; if all changes are made on this machine, set watch_mode: native");
    }
}
