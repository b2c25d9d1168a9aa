//! Requests over socket and port, malformed ones included.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::socket::short;
use super::*;
use crate::config::SocketAccess;
use crate::model::ModelName;
use crate::pipeline::command::Answer;
use crate::pipeline::command::CommandRequest;
use crate::reconcile::Activity;
use crate::results::{Outcome, Trigger};
use crate::status::now::ModelNow;
use crate::status::{Daemon, State};
use crate::subscribers::Subscribers;

/// A socket in a folder whose path is too long for the address of a socket, and what it forwards.
struct Fixture {
    _dir: tempfile::TempDir,
    hidden: PathBuf,
    socket: Socket,
    app: AppState,
    inbox: UnboundedReceiver<CommandRequest>,
    asked: UnboundedReceiver<Question>,
    subscribers: Subscribers,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("a".repeat(200));
    let hidden = hidden_folder(&store);
    fs::create_dir_all(&hidden).unwrap();
    let mut socket = Socket::bind(&hidden, SocketAccess::Owner).unwrap();
    let (outbox, inbox) = mpsc::unbounded_channel();
    let (questions, asked) = mpsc::unbounded_channel();
    let metrics = Arc::new(Metrics::default());
    let subscribers = Subscribers::new(Arc::clone(&metrics));
    let history = Arc::new(Mutex::new(AttemptHistory::of(&hidden)));
    let records = subscribers.records();
    let commands = Sink::new(move |request| drop(outbox.send(request)));
    let app = AppState { store, commands, questions, records, metrics, history };
    socket.serve(app.clone());
    Fixture { _dir: dir, hidden, socket, app, inbox, asked, subscribers }
}

/// The answer of a loop with one model.
fn now() -> Now {
    let model = ModelNow {
        name: "m".into(),
        folder: "/models/m".into(),
        activity: Activity::Settling,
        since: Some(Timestamp::UNIX_EPOCH),
        next: None,
        issue: None,
        waiting: Some("weights is open for writing".into()),
        progress: None,
    };
    let daemon = Daemon {
        pid: 7,
        version: "1".into(),
        started: Timestamp::UNIX_EPOCH,
        ready: true,
        building: 0,
        queued: 0,
        watches: 3,
        watch_limit: Some(100),
    };
    Now { daemon, models: vec![model] }
}

/// Answers questions as the loop does.
fn answering(mut asked: UnboundedReceiver<Question>) {
    tokio::spawn(async move {
        while let Some(question) = asked.recv().await {
            match question {
                Question::Now(reply) => drop(reply.send(now())),
                Question::Rescan(reply) => drop(reply.send(())),
            }
        }
    });
}

