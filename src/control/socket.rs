//! The unix socket, and the task that answers on a socket or port.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::routes::router;
use super::{AppState, SOCKET};
use crate::config::SocketAccess;

/// How long clients may take to read their last answers.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// The control socket. Dropping it removes the socket.
#[derive(Debug)]
pub struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
    service: Option<Service>,
}

impl Socket {
    /// Binds the socket in the hidden folder of a store whose lock is held. It replaces one that a
    /// killed daemon left, and appears under its name only with its final permissions. Fails on
    /// network file systems without sockets.
    pub fn bind(hidden: &Path, access: SocketAccess) -> io::Result<Self> {
        let path = hidden.join(SOCKET);
        let closed = hidden.join(format!("{SOCKET}.new"));
        let _ = fs::remove_dir_all(&closed);
        fs::DirBuilder::new().mode(0o700).create(&closed)?;
        let bound = Self::bind_in(&closed, &path, access);
        let _ = fs::remove_dir_all(&closed);
        Ok(Self { listener: Some(bound?), path, service: None })
    }

    fn bind_in(closed: &Path, path: &Path, access: SocketAccess) -> io::Result<UnixListener> {
        let fresh = closed.join(SOCKET);
        // The address of a socket holds about a hundred bytes; a path through the descriptor fits,
        // however long the store's path is.
        let folder = fs::File::open(closed)?;
        let listener = UnixListener::bind(short(&folder, SOCKET))?;
        fs::set_permissions(&fresh, rights(access))?;
        fs::rename(&fresh, path)?;
        Ok(listener)
    }

    pub(super) fn set_access(&self, access: SocketAccess) {
        if let Err(error) = fs::set_permissions(&self.path, rights(access)) {
            tracing::error!(%error, "cannot set the permissions of the control socket");
        }
    }

    /// Starts to answer.
    pub(super) fn serve(&mut self, app: AppState) {
        let Some(listener) = self.listener.take() else { return };
        self.service = Some(Service::start(listener, router(app), "control socket"));
    }

    /// Removes the socket. Connected clients are answered until [`Closed::answered`].
    pub fn close(mut self) -> Closed {
        Closed(self.service.take().into_iter().collect())
    }
}

/// The task that answers the requests on one listener. It stops when this is dropped, after the
/// requests that it is answering, as long as the runtime runs.
#[derive(Debug)]
pub(super) struct Service {
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Service {
    /// Starts to answer with `router`; `name` is the listener's in the log.
    pub(super) fn start<L>(listener: L, router: Router, name: &'static str) -> Self
    where
        L: Listener<Addr: Debug>,
    {
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let service = axum::serve(listener, router);
            let service = service.with_graceful_shutdown(async { drop(ended.await) });
            if let Err(error) = service.await {
                tracing::error!(%error, "the {name} no longer answers");
            }
        });
        Self { end: Some(end), task }
    }

    /// Stops listening. Requests that have arrived are still answered.
    pub(super) fn stop_listening(mut self) -> Self {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        self
    }
}

/// The services of a daemon whose loop has stopped.
#[derive(Debug, Default)]
#[must_use]
pub struct Closed(Vec<Service>);

impl Closed {
    pub(super) fn and(mut self, service: Option<Service>) -> Self {
        self.0.extend(service);
        self
    }

    /// Waits until every client has its answer, except those that do not read it.
    pub async fn answered(self) {
        let tasks: Vec<_> =
            self.0.into_iter().map(|service| service.stop_listening().task).collect();
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(LAST_ANSWERS, all).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn rights(access: SocketAccess) -> fs::Permissions {
    fs::Permissions::from_mode(match access {
        SocketAccess::Owner => 0o600,
        SocketAccess::Group => 0o660,
    })
}

/// A short path to `name` in an open folder.
pub(super) fn short(folder: &fs::File, name: &str) -> PathBuf {
    use std::os::fd::AsRawFd;

    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}
