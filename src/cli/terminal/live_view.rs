//! `marwatch run` on a terminal: a line for each model, with problems above them.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;
use tracing_subscriber::fmt::MakeWriter;

use super::{is_colour_allowed, snippet};
use crate::cli::output::{count, size};
use crate::daemon::View;
use crate::pipeline::{OnProgress, Progress};
use crate::reconcile::Activity;
use crate::results::{Outcome, Record};
use crate::status::now::{ModelNow, Now};
use crate::text::printable;

/// Interval between two frames of a spinner.
const TICK: Duration = Duration::from_millis(120);
/// The widest column of model names; a longer name sticks out.
const MOST_NAME: usize = 32;
/// Rows kept free above and below the models.
const OTHER_LINES: u16 = 4;

/// The lines of the models at the bottom of a terminal.
#[derive(Debug)]
pub(in crate::cli) struct LiveView {
    bars: MultiProgress,
    foot: ProgressBar,
    lines: Arc<Mutex<BTreeMap<PathBuf, Line>>>,
    /// The last result of each model, in words.
    last: BTreeMap<PathBuf, String>,
    is_coloured: bool,
}

#[derive(Debug)]
struct Line {
    bar: ProgressBar,
    name: String,
    is_building: bool,
    /// The text while nothing is built.
    text: String,
}

/// Writes above the lines.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Above(MultiProgress);

impl LiveView {
    /// The live view, if standard error is a terminal that supports it.
    pub(in crate::cli) fn on_terminal() -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !io::stderr().is_terminal() || is_dumb {
            return None;
        }
        let is_coloured = is_colour_allowed();
        console::set_colors_enabled(is_coloured);
        console::set_colors_enabled_stderr(is_coloured);
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let foot = bars.add(ProgressBar::new_spinner().with_style(style("{msg:.dim}")));
        foot.set_message("scanning every model");
        let (lines, last) = (Arc::default(), BTreeMap::new());
        Some(Self { bars, foot, lines, last, is_coloured })
    }

    /// A writer for text above the lines.
    pub(in crate::cli) fn above(&self) -> Above {
        Above(self.bars.clone())
    }

    /// Prints text above the lines. An error means that the terminal is gone.
    pub(in crate::cli) fn print(&self, text: &str) {
        let _ = self.above().write_all(format!("{text}\n").as_bytes());
    }

    /// The models that get a line: all; or, if there are too many, those that are busy or have a
    /// problem.
    fn shown<'n>(&self, now: &'n Now) -> Vec<&'n ModelNow> {
        let (rows, _) = console::Term::stderr().size();
        let room = usize::from(rows.saturating_sub(OTHER_LINES)).max(1);
        let mut shown: Vec<&ModelNow> = now.models.iter().collect();
        if shown.len() > room {
            shown.retain(|model| model.activity != Activity::Idle || model.issue.is_some());
            shown.truncate(room);
        }
        shown.sort_by(|a, b| (&a.name, &a.folder).cmp(&(&b.name, &b.folder)));
        shown
    }
}

impl View for LiveView {
    fn on_progress(&self) -> OnProgress {
        let lines = Arc::clone(&self.lines);
        Arc::new(move |folder: &Path, progress: Progress| {
            let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = lines.get(folder).filter(|line| line.is_building) {
                line.pack(progress);
            }
        })
    }

    fn record(&mut self, record: &Record) {
        let (size, ms) = (size(record.bytes), record.took_ms());
        let words = match record.outcome {
            Outcome::Published => {
                format!("published: generation {}, {size}, {ms:.0} ms", record.generation)
            }
            outcome => outcome.as_str().replace('_', " "),
        };
        let time = record.time.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string();
        self.last.insert(record.folder.clone(), format!("{words}, at {time}"));
        for problem in &record.problems {
            self.print(&snippet::render(problem, &record.folder, self.is_coloured));
            self.print("");
        }
        if let Some(failure) = &record.failure {
            let line = format!("{}: {failure}", record.model);
            self.print(&printable(&line));
        }
    }