/// The answer to these bytes.
async fn talk(hidden: &Path, request: Vec<u8>) -> String {
    let folder = fs::File::open(hidden).unwrap();
    let talk = move || {
        let mut stream = UnixStream::connect(short(&folder, SOCKET)).unwrap();
        // The daemon does not read a body that is too long to its end.
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
async fn commands_are_forwarded_and_answered() {
    let Fixture { hidden, inbox, .. } = &mut fixture();
    let name = ModelName::parse("m").unwrap();
    for command in [
        Command::RollBack { to: None },
        Command::RollBack { to: Some(7) },
        Command::Resume,
        Command::Rebuild,
        Command::Pause,
    ] {
        let asked = client::ask(hidden, &name, command);
        let served = async {
            let request = inbox.recv().await.unwrap();
            assert_eq!((&request.name, request.command), (&name, command));
            let answer = Answer { message: "done".into(), record: None };
            request.reply.send(Ok(answer)).unwrap();
        };
        let (answer, ()) = tokio::join!(asked, served);
        assert_eq!(answer.unwrap().message, "done");
    }
}

#[tokio::test]
async fn a_command_that_still_waits_at_the_end_is_answered() {
    let Fixture { _dir, hidden, socket, mut inbox, .. } = fixture();
    let name = ModelName::parse("m").unwrap();
    let asked = client::ask(&hidden, &name, Command::Resume);
    let ended = async {
        let request = inbox.recv().await.unwrap();
        let closed = socket.close();
        assert!(!hidden.join(SOCKET).exists(), "no other client can connect");
        drop((request, inbox));
        closed.answered().await;
    };
    let (answer, ()) = tokio::join!(asked, ended);
    match answer {
        Err(ClientError::Refused(refusal)) => assert_eq!(refusal.message, "marwatch is stopping"),
        other => panic!("{other:?}"),
    }
    let again = client::ask(&hidden, &name, Command::Resume).await;
    assert!(matches!(again, Err(ClientError::Connect { .. })), "{again:?}");
}

#[tokio::test]
async fn invalid_requests_are_refused_and_never_forwarded() {
    let Fixture { hidden, inbox, .. } = &mut fixture();
    let huge = " ".repeat(3 << 20);
    for (line, body, status) in [
        ("GET /healthz", "", "200"),
        ("GET /", "", "200"),
        ("GET /nothing", "", "404"),
        ("POST /metrics", "", "405"),
        ("GET /rescan", "", "405"),
        ("POST /models/m", "", "405"),
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
        let answer = talk(hidden, request(line, body)).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{line} {:.20}: {answer}", body);
    }
    assert!(inbox.try_recv().is_err());
}

#[test]
fn only_the_owner_may_connect_whatever_a_killed_daemon_left() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    // Left by a killed daemon, also one that was killed while it bound its socket.
    fs::write(dir.path().join(SOCKET), "stale").unwrap();
    fs::create_dir(dir.path().join("control.sock.new")).unwrap();
    fs::write(dir.path().join("control.sock.new/control.sock"), "half").unwrap();
    let socket = Socket::bind(dir.path(), SocketAccess::Owner).unwrap();
    let metadata = fs::symlink_metadata(dir.path().join(SOCKET)).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    socket.set_access(SocketAccess::Group);
    let metadata = fs::symlink_metadata(dir.path().join(SOCKET)).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    assert!(std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(socket);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_answer_merges_loop_catalog_and_records() {
    let Fixture { _dir, hidden, asked, app, socket: _socket, .. } = fixture();
    answering(asked);
    let status = client::status(&hidden).await.unwrap();
    assert_eq!(status.store, app.store);
    assert_eq!(status.daemon.as_ref().map(|daemon| daemon.pid), Some(7));
    let model = &status.models[0];
    assert_eq!((&*model.model, model.state), ("m", State::Settling));
    assert_eq!(model.why.as_deref(), Some("weights is open for writing"));
    for (line, said) in [
        ("GET /readyz", "200 OK"),
        ("GET /models/m", "\"state\":\"settling\""),
        ("GET /models/other", "there is no model `other`"),
        ("GET /metrics", "marwatch_models{state=\"settling\"} 1"),
        ("GET /metrics", "marwatch_watches_limit 100"),
        ("POST /rescan", "202 Accepted"),
    ] {
        let answer = talk(&hidden, request(line, "")).await;
        assert!(answer.contains(said), "{line}: {answer}");
    }
}

#[tokio::test]
async fn records_are_streamed_until_the_daemon_stops() {
    let Fixture { _dir, hidden, subscribers, socket: _socket, .. } = fixture();
    let folder = fs::File::open(&hidden).unwrap();
    let mut stream = UnixStream::connect(short(&folder, SOCKET)).unwrap();
    stream.write_all(&request("GET /results", "")).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    while subscribers.records().upgrade().unwrap().receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    let mut record = Record::new("m".into(), "/models/m".into(), Trigger::Change);
    record.outcome = Outcome::Published;
    subscribers.send(Box::new(record));
    drop(subscribers);
    let answer = answer.await.unwrap();
    assert!(answer.contains("content-type: text/event-stream"), "{answer}");
    assert!(answer.contains("event: record\ndata: {"), "{answer}");
    assert!(answer.contains("\"outcome\":\"published\""), "{answer}");
}

#[tokio::test]
async fn commands_over_the_port_need_the_token() {
    let Fixture { _dir, hidden, asked, app, socket: _socket, .. } = fixture();
    answering(asked);
    let token = hidden.join("token");
    fs::write(&token, "secret\n").unwrap();
    let port = Port::open("127.0.0.1:0".parse().unwrap(), Some(port::token(&token).unwrap()), app)
        .unwrap();
    let address = port.address;
    let talk = move |line: &str, headers: &str| {
        let request =
            format!("{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n");
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
    };
    for (line, headers, status) in [
        ("GET /models", "host: localhost\r\n", 200),
        ("GET /models", "host: evil.example\r\n", 421),
        ("POST /rescan", "host: localhost\r\n", 401),
        ("POST /rescan", "host: localhost\r\nauthorization: Bearer secret\r\n", 202),
        ("GET /healthz", "host: evil.example\r\n", 200),
    ] {
        let answer = talk(line, headers).await.unwrap();
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{line} {headers}: {answer}");
    }
    drop(port);
    let closed = async {
        while TcpStream::connect(address).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the port is closed");
}

#[test]
fn a_request_that_is_being_answered_at_the_end_gets_its_answer_over_socket_and_port() {
    let answer_of = |mut stream: Box<dyn ReadWrite>| {
        stream
            .write_all(b"GET /models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for over in ["socket", "port"] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_dir, client) = runtime.block_on(async {
            let Fixture { _dir, hidden, socket, app, mut asked, .. } = fixture();
            let mut config = Config::with_defaults(app.store.clone(), vec![]);
            config.control.listen = Some("127.0.0.1:0".parse().unwrap());
            drop(socket);
            let control = Control::start(&config, app.clone());
            let stream: Box<dyn ReadWrite> = if over == "port" {
                let address = control.port.as_ref().unwrap().address;
                Box::new(TcpStream::connect(address).unwrap())
            } else {
                let folder = fs::File::open(&hidden).unwrap();
                Box::new(UnixStream::connect(short(&folder, SOCKET)).unwrap())
            };
            // The answer has to wait for another reader of the history.
            let history = Arc::clone(&app.history).lock_owned().await;
            let client = std::thread::spawn(move || answer_of(stream));
            let Some(Question::Now(reply)) = asked.recv().await else { panic!() };
            reply.send(now()).unwrap();
            // The loop stops, as on SIGTERM.
            let address = control.port.as_ref().unwrap().address;
            let closed = control.close();
            drop(asked);
            // The next daemon can listen there at once.
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(std::net::TcpListener::bind(address).expect("the port is free"));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(history);
            });
            closed.answered().await;
            (_dir, client)
        });
        // As when the process exits: nothing waits for tasks that still run.
        runtime.shutdown_background();
        let answer = client.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "over the {over}: {answer}");
        assert!(answer.contains("weights is open for writing"), "over the {over}: {answer}");
    }
}

trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}
