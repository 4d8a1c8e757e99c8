//! The rooms of the server: configuration, telemetry, listeners.

pub mod config;
pub mod listen;
pub mod telemetry;
pub mod tls;
