//! The order of the modules that `src/lib.rs` shows.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The layer of each module: `lib.rs` declares those of one layer together, the top layer first.
fn layers(lib: &str) -> BTreeMap<&str, usize> {
    let blocks = lib.split("\n\n").filter(|block| block.contains("mod "));
    let modules = |block| {
        str::lines(block).filter_map(|line| {
            line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("pub(crate) mod "))
        })
    };
    let layers = blocks.enumerate().flat_map(|(layer, block)| {
        modules(block).map(move |name| (name.trim_end_matches(';'), layer))
    });
    layers.collect()
}

/// The modules that the text of a source file names, with the lines that name them. Tests at the end
/// of a file and comments may lead anywhere.
fn imports(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().enumerate().flat_map(|(number, line)| {
        let line = line.split("//").next().unwrap();
        let names = line.split("crate::").skip(1);
        names.map(move |rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (number + 1, &rest[..end])
        })
    })
}

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Whether a file below `src` has only tests: they may use modules of any layer.
fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn a_module_imports_only_modules_of_lower_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = fs::read_to_string(root.join("lib.rs")).unwrap();
    let layers = layers(&lib);
    assert!(layers.len() > 20 && layers["cli"] == 0, "{layers:?}");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut upward, mut seen) = (Vec::new(), 0);
    // Relative paths: the repository itself may be in a folder called `tests`.
    let below_src = files.iter().map(|path| (path, path.strip_prefix(&root).unwrap()));
    for (path, file) in below_src.filter(|(_, file)| !is_test(file)) {
        let top = file.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(own) = layers.get(top) else { continue };
        let text = fs::read_to_string(path).unwrap();
        for (line, name) in imports(&text).filter(|(_, name)| *name != top) {
            seen += 1;
            let layer = layers.get(name).unwrap_or_else(|| panic!("{path:?}:{line}: {name}"));
            if layer <= own {
                upward.push(format!("src/{}:{line}: `{top}` imports `{name}`", file.display()));
            }
        }
    }
    assert!(seen > 500, "only {seen} imports found");
    assert!(upward.is_empty(), "these imports lead upward:\n{}", upward.join("\n"));
}

/// The order of the modules in a folder, which the docs of its `mod.rs` give from the top down.
fn order(docs: &str) -> BTreeMap<&str, usize> {
    let (_, rest) = docs.split_once("From the top down:").unwrap();
    let rest = rest.split("\n//!\n").next().unwrap();
    let levels = rest.split('→').enumerate();
    // What stands between backticks.
    let names = levels.flat_map(|(level, text)| {
        text.split('`').skip(1).step_by(2).map(move |name| (name, level))
    });
    names.collect()
}

/// The siblings that a file names after `super::` or `crate::FOLDER::`, alone or in braces.
fn siblings<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let uses = code.flat_map(|line| line.split(prefix).skip(1));
    let names = uses.flat_map(|rest| match rest.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap().split(", ").collect(),
        None => vec![rest],
    });
    let module = |name: &'t str| name.split(|c: char| !c.is_lowercase() && c != '_').next();
    names.filter_map(module).collect()
}

#[test]
fn no_modules_of_store_and_watch_import_each_other_in_a_circle() {
    for folder in ["store", "watch"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
        let docs = fs::read_to_string(root.join("mod.rs")).unwrap();
        let order = order(&docs);
        let mut files = Vec::new();
        sources(&root, &mut files);
        let (mut upward, mut seen) = (Vec::new(), 0);
        for path in files.iter().filter(|path| !is_test(path)) {
            let file = path.strip_prefix(&root).unwrap();
            let own = file.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
            if ["mod", "fixture"].contains(&own) {
                continue;
            }
            let level = order.get(own).unwrap_or_else(|| panic!("`{own}` is not in the order"));
            let text = fs::read_to_string(path).unwrap();
            let mut names = siblings(&text, &format!("crate::{folder}::"));
            if file.iter().count() == 1 {
                names.extend(siblings(&text, "super::"));
            }
            for name in names.into_iter().filter(|name| *name != own) {
                if let Some(other) = order.get(name) {
                    seen += 1;
                    if other <= level {
                        upward.push(format!("{folder}/{}: `{name}`", file.display()));
                    }
                }
            }
        }
        assert!(seen > 20, "only {seen} imports found in {folder}");
        assert!(upward.is_empty(), "these imports lead upward: {upward:#?}");
    }
}
