//! The module of a handler, with any content.
//!
//! The checks accept a module from which the handler is inferred; every problem is on a line of the
//! file.
use std::path::Path;

use marwatch::model::{EntryPath, Handler, Runtime};
use marwatch::python;

pub fn check(text: &[u8]) {
    let path = EntryPath::parse("service.py").expect("a path");
    let lines = text.iter().filter(|&&byte| matches!(byte, b'\n' | b'\r')).count() as u32 + 2;
    // One of six ways for each input: each way parses the module.
    let ways = [Runtime::Python, Runtime::Python2].map(|runtime| {
        ["service", "service:handle", "service:run"].map(|handler| (handler, runtime))
    });
    let way = text
        .iter()
        .fold(text.len(), |sum, &byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    let (handler, runtime) = ways.as_flattened()[way % 6];
    let handler = Handler::parse(handler).expect("a handler");
    for problem in python::check(&handler, runtime, path.as_path(), text) {
        let line = problem.line.unwrap_or(1);
        assert!(line >= 1 && line <= lines, "{problem}");
    }
    if let Ok(handler) = python::infer([(&path, text)]) {
        let problems = python::check(&handler, Runtime::Python, Path::new("service.py"), text);
        assert!(problems.is_empty(), "{handler}: {problems:?}");
    }
}
