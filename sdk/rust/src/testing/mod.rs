//! A cloud in memory, so that drivers are tested natively, and the rules of the contract as a test of any driver.

mod cloud;
#[cfg(feature = "component")]
pub mod component;
pub mod conformance;
#[cfg(feature = "http")]
mod http;
mod memory;

pub use cloud::{Cloud, LogLine};
#[cfg(feature = "http")]
pub use http::Expectation;
