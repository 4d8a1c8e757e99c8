//! The server: command line, configuration, listeners, and one room for each API.

pub mod api;
pub mod app;
pub mod callbacks;
pub mod cli;
pub mod config;
mod grant_key;
pub mod listen;
pub mod mail;
pub mod telemetry;
pub mod tls;
