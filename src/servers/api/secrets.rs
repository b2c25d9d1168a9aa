//! The token and the header of each request to a server, read from files. They are never shown.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::config::{Server, read_secret};

/// Why no request can be made to a server.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the token in {} is not one line of ASCII", .0.display())]
    Token(PathBuf),
    #[error("{} holds no header: one line of ASCII, `Name: value`", .0.display())]
    Header(PathBuf),
    /// The certificates cannot be used.
    #[error("cannot set up the connection")]
    Client(#[source] reqwest::Error),
}

/// The headers of each request to the management API of `server`.
///
/// # Errors
/// When a file cannot be read, or does not hold what it should.
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

pub(super) fn read(path: &Path) -> Result<Vec<u8>, ApiError> {
    read_secret(path).map_err(|source| ApiError::Read { path: path.to_owned(), source })
}

/// A value that `Debug` does not show.
fn secret(value: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn header(text: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let text = text.trim_ascii();
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (name, value) = text.split_at(colon);
    let name = HeaderName::from_bytes(name).ok()?;
    Some((name, secret(value.get(1..)?.trim_ascii())?))
}
