//! The socket.

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

/// The socket, bound and not yet answered. Dropping it removes it.
#[derive(Debug)]
pub struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
    service: Option<Service>,
}

impl Socket {
    /// Binds the socket in the hidden folder of a store whose lock is held. It appears under its name
    /// when only those may connect to it who are to, in the place of one that a killed daemon has left.
    ///
    /// # Errors
    /// When it cannot be made there: some network file systems have no sockets.
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
        // The name of a socket has room for some hundred bytes; this one is short whatever the
        // store's path.
        let folder = fs::File::open(closed)?;
        let listener = UnixListener::bind(short(&folder, SOCKET))?;
        fs::set_permissions(&fresh, rights(access))?;
        fs::rename(&fresh, path)?;
        Ok(listener)
    }

    /// Lets others connect from now on.
    pub(super) fn set_access(&self, access: SocketAccess) {
        if let Err(error) = fs::set_permissions(&self.path, rights(access)) {
            tracing::error!(%error, "cannot set who may use the control socket");
        }
    }

    /// Answers requests from now on.
    pub(super) fn serve(&mut self, app: AppState) {
        let Some(listener) = self.listener.take() else { return };
        self.service = Some(Service::start(listener, router(app), "control socket"));
    }

    /// Lets no more clients connect. Those that are connected are answered until [`Closed::answered`].
    pub fn close(mut self) -> Closed {
        Closed(self.service.take().into_iter().collect())
    }
}

/// The task that answers the requests on one listener, until it is ended or this is dropped. Requests
/// that are being answered then are answered to their end, as long as the runtime runs.
#[derive(Debug)]
pub(super) struct Service {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Service {
    /// Answers requests by `router`; the log calls the listener `name`.
    pub(super) fn start<L>(listener: L, router: Router, name: &'static str) -> Self
    where
        L: Listener<Addr: Debug>,
    {
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let service = axum::serve(listener, router);
            let service = service.with_graceful_shutdown(async { drop(ended.await) });
            if let Err(error) = service.await {
                tracing::error!(%error, "the {name} is answered no longer");
            }
        });
        Self { end, task }
    }
}

/// The services of a daemon whose loop has ended.
#[derive(Debug, Default)]
#[must_use]
pub struct Closed(Vec<Service>);

impl Closed {
    /// The same with one more.
    pub(super) fn and(mut self, service: Option<Service>) -> Self {
        self.0.extend(service);
        self
    }

    /// Waits until every client has got its answer, except those that do not read it.
    pub async fn answered(self) {
        let end = |service: Service| {
            let _ = service.end.send(());
            service.task
        };
        let tasks: Vec<_> = self.0.into_iter().map(end).collect();
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

/// A short path of `name` in an opened folder.
pub(super) fn short(folder: &fs::File, name: &str) -> PathBuf {
    use std::os::fd::AsRawFd;

    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}
