//! Clients of the registries that the INDIGO PaaS Orchestrator asks where to deploy, with its wire formats
//! (`facts/indigo.md`, section 3).
//!
//! [`Registries`] asks: SLAM for the agreements of a customer, the CMDB for providers, services, tenants, images and flavors,
//! monitoring for how providers fare, and the cloud provider ranker for an order of them. Each is optional. All requests go
//! through [`ostler_egress`], each client to the origin of its registry alone; redirects are not followed. Answers are limited in
//! time, bytes and items. Answers of the CMDB are kept for a short while, those that are about a user never.
//!
//! [`facts`] is pure: it turns what they said into one [`Fact`] for each service of each provider, with the reasons why it is
//! out, if it is. [`Registries::survey`] does all of it in one call.
//!
//! What a registry says is read leniently where the original is lenient (a number for a text, `"5"` for a number), and strictly
//! where a mistake would widen what is allowed. An entry that cannot be read is left out and told of ([`Listed::left_out`]); an
//! answer that is none is an [`Error`]. No text contains a token, nor anything that a registry said, except reasons of the
//! ranker, which are cut and cleaned.
//!
//! The original's other sources (`serviceVersion=v2`, the Federation-Registry, and `local`) are not spoken here.

mod cmdb;
mod config;
mod cpr;
mod dates;
mod error;
mod facts;
mod matching;
mod monitoring;
mod offers;
#[cfg(feature = "played")]
pub mod played;
mod read;
mod registries;
mod remote;
mod shelf;
mod slam;
mod survey;

pub use cmdb::{Flavor, Image, Provider, Service, ServiceKind, Tenant};
pub use config::{Config, Holder, Status};
pub use cpr::{Monitored, MonitoredService, Rank, RankRequest, ranking};
pub use error::{ConfigError, Error, Problem, Registry};
pub use facts::{Demand, Fact, Reason, Said, Wish, facts};
pub use matching::{FlavorWish, ImageMatch, ImageWish, find_flavor, find_image};
pub use monitoring::{Availability, Machine, Metric};
pub use offers::{Offer, ServiceOffer, Tenancy};
pub use read::Listed;
pub use registries::Registries;
pub use slam::{Agreements, Preference, Priority, Restrictions, Sla, SlaService, Target};
pub use survey::{Question, Survey};
