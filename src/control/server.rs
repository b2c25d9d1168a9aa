//! The daemon's end.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::UnixListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{RollBack, SOCKET};
use crate::build::report::Refusal;
use crate::engine::{Message, Wish};
use crate::model::ModelName;
use crate::reconcile::OrderKind;

/// How long the last answers may take to be taken.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The socket, bound and not yet answered. Dropping it removes it.
#[derive(Debug)]
pub struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
    /// Who answers, and how that is brought to an end.
    service: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Socket {
    /// Binds the socket in the hidden folder of a store whose lock is held. It appears under its name
    /// when only its owner may connect to it, in the place of one that a killed daemon has left.
    ///
    /// # Errors
    /// When it cannot be made there: some network file systems have no sockets.
    pub fn bind(hidden: &Path) -> io::Result<Self> {
        let path = hidden.join(SOCKET);
        let closed = hidden.join(format!("{SOCKET}.new"));
        let _ = fs::remove_dir_all(&closed);
        fs::DirBuilder::new().mode(0o700).create(&closed)?;
        let bound = Self::bind_in(&closed, &path);
        let _ = fs::remove_dir_all(&closed);
        Ok(Self { listener: Some(bound?), path, service: None })
    }

    fn bind_in(closed: &Path, path: &Path) -> io::Result<UnixListener> {
        let fresh = closed.join(SOCKET);
        // The name of a socket has room for some hundred bytes; this one is short whatever the
        // store's path.
        let folder = fs::File::open(closed)?;
        let listener = UnixListener::bind(short(&folder, SOCKET))?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
        fs::rename(&fresh, path)?;
        Ok(listener)
    }

    /// Answers requests from now on: each becomes a message for the loop.
    pub fn serve(&mut self, outbox: UnboundedSender<Message>) {
        let Some(listener) = self.listener.take() else { return };
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/models/{name}/rollback", post(roll_back))
            .route("/models/{name}/resume", post(resume))
            .route("/models/{name}/rebuild", post(rebuild))
            .with_state(outbox);
        let (end, ended) = oneshot::channel();
        let service = tokio::spawn(async move {
            let service = axum::serve(listener, router);
            let service = service.with_graceful_shutdown(async { drop(ended.await) });
            if let Err(error) = service.await {
                tracing::error!(%error, "the control socket is answered no longer");
            }
        });
        self.service = Some((end, service));
    }

    /// Takes no more requests. Whoever still waits for an answer gets one once the loop and all that
    /// it has taken are gone: [`Closed::answered`].
    pub fn close(mut self) -> Closed {
        Closed(self.service.take())
    }
}

/// A socket that nobody connects to any more.
#[derive(Debug)]
#[must_use]
pub struct Closed(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Closed {
    /// Waits until everybody has got his answer, but not for those who do not take it.
    pub async fn answered(self) {
        if let Some((end, service)) = self.0 {
            let _ = end.send(());
            let _ = tokio::time::timeout(LAST_WORDS, service).await;
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A short path of `name` in an opened folder.
pub(super) fn short(folder: &fs::File, name: &str) -> PathBuf {
    use std::os::fd::AsRawFd;

    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

type Outbox = State<UnboundedSender<Message>>;

async fn roll_back(outbox: Outbox, name: UrlPath<String>, body: Bytes) -> Response {
    // Without a body it is the newest one.
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    match serde_json::from_slice::<RollBack>(body) {
        Ok(RollBack { to }) => ask(outbox, name, OrderKind::RollBack { to }).await,
        Err(error) => {
            let message = format!("the request is not understood: {error}");
            let help = "send {\"to\": GENERATION}, or nothing".into();
            refuse(StatusCode::BAD_REQUEST, Refusal { message, help })
        }
    }
}

async fn resume(outbox: Outbox, name: UrlPath<String>) -> Response {
    ask(outbox, name, OrderKind::Resume).await
}

async fn rebuild(outbox: Outbox, name: UrlPath<String>) -> Response {
    ask(outbox, name, OrderKind::Rebuild).await
}

async fn ask(State(outbox): Outbox, UrlPath(name): UrlPath<String>, kind: OrderKind) -> Response {
    let name = match ModelName::parse(&name) {
        Ok(name) => name,
        Err(error) => {
            let help = crate::model::name::NameError::HELP.to_owned();
            let refusal = Refusal { message: error.to_string(), help };
            return refuse(StatusCode::BAD_REQUEST, refusal);
        }
    };
    let (reply, answer) = oneshot::channel();
    let _ = outbox.send(Message::Ordered(Wish { name, kind, reply }));
    match answer.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(refusal)) => refuse(StatusCode::CONFLICT, refusal),
        Err(_) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Refusal {
                message: "marwatch is ending".into(),
                help: "ask again when it has ended, or runs again".into(),
            },
        ),
    }
}

fn refuse(status: StatusCode, refusal: Refusal) -> Response {
    (status, Json(refusal)).into_response()
}

#[cfg(test)]
mod tests;
