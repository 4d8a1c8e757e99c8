//! The only way out of the host to the network.
//!
//! A [`Client`] serves one purpose (one cloud, say) and shares nothing with any other client: neither connections nor TLS
//! sessions nor credentials. Every request passes, in this order:
//!
//! 1. the allow-list ([`Allow`], [`Origin`]): scheme, host and port, before anything touches the network;
//! 2. name resolution, **once** per connection, and the address policy ([`AddressPolicy`]) on every address it gave;
//! 3. a connection to an address that was checked, never to a name, so that a second answer of the name server changes nothing;
//! 4. limits on time ([`Timeouts`]), on bytes in both directions and on the number of exchanges at once.
//!
//! A [`Dialer`] does 2 and 3 for protocols other than HTTP.
//!
//! Redirects are not followed: the caller sees them, and a request of its own to the target passes the same checks.
//! No proxy is used, whatever the environment says.

mod address;
mod body;
mod client;
mod config;
mod connect;
mod dial;
mod error;
mod meter;
mod origin;
mod tls;

pub use address::{AddressClass, AddressPolicy};
pub use body::{BoxError, RequestBody, ResponseBody, empty, full};
pub use client::Client;
pub use config::{Allow, ClientConfig, ConfigError, Identity, PeerCheck, Timeouts};
pub use connect::{Resolve, SystemResolver};
pub use dial::Dialer;
pub use error::{Error, Part, Wait};
pub use origin::{HostPattern, Origin, OriginError, Scheme};
