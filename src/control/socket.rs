//! The socket.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::routes::router;
use super::{Desk, SOCKET};
use crate::config::SocketAccess;

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
    pub(super) fn serve(&mut self, desk: Desk) {
        let Some(listener) = self.listener.take() else { return };
        let router = router(desk);
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
#[derive(Debug, Default)]
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
