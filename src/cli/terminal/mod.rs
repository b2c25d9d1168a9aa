//! Output for a terminal: the live view of `run`, the progress of `build`, problems with their source
//! lines.

mod live_view;
mod progress;
mod snippet;

pub(super) use live_view::{Above, LiveView};
pub(super) use progress::Bar;

/// Whether colour is allowed: `NO_COLOR` is not set (<https://no-color.org>).
pub(super) fn is_colour_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
