//! Single passes over real folders.

use std::fs;

use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::config::OnRemove;
use crate::pipeline::command::Command;
use crate::results::Record;
use crate::results::{CATALOG_FILE, Catalog, Outcome, RESULTS_FILE};
use crate::store::hidden_folder;

/// Makes a single pass over the models in `dir` and returns the catalog.
async fn pass(dir: &Path) -> Catalog {
    let config = Config::with_defaults(dir.join("store"), vec![dir.join("models")]);
    pass_with(config, || {}).await
}

/// Like `pass`, with a configuration; calls `opened` between the opening of the store and the pass.
async fn pass_with(config: Config, opened: impl FnOnce()) -> Catalog {
    let store = config.store.clone();
    let mode = Mode { once: true, only: None, progress: Arc::new(|_, _| {}) };
    let (mut engine, mut inbox) = Engine::open(config, mode, None).unwrap();
    opened();
    engine.scan_all(Trigger::Request);
    while !engine.is_idle() {
        let message = inbox.recv().await.unwrap();
        engine.take(message);
    }
    drop(engine);
    Catalog::read(&hidden_folder(&store).join(CATALOG_FILE)).unwrap().unwrap()
}

fn outcomes(store: &Path) -> Vec<Outcome> {
    let log = fs::read_to_string(hidden_folder(store).join(RESULTS_FILE)).unwrap();
    log.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().outcome).collect()
}

#[tokio::test]
async fn a_removal_that_fails_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let model = dir.path().join("models/m");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("service.py"), "def handle(data, context):\n    return data\n").unwrap();
    let mut config = Config::with_defaults(store.clone(), vec![dir.path().join("models")]);
    config.on_remove = OnRemove::Delete;
    pass_with(config.clone(), || {}).await;
    fs::remove_dir_all(&model).unwrap();
    // Without a staging folder the archive cannot be moved out of sight.
    let staging = hidden_folder(&store).join("staging");
    let catalog = pass_with(config.clone(), || fs::remove_dir(&staging).unwrap()).await;
    assert!(catalog.models.contains_key("m"));
    assert!(store.join("m.mar").exists());
    let catalog = pass_with(config, || {}).await;
    assert!(catalog.models.is_empty());
    assert!(!store.join("m.mar").exists());
    assert_eq!(outcomes(&store), [Outcome::Published, Outcome::Failed, Outcome::Removed]);
}

#[tokio::test]
async fn a_lost_or_stale_catalog_is_mended_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("models/m");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("service.py"), "def handle(data, context):\n    return data\n").unwrap();
    fs::write(model.join(".mar.yaml"), "version: '7'\n").unwrap();
    let before = pass(dir.path()).await;
    let path = dir.path().join("store/.marwatch").join(CATALOG_FILE);
    fs::remove_file(&path).unwrap();
    let mut after = pass(dir.path()).await;
    let published = before.models["m"].published;
    after.models.get_mut("m").unwrap().published = published;
    assert_eq!(after.models, before.models);
    // A crash came before the catalog named the archive.
    let text = fs::read_to_string(&path).unwrap().replace("\"generation\": 1", "\"generation\": 0");
    fs::write(&path, text).unwrap();
    assert_eq!(pass(dir.path()).await.models["m"].generation, 1);
    // The archive is deleted by hand, and its model too.
    fs::remove_dir_all(&model).unwrap();
    fs::remove_file(dir.path().join("store/m.mar")).unwrap();
    assert!(pass(dir.path()).await.models.is_empty());
}

/// Feeds the engine messages until the answer comes.
async fn answer_to(
    engine: &mut Engine,
    inbox: &mut UnboundedReceiver<Message>,
    mut answer: oneshot::Receiver<Result<Answer, Refusal>>,
) -> Result<Answer, Refusal> {
    loop {
        tokio::select! {
            answer = &mut answer => return answer.unwrap(),
            Some(message) = inbox.recv() => engine.take(message),
        }
    }
}

