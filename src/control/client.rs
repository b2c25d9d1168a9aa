//! The client: other commands use it to reach the daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::socket::short;
use super::{RollBack, SOCKET, verb};
use crate::model::ModelName;
use crate::pipeline::command::{Answer, Command, Refusal};
use crate::status::Status;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at {}", path.display())]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the daemon did not answer")]
    Talk(#[from] hyper::Error),
    #[error("cannot parse the daemon's answer; it may have another version")]
    Answer(#[from] serde_json::Error),
    #[error("{} – {}", .0.message, .0.help)]
    Refused(Refusal),
}

/// Sends a command to the daemon that uses the store with this hidden folder, and waits until it is
/// done.
pub async fn ask(hidden: &Path, name: &ModelName, command: Command) -> Result<Answer, ClientError> {
    let body = match command {
        Command::RollBack { to } => serde_json::to_vec(&RollBack { to })?,
        _ => Vec::new(),
    };
    // Names need no escaping in a URL.
    let path = format!("/models/{name}/{}", verb(command));
    send(hidden, Method::POST, &path, body).await
}

/// Asks the daemon for its status.
pub async fn status(hidden: &Path) -> Result<Status, ClientError> {
    send(hidden, Method::GET, "/models", Vec::new()).await
}

async fn send<T: DeserializeOwned>(
    hidden: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<T, ClientError> {
    let stream = connect(hidden)
        .await
        .map_err(|source| ClientError::Connect { path: hidden.join(SOCKET), source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("marwatch"));
    let response = sender.send_request(request).await?;
    let is_good = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    if is_good {
        Ok(serde_json::from_slice(&body)?)
    } else {
        Err(ClientError::Refused(serde_json::from_slice(&body)?))
    }
}

async fn connect(hidden: &Path) -> io::Result<UnixStream> {
    let folder = fs::File::open(hidden)?;
    UnixStream::connect(short(&folder, SOCKET)).await
}
