//! The TCP port, for browsers and monitoring.
//!
//! On a loopback address, everyone on the machine may read, and commands need the token. On any
//! other address, everything but `/healthz` and `/readyz` needs the token.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio::net::TcpListener;

use super::AppState;
use super::routes::{refuse, router};
use super::socket::Service;
use crate::config::read_secret;

#[derive(Debug, thiserror::Error)]
pub(super) enum PortError {
    #[error("cannot read the token in {}", path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is empty; write a token into it", .0.display())]
    EmptyToken(PathBuf),
    #[error("cannot listen")]
    Listen(#[source] io::Error),
}

/// An open port. Dropping it closes the port.
#[derive(Debug)]
pub(super) struct Port {
    /// The configured address.
    pub(super) configured: SocketAddr,
    /// The actual address, which differs for port 0.
    pub(super) address: SocketAddr,
    guard: Guard,
    pub(super) service: Service,
}

/// The digest of a token. Comparing digests takes the same time wherever they differ.
pub(super) type Token = blake3::Hash;

/// Decides who may send which requests.
#[derive(Debug, Clone)]
struct Guard {
    token: Arc<Mutex<Option<Token>>>,
    is_loopback: bool,
}

impl Port {
    pub(super) fn open(
        configured: SocketAddr,
        token: Option<Token>,
        app: AppState,
    ) -> Result<Self, PortError> {
        let guard = Guard::new(token, configured.ip().is_loopback());
        let listener = std::net::TcpListener::bind(configured)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(TcpListener::from_std)
            .map_err(PortError::Listen)?;
        let address = listener.local_addr().map_err(PortError::Listen)?;
        let router = router(app).layer(from_fn_with_state(guard.clone(), guard_requests));
        let service = Service::start(listener, router, "port");
        Ok(Self { configured, address, guard, service })
    }

    /// Sets another token, for connected clients too.
    pub(super) fn set_token(&self, token: Option<Token>) {
        *self.guard.token() = token;
    }
}

/// Reads the token in a file.
pub(super) fn token(path: &Path) -> Result<Token, PortError> {
    let text =
        read_secret(path).map_err(|source| PortError::Token { path: path.to_owned(), source })?;
    match text.trim_ascii() {
        b"" => Err(PortError::EmptyToken(path.to_owned())),
        token => Ok(blake3::hash(token)),
    }
}

async fn guard_requests(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.refusal(request.method(), request.uri().path(), request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

impl Guard {
    fn new(token: Option<Token>, is_loopback: bool) -> Self {
        Self { token: Arc::new(Mutex::new(token)), is_loopback }
    }

    fn token(&self) -> MutexGuard<'_, Option<Token>> {
        // A panic while the lock was held leaves plain data intact.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a request that is refused.
    fn refusal(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        if matches!(path, "/healthz" | "/readyz") {
            return None;
        }
        // DNS rebinding: a page from elsewhere can let its own name lead here, but its requests
        // then carry that name in the header.
        if self.is_loopback && !names_loopback(headers) {
            let message = "the `Host` header does not name this machine";
            let help = "use 127.0.0.1 or localhost";
            return Some(refuse(StatusCode::MISDIRECTED_REQUEST, message, help));
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if self.is_loopback && is_read {
            return None;
        }
        let Some(token) = *self.token() else {
            let message = "commands on this port need a token, and none is configured";
            let help = "use the control socket, or set `control.token_file`";
            return Some(refuse(StatusCode::FORBIDDEN, message, help));
        };
        let sent = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let sent = sent.and_then(|value| value.strip_prefix(b"Bearer "));
        if sent.is_some_and(|sent| blake3::hash(sent.trim_ascii()) == token) {
            return None;
        }
        let help = "send `Authorization: Bearer TOKEN` with the token in `control.token_file`";
        Some(refuse(StatusCode::UNAUTHORIZED, "the token is missing or wrong", help))
    }
}

/// Whether the `Host` header names this machine.
fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    // `[::1]`, `name:port`, `name`.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return ip.is_loopback();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name) == "localhost"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn answer(guard: &Guard, method: Method, path: &str, host: &str, token: &str) -> u16 {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        if !token.is_empty() {
            headers.insert(header::AUTHORIZATION, token.parse().unwrap());
        }
        guard.refusal(&method, path, &headers).map_or(200, |answer| answer.status().as_u16())
    }

    #[test]
    fn on_loopback_everyone_may_read_and_commands_need_the_token() {
        let open = Guard::new(None, true);
        for host in ["localhost", "localhost:80", "127.0.0.1:8", "127.0.0.1", "[::1]:8", "[::1]"] {
            assert_eq!(answer(&open, Method::GET, "/models", host, ""), 200, "{host}");
        }
        for host in ["", "evil.example:8", "10.0.0.1:8", "localhost.evil.example", "[::2]"] {
            assert_eq!(answer(&open, Method::GET, "/models", host, ""), 421, "{host}");
        }
        assert_eq!(answer(&open, Method::POST, "/rescan", "localhost", ""), 403);
        assert_eq!(answer(&open, Method::POST, "/rescan", "localhost", "Bearer "), 403);
        let guarded = Guard::new(Some(blake3::hash(b"secret")), true);
        let post = |token| answer(&guarded, Method::POST, "/rescan", "localhost", token);
        assert_eq!(post(""), 401);
        assert_eq!(post("Bearer wrong"), 401);
        assert_eq!(post("secret"), 401);
        assert_eq!(post("Bearer secret"), 200);
        assert_eq!(answer(&guarded, Method::GET, "/models", "localhost", ""), 200);
    }

    #[test]
    fn on_other_addresses_only_probes_need_no_token() {
        let guard = Guard::new(Some(blake3::hash(b"secret")), false);
        for (path, token, status) in [
            ("/healthz", "", 200),
            ("/readyz", "", 200),
            ("/models", "", 401),
            ("/metrics", "Bearer secret", 200),
            ("/", "Bearer s", 401),
        ] {
            assert_eq!(answer(&guard, Method::GET, path, "m.example", token), status, "{path}");
        }
    }

    #[test]
    fn a_token_file_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(token(&path).unwrap_err().to_string().contains("cannot read"));
        fs::write(&path, " \n").unwrap();
        assert!(token(&path).unwrap_err().to_string().contains("is empty"));
        fs::write(&path, "secret\n").unwrap();
        assert_eq!(token(&path).unwrap(), blake3::hash(b"secret"));
    }
}
