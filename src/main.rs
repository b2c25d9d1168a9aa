//! `marwatch`: the daemon and its tools.

use clap::Parser;
use marwatch::cli::{self, Cli};
use marwatch::exit::Exit;

fn main() -> Exit {
    cli::main(Cli::parse())
}
