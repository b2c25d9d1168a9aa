//! The two ways to keep paths within a model, and how a test makes a program take one.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use marwatch::clock::Clock;

use crate::common::marwatch;
use crate::common::site::Site;

/// The limit after which a program counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a program keeps paths within a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The kernel checks them: `openat2`.
    Kernel,
    /// The kernel does not know `openat2`, as in sandboxes.
    ByHand,
}

impl Way {
    pub const BOTH: [Way; 2] = [Way::Kernel, Way::ByHand];

    /// Makes `command` take this way.
    pub fn of(self, command: Command) -> Command {
        match self {
            Way::Kernel => command,
            Way::ByHand => answering(command, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        }
    }

    /// `marwatch ARGS` in the site's folder, on this way.
    pub fn marwatch(self, site: &Site, args: &[&str]) -> Command {
        let mut command = self.of(marwatch());
        command.args(args).current_dir(&site.root);
        command
    }

    /// Runs `marwatch build` on a site to its end, on this way.
    #[track_caller]
    pub fn build(self, site: &Site) -> Output {
        let output = ended(self.marwatch(site, &["build", "-c", "marwatch.yaml"]));
        output.unwrap_or_else(|| panic!("{self:?}: the build hangs"))
    }
}

/// Makes the kernel answer `verdict` when `command` calls `openat2`.
#[expect(unsafe_code, reason = "a filter has to be installed between fork and exec")]
fn answering(mut command: Command, verdict: u32) -> Command {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let filter = [
        // The first field of `seccomp_data` is the number of the call.
        step(LOAD, 0, 0, 0),
        step(EQUAL, libc::SYS_openat2 as u32, 0, 1),
        step(RETURN, verdict, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let install = move || {
        let program =
            libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: all arguments are plain numbers except `program`, which outlives the call and
        // which the kernel only reads.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec this makes two system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
    command
}

/// The output of a program; `None` if it hangs.
pub fn ended(mut command: Command) -> Option<Output> {
    ended_within(&mut command, PATIENCE)
}

/// The same, with another limit.
pub fn ended_within(command: &mut Command, patience: Duration) -> Option<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let (done, waited) = std::sync::mpsc::channel();
    let waiter = thread::spawn(move || done.send(child.wait_with_output().unwrap()).unwrap());
    let clock = Clock::new();
    let start = clock.now();
    let output = loop {
        match waited.recv_timeout(Duration::from_millis(200)) {
            Ok(output) => break Some(output),
            Err(_) if clock.now().since(start) > patience => {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
                break None;
            }
            Err(_) => {}
        }
    };
    waiter.join().unwrap();
    output
}

/// The filter is in effect: if it kills at `openat2`, the program dies. So a program for which it
/// only refuses the call takes the other way.
#[test]
fn without_openat2_paths_are_walked_component_by_component() {
    use std::os::unix::process::ExitStatusExt;

    let site = Site::new();
    site.put_simple("m");
    let build = |verdict| {
        let mut command = answering(marwatch(), verdict);
        command.args(["build", "-c"]).arg(&site.config);
        ended(command).unwrap().status
    };
    assert_eq!(build(libc::SECCOMP_RET_KILL_PROCESS).signal(), Some(libc::SIGSYS));
    assert!(build(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32).success());
    site.check_store();
}