#[tokio::test]
async fn a_command_for_a_model_being_removed_runs_after_the_removal() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let model = dir.path().join("models/m");
    fs::create_dir_all(&model).unwrap();
    let mut config = Config::with_defaults(store.clone(), vec![dir.path().join("models")]);
    config.on_remove = OnRemove::Delete;
    config.history.keep = 3;
    for text in ["1", "2"] {
        fs::write(
            model.join("service.py"),
            format!("def handle(data, context):\n    return {text}\n"),
        )
        .unwrap();
        pass_with(config.clone(), || {}).await;
    }
    fs::remove_dir_all(&model).unwrap();
    let mode = Mode { once: true, only: None, progress: Arc::new(|_, _| {}) };
    let (mut engine, mut inbox) = Engine::open(config.clone(), mode, None).unwrap();
    engine.scan_all(Trigger::Request);
    while engine.removing.is_empty() {
        let message = inbox.recv().await.unwrap();
        engine.take(message);
        engine.tick();
    }
    let (reply, answer) = oneshot::channel();
    let name = ModelName::parse("m").unwrap();
    let kind = Command::RollBack { to: Some(1) };
    engine.command(CommandRequest { name: name.clone(), command: kind, reply });
    assert_eq!(engine.deferred.len(), 1);
    answer_to(&mut engine, &mut inbox, answer).await.unwrap();
    assert!(engine.removing.is_empty() && engine.is_idle());
    drop(engine);
    let recorded = outcomes(&store);
    assert_eq!(recorded[2..], [Outcome::Removed, Outcome::RolledBack]);
    // The archive is in the store, and known as held.
    let (engine, _inbox) =
        Engine::open(config, Mode { once: true, only: None, progress: Arc::new(|_, _| {}) }, None)
            .unwrap();
    assert_eq!(engine.states[&name].held.as_ref().unwrap().of, 1);
    assert!(store.join("m.mar").exists());
    drop(engine);
    assert_eq!(outcomes(&store), recorded, "nothing is recorded twice");
}

#[tokio::test]
async fn a_removed_folder_takes_every_archive_it_published_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let put = |folder: &str, name: &str, handler: &str| {
        let folder = dir.path().join("models").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("service.py"), handler).unwrap();
        fs::write(folder.join(".mar.yaml"), format!("name: {name}\n")).unwrap();
    };
    let good = "def handle(data, context):\n    return data\n";
    let mut config = Config::with_defaults(store.clone(), vec![dir.path().join("models")]);
    config.on_remove = OnRemove::Delete;
    put("a", "first", good);
    pass_with(config.clone(), || {}).await;
    // Another folder claims the name, but publishes nothing under it.
    put("a", "second", good);
    put("b", "first", "broken(");
    pass_with(config.clone(), || {}).await;
    fs::rename(dir.path().join("models/a"), dir.path().join("models/c")).unwrap();
    put("c", "third", good);
    let catalog = pass_with(config, || {}).await;
    let names: Vec<&str> = catalog.models.keys().map(String::as_str).collect();
    assert_eq!(names, ["first", "third"], "`first` is still claimed");
    assert!(!store.join("second.mar").exists());
}

