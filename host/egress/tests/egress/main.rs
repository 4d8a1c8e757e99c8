//! The client against real servers on this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod dial;
mod exchange;
mod guard;
mod limits;
mod support;
mod tls;
