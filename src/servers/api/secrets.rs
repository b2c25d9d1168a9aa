//! What a server is sent with each request, from files: it is never shown.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::config::{Server, read_secret};

/// Why a server cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A file that the configuration names cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The token holds something that no header may.
    #[error("the token in {} holds characters that no header may; it is one line of ASCII", .0.display())]
    Token(PathBuf),
    /// What is to be a header is none.
    #[error("{} holds no header; it is one line, `Name: value`, of ASCII", .0.display())]
    Header(PathBuf),
    /// The client refuses its settings: the certificates.
    #[error("cannot set up the connection")]
    Client(#[source] reqwest::Error),
}

/// The headers of each request to the management API of `server`.
///
/// # Errors
/// When a file cannot be read, or holds what no header may.
pub(super) fn of(server: &Server) -> Result<HeaderMap, ApiError> {
    let mut secrets = HeaderMap::new();
    if let Some(path) = &server.token_file {
        let text = read(path)?;
        let value = [b"Bearer ", text.trim_ascii()].concat();
        let value = secret(&value).ok_or_else(|| ApiError::Token(path.clone()))?;
        secrets.insert(AUTHORIZATION, value);
    }
    if let Some(path) = &server.header_file {
        let text = read(path)?;
        let (name, value) = header(&text).ok_or_else(|| ApiError::Header(path.clone()))?;
        secrets.insert(name, value);
    }
    Ok(secrets)
}

/// What is in a file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ApiError> {
    read_secret(path).map_err(|source| ApiError::Read { path: path.to_owned(), source })
}

/// A value that is not shown by anything that prints a request.
fn secret(value: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A line `Name: value`.
fn header(text: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let text = text.trim_ascii();
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (name, value) = text.split_at(colon);
    let name = HeaderName::from_bytes(name).ok()?;
    Some((name, secret(value.get(1..)?.trim_ascii())?))
}
