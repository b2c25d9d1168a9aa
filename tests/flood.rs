//! More changes at once than the kernel can notify of, and fewer watches than folders: in the end
//! the store holds what a fresh build gives, compared by digest.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod common;

#[path = "flood/at_once.rs"]
mod at_once;
#[path = "flood/limits.rs"]
mod limits;
#[path = "flood/overflow.rs"]
mod overflow;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::service;
use common::site::Site;

/// No periodic rescan: a change that is missed stays missed.
const TERMS: &str = "settle: {quiet: 150ms, quiet_long: 300ms, max_wait: 5m}\n\
                     rescan_interval: 10h\non_remove: delete\n";
/// The watched folders of [`site`].
const ROOTS: &str = "drop_folders: [drop, second]\n";
/// The limit for the store to converge.
const PATIENCE: Duration = Duration::from_secs(120);

/// A site with two drop folders.
fn site() -> Site {
    let site = Site::new();
    fs::create_dir(site.root.join("second")).unwrap();
    configure(&site, "");
    site
}

fn configure(site: &Site, more: &str) {
    fs::write(&site.config, format!("store: store\n{ROOTS}{TERMS}{more}")).unwrap();
}

/// Creates a model of `folders` folders with `files` files in each; one of them is the handler.
fn fill(model: &Path, folders: usize, files: usize) {
    fs::create_dir_all(model).unwrap();
    fs::write(model.join("service.py"), service("one")).unwrap();
    for folder in 0..folders {
        let folder = model.join(format!("d{}/e{folder}", folder % 7));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..files {
            fs::write(folder.join(format!("f{file}")), format!("{file} in {folder:?}")).unwrap();
        }
    }
}
