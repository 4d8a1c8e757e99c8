//! Ostler.
fn main() {}
