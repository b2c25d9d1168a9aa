//! `marwatch`: the daemon and its tools.

use marwatch::cli;
use marwatch::exit::Exit;

fn main() -> Exit {
    cli::main()
}
