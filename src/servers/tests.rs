//! Versions, and what becomes of a task that panics.

use super::*;
use crate::model::version::{is_marked, marked_version};

#[test]
fn a_version_tells_the_content_and_who_has_made_it() {
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

/// A fault of our own must not keep a model from its servers for ever.
#[tokio::test]
async fn a_task_that_panics_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "store: {}\ndrop_folders: [d]\nservers: [{{management: 'http://127.0.0.1:1'}}]\n",
        dir.path().display()
    );
    let config = crate::config::parse("/x/marwatch.yaml".as_ref(), &text).unwrap().0;
    let mut handover = Handover::new(&config, Sink::new(drop));
    let entry = serde_json::json!({
        "archive": "m.mar", "bytes": 1, "digest": "b3:00", "generation": 1, "handler": "m",
        "runtime": "python", "published": "2026-11-22T11:34:27Z",
    });
    handover.listed("m", serde_json::from_value(entry).unwrap());
    let name = ModelName::parse("m").unwrap();
    handover.models.get_mut(&name).unwrap().is_running = true;
    let task = handover.running.spawn(async { panic!("as it is told to") });
    handover.tasks.insert(task.id(), name.clone());
    handover.turn().await;
    let model = &handover.models[&name];
    assert!(!model.is_running && model.due().unwrap() > Instant::now());
    assert!(handover.tasks.is_empty());
}
