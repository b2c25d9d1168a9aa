//! marwatch.yaml(5): the file that `marwatch init` writes, as a manual page.

use clap_mangen::roff::{Roff, bold, roman};

use super::{Page, verbatim};
use crate::config::template;

/// A comment and the settings that it explains.
#[derive(Default)]
struct Entry<'t> {
    prose: Vec<&'t str>,
    settings: Vec<&'t str>,
}

pub(super) fn page() -> Page {
    let source = concat!("marwatch ", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", ["MARWATCH.YAML", "5", "", source, "marwatch"]);
    page.control("SH", ["NAME"]).text([roman("marwatch.yaml - the configuration of marwatch")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A YAML file. By default, marwatch reads it from the current folder; the systemd service \
         reads /etc/marwatch/marwatch.yaml.",
    )]);
    let entries = entries(template());
    let (about, keys) =
        entries.split_at(entries.iter().take_while(|e| e.settings.is_empty()).count());
    for entry in about {
        // The first line only repeats the name of the page.
        let prose = entry.prose.iter().skip_while(|line| line.starts_with("The configuration of"));
        let prose: Vec<&str> = prose.copied().collect();
        if !prose.is_empty() {
            page.control("PP", []).text([roman(prose.join(" ").replace(
                "Commented-out settings show their defaults, or examples where there is no default. \
                     To change one, remove its `#` and that of the section it belongs to.",
                "Settings are shown with their defaults, or with examples where there is no default.",
            ))]);
        }
    }
    page.control("SH", ["SETTINGS"]);
    for Entry { prose, settings } in keys {
        let keys = settings.iter().filter(|line| !line.starts_with([' ', '-']));
        let keys: Vec<&str> = keys.filter_map(|line| line.split(':').next()).collect();
        page.control("SS", [keys.join(", ").as_str()]);
        page.text([roman(prose.join(" "))]);
        verbatim(&mut page, settings.iter().copied());
    }
    page.control("SH", ["FILES"]);
    for (file, what) in [
        ("marwatch.yaml", "Read by default, from the current folder."),
        ("/etc/marwatch/marwatch.yaml", "Read by the systemd service."),
        (
            "MODEL/.mar.yaml",
            "Settings in the folder of a model: the keys of an entry of models, without path. Such \
             an entry overrides them.",
        ),
    ] {
        page.control("TP", []).text([bold(file)]).text([roman(what)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("marwatch"), roman("(1),")]);
    page.text([bold("marwatch-check"), roman("(1),")]);
    page.text([bold("marwatch-init"), roman("(1)")]);
    Page::new("marwatch.yaml".to_owned(), 5, &page.to_roff())
}

/// Splits the template: prose has one space after its `#`; a setting has none, or the two of its
/// indentation.
fn entries(template: &str) -> Vec<Entry<'_>> {
    let mut entries = vec![Entry::default()];
    let mut was_setting = false;
    for line in template.lines() {
        let rest = line.strip_prefix('#');
        let prose = rest
            .filter(|rest| rest.is_empty() || (rest.starts_with(' ') && !rest.starts_with("  ")));
        let is_prose = prose.is_some();
        if line.trim_end_matches('#').is_empty() || (is_prose && was_setting) {
            entries.push(Entry::default());
        }
        if let Some(entry) = entries.last_mut() {
            match prose {
                Some(prose) if !prose.is_empty() => entry.prose.push(prose.trim_start()),
                None if !line.is_empty() => entry.settings.push(rest.unwrap_or(line)),
                _ => {}
            }
        }
        was_setting = !is_prose && !line.is_empty();
    }
    entries.retain(|entry| !entry.prose.is_empty() || !entry.settings.is_empty());
    entries
}
