//! `servers:`, `serve:` of a model, and `hooks:`.

use std::path::Path;
use std::time::Duration;

use super::cursor::Cursor;
use super::field::{Field, List, Wrong};
use super::leaf::{Count, Span, Text};
use super::raw::{RawHooks, RawProbe, RawServe, RawServer};
use super::reader::Reader;
use super::{Hooks, Preflight, Server};
use crate::model::problem::Code;
use crate::model::{Batching, Probe, Serve};

const WORKERS: usize = 1;
/// A server starts no more workers than this by mistake.
const MOST_WORKERS: usize = 1024;
/// The server keeps as many requests in memory for each worker.
const MOST_BATCHED: usize = 65_536;
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
        if let Err(Wrong { what, help }) = is_new(&server.management, &servers) {
            reader.wrong(&at.member("management"), &what, &help);
        }
        servers.push(server);
    }
    servers
}

/// The server of `--server URL`, with defaults for everything else.
pub(super) fn by_flag(url: &str, others: &[Server]) -> Result<Server, Wrong> {
    let management = parse_address(url)?;
    is_new(&management, others)?;
    Ok(Server {
        management,
        inference: None,
        workers: WORKERS,
        batching: Batching::default(),
        preflight: Preflight::default(),
        probe: None,
        timeout: TIMEOUT,
        check_interval: CHECK_INTERVAL,
        token_file: None,
        header_file: None,
        worker_log: None,
        ca_file: None,
    })
}

fn is_new(management: &str, others: &[Server]) -> Result<(), Wrong> {
    if others.iter().any(|other| other.management == management) {
        return Err(Wrong::new("names a server for the second time", "take one of the two out"));
    }
    Ok(())
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
    let probe = reader
        .section(&probe_at, raw.probe)
        .and_then(|raw| probe(reader, &probe_at, raw, Some(base)));
    if probe.is_some() && inference.is_none() {
        let help = "write `inference: http://HOST:PORT`, the address that the probe goes to";
        reader.problems.push(at.problem(
            Code::SettingsMissing,
            "has a `probe` and no `inference`",
            help,
        ));
    }
    let (delay, timeout) = (raw.max_batch_delay, raw.response_timeout);
    let preflight_at = at.member("preflight");
    Some(Server {
        workers: reader.count(&at.member("workers"), raw.workers, MOST_WORKERS, WORKERS),
        batching: batching(reader, at, raw.batch_size, delay, timeout),
        preflight: reader.choice(&preflight_at, raw.preflight, Preflight::default()),
        probe,
        timeout: reader.span(&at.member("timeout"), raw.timeout, TIMEOUT),
        check_interval: reader.span(
            &at.member("check_interval"),
            raw.check_interval,
            CHECK_INTERVAL,
        ),
        token_file: reader.path(&at.member("token_file"), raw.token_file, base),
        header_file: reader.path(&at.member("header_file"), raw.header_file, base),
        worker_log: reader.path(&at.member("worker_log"), raw.worker_log, base),
        ca_file: reader.path(&at.member("ca_file"), raw.ca_file, base),
        management: management?,
        inference,
    })
}

/// `serve:` of a model. Without a `base` it stands in the model's folder, which may name no files: it
/// could name those that only marwatch may read.
pub(super) fn serve(
    reader: &mut Reader,
    at: &Cursor<'_>,
    field: Field<RawServe>,
    base: Option<&Path>,
) -> Serve {
    let Some(raw) = reader.section(at, field) else { return Serve::default() };
    let probe_at = at.member("probe");
    let is_said = !matches!(raw.workers, Field::Absent);
    let workers = reader.count(&at.member("workers"), raw.workers, MOST_WORKERS, 1);
    let (delay, timeout) = (raw.max_batch_delay, raw.response_timeout);
    Serve {
        workers: is_said.then_some(workers),
        batching: batching(reader, at, raw.batch_size, delay, timeout),
        probe: reader
            .section(&probe_at, raw.probe)
            .and_then(|raw| probe(reader, &probe_at, raw, base)),
    }
}

fn batching(
    reader: &mut Reader,
    at: &Cursor<'_>,
    size: Field<Count>,
    delay: Field<Span>,
    timeout: Field<Span>,
) -> Batching {
    let is_said = !matches!(size, Field::Absent);
    let size = reader.count(&at.member("batch_size"), size, MOST_BATCHED, 1);
    let mut span = |key: &str, field| reader.take(&at.member(key), field).map(|Span(span)| span);
    Batching {
        batch_size: is_said.then_some(size),
        max_batch_delay: span("max_batch_delay", delay),
        response_timeout: span("response_timeout", timeout),
    }
}

fn probe(
    reader: &mut Reader,
    at: &Cursor<'_>,
    raw: RawProbe,
    base: Option<&Path>,
) -> Option<Probe> {
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
    let body = reader.take(&at.member("body"), raw.body).map(|Text(body)| body);
    let file_at = at.member("body_file");
    let body_file = match (base, raw.body_file) {
        (_, Field::Absent) => None,
        (Some(base), field) => reader.path(&file_at, field, base),
        (None, _) => {
            let help = "write what is to be sent behind `body:`, or name the file in `models:` of the daemon's configuration";
            reader.wrong(&file_at, "names a file, which a model's own settings may not", help);
            None
        }
    };
    if body.is_some() && body_file.is_some() {
        let what = "stands beside `body`, and only one of them can be sent";
        reader.problems.push(file_at.problem(Code::SettingsConflict, what, "keep one of them"));
    }
    Some(Probe {
        body,
        body_file,
        expect_status: u16::try_from(status).unwrap_or(200),
        path: path?,
    })
}

/// An address without a path: what follows the port is ours to say.
fn address(reader: &mut Reader, at: &Cursor<'_>, field: Field<Text>) -> Option<String> {
    let Text(text) = reader.take(at, field)?;
    let address = parse_address(&text);
    address.map_err(|Wrong { what, help }| reader.wrong(at, &what, &help)).ok()
}

/// The address without a slash at its end.
fn parse_address(text: &str) -> Result<String, Wrong> {
    let is_address = reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if is_address {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    // The error does not quote the text: it may hold a password.
    Err(Wrong::new(
        "is no address of a server",
        "write `http://HOST:PORT` or `https://HOST:PORT`, and a secret into a `token_file`",
    ))
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
