//! The plugin host: loads, runs, confines and swaps cloud drivers.
//!
//! A driver is a WebAssembly component of the world `ostler:driver/cloud-driver` (see `wit/`). [`Host`] holds the configured
//! [`Cloud`]s; each runs one version of its driver, in instances that take one call at a time and are bounded in time, memory and
//! the size of what they answer. A driver that breaks fails its own cloud's calls and nothing else.

mod breaker;
mod call;
mod capabilities;
mod cloud;
mod component;
mod engine;
mod error;
mod flight;
mod guest;
mod host;
pub mod model;
mod redact;
mod settings;
mod v0_1;
mod watch;

pub use capabilities::state::{Condition, Entry, StateBackend, StateError, Write};
pub use cloud::{Cloud, Listing, Made, Status};
pub use component::{LoadPolicy, Package, Seal};
pub use ed25519_dalek::VerifyingKey;
pub use engine::{Runtime, digest, private_directory, write_atomically};
pub use error::{Error, ErrorKind, LoadError};
pub use host::{Host, INSTANCE, Prepared, Strictness};
pub use settings::{CloudSettings, Grants, HypervisorSettings, Instances, Limits, Tls, Virtualization};
pub use watch::{Changed, Watch};
