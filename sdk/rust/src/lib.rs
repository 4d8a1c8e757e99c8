//! Write a cloud driver for Ostler: one trait with typed values, one macro line.
//!
//! A driver is a WebAssembly component that translates between the host's vocabulary (nodes, images, sizes) and one kind of
//! provider. It reaches the world only through what the [`Context`] offers, and imports only what it uses. `README.md` tells
//! how to build one.
//!
//! Besides the contract there is what drivers of real providers need: [`orders`] that are made once by a token, an HTTP client
//! (feature `http`), [`time`]s as APIs write them, and [`testing`] without WebAssembly and without the provider.
//!
//! ```
//! use ostler_driver::{
//!     Address, Context, Description, Driver, Error, Extra, Health, Image, Node, NodeSpec, NodeState, Page, Result, Setting,
//!     Size, export_driver,
//! };
//! use serde_json::json;
//!
//! /// A provider with room for one kind of machine, kept in the cloud's state.
//! struct Shed {
//!     ctx: Context,
//!     places: usize,
//! }
//!
//! impl Shed {
//!     fn nodes(&self) -> Result<Vec<Node>> {
//!         self.ctx.state().entries("node/").map(|entry| Ok(Self::node(&String::from_utf8(entry?.value)?))).collect()
//!     }
//!
//!     fn node(token: &str) -> Node {
//!         Node::new(token, format!("shed-{token}"))
//!             .with_token(token)
//!             .with_state(NodeState::Running)
//!             .with_address(Address::private("10.0.0.1"))
//!             .with_extra(json!({"door": "open"}))
//!     }
//! }
//!
//! impl Driver for Shed {
//!     fn new(ctx: Context) -> Result<Self> {
//!         let places = ctx.config().parse("places")?.unwrap_or(4);
//!         Ok(Self { ctx, places })
//!     }
//!
//!     fn describe(_: &Context) -> Description {
//!         Description::new("shed", env!("CARGO_PKG_VERSION"), "shed", "The Shed")
//!             .with_setting(Setting::optional("places", "How many nodes it holds; 4 by default."))
//!     }
//!
//!     fn check(&self) -> Result<Health> {
//!         Ok(Health { endpoint: Some("behind the house".into()), ..Health::default() })
//!     }
//!
//!     fn list_images(&self, cursor: Option<&str>) -> Result<Page<Image>> {
//!         Page::slice(vec![Image::new("1", "Straw")], cursor, 100)
//!     }
//!
//!     fn list_sizes(&self, cursor: Option<&str>) -> Result<Page<Size>> {
//!         Page::slice(vec![Size::new("1", "Box", 1024, 10)], cursor, 100)
//!     }
//!
//!     fn list_nodes(&self, cursor: Option<&str>) -> Result<Page<Node>> {
//!         Page::slice(self.nodes()?, cursor, 100)
//!     }
//!
//!     fn get_node(&self, id: &str) -> Result<Node> {
//!         self.find_node(id)?.ok_or_else(|| Error::not_found("node", id))
//!     }
//!
//!     fn find_node(&self, token: &str) -> Result<Option<Node>> {
//!         Ok(self.ctx.state().get(&format!("node/{token}"))?.map(|_| Self::node(token)))
//!     }
//!
//!     fn create_node(&self, token: &str, spec: NodeSpec) -> Result<Node> {
//!         if let Some(node) = self.find_node(token)? {
//!             return Ok(node);
//!         }
//!         self.get_image(&spec.image_id).map_err(|_| Error::Invalid(format!("no image `{}`", spec.image_id)))?;
//!         if spec.size_id != "1" {
//!             return Err(Error::Invalid(format!("no size `{}`", spec.size_id)));
//!         }
//!         if self.nodes()?.len() >= self.places {
//!             return Err(Error::Capacity("the shed is full".into()));
//!         }
//!         self.ctx.state().set(&format!("node/{token}"), token.as_bytes())?;
//!         self.ctx.log().info("a node moved in", &[("token", token)]);
//!         Ok(Self::node(token))
//!     }
//!
//!     fn destroy_node(&self, id: &str) -> Result<()> {
//!         match self.ctx.state().delete(&format!("node/{id}"))? {
//!             true => Ok(()),
//!             false => Err(Error::not_found("node", id)),
//!         }
//!     }
//! }
//!
//! export_driver!(Shed);
//!
//! // In a test, without WebAssembly:
//! # fn main() {
//! use ostler_driver::testing::{Cloud, conformance};
//!
//! let cloud = Cloud::new("test").config("places", "2");
//! conformance::check::<Shed>(&cloud).unwrap();
//! assert_eq!(cloud.logs()[0].message, "a node moved in");
//! # }
//! ```

#[doc(hidden)]
pub mod bindings;
mod context;
mod driver;
mod error;
#[cfg(target_family = "wasm")]
mod export;
#[cfg(feature = "http")]
pub mod http;
mod hypervisor;
#[cfg(target_family = "wasm")]
mod imports;
pub mod orders;
mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod time;
mod token;
mod types;

pub use context::{Cache, Config, Context, Level, Log, Secrets};
pub use driver::Driver;
pub use error::{Error, Result};
pub use hypervisor::Hypervisor;
pub use state::{Commit, Entries, Entry, State, StateError, TRIES, Versioned};
pub use token::{check_token, is_token};
pub use types::{
    Action, Address, BlockDevice, Capacity, Description, Device, Extra, Force, Gauge, Health, Image, ImageSource, ImageSpec,
    ImageStatus, Measurement, MetricKind, Node, NodeSpec, NodeState, Page, Quota, Reach, Sample, Setting, Size, bad_cursor,
};

/// The types of the hypervisor capability; the functions are those of [`Hypervisor`].
pub mod hypervisor_types {
    #[cfg(not(target_family = "wasm"))]
    pub use crate::hypervisor::HypervisorDouble;
    pub use crate::hypervisor::{
        Disk, Domain, DomainSpec, DomainState, Info, Lease, Nic, Power, Seed, Volume, VolumeRef, VolumeSource, VolumeSpec,
        VolumeStatus,
    };
}

/// For `export_driver!` only.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    #[cfg(target_family = "wasm")]
    pub use crate::export::Export;

    /// Refuses, in native builds too, what is no driver.
    pub const fn is_driver<D: crate::Driver>() {}
}

/// Makes a type that implements [`Driver`] the driver of this component: `export_driver!(MyDriver);`, once, at the top of a crate
/// of type `cdylib`. In a native build it only checks the type, so that the crate can be tested.
#[macro_export]
macro_rules! export_driver {
    ($driver:ty) => {
        const _: () = $crate::__private::is_driver::<$driver>();

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the exported symbols of the canonical ABI")]
        const _: () = {
            type Component = $crate::__private::Export<$driver>;
    $crate::__private::bindings::export_component!(Component with_types_in $crate::__private::bindings);
        };
    };
}
