//! Conversations with the daemon, those included that nobody should have.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use tokio::sync::mpsc;

use super::*;
use crate::build::report::Answer;
use crate::control::ClientError;
use crate::control::client;

/// A socket whose path is longer than a socket's name may be, and what it hands on.
fn served() -> (tempfile::TempDir, PathBuf, Socket, mpsc::UnboundedReceiver<Message>) {
    let dir = tempfile::tempdir().unwrap();
    let hidden = dir.path().join("a".repeat(200)).join(".marwatch");
    fs::create_dir_all(&hidden).unwrap();
    let mut socket = Socket::bind(&hidden).unwrap();
    let (outbox, inbox) = mpsc::unbounded_channel();
    socket.serve(outbox);
    (dir, hidden, socket, inbox)
}

fn wish(message: Option<Message>) -> Wish {
    match message {
        Some(Message::Ordered(wish)) => wish,
        other => panic!("{other:?}"),
    }
}

/// What is answered to these bytes.
async fn talk(hidden: &Path, request: Vec<u8>) -> String {
    let folder = fs::File::open(hidden).unwrap();
    let talk = move || {
        let mut stream = UnixStream::connect(short(&folder, SOCKET)).unwrap();
        // A body that is too long is not read to its end.
        let _ = stream.write_all(&request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

fn request(line: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nhost: m\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn what_is_asked_for_is_handed_on_and_answered() {
    let (_dir, hidden, _socket, mut inbox) = served();
    let name = ModelName::parse("m").unwrap();
    for kind in [
        OrderKind::RollBack { to: None },
        OrderKind::RollBack { to: Some(7) },
        OrderKind::Resume,
        OrderKind::Rebuild,
    ] {
        let asked = client::ask(&hidden, &name, kind);
        let served = async {
            let wish = wish(inbox.recv().await);
            assert_eq!((&wish.name, wish.kind), (&name, kind));
            let answer = Answer { message: "done".into(), record: None };
            wish.reply.send(Ok(answer)).unwrap();
        };
        let (answer, ()) = tokio::join!(asked, served);
        assert_eq!(answer.unwrap().message, "done");
    }
}

#[tokio::test]
async fn whoever_still_waits_at_the_end_is_told() {
    let (_dir, hidden, socket, mut inbox) = served();
    let name = ModelName::parse("m").unwrap();
    let asked = client::ask(&hidden, &name, OrderKind::Resume);
    let ended = async {
        let wish = wish(inbox.recv().await);
        let closed = socket.close();
        assert!(!hidden.join(SOCKET).exists(), "nobody else comes");
        drop((wish, inbox));
        closed.answered().await;
    };
    let (answer, ()) = tokio::join!(asked, ended);
    match answer {
        Err(ClientError::Refused(refusal)) => assert_eq!(refusal.message, "marwatch is ending"),
        other => panic!("{other:?}"),
    }
    let again = client::ask(&hidden, &name, OrderKind::Resume).await;
    assert!(matches!(again, Err(ClientError::Connect { .. })), "{again:?}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_never_handed_on() {
    let (_dir, hidden, _socket, mut inbox) = served();
    let huge = " ".repeat(3 << 20);
    for (line, body, status) in [
        ("GET /healthz", "", "200"),
        ("GET /", "", "404"),
        ("POST /models/m", "", "404"),
        ("POST /models/m/n/resume", "", "404"),
        ("POST /models//resume", "", "40"),
        ("GET /models/m/rollback", "", "405"),
        ("DELETE /models/m/resume", "", "405"),
        ("POST /models/%ff/resume", "", "400"),
        ("POST /models/..%2fm/resume", "", "400"),
        ("POST /models/-m/resume", "", "400"),
        ("POST /models/m/rollback", "{", "400"),
        ("POST /models/m/rollback", "{\"to\": -1}", "400"),
        ("POST /models/m/rollback", "{\"too\": 1}", "400"),
        ("POST /models/m/rollback", "[]]", "400"),
        ("POST /models/m/rollback", &huge, "413"),
        ("nonsense", "", "400"),
    ] {
        let answer = talk(&hidden, request(line, body)).await;
        let said = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&said), "{line} {:.20}: {answer}", body);
    }
    assert!(inbox.try_recv().is_err());
}

#[test]
fn only_its_owner_may_connect_whatever_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    // What a killed daemon leaves, in the middle of it too.
    fs::write(dir.path().join(SOCKET), "stale").unwrap();
    fs::create_dir(dir.path().join("control.sock.new")).unwrap();
    fs::write(dir.path().join("control.sock.new/control.sock"), "half").unwrap();
    let socket = Socket::bind(dir.path()).unwrap();
    let metadata = fs::symlink_metadata(dir.path().join(SOCKET)).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(socket);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
