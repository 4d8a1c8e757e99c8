//! The clients against registries that are played on a loopback address, with the bytes of the originals and with faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cache;
mod damage;
mod faults;
mod support;
mod survey;
mod wire;
