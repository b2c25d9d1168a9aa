//! Timelines and properties of the reconciler.
