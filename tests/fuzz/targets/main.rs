//! All targets in one program, because linking takes most of the time of an instrumented build.
//!
//! `FUZZ_TARGET` names the target to run.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

mod archive;
mod carry;
mod config;
mod handler;
mod manifest;
mod remembered;
mod settings;
mod stream;

static CHECK: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    match name.as_str() {
        "archive" => archive::check,
        "carry" => carry::check,
        "config" => config::check,
        "handler" => handler::check,
        "manifest" => manifest::check,
        "remembered" => remembered::check,
        "settings" => settings::check,
        "stream" => stream::check,
        other => panic!("there is no target `{other}`"),
    }
});

fuzz_target!(|input: &[u8]| CHECK(input));
