//! The authority from outside: its files, what it issues, what it accepts and what it revokes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certificates;
mod files;
mod mutations;
mod names;
mod requests;
mod revocation;
mod support;
