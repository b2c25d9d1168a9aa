//! The client against a scripted server, over real connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Config, parse};

/// The server's reaction to a request.
enum Turn {
    /// Answers with a status and a body.
    Say(&'static str, &'static str),
    /// Closes the connection.
    HangUp,
    /// Never answers.
    Wait,
}

/// A server that takes one turn for each connection; also yields the requests.
async fn server(turns: Vec<Turn>) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut waiting = Vec::new();
        for turn in turns {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            asked.send(String::from_utf8(request).unwrap()).unwrap();
            match turn {
                Turn::Say(status, body) => {
                    let length = body.len();
                    let text = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    );
                    stream.write_all(text.as_bytes()).await.unwrap();
                }
                Turn::HangUp => drop(stream),
                Turn::Wait => waiting.push(stream),
            }
        }
        std::future::pending::<()>().await;
        drop(waiting);
    });
    (address, requests)
}

/// A configuration with a server at `address`, and `more` of its settings.
fn config(address: &str, more: &str) -> Config {
    let text = format!(
        "store: s\ndrop_folders: [d]\nservers: [{{management: '{address}', timeout: 300ms{more}}}]\n"
    );
    parse("/x/marwatch.yaml".as_ref(), &text).unwrap().0
}

fn api(address: &str, more: &str) -> Api {
    Api::new(Arc::new(config(address, more).servers.remove(0))).unwrap()
}

fn name() -> ModelName {
    ModelName::parse("m").unwrap()
}

#[tokio::test]
async fn every_form_of_description_is_understood() {
    let live = |version: Option<&str>, workers, ready| {
        let batching = Batching::default();
        Answer::Live(Live { version: version.map(Into::into), workers, ready, batching })
    };
    let (address, _asked) = server(vec![
        Turn::Say(
            "200 OK",
            r#"{"modelName": "m", "modelVersion": "1+ab", "workers": [{"id": "9000", "status": "READY"}, {"id": "9001", "status": "UNLOADING"}]}"#,
        ),
        Turn::Say(
            "200 OK",
            r#"[{"modelName": "m", "batchSize": 8, "maxBatchDelay": 50, "workers": []}]"#,
        ),
        Turn::Say("404 Not Found", r#"{"code": 404, "type": "ModelNotFoundException", "message": "no m"}"#),
        Turn::Say("200 OK", "<html>"),
        Turn::HangUp,
        Turn::Wait,
    ])
    .await;
    let api = api(&address, "");
    assert_eq!(api.describe(&name()).await, live(Some("1+ab"), 2, 1));
    let batching = Batching {
        batch_size: Some(8),
        max_batch_delay: Some(Duration::from_millis(50)),
        response_timeout: None,
    };
    let batched = Answer::Live(Live { batching, ..Live::default() });
    assert_eq!(api.describe(&name()).await, batched);
    assert_eq!(api.describe(&name()).await, Answer::Absent);
    assert!(matches!(api.describe(&name()).await, Answer::Refused(_)));
    assert!(matches!(api.describe(&name()).await, Answer::Lost(_)));
    assert!(matches!(api.describe(&name()).await, Answer::Lost(_)));
}

#[tokio::test]
async fn the_answers_to_a_registration_are_told_apart() {
    let (address, mut asked) = server(vec![
        Turn::Say("200 OK", "{}"),
        Turn::Say("409 Conflict", "{}"),
        Turn::Say(
            "500 Internal Server Error",
            r#"{"code": 500, "type": "InternalServerException", "message": "Failed to start workers"}"#,
        ),
        Turn::Say("504 Gateway Timeout", "late"),
        Turn::HangUp,
        Turn::Wait,
    ])
    .await;
    let api = api(&address, ", response_timeout: 90s, batch_size: 4, max_batch_delay: 50ms");
    let registration = Registration { workers: 3, batching: api.server().batching, probe: None };
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(api.register("m", ".marwatch/a b.mar", &registration).await);
    }
    assert_eq!(answers[..2], [Answer::Good, Answer::Taken]);
    let Answer::Refused(why) = &answers[2] else { panic!("{answers:?}") };
    assert!(why.contains("InternalServerException: Failed to start workers"), "{why}");
    for lost in &answers[3..] {
        assert!(matches!(lost, Answer::Lost(_)), "{lost:?}");
    }
    let request = asked.recv().await.unwrap();
    let line = request.lines().next().unwrap();
    // 90 s are two minutes for the server.
    assert_eq!(
        line,
        "POST /models?url=.marwatch%2Fa+b.mar&model_name=m&initial_workers=3&synchronous=true&batch_size=4&max_batch_delay=50&response_timeout=2 HTTP/1.1"
    );
}

