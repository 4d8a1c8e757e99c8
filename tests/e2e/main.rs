//! End-to-end: the built server, over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod admin;
mod auth;
mod callbacks;
mod cistern;
mod cloudedge;
mod clouds;
mod config;
mod conpaas;
mod containment;
mod durable;
mod errors;
mod federation;
mod indigo;
mod openstack;
mod platform;
mod swap;
mod transcript;
mod v1;
