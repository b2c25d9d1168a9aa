//! Versions, and a delivery that panics.

use super::*;
use crate::model::version::{is_marked, marked_version};

#[test]
fn a_version_shows_the_content_and_whether_marwatch_made_it() {
    let digits = "0123456789abcdef0123456789abcdef";
    assert_eq!(marked_version(Some("2.1"), digits), "2.1+0123456789abcdef");
    assert_eq!(marked_version(None, digits), "0123456789abcdef");
    for ours in ["2.1+0123456789abcdef", "1+2+0123456789abcdef", "0123456789abcdef"] {
        assert!(is_marked(ours), "{ours}");
    }
    for theirs in ["", "1.0", "2.1+0123", "0123456789abcdeg"] {
        assert!(!is_marked(theirs), "{theirs}");
    }
}

/// A bug must not keep a model from its servers for ever.
#[tokio::test]
async fn a_delivery_that_panics_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "store: {}\ndrop_folders: [d]\nservers: [{{management: 'http://127.0.0.1:1'}}]\n",
        dir.path().display()
    );
    let config = crate::config::parse("/x/marwatch.yaml".as_ref(), &text).unwrap().0;
    let mut servers = Servers::new(&config, Sink::new(drop), Sink::new(drop));
    let entry = serde_json::json!({
        "archive": "m.mar", "bytes": 1, "digest": "b3:00", "generation": 1, "handler": "m",
        "runtime": "python", "published": "2026-11-22T11:34:27Z",
    });
    servers.listed("m", serde_json::from_value(entry).unwrap());
    let name = ModelName::parse("m").unwrap();
    let task = servers.deliveries.spawn(async { panic!("as the test wants it") });
    servers.models.get_mut(&name).unwrap().running = Some(task.id());
    servers.turn().await;
    let model = &servers.models[&name];
    assert!(model.running.is_none() && model.due().unwrap() > Instant::now());
}