#[tokio::test]
async fn the_token_is_sent_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "s3cret\n").unwrap();
    let (address, mut asked) = server(vec![Turn::Say("200 OK", "{}")]).await;
    let api = api(&address, &format!(", token_file: {}", file.display()));
    assert_eq!(api.unregister("m").await, Answer::Good);
    let request = asked.recv().await.unwrap();
    assert!(request.contains("authorization: Bearer s3cret\r\n"), "{request}");
    assert!(!format!("{api:?}").contains("s3cret"));

    fs::write(&file, "two\nlines").unwrap();
    let server = Arc::clone(&api.server);
    let error = Api::new(server).unwrap_err();
    assert!(!chain(&error).contains("lines in"), "{error}");
    assert!(error.to_string().contains("token"), "{error}");
}

#[tokio::test]
async fn a_header_is_sent_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("header");
    fs::write(&file, "X-Api-Key:  s3cret:1\n").unwrap();
    let (address, mut asked) = server(vec![Turn::Say("200 OK", "{}")]).await;
    let api = api(&address, &format!(", header_file: {}", file.display()));
    assert_eq!(api.unregister("m").await, Answer::Good);
    let request = asked.recv().await.unwrap();
    assert!(request.contains("x-api-key: s3cret:1\r\n"), "{request}");
    assert!(!format!("{api:?}").contains("s3cret"));
    for bad in ["s3cret", "", "two words: s3cret", "a: b\nc: s3cret"] {
        fs::write(&file, bad).unwrap();
        let error = Api::new(Arc::clone(&api.server)).unwrap_err();
        assert!(!chain(&error).contains("s3cret"), "{error}");
        assert!(error.to_string().contains("`Name: value`"), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_has_the_traceback_of_the_worker() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("mms_log.log");
    let (address, mut asked) =
        server(vec![Turn::Say("500 Internal Server Error", r#"{"message": "no workers"}"#)]).await;
    let api = api(&address, &format!(", worker_log: {}", log.display()));
    let registration = Registration { workers: 1, batching: Batching::default(), probe: None };
    let asking = tokio::spawn(async move { api.register("m", "m.mar", &registration).await });
    asked.recv().await.unwrap();
    let said = ["Traceback (most recent call last):", "  File \"x\"", "ValueError: no weights"];
    let said = said.map(|text| format!("now [INFO ] W-9000-m-stdout c.W - {text}\n"));
    fs::write(&log, said.concat()).unwrap();
    let Answer::Refused(why) = asking.await.unwrap() else { panic!("not refused") };
    assert!(why.contains("no workers; its worker: ValueError: no weights\nTraceback"), "{why}");
}

#[tokio::test]
async fn a_probe_needs_the_expected_status() {
    let dir = tempfile::tempdir().unwrap();
    let body = dir.path().join("probe.json");
    fs::write(&body, "{}").unwrap();
    let (address, mut asked) =
        server(vec![Turn::Say("200 OK", "fine"), Turn::Say("503 Busy", "no"), Turn::HangUp]).await;
    let more = format!(
        ", inference: '{address}', probe: {{path: '/predictions/{{name}}', body_file: {}}}",
        body.display()
    );
    let api = api(&address, &more);
    let probe = api.server().probe.clone().unwrap();
    assert_eq!(api.probe("m", &probe).await, Answer::Good);
    assert!(asked.recv().await.unwrap().starts_with("POST /predictions/m HTTP/1.1\r\n"));
    let Answer::Refused(why) = api.probe("m", &probe).await else { panic!("not refused") };
    assert!(why.contains("503") && why.contains("no"), "{why}");
    assert!(matches!(api.probe("m", &probe).await, Answer::Lost(_)));
}
