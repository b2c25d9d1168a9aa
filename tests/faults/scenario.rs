//! The changes that the sweeps disturb, each starting from a consistent store.

use std::collections::BTreeSet;
use std::fs;

use marwatch::results::Outcome;

use super::trace::{End, Run};
use super::world::{MODEL, View, World};
use crate::common::service;

/// One pass.
const BUILD: &[&str] = &["build"];

/// A change that a sweep makes over and over, disturbed each time.
pub struct Scenario {
    pub world: World,
    /// Brings the world to its state before the change.
    prepare: fn(&mut World),
    /// Makes the change; only the disturbed run is missing then.
    change: fn(&mut World),
    /// The arguments of the run that is disturbed.
    pub args: &'static [&'static str],
    /// The visible store before and after the change.
    pub before: View,
    pub after: View,
    /// Every file at the end.
    pub inventory: BTreeSet<String>,
    pub history: Vec<blake3::Hash>,
    /// The hash of every archive that was ever visible.
    seen: Vec<blake3::Hash>,
    /// Whether the history may lack an archive the next time.
    is_short: bool,
}

impl Scenario {
    fn new(
        more: &str,
        disabled: Option<&'static str>,
        args: &'static [&'static str],
        prepare: fn(&mut World),
        change: fn(&mut World),
    ) -> Self {
        // The expected results come from undisturbed runs with every protection.
        let mut world = World::new(more);
        let (mut views, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            prepare(&mut world);
            let before = world.view();
            seen.extend(before.values().copied().chain(world.history()));
            change(&mut world);
            let run = world.run(args);
            assert_eq!(run.end, End::Code(0), "{run:?}");
            views.push((before, world.view(), world.inventory(), world.history()));
            seen.extend(world.view().values());
            assert_eq!(world.recorded(), world.story);
            world.check_catalog();
        }
        let (before, after, inventory, history) = views.pop().unwrap();
        assert_eq!(
            (&views[0].0, &views[0].1),
            (&before, &after),
            "the change is another each time"
        );
        assert_eq!((&views[0].2, &views[0].3), (&inventory, &history), "something gathers");
        let world = world.without(disabled);
        Self {
            world,
            prepare,
            change,
            args,
            before,
            after,
            inventory,
            history,
            seen,
            is_short: false,
        }
    }

    /// From now on only disturbed runs go without protections.
    pub fn mended(mut self) -> Self {
        self.world.is_mended = true;
        self
    }

    /// Brings the world to the run that is disturbed.
    pub fn begin(&mut self) {
        (self.prepare)(&mut self.world);
        assert_eq!(self.world.view(), self.before, "not where the change begins");
        (self.change)(&mut self.world);
    }

    /// At every moment each archive is the complete old one or the complete new one, and if there
    /// is one before and after, there is always one.
    #[track_caller]
    pub fn check_view(&self, view: &View) {
        for (name, hash) in view {
            let known = [self.before.get(name), self.after.get(name)];
            assert!(known.contains(&Some(hash)), "{name} is neither the old nor the new one");
        }
        for name in self.before.keys().filter(|name| self.after.contains_key(*name)) {
            assert!(view.contains_key(name), "{name} is gone");
        }
        let is_always_one = !self.before.is_empty() && !self.after.is_empty();
        assert!(!is_always_one || !view.is_empty(), "there is no archive at all");
    }

    /// Whether this view shows the result of the change.
    pub fn is_done(&self, view: &View) -> bool {
        let is_new = self.after.iter().all(|(name, hash)| view.get(name) == Some(hash));
        is_new && (view.is_empty() || !self.after.is_empty())
    }

    /// The history could not take an archive, and the log said so.
    pub fn history_is_short(&mut self) {
        self.is_short = true;
    }

    /// The next, undisturbed run. A command that was not carried out is given again.
    #[track_caller]
    pub fn recover(&self) -> Run {
        let run = self.world.build();
        let view = self.world.view();
        if self.args == BUILD || self.is_done(&view) {
            return run;
        }
        assert_eq!(view, self.before, "{run:?}");
        let run = self.world.run(self.args);
        assert_eq!(run.end, End::Code(0), "{run:?}");
        run
    }

    /// After the next run everything is as if the run before had not been disturbed.
    #[track_caller]
    pub fn check_end(&mut self, run: &Run) {
        let world = &self.world;
        assert_eq!(world.view(), self.after, "it has not converged: {run:?}");
        let recorded = world.recorded();
        // Earlier records were checked earlier.
        let new = recorded
            .iter()
            .zip(&world.story)
            .take_while(|(recorded, story)| recorded == story)
            .count();
        assert_eq!(
            recorded[new..],
            world.story[new..],
            "the records do not tell what has happened: {run:?}"
        );
        world.check_catalog();
        // The recycled archive is an optimization: a crash may cost it.
        let may_lack = |file: &&String| file.starts_with(".marwatch/spare");
        let inventory = world.inventory();
        // A history that could not take the last archive still has one more older one.
        let may_have = |file: &&String| self.is_short && file.contains("/history/");
        let more = inventory.difference(&self.inventory);
        let more: Vec<_> = more.filter(|file| !may_have(file)).collect();
        assert!(more.is_empty(), "left behind: {more:?}");
        let less = self.inventory.difference(&inventory);
        let less: Vec<_> = less.filter(|file| !may_lack(file)).collect();
        let history = world.history();
        if std::mem::take(&mut self.is_short) {
            assert!(history.iter().all(|hash| self.seen.contains(hash)), "strange archives");
        } else {
            assert!(less.is_empty(), "missing: {less:?}");
            assert_eq!(history, self.history, "the history holds other archives");
        }
        // One more run changes nothing.
        let records = world.whole_records();
        world.build();
        assert_eq!(world.whole_records(), records, "another run changes it");
        assert_eq!(world.inventory(), inventory, "another run changes it");
    }

    /// The first archive in an empty store.
    pub fn cold(disabled: Option<&'static str>) -> Self {
        let prepare = |world: &mut World| {
            world.forget_store();
            small(world, "one");
        };
        let change = |world: &mut World| world.expect(Outcome::Published);
        Self::new("", disabled, BUILD, prepare, change)
    }

    /// An edit: the old archive goes to the history, and the archive there is removed.
    pub fn edit(more: &str, disabled: Option<&'static str>) -> Self {
        let prepare = |world: &mut World| {
            if world.story.is_empty() {
                small(world, "two");
                publish(world);
            }
            small(world, "one");
            publish(world);
        };
        let change = |world: &mut World| {
            small(world, "two");
            world.expect(Outcome::Published);
        };
        Self::new(more, disabled, BUILD, prepare, change)
    }

    /// An edit next to large weights that are carried over, into a recycled archive where blocks
    /// cannot be shared.
    pub fn large(more: &str, disabled: Option<&'static str>) -> Self {
        let prepare = |world: &mut World| {
            if world.story.is_empty() {
                let mut weights = vec![0; 17 << 20];
                blake3::Hasher::new().finalize_xof().fill(&mut weights);
                world.write("weights.bin", weights);
            }
            // A crash may have cost the recycled archive, or the state of the archive that is
            // recycled next.
            for answer in ["one", "two", "one"] {
                small(world, answer);
                publish(world);
            }
        };
        let change = |world: &mut World| {
            small(world, "two");
            world.expect(Outcome::Published);
        };
        Self::new(more, disabled, BUILD, prepare, change)
    }

    /// A model is removed, and its archive with it.
    pub fn removal(more: &str, disabled: Option<&'static str>) -> Self {
        let prepare = |world: &mut World| {
            small(world, "one");
            publish(world);
        };
        let change = |world: &mut World| {
            fs::remove_dir_all(&world.model).unwrap();
            world.expect(Outcome::Removed);
        };
        Self::new(&format!("on_remove: delete\n{more}"), disabled, BUILD, prepare, change)
    }

    /// A model is removed, and its archive stays.
    pub fn departure(disabled: Option<&'static str>) -> Self {
        let prepare = |world: &mut World| {
            small(world, "two");
            publish(world);
            small(world, "one");
            publish(world);
        };
        let change = |world: &mut World| {
            fs::remove_dir_all(&world.model).unwrap();
            world.expect(Outcome::Removed);
        };
        Self::new("on_remove: keep\n", disabled, BUILD, prepare, change)
    }

    /// An earlier archive is put back.
    pub fn rollback(disabled: Option<&'static str>) -> Self {
        let prepare = |world: &mut World| {
            for answer in ["three", "one", "two"] {
                small(world, answer);
                publish(world);
            }
        };
        let change = |world: &mut World| world.expect(Outcome::RolledBack);
        Self::new("", disabled, &["rollback", MODEL], prepare, change)
    }

    /// The archive format changes from one file to another, and the old archive leaves the store.
    pub fn form_of_file(disabled: Option<&'static str>) -> Self {
        let prepare = |world: &mut World| {
            form(world, "no-archive");
            publish(world);
            form(world, "default");
            publish(world);
        };
        let change = |world: &mut World| {
            form(world, "tgz");
            world.expect(Outcome::Published);
        };
        Self::new("", disabled, BUILD, prepare, change)
    }

    /// The archive format changes from a file to a folder.
    pub fn form_of_folder(disabled: Option<&'static str>) -> Self {
        let prepare = |world: &mut World| {
            form(world, "default");
            publish(world);
            form(world, "tgz");
            publish(world);
        };
        let change = |world: &mut World| {
            form(world, "no-archive");
            world.expect(Outcome::Published);
        };
        Self::new("", disabled, BUILD, prepare, change)
    }
}

fn small(world: &World, answer: &str) {
    world.write("service.py", service(answer));
    world.write("data/labels.txt", "cat\ndog\n");
}

fn form(world: &World, form: &str) {
    small(world, "one");
    world.write(".mar.yaml", format!("archive_format: {form}\n"));
}

/// Publishes the model, undisturbed.
fn publish(world: &mut World) {
    world.expect(Outcome::Published);
    world.build();
}
