//! Archives that are written over spares.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::archive::pack::tests::noise;

const LENGTH: usize = 17 << 20;

/// With weights that are large enough for a spare, and as many archives as it takes to have one.
fn world() -> World {
    let mut world = World::new();
    Arc::get_mut(&mut world.builder.store).unwrap().assume_plenty();
    fs::write(world.folder().join("w"), noise(LENGTH)).unwrap();
    for number in 0..3 {
        world.edit(number);
    }
    world
}

impl World {
    /// Publishes after an edit; says how much stood in place.
    fn edit(&mut self, number: usize) -> u64 {
        let items = "1, ".repeat(number);
        self.write("service.py", &format!("def handle(data, context):\n    return [{items}]\n"));
        let record = self.build().record.unwrap();
        assert_eq!(record.outcome, Outcome::Published, "{record:?}");
        assert!(self.is_cold(), "{number}");
        assert_eq!(fs::read_dir(self.builder.store.staging().folder()).unwrap().count(), 0);
        record.cost.unwrap().carried_over.in_place
    }
}

#[test]
fn what_a_spare_holds_is_not_written_again() {
    let mut world = world();
    // Longer and shorter than what was there.
    for number in [3, 5_000, 0, 90_000, 1] {
        assert_eq!(world.edit(number), LENGTH as u64, "{number}");
    }
    // Other weights: neither the spare nor the next one holds them. It takes no room any more when
    // the new archive needs it.
    let most = Arc::new(AtomicUsize::new(0));
    let (staging, seen) = (world.builder.store.staging().folder().to_owned(), Arc::clone(&most));
    world.builder.progress = Arc::new(move |_, _| {
        seen.fetch_max(fs::read_dir(&staging).unwrap().count(), Ordering::Relaxed);
    });
    fs::write(world.folder().join("w"), noise(LENGTH + 1)).unwrap();
    let in_place = [2, 3, 4, 5].map(|number| world.edit(number));
    assert_eq!(in_place, [0, 0, 0, LENGTH as u64 + 1]);
    assert_eq!(most.load(Ordering::Relaxed), 1);
}
