//! The expected content of a store: the result of a fresh build into an empty store.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use marwatch::archive::inspect::inspect;
use marwatch::clock::Clock;
use serde_json::Value;

use super::daemon::Daemon;
use super::site::Site;

/// The digest of each model's archive.
pub type Digests = BTreeMap<String, String>;

/// The digests of a fresh build of the folders in `roots` into an empty store.
pub fn build(site: &Site, roots: &str) -> Result<Digests, String> {
    let store = site.root.join("fresh-store");
    let config = site.root.join("fresh.yaml");
    fs::write(&config, format!("store: fresh-store\n{roots}")).unwrap();
    let output = site.run(&["build", "--config", config.to_str().unwrap()]);
    if !output.status.success() {
        return Err(format!("the fresh build fails: {output:?}"));
    }
    let digests = listed(&store);
    fs::remove_dir_all(&store).unwrap();
    Ok(digests)
}

/// The digests that the catalog of a store lists.
pub fn listed(store: &Path) -> Digests {
    let Ok(text) = fs::read(store.join(".marwatch/catalog.json")) else { return Digests::new() };
    let catalog: Value = serde_json::from_slice(&text).unwrap();
    let models = catalog["models"].as_object().unwrap().iter();
    models.map(|(name, entry)| (name.clone(), entry["digest"].as_str().unwrap().into())).collect()
}

/// The digests of the archives in a store, computed from their content.
pub fn held(store: &Path) -> Result<Digests, String> {
    let mut digests = Digests::new();
    for entry in fs::read_dir(store).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some(model) = name.strip_suffix(".mar") {
            let found = inspect(&path).map_err(|error| format!("{name}: {error}"))?;
            let digest = found.digest.ok_or_else(|| format!("{name} is damaged"))?;
            digests.insert(model.to_owned(), digest.to_string());
        }
    }
    Ok(digests)
}

/// The models whose digests differ.
pub fn difference(store: &Digests, fresh: &Digests) -> String {
    let names = store.keys().chain(fresh.keys()).collect::<std::collections::BTreeSet<_>>();
    let differing = names.into_iter().filter(|name| store.get(*name) != fresh.get(*name));
    let lines: Vec<String> = differing
        .map(|name| format!("{name}: {:?}, fresh: {:?}", store.get(name), fresh.get(name)))
        .collect();
    lines.join("\n")
}

/// Waits until the store of a running daemon holds exactly the result of a fresh build.
///
/// # Errors
/// The differences after `patience`, or, at once, an archive whose content differs from the
/// catalog.
pub fn converge(
    site: &Site,
    daemon: &mut Daemon<'_>,
    roots: &str,
    patience: Duration,
) -> Result<Digests, String> {
    const STEP: Duration = Duration::from_millis(50);
    let fresh = build(site, roots)?;
    let clock = Clock::new();
    let start = clock.now();
    while listed(&site.store) != fresh {
        if clock.now().since(start) > patience {
            let differing = difference(&listed(&site.store), &fresh);
            return Err(format!("not converged:\n{differing}\n{}", daemon.story()));
        }
        daemon.pause(STEP);
    }
    let held = held(&site.store).map_err(|error| format!("torn: {error}"))?;
    if held == fresh {
        Ok(fresh)
    } else {
        Err(format!("not as listed:\n{}", difference(&held, &fresh)))
    }
}