#[tokio::test]
async fn a_hold_that_ends_without_a_new_archive_leaves_the_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let model = dir.path().join("models/m");
    fs::create_dir_all(&model).unwrap();
    let config = Config::with_defaults(store.clone(), vec![dir.path().join("models")]);
    let say = |text: &str| fs::write(model.join("service.py"), text).unwrap();
    for text in ["1", "2"] {
        say(&format!("def handle(data, context):\n    return {text}\n"));
        pass_with(config.clone(), || {}).await;
    }
    let catalog = || Catalog::read(&hidden_folder(&store).join(CATALOG_FILE)).unwrap().unwrap();
    for (kind, held) in [(Command::RollBack { to: None }, Some(1)), (Command::Resume, None)] {
        let mode = Mode { once: true, only: None, progress: Arc::new(|_, _| {}) };
        let (mut engine, mut inbox) = Engine::open(config.clone(), mode, None).unwrap();
        let name = ModelName::parse("m").unwrap();
        let (reply, answer) = oneshot::channel();
        engine.find(&name);
        engine.command(CommandRequest { name, command: kind, reply });
        answer_to(&mut engine, &mut inbox, answer).await.unwrap();
        drop(engine);
        assert_eq!(catalog().models["m"].held.as_ref().map(|held| held.of), held);
        // The folder now holds a rejected model.
        say("broken(");
    }
    // The archive that was rolled back to stays, and the model is rejected.
    pass_with(config, || {}).await;
    let last = *outcomes(&store).last().unwrap();
    assert_eq!((last, catalog().models["m"].generation), (Outcome::Rejected, 3));
    assert!(store.join("m.mar").exists());
}

/// The records of the store in `dir`.
fn records(dir: &Path) -> Vec<Record> {
    let log = fs::read_to_string(hidden_folder(&dir.join("store")).join(RESULTS_FILE)).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Undoes what the last pass has written: removes its record, and restores the catalog.
fn forget_last(dir: &Path, catalog: &str) {
    let hidden = hidden_folder(&dir.join("store"));
    let log = fs::read_to_string(hidden.join(RESULTS_FILE)).unwrap();
    let end = log.trim_end().rfind('\n').map_or(0, |end| end + 1);
    fs::write(hidden.join(RESULTS_FILE), &log[..end]).unwrap();
    fs::write(hidden.join(CATALOG_FILE), catalog).unwrap();
}

#[tokio::test]
async fn a_publication_whose_record_was_lost_is_recorded_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("models/m/service.py");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "def handle(data, context):\n    return data\n").unwrap();
    pass(dir.path()).await;
    let catalog = hidden_folder(&dir.path().join("store")).join(CATALOG_FILE);
    let before = fs::read_to_string(&catalog).unwrap();
    fs::write(&file, "def handle(data, context):\n    return None\n").unwrap();
    pass(dir.path()).await;
    let lost = records(dir.path()).pop().unwrap();
    forget_last(dir.path(), &before);
    pass(dir.path()).await;
    // This time the record was written, and only the catalog was not.
    fs::write(&catalog, &before).unwrap();
    pass(dir.path()).await;
    let [_, found] = &records(dir.path())[..] else { panic!("{:?}", records(dir.path())) };
    assert!(found.recovered && found.outcome == Outcome::Published, "{found:?}");
    assert_eq!((found.generation, &found.digest), (lost.generation, &lost.digest));
    assert_eq!(found.previous_digest, lost.previous_digest);
}

#[tokio::test]
async fn a_model_that_comes_back_counts_its_generations_on_from_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let model = dir.path().join("models/m");
    let put = || {
        fs::create_dir_all(&model).unwrap();
        fs::write(model.join("service.py"), "def handle(data, context):\n    return data\n")
            .unwrap();
    };
    let mut config = Config::with_defaults(store, vec![dir.path().join("models")]);
    config.on_remove = OnRemove::Delete;
    config.history.keep = 0;
    for generation in 1..=2 {
        put();
        let catalog = pass_with(config.clone(), || {}).await;
        assert_eq!(catalog.models["m"].generation, generation);
        fs::remove_dir_all(&model).unwrap();
        assert!(pass_with(config.clone(), || {}).await.models.is_empty());
    }
    let recorded: Vec<_> = records(dir.path()).iter().map(|r| (r.outcome, r.generation)).collect();
    let [came, went] = [Outcome::Published, Outcome::Removed];
    assert_eq!(recorded, [(came, 1), (went, 1), (came, 2), (went, 2)]);
    assert!(!config.state_dir.join("m.gone").exists());
}
