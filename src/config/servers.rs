//! `servers:`, and `serve:` of a model.

use schemars::Schema;

use super::leaf::Wrong;
use super::reader::Reader;
use super::sections::{RawBatching, RawProbe, RawServe, Server};
use super::setting::{Section, Setting};
use super::tree::Cursor;
use crate::model::problem::Code;
use crate::model::{Batching, Probe, Serve};

/// `servers:`
pub fn servers(reader: &mut Reader, at: &Cursor<'_>) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for (at, mut server) in reader.items::<Server>(at).unwrap_or_default() {
        let help = "write `management: http://HOST:PORT`, the address of its management API";
        reader.require(&at, "management", help);
        let management_at = at.member("management");
        let management = String::read(reader, &management_at)
            .and_then(|text| reader.checked(&management_at, address(&text)));
        server.inference = server
            .inference
            .and_then(|text| reader.checked(&at.member("inference"), address(&text)));
        if server.probe.is_some() && server.inference.is_none() {
            let what = "has a `probe` and no `inference`";
            let help = "write `inference: http://HOST:PORT`, the address that the probe goes to";
            reader.problems.push(at.problem(Code::SettingsMissing, what, help));
        }
        let Some(management) = management else { continue };
        reader.checked(&management_at, is_new(&management, &servers));
        servers.push(Server { management, ..server });
    }
    servers
}

/// The server of `--server URL`, with defaults for everything else.
pub fn by_flag(url: &str, others: &[Server]) -> Result<Server, Wrong> {
    let management = address(url)?;
    is_new(&management, others)?;
    Ok(Server { management, ..Server::default() })
}

fn is_new(management: &str, others: &[Server]) -> Result<(), Wrong> {
    if others.iter().any(|other| other.management == management) {
        return Err(Wrong::new("names a server that is already listed", "remove one of the two"));
    }
    Ok(())
}

/// An address without a path (marwatch adds the path), without a slash at its end.
fn address(text: &str) -> Result<String, Wrong> {
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
    // The message does not quote the text: it may hold a password.
    Err(Wrong::new(
        "is not the address of a server",
        "write `http://HOST:PORT` or `https://HOST:PORT`, and a secret into a `token_file`",
    ))
}

impl Setting for Serve {
    fn schema() -> Schema {
        RawServe::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        let RawServe { workers, probe, batching } = reader.section(at)?;
        Some(Serve { workers, batching, probe })
    }
}

impl Setting for Batching {
    fn schema() -> Schema {
        RawBatching::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        reader.section(at)
    }
}

impl Section for Batching {
    fn keys() -> Vec<&'static str> {
        RawBatching::keys()
    }

    fn read_keys(reader: &mut Reader, at: &Cursor<'_>) -> Self {
        let RawBatching { batch_size, max_batch_delay, response_timeout } =
            RawBatching::read_keys(reader, at);
        Batching { batch_size, max_batch_delay, response_timeout }
    }
}

impl Setting for Probe {
    fn schema() -> Schema {
        RawProbe::schema()
    }

    fn read(reader: &mut Reader, at: &Cursor<'_>) -> Option<Self> {
        let RawProbe { path, body, body_file, expect_status } = reader.section(at)?;
        if !at.member("path").is_there() {
            let help = "write `path: /predictions/{name}`";
            reader.problems.push(at.problem(Code::SettingsMissing, "has no `path`", help));
        }
        if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            let wrong = Wrong::new("does not begin with `/`", "write `/predictions/{name}`");
            reader.wrong(&at.member("path"), wrong);
        }
        if body.is_some() && body_file.is_some() {
            let at = at.member("body_file");
            let what = "cannot be combined with `body`";
            reader.problems.push(at.problem(Code::SettingsConflict, what, "remove one of them"));
        }
        let expect_status = u16::try_from(expect_status).unwrap_or(200);
        Some(Probe { path: path?, body, body_file, expect_status })
    }
}
