//! What the end-to-end tests need: the built server as a process, clients that see exact bytes, services that play a provider,
//! components with a difference, databases.
//!
//! Everything here panics where a test could not go on anyway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

pub mod client;
pub mod components;
pub mod database;
pub mod director;
pub mod kill;
pub mod provider;
pub mod server;
pub mod stack;
pub mod turn;

pub use client::{Client, Reply};
pub use server::{Server, Setup};

use std::time::{Duration, Instant};

/// How long something that happens by itself may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; panics with what is awaited when the time is over.
pub async fn eventually<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value below which this share (0 to 1) of the values lies. Sorts them.
pub fn quantile(values: &mut [Duration], share: f64) -> Duration {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let place = ((values.len() - 1) as f64 * share).round() as usize;
    values[place]
}

/// The value in the middle. Sorts them.
pub fn median(values: &mut [Duration]) -> Duration {
    quantile(values, 0.5)
}
