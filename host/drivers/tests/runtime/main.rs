//! The plugin host with real components: what it admits, how it calls, what it contains, how it swaps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod cache;
mod calls;
mod components;
mod containment;
mod contract;
mod http;
mod limits;
mod listings;
mod refusals;
mod sandbox;
mod seals;
mod support;
mod swaps;
