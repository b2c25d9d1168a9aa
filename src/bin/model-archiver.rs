//! `model-archiver`: packages a model folder by the command line of the specification.

use std::process::ExitCode;

fn main() -> ExitCode {
    marwatch::model_archiver::main(std::env::args_os())
}
