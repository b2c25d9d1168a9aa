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