    fn show(&mut self, now: &Now) {
        let shown = self.shown(now);
        let width = shown.iter().map(|model| model.name.chars().count()).max().unwrap_or(0);
        let width = width.min(MOST_NAME);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|folder, line| {
            let is_shown = shown.iter().any(|model| model.folder == *folder);
            if !is_shown {
                self.bars.remove(&line.bar);
            }
            is_shown
        });
        for (at, model) in shown.iter().enumerate() {
            let line = lines.entry(model.folder.clone()).or_insert_with(|| {
                let bar = self.bars.insert(at, ProgressBar::new_spinner().with_style(idle_style()));
                let (name, text) = (String::new(), String::new());
                Line { bar, name, is_building: false, text }
            });
            line.name = format!("{:width$}", printable(&model.name));
            line.show(model, self.last.get(&model.folder));
        }
        drop(lines);
        let (all, others) = (now.models.len(), now.models.len() - shown.len());
        let mut foot = format!("watching {}", count(all, "model"));
        if others > 0 {
            foot += &format!(", {others} of them not shown");
        }
        self.foot.set_message(format!("{foot}; Ctrl-C stops"));
        self.foot.force_draw();
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        // The last lines of the models stay, without the foot.
        for line in self.lines.lock().unwrap_or_else(PoisonError::into_inner).values() {
            line.bar.abandon();
        }
        self.foot.finish_and_clear();
    }
}

impl Line {
    fn show(&mut self, model: &ModelNow, last: Option<&String>) {
        let is_building = model.activity == Activity::Building;
        if is_building != self.is_building {
            self.is_building = is_building;
            self.bar.set_style(if is_building { busy_style() } else { idle_style() });
            if is_building {
                self.bar.enable_steady_tick(TICK);
            } else {
                self.bar.disable_steady_tick();
            }
        }
        if is_building {
            self.text.clear();
            if let Some(progress) = model.progress {
                let (done, total) = (progress.done, progress.total);
                self.pack(Progress { done, total });
            } else {
                self.bar.set_message(format!("{}  building", self.name));
            }
            return;
        }
        let waits = |what: &str| match model.waiting.as_deref() {
            Some(why) => format!("{what}: {}", printable(why)),
            None => what.to_owned(),
        };
        let last = || last.map_or_else(|| "up to date".to_owned(), |last| printable(last));
        let issue = || model.issue.as_ref().map(|issue| printable(&issue.reason));
        let (mark, text) = match model.activity {
            Activity::Settling => (console::style("…").cyan(), waits("settling")),
            Activity::Queued => (console::style("…").cyan(), "queued".to_owned()),
            Activity::Retrying => {
                let wait = model.next.map(|next| next.duration_since(crate::clock::timestamp()));
                let wait = wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
                let wait = HumanDuration(Duration::from_secs(wait.as_secs() + 1));
                let text = format!("{}; retry in {wait}", issue().unwrap_or_default());
                (console::style("✖").red(), text)
            }
            Activity::Paused => (console::style("‖").yellow(), "paused".to_owned()),
            Activity::Missing => (console::style("?").yellow(), "its folder is gone".to_owned()),
            Activity::Idle | Activity::Building => match issue() {
                Some(issue) => (console::style("✖").red(), issue),
                None => (console::style("✔").green(), last()),
            },
        };
        let text = format!("{mark} {}  {text}", self.name);
        if text == self.text {
            return;
        }
        self.bar.set_message(text.clone());
        self.text = text;
        // indicatif skips what is drawn too soon after another drawing, and this may be the last change.
        self.bar.force_draw();
    }

    fn pack(&self, Progress { done, total }: Progress) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
        let text = format!("{}  packing {percent} % of {}", self.name, size(total));
        self.bar.set_message(text);
    }
}

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Above {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn idle_style() -> ProgressStyle {
    style("{wide_msg}")
}

fn busy_style() -> ProgressStyle {
    style("{spinner:.cyan} {wide_msg}")
}

/// The templates above are valid: the tests draw each.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
