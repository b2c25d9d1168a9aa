//! What the tests that run the built program share.
//!
//! A [`Site`] is a folder of its own with a drop folder, a store and a configuration; a [`Daemon`]
//! is `marwatch run` on it, ended at the latest when it is dropped. Whatever a test waits for it
//! waits for in [`Daemon::wait`], which says everything that was seen when the time is over. Every
//! record is held against the schema that the program prints.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, reason = "a module of test programs has no outside")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of tests")]

pub mod archives;
pub mod chance;
pub mod daemon;
pub mod disk;
pub mod fresh;
pub mod schema;
pub mod site;
pub mod transcript;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

/// The built program, with nothing of the environment that would change what it says.
pub fn marwatch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marwatch"));
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.env("NO_COLOR", "1").env("COLUMNS", "100").env("LC_ALL", "C.UTF-8");
    command
}

/// An address of this machine with a port that no program uses.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The smallest handler there is; `answer` makes its content differ.
pub fn service(answer: &str) -> String {
    format!("def handle(data, context):\n    return [{answer:?} for _ in data or []]\n")
}

/// Text of so many MiB that shrinks, and takes long to; `seed` makes its content differ.
pub fn slow_text(seed: u64, blocks: usize) -> String {
    let mut state = seed;
    let mut block = String::new();
    while block.len() < 1 << 20 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        block.push_str(["0.", "1e-", "-", "layer", "\n"][(state >> 61) as usize % 5]);
        block.push_str(&(state >> 40).to_string());
    }
    block.repeat(blocks)
}
