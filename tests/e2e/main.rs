//! End-to-end: the built server, over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod auth;
mod cistern;
mod config;
mod containment;
mod durable;
mod errors;
mod swap;
mod transcript;
mod v1;
