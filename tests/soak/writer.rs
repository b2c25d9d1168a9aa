//! A thread that changes models until the soak ends.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use marwatch::clock::pause;

use super::model::{Model, World};
use crate::common::random::Random;

/// Owns some models, which no other thread changes.
pub struct Writer {
    number: usize,
    world: World,
    random: Random,
    models: Vec<Model>,
    states: usize,
}

impl Writer {
    /// A writer of `slots` models, and of the model in the folder `fixed`, if given.
    pub fn new(
        number: usize,
        slots: usize,
        fixed: Option<PathBuf>,
        world: World,
        random: Random,
    ) -> Self {
        let folder =
            |slot: usize| world.roots[slot % world.roots.len()].join(format!("w{number}m{slot}"));
        let mut models: Vec<Model> = (0..slots).map(|slot| Model::new(folder(slot))).collect();
        models.extend(fixed.map(Model::fixed));
        Self { number, world, random, models, states: 0 }
    }

    fn token(&mut self) -> String {
        self.states += 1;
        format!("w{}s{}", self.number, self.states)
    }

    /// Changes models until the soak ends.
    pub fn run(mut self) {
        loop {
            while !self.world.ledger.is_closed() {
                let at = self.random.index(self.models.len());
                if let Err(error) = self.change(at) {
                    let folder = self.models[at].folder.display();
                    self.world.ledger.find(format!("the test cannot write {folder}: {error}"));
                    break;
                }
                pause(self.random.time(Duration::from_millis(80)));
            }
            if !self.world.ledger.park() {
                return;
            }
        }
    }

    fn change(&mut self, at: usize) -> io::Result<()> {
        let (token, another) = (self.token(), self.token());
        let choice = self.random.below(100);
        let Self { world, random, models, .. } = self;
        let away = models.iter().filter(|model| !model.is_there && !model.is_fixed).count();
        let other = (at + 1) % models.len();
        let model = &mut models[at];
        if !model.is_there {
            return match choice % 4 {
                0 => model.latched(token, world, random),
                1 => model.at_once(token, world, random),
                2 => model.copy_in(token, world, random),
                _ => model.replace_whole(token, world, random),
            };
        }
        match choice {
            0..25 => model.latched(token, world, random),
            25..55 => model.at_once(token, world, random),
            55..60 => model.break_and_mend([token, another], world, random),
            60..67 => model.fiddle(random),
            67..75 => model.replace_whole(token, world, random),
            _ if model.is_fixed => model.at_once(token, world, random),
            75..80 => model.out_and_in(world, random),
            80..85 => {
                let root = random.pick(&world.roots).clone();
                let name = format!("w{}m{}-{}", self.number, at, random.below(3));
                let folder = root.join(name);
                if folder == model.folder { Ok(()) } else { model.move_to(folder) }
            }
            // Only a few at a time, so that they count as removed.
            85..90 if away < 2 => model.remove(world, random),
            90..95 => {
                let name = format!("named-w{}m{}-{}", self.number, at, random.below(3));
                let is_taken = models.iter().any(|model| model.name.as_ref() == Some(&name));
                let model = &mut models[at];
                model.name = Some(name).filter(|_| !is_taken && !random.once_in(3));
                model.at_once(token, world, random)
            }
            _ => {
                let mut swapped = model.name.take();
                let partner = &mut models[other];
                if partner.is_fixed || !partner.is_there {
                    models[at].name = swapped;
                    return Ok(());
                }
                std::mem::swap(&mut partner.name, &mut swapped);
                models[at].name = swapped;
                models[at].at_once(token, world, random)?;
                models[other].at_once(another, world, random)
            }
        }
    }
}
