//! Runs a program under ptrace: a judge sees every system call of all its threads before the kernel
//! does, and lets it pass, makes it fail, or kills the program.
//!
//! A run belongs to the thread that started it: the kernel lets no other thread trace it.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::call::Call;

/// The limit of a run. Only a program that hangs takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The judge's decision about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel executes it.
    Pass,
    /// It fails with this error, and the kernel does not see it.
    Fail(Errno),
    /// The program is killed.
    Kill,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(Signal),
    /// Not within [`PATIENCE`].
    Hung,
}

/// A run that has ended, with its output.
#[derive(Debug)]
pub struct Run {
    pub end: End,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` to its end and asks `judge` about every call.
pub fn run(mut command: Command, judge: &mut dyn FnMut(&Call) -> Verdict) -> Run {
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    command.stdin(Stdio::null());
    command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let end = Traced::start(command).follow(PATIENCE, judge);
    let text = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Run { end, stdout: text(&mut stdout), stderr: text(&mut stderr) }
}

/// A program that is stopped before its first instruction.
pub struct Traced {
    leader: Pid,
    /// The calls that will fail, by thread: between their entry and exit.
    failing: BTreeMap<Pid, Errno>,
}

impl Traced {
    /// Starts `command`; it does not outlive the thread that started it.
    #[expect(unsafe_code, reason = "nothing else runs in a child before it becomes the program")]
    pub fn start(mut command: Command) -> Self {
        // SAFETY: `ptrace` is a plain system call, which is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from));
        }
        let child = command.spawn().expect("the program starts, and this machine permits ptrace");
        let leader = Pid::from_raw(child.id().try_into().unwrap());
        // From here on `waitpid` collects it by its ID, like its threads.
        drop(child);
        let stopped = waitpid(leader, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGTRAP)), "{stopped:?}");
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(leader, options).unwrap();
        resume(leader, None);
        Self { leader, failing: BTreeMap::new() }
    }

    /// The process ID.
    pub fn id(&self) -> Pid {
        self.leader
    }

    /// Traces it to its end, which must come within `patience`.
    pub fn follow(mut self, patience: Duration, judge: &mut dyn FnMut(&Call) -> Verdict) -> End {
        let leader = self.leader;
        let (ended, watched) = mpsc::channel::<()>();
        let watchdog = thread::spawn(move || {
            let hangs = watched.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
            if hangs {
                let _ = kill(leader, Signal::SIGKILL);
            }
            hangs
        });
        let end = self.until_it_ends(judge);
        drop(ended);
        if watchdog.join().unwrap() { End::Hung } else { end }
    }

    fn until_it_ends(&mut self, judge: &mut dyn FnMut(&Call) -> Verdict) -> End {
        // Only its own threads, not the children of other tests in this process.
        let all = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
        loop {
            match waitpid(None::<Pid>, all) {
                Err(Errno::EINTR) => {}
                Err(error) => panic!("cannot wait for a traced program: {error}"),
                Ok(WaitStatus::Exited(pid, code)) if pid == self.leader => return End::Code(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.leader => {
                    return End::Signal(signal);
                }
                Ok(WaitStatus::PtraceSyscall(pid)) => self.at_call(pid, judge),
                Ok(WaitStatus::PtraceEvent(pid, ..)) => resume(pid, None),
                // New threads begin with the first of these, and a program after `execve` with the
                // second.
                Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP | Signal::SIGTRAP)) => {
                    resume(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => resume(pid, Some(signal)),
                Ok(_) => {}
            }
        }
    }

    fn at_call(&mut self, thread: Pid, judge: &mut dyn FnMut(&Call) -> Verdict) {
        let Some(is_entry) = is_entry(thread) else { return };
        if is_entry {
            let Ok(registers) = ptrace::getregs(thread) else { return };
            match judge(&Call::new(thread, &registers)) {
                Verdict::Pass => {}
                Verdict::Kill => {
                    // A thread that is killed at the entry of a call does not execute it.
                    let _ = kill(self.leader, Signal::SIGKILL);
                    return;
                }
                Verdict::Fail(error) => {
                    // No call has this number, so the kernel does nothing.
                    let none = u64::MAX;
                    let _ = ptrace::setregs(thread, set_number(registers, none));
                    self.failing.insert(thread, error);
                }
            }
        } else if let Some(error) = self.failing.remove(&thread)
            && let Ok(registers) = ptrace::getregs(thread)
        {
            let _ = ptrace::setregs(thread, set_answer(registers, error));
        }
        resume(thread, None);
    }
}

/// Whether a thread is at the entry or the exit of a call. `None` if it has been killed.
fn is_entry(thread: Pid) -> Option<bool> {
    let operation = ptrace::syscall_info(thread).ok()?.op;
    Some(operation == nix::libc::PTRACE_SYSCALL_INFO_ENTRY)
}

/// Resumes a thread until its next call, unless it has been killed.
fn resume(thread: Pid, signal: Option<Signal>) {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("cannot resume a traced thread: {error}"),
    }
}

type Registers = nix::libc::user_regs_struct;

fn set_number(registers: Registers, number: u64) -> Registers {
    Registers { orig_rax: number, ..registers }
}

fn set_answer(registers: Registers, error: Errno) -> Registers {
    Registers { rax: (-i64::from(error as i32)).cast_unsigned(), ..registers }
}
