//! A driver for clouds that run OpenStack: Keystone v3, Nova, Glance, Neutron and, where it is in the catalog, Cinder.
//!
//! An instance may be new at any call, so nothing is remembered here: tokens, microversions and the last list of servers are in
//! the host's `cache` and may vanish; what must hold is at the provider, found by the host's token:
//!
//! | what | where the token is |
//! |---|---|
//! | server | metadata `ostler-token`, and a tag by which Nova finds it |
//! | image | tag |
//! | floating IP | description, with the server's identifier |
//! | further disk | Nova makes and deletes it with the server; its name has the server's identifier |
//!
//! Two orders by one token make one server or image: [`ostler_driver::orders`] says how. Work that takes longer than a call goes on when the host
//! polls `get-node`: a node with a public address stays `pending` until its server is up and a floating IP is attached, and is
//! `failed` where none can be had. `README.md` is for operators.

mod auth;
mod compute;
mod config;
mod driver;
mod errors;
mod http;
mod images;
mod microversion;
mod network;
#[cfg(test)]
mod tests;
mod userdata;
mod volumes;

use ostler_driver::export_driver;

export_driver!(driver::OpenStack);
