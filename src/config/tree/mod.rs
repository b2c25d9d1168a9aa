//! A settings file as values with positions.
//!
//! `serde_yaml` reads the values and `outline` finds their positions; a [`Cursor`] joins the two
//! for one key. Where they disagree about a text, the value counts and has no position.

mod cursor;
mod document;
mod lenient;
mod outline;

pub use cursor::Cursor;
pub use document::{MAX_BYTES, plain_text, read, syntax, without_place};
pub use lenient::Lenient;
pub use outline::{Place, outline};
