//! `servers:` and `hooks:`.

use std::path::Path;
use std::time::Duration;

use super::cursor::Cursor;
use super::field::{Field, List};
use super::leaf::{Count, Span, Text};
use super::raw::{RawHooks, RawProbe, RawServer};
use super::reader::Reader;
use super::{Hooks, Preflight, Probe, Server};
use crate::problem::Code;

/// A server starts no more workers than this by mistake.
const MOST_WORKERS: usize = 1024;
/// The server answers a synchronous registration when its workers are up, which loads the model.
const TIMEOUT: Duration = Duration::from_secs(180);
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// `servers:`
pub(super) fn servers(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<List<RawServer>>,
    base: &Path,
) -> Vec<Server> {
    let items = reader.list(at, field).unwrap_or_default();
    let mut servers: Vec<Server> = Vec::new();
    for (at, item) in items {
        let Some(raw) = reader.take(&at, item) else { continue };
        let Some(server) = server(reader, &at, raw, base) else { continue };
        if servers.iter().any(|other| other.management == server.management) {
            let help = "take one of the two out";
            reader.wrong(&at.member("management"), "names a server for the second time", help);
        }
        servers.push(server);
    }
    servers
}

fn server(reader: &mut Reader, at: &Cursor<'_>, raw: RawServer, base: &Path) -> Option<Server> {
    reader.refuse_unknown(at, &raw);
    if matches!(raw.management, Field::Absent) {
        let help = "write `management: http://HOST:PORT`, the address of its management API";
        reader.problems.push(at.problem(Code::SettingsMissing, "has no `management`", help));
    }
    let management = address(reader, &at.member("management"), raw.management);
    let inference = address(reader, &at.member("inference"), raw.inference);
    let probe_at = at.member("probe");
    let probe =
        reader.section(&probe_at, raw.probe).and_then(|raw| probe(reader, &probe_at, raw, base));
    if probe.is_some() && inference.is_none() {
        let help = "write `inference: http://HOST:PORT`, the address that the probe goes to";
        reader.problems.push(at.problem(
            Code::SettingsMissing,
            "has a `probe` and no `inference`",
            help,
        ));
    }
    let some_count = |reader: &mut Reader, key: &str, field: Field<Count>| {
        let is_said = !matches!(field, Field::Absent);
        let count = reader.count(&at.member(key), field, usize::MAX, 1);
        is_said.then_some(count)
    };
    let some_span = |reader: &mut Reader, key: &str, field: Field<Span>| {
        reader.take(&at.member(key), field).map(|Span(span)| span)
    };
    let preflight_at = at.member("preflight");
    Some(Server {
        workers: reader.count(&at.member("workers"), raw.workers, MOST_WORKERS, 1),
        batch_size: some_count(reader, "batch_size", raw.batch_size),
        max_batch_delay: some_span(reader, "max_batch_delay", raw.max_batch_delay),
        response_timeout: some_span(reader, "response_timeout", raw.response_timeout),
        preflight: reader.choice(&preflight_at, raw.preflight, Preflight::default()),
        probe,
        timeout: reader.span(&at.member("timeout"), raw.timeout, TIMEOUT),
        check_interval: reader.span(
            &at.member("check_interval"),
            raw.check_interval,
            CHECK_INTERVAL,
        ),
        token_file: reader.path(&at.member("token_file"), raw.token_file, base),
        ca_file: reader.path(&at.member("ca_file"), raw.ca_file, base),
        management: management?,
        inference,
    })
}

fn probe(reader: &mut Reader, at: &Cursor<'_>, raw: RawProbe, base: &Path) -> Option<Probe> {
    let path_at = at.member("path");
    if matches!(raw.path, Field::Absent) {
        let help = "write `path: /predictions/{name}`";
        reader.problems.push(at.problem(Code::SettingsMissing, "has no `path`", help));
    }
    let path = reader.take(&path_at, raw.path).map(|Text(path)| path);
    if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        reader.wrong(&path_at, "does not begin with `/`", "write `/predictions/{name}`");
    }
    let status = reader.count(&at.member("expect_status"), raw.expect_status, 599, 200);
    Some(Probe {
        body_file: reader.path(&at.member("body_file"), raw.body_file, base),
        expect_status: u16::try_from(status).unwrap_or(200),
        path: path?,
    })
}

/// An address without a path: what follows the port is ours to say.
fn address(reader: &mut Reader, at: &Cursor<'_>, field: Field<Text>) -> Option<String> {
    let Text(text) = reader.take(at, field)?;
    let shown = text.trim_end_matches('/').to_owned();
    let good = reqwest::Url::parse(&text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if good {
        return Some(shown);
    }
    // What it holds may be a password.
    let help = "write `http://HOST:PORT` or `https://HOST:PORT`, and a secret into a `token_file`";
    reader.wrong(at, "is no address of a server", help);
    None
}

/// `hooks:`
pub(super) fn hooks(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawHooks>,
    defaults: Hooks,
) -> Hooks {
    let Some(raw) = reader.section(at, field) else { return defaults };
    let items = reader.list(&at.member("on_result"), raw.on_result).unwrap_or_default();
    let words = items.into_iter().filter_map(|(at, item)| Some(reader.take(&at, item)?.0));
    Hooks {
        on_result: words.collect(),
        timeout: reader.span(&at.member("timeout"), raw.timeout, defaults.timeout),
        jobs: reader.count(&at.member("jobs"), raw.jobs, 64, defaults.jobs),
    }
}
