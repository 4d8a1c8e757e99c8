//! The use cases of Ostler, free of HTTP, WebAssembly and SQL.
//!
//! A dialect's room translates a request into one call here, and the answer or [`Error`] back. Nothing below knows who asked in
//! which dialect.

pub mod authority;
pub mod billing;
pub mod callbacks;
pub mod clouds;
pub mod compute;
pub mod deployments;
pub mod drivers;
mod error;
pub mod forwarding;
pub mod identity;
pub mod images;
pub mod instances;
pub mod kill;
pub mod measuring;
pub mod recovery;
pub mod retention;
pub mod scheduler;
pub mod schedules;
pub mod services;
mod state;
pub mod sweeper;

pub use error::Error;
pub use ostler_drivers::{ErrorKind, model};
pub use state::StoreState;

use ostler_drivers::Host;
use ostler_store::Store;
use std::sync::Arc;

/// The rooms and what they share.
#[derive(Clone)]
pub struct Core {
    /// Who someone is, and what he may do.
    pub identity: Arc<identity::Identity>,
    /// Nodes, images, sizes.
    pub compute: Arc<compute::Compute>,
    /// Certificates.
    pub authority: Arc<authority::Authority>,
    /// Credit.
    pub billing: Arc<billing::Billing>,
    /// Applications and services.
    pub services: Arc<services::Services>,
    /// Deployments.
    pub deployments: Arc<deployments::Deployments>,
    /// Schedules.
    pub schedules: Arc<schedules::Schedules>,
    /// Images on record.
    pub images: Arc<images::Images>,
    /// Instances.
    pub instances: Arc<instances::Instances>,
    /// Ports that lead to instances.
    pub forwarding: Arc<forwarding::Forwarding>,
    /// What instances did.
    pub measuring: Arc<measuring::Measuring>,
    /// What carries out operations of several steps.
    pub scheduler: Arc<scheduler::Scheduler>,
    /// What takes up interrupted operations.
    pub recovery: Arc<recovery::Recovery>,
    /// What looks after what providers have.
    pub sweeper: Option<Arc<sweeper::Sweeper>>,
    /// Adding and removing clouds.
    pub clouds: Arc<clouds::Clouds>,
    /// Which component serves which driver name.
    pub drivers: Arc<drivers::Drivers>,
    /// The plugin host.
    pub host: Arc<Host>,
    /// The repositories.
    pub store: Store,
}

/// Seconds as microseconds.
const SECOND: i64 = 1_000_000;
