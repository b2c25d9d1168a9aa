//! marwatch.yaml(5): what `marwatch init` writes, as a page.

use clap_mangen::roff::{Roff, bold, roman};

use super::{Page, verbatim};
use crate::config::template;

/// Some lines about settings, and the settings.
#[derive(Default)]
struct Entry<'t> {
    prose: Vec<&'t str>,
    settings: Vec<&'t str>,
}

/// The page.
pub(super) fn page() -> Page {
    let source = concat!("marwatch ", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", ["MARWATCH.YAML", "5", "", source, "marwatch"]);
    page.control("SH", ["NAME"]).text([roman("marwatch.yaml - the configuration of marwatch")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A file in YAML. Without another name being given, marwatch reads it from the current \
         folder; the service of systemd reads /etc/marwatch/marwatch.yaml.",
    )]);
    let entries = entries(template());
    let (about, keys) =
        entries.split_at(entries.iter().take_while(|e| e.settings.is_empty()).count());
    for entry in about {
        // The first line is what the page is called.
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
        ("marwatch.yaml", "What is read where nothing else is said."),
        ("/etc/marwatch/marwatch.yaml", "What the service of systemd reads."),
        (
            "MODEL/.mar.yaml",
            "What a model says of itself: the keys of models but path. The daemon's models win \
             over it.",
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

/// Takes the template apart: prose has one blank behind its `#`, what is a setting has none, or
/// the two of an indentation.
fn entries(template: &str) -> Vec<Entry<'_>> {
    let mut entries = vec![Entry::default()];
    let mut last_was_setting = false;
    for line in template.lines() {
        let rest = line.strip_prefix('#');
        let prose = rest
            .filter(|rest| rest.is_empty() || (rest.starts_with(' ') && !rest.starts_with("  ")));
        let is_prose = prose.is_some();
        if line.trim_end_matches('#').is_empty() || (is_prose && last_was_setting) {
            entries.push(Entry::default());
        }
        if let Some(entry) = entries.last_mut() {
            match prose {
                Some(prose) if !prose.is_empty() => entry.prose.push(prose.trim_start()),
                None if !line.is_empty() => entry.settings.push(rest.unwrap_or(line)),
                _ => {}
            }
        }
        last_was_setting = !is_prose && !line.is_empty();
    }
    entries.retain(|entry| !entry.prose.is_empty() || !entry.settings.is_empty());
    entries
}
