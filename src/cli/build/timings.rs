//! `marwatch build --timings`: the cost of each model, and of the pass as a whole.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::CellAlignment;

use crate::cli::output::{size, table, write_table};
use crate::clock::Stopwatch;
use crate::pipeline::report::Summary;
use crate::results::Stage;
use crate::results::record::CarriedOver;
use crate::text::printable;

/// The times of the parts of a pass that belong to no model.
#[derive(Debug)]
pub(super) struct PassTimes {
    watch: Stopwatch,
    parts: Vec<(&'static str, Duration)>,
}

impl PassTimes {
    pub(super) fn start() -> Self {
        Self { watch: Stopwatch::start(), parts: vec![] }
    }

    /// Ends `part`.
    pub(super) fn done(&mut self, part: &'static str) {
        self.parts.push((part, self.watch.lap()));
    }
}

/// Writes a line for each model, built or not, and one for the pass.
pub(super) fn write(rows: &[&Summary], pass: &PassTimes, out: &mut dyn Write) -> io::Result<()> {
    let mut table = table();
    let stages = Stage::ALL.iter().map(|stage| stage.as_str().to_uppercase());
    let bytes = ["READ", "COMPRESSED", "WRITTEN", "CARRIED OVER"].map(str::to_owned);
    table.set_header(["MODEL".to_owned()].into_iter().chain(stages).chain(bytes));
    for row in rows {
        table.add_row(cells(row));
    }
    let last = 1 + Stage::ALL.len() + 3;
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 0 && index < last {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out)?;
    write_table(out, table)?;
    let total = pass.parts.iter().map(|(_, time)| *time).sum();
    let parts: Vec<_> =
        pass.parts.iter().map(|(part, time)| format!("{part} {}", duration(*time))).collect();
    writeln!(out, "\nthe pass took {}: {}", duration(total), parts.join(", "))
}

fn cells(row: &Summary) -> Vec<String> {
    let stats = &row.stats;
    let stage = |stage: Stage| {
        let time = stats.stages_ms.iter().find(|time| time.stage == stage);
        time.map(|time| duration(Duration::from_secs_f64(time.ms / 1e3))).unwrap_or_default()
    };
    let cost = stats.cost;
    let bytes = [cost.read, cost.compressed, cost.written].map(size);
    [printable(&row.model)]
        .into_iter()
        .chain(Stage::ALL.iter().copied().map(stage))
        .chain(bytes)
        .chain([carried(cost.carried_over)])
        .collect()
}

/// The bytes that were carried over in each way; empty if none were.
fn carried(over: CarriedOver) -> String {
    let ways =
        [(over.reflinked, "reflinked"), (over.in_place, "in place"), (over.copied, "copied")];
    let parts: Vec<_> = ways
        .into_iter()
        .filter(|&(bytes, _)| bytes > 0)
        .map(|(bytes, way)| format!("{} {way}", size(bytes)))
        .collect();
    parts.join(", ")
}

/// Three digits and a unit.
fn duration(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ms if ms >= 999.5 => format!("{:.2} s", ms / 1e3),
        ms if ms >= 99.95 => format!("{ms:.0} ms"),
        ms if ms >= 9.995 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::report::BuildStats;
    use crate::reconcile::End;
    use crate::results::record::{Cost, StageTime};

    fn seen(model: &str, ms: &[f64], cost: Cost) -> Summary {
        let time = |(&stage, &ms): (&Stage, &f64)| StageTime { stage, ms };
        Summary {
            folder: model.into(),
            model: model.into(),
            end: End::UpToDate,
            held: None,
            since_change: None,
            record: None,
            stats: BuildStats { stages_ms: Stage::ALL.iter().zip(ms).map(time).collect(), cost },
        }
    }

    #[test]
    fn a_line_for_each_model_and_one_for_the_pass() {
        const MIB: u64 = 1 << 20;
        let cold =
            Cost { read: 98 * MIB, compressed: 61_440, written: 98 * MIB + 9, ..Cost::default() };
        let edited = Cost {
            read: 812,
            compressed: 812,
            carried_over: CarriedOver { reflinked: 98 * MIB, in_place: 0, copied: 30_720 },
            written: 31_700,
        };
        let in_place = CarriedOver { in_place: 1_000_000_000, ..CarriedOver::default() };
        let rows = [
            seen("cold", &[1.04, 0.512, 22.96, 171.3, 60.04, 1404.9, 1.2], cold),
            seen("edited", &[0.41, 0.3, 0.011, 2.2, 0.9, 9.996, 0.5], edited),
            seen("large", &[99.96], Cost { carried_over: in_place, ..Cost::default() }),
            seen("up-to-date", &[0.2], Cost::default()),
        ];
        let pass = PassTimes {
            watch: Stopwatch::start(),
            parts: vec![
                ("configuration", Duration::from_micros(412)),
                ("models", Duration::from_millis(1_700)),
            ],
        };
        let mut out = Vec::new();
        write(&rows.iter().collect::<Vec<_>>(), &pass, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        MODEL       SNAPSHOT  VALIDATE     PLAN     PACK   VERIFY  PUBLISH   RETIRE       READ  COMPRESSED    WRITTEN  CARRIED OVER
        cold         1.04 ms   0.51 ms  23.0 ms   171 ms  60.0 ms   1.40 s  1.20 ms  98.00 MiB   60.00 KiB  98.00 MiB
        edited       0.41 ms   0.30 ms  0.01 ms  2.20 ms  0.90 ms  10.0 ms  0.50 ms      812 B       812 B  30.96 KiB  98.00 MiB reflinked, 30.00 KiB copied
        large         100 ms                                                               0 B         0 B        0 B  953.67 MiB in place
        up-to-date   0.20 ms                                                               0 B         0 B        0 B

        the pass took 1.70 s: configuration 0.41 ms, models 1.70 s
        ");
    }
}
