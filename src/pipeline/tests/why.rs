//! What records say about why a model was packed.

use super::*;
use crate::store::BuildFingerprint;

impl World {
    /// Builds, and returns the reasons in the record.
    #[track_caller]
    fn why(&mut self) -> Vec<String> {
        let report = self.build();
        assert_eq!(outcome(&report), Some(Outcome::Published), "{report:?}");
        report.record.unwrap().why
    }
}

#[test]
fn a_record_names_the_files_that_changed() {
    let mut world = World::new();
    assert_eq!(world.why(), ["first archive"]);
    world.write("labels.txt", "a");
    world.write("old.txt", "a");
    assert_eq!(world.why(), ["labels.txt is new", "old.txt is new"]);
    world.write("labels.txt", "b");
    fs::remove_file(world.folder().join("old.txt")).unwrap();
    assert_eq!(world.why(), ["labels.txt changed", "old.txt was removed"]);
    for i in 0..5 {
        world.write(&format!("f{i}"), "a");
    }
    assert_eq!(world.why(), ["f0 is new", "f1 is new", "f2 is new", "and 2 more files changed"]);
    let touched = fs::File::options().append(true).open(world.folder().join("f0")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    drop(touched);
    let record = world.build().record.unwrap();
    assert_eq!((record.outcome, record.why), (Outcome::Unchanged, vec![]));
}

#[test]
fn a_record_names_the_settings_that_changed() {
    let mut world = World::new();
    world.write("notes.md", "a");
    world.build();
    world.write(".mar.yaml", "description: cats\nhandler: service:handle\n");
    assert_eq!(world.why(), ["`handler` changed", "the manifest's `description` changed"]);
    world.write(".mar.yaml", "exclude: ['*.md']\ncompression: store\n");
    assert_eq!(
        world.why(),
        [
            "`compression` changed",
            "`exclude` changed",
            "`handler` changed",
            "the manifest's `description` changed",
            "notes.md was removed"
        ]
    );
    // What holds anyway changes nothing when it is written down.
    world.write(".mar.yaml", "exclude: ['*.md']\ncompression: store\narchive_format: default\n");
    assert_eq!(world.build().end, End::UpToDate);
    world.configure(|config| config.pack.level = 9);
    assert_eq!(world.build().end, End::UpToDate);
    world.write(".mar.yaml", "archive_format: tgz\nexclude: ['*.md']\ncompression: store\n");
    assert_eq!(world.why(), ["`archive_format` changed"]);
}

#[test]
fn a_record_names_what_happened_to_the_archive() {
    let mut world = World::new();
    world.configure(|config| config.history.keep = 3);
    world.build();
    fs::remove_file(world.stored("m.mar")).unwrap();
    assert_eq!(world.why(), ["the archive in the store was missing"]);
    world.configure(|config| config.adopt = true);
    fs::write(world.stored("m.mar"), "damaged").unwrap();
    assert_eq!(world.why(), ["the archive in the store was not the one published last"]);
    let rebuilt = world.command(Command::Rebuild).record.unwrap();
    assert_eq!(rebuilt.outcome, Outcome::Unchanged, "it holds just what was packed again");
    fs::write(world.stored("m.mar"), "damaged").unwrap();
    let rebuilt = world.command(Command::Rebuild).record.unwrap();
    assert_eq!(
        (rebuilt.outcome, rebuilt.why),
        (Outcome::Published, vec!["rebuild requested".into()])
    );
    world.write("service.py", "def handle(data, context):\n    return [1]\n");
    assert_eq!(world.why(), ["service.py changed"]);
    let back = world.command(Command::RollBack { to: None }).record.unwrap();
    assert_eq!((back.outcome, back.why), (Outcome::RolledBack, vec![]));
    world.command(Command::Resume);
    assert_eq!(world.why(), ["the earlier archive is no longer held"]);
    world.known = None;
    world.write("service.py", "def handle(data, context):\n    return [2]\n");
    assert_eq!(world.why(), ["first archive since generation 6"]);
}

#[test]
fn a_failed_attempt_that_packed_says_why_it_did() {
    let mut world = World::new();
    fs::create_dir(world.stored("m.mar")).unwrap();
    let report = world.build();
    let record = report.record.unwrap();
    assert_eq!((record.outcome, record.why), (Outcome::Rejected, vec!["first archive".into()]));
}

/// The state of a model that 0.1.0 built with the same settings.
fn as_0_1_0(world: &World) -> ModelState {
    let known = world.known.as_deref().unwrap().clone();
    let fingerprint = fingerprint::of_0_1_0(&Settings::default(), &world.builder.config);
    ModelState { fingerprint: Some(fingerprint), ..known }
}

#[test]
fn a_model_that_an_older_version_built_is_not_built_again() {
    let mut world = World::new();
    world.build();
    world.known = Some(Arc::new(as_0_1_0(&world)));
    assert_eq!(world.build().end, End::UpToDate);
    // The next state that is written has the parts.
    let is_new = |state: &ModelState| matches!(state.fingerprint, Some(BuildFingerprint::Parts(_)));
    let service = fs::read(world.folder().join("service.py")).unwrap();
    fs::write(world.folder().join("service.py"), service).unwrap();
    assert_eq!(outcome(&world.build()), Some(Outcome::Unchanged));
    assert!(is_new(world.known.as_deref().unwrap()));
    // The entries of an archive that 0.1.0 packed are carried over.
    world.known = Some(Arc::new(as_0_1_0(&world)));
    world.write("labels.txt", "a");
    let record = world.build().record.unwrap();
    assert_eq!(record.why, ["labels.txt is new"]);
    assert_eq!(record.entries.unwrap().carried_over, 1);
    assert!(is_new(world.known.as_deref().unwrap()));
    world.known = Some(Arc::new(as_0_1_0(&world)));
    world.write(".mar.yaml", "description: cats\n");
    assert_eq!(world.why(), ["a setting changed"]);
    world.write(".mar.yaml", "compression: store\n");
    world.known = Some(Arc::new(as_0_1_0(&world)));
    assert_eq!(world.why(), ["`pack` changed"]);
}
