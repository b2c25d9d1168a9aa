//! Helpers for the tests that run the built programs.
//!
//! A [`Site`] is a temporary folder with a drop folder, a store and a configuration. A [`Daemon`]
//! is `marwatch run` on it; dropping it kills the process. All waiting goes through
//! [`Daemon::wait`], which prints everything that was seen when it times out. Every record is
//! validated against the schema that the program prints.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, reason = "a module of test programs has no outside")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of tests")]

pub mod archives;
pub mod daemon;
pub mod disk;
pub mod fresh;
pub mod limits;
pub mod random;
pub mod schema;
pub mod site;
pub mod transcript;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use random::Random;

/// The built program, without environment variables that change its output.
pub fn marwatch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marwatch"));
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.env("NO_COLOR", "1").env("COLUMNS", "100").env("LC_ALL", "C.UTF-8");
    command
}

/// Runs a program that must succeed, and returns its output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}{errors}", output.status);
    printed
}

/// An address on this machine with a port that is not in use.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The smallest handler; `answer` makes its content differ.
pub fn service(answer: &str) -> String {
    format!("def handle(data, context):\n    return [{answer:?} for _ in data or []]\n")
}

/// `blocks` MiB of text that compresses slowly; `seed` makes its content differ.
pub fn slow_text(seed: u64, blocks: usize) -> String {
    let mut random = Random::new(seed);
    let mut block = String::new();
    while block.len() < 1 << 20 {
        block += *random.pick(&["0.", "1e-", "-", "layer", "\n"]);
        block += &random.below(1 << 24).to_string();
    }
    block.repeat(blocks)
}
