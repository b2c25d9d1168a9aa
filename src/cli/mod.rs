//! The subcommands, one file each: arguments with their help, and a `run` that writes to whatever
//! it is given.

pub mod inspect;
