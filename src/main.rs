//! marwatch.
fn main() {}
