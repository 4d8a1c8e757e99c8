//! The hypervisor capability: the functions of `wit/hypervisor.wit`, with this crate's errors.

use crate::bindings::ostler::driver::hypervisor as wit;
use crate::context::Backend;
use crate::types::{Device, Sample};
use crate::{Error, Result};

pub use wit::{
    Disk, Domain, DomainSpec, DomainState, Info, Lease, Nic, Power, Seed, Volume, VolumeRef, VolumeSource, VolumeSpec,
    VolumeStatus,
};

/// Writes the functions once for components, native builds and test doubles.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Hypervisor<'_> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As the host says.
                pub fn $name(&self, $($arg: $type),*) -> Result<$answer> {
                    #[cfg(target_family = "wasm")]
                    return wit::$name($($arg),*).map_err(Error::from);
                    #[cfg(not(target_family = "wasm"))]
                    return self.backend.with_hypervisor(|double| double.$name($($arg),*));
                }
            )*
        }

        /// What answers [`Hypervisor`] in native tests; set by [`crate::testing::Cloud::hypervisor`]. What a test does not need
        /// answers `unsupported`.
        #[cfg(not(target_family = "wasm"))]
        pub trait HypervisorDouble: Send {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As the double likes.
                fn $name(&mut self, $($arg: $type),*) -> Result<$answer> {
                    $(let _ = $arg;)*
                    Err(Error::unsupported(concat!("`", stringify!($name), "` (of this test double)")))
                }
            )*
        }
    };
}

/// A hypervisor that the host is connected to. What does not carry this cloud's mark does not exist here.
#[derive(Debug, Clone, Copy)]
pub struct Hypervisor<'a> {
    #[cfg_attr(target_family = "wasm", expect(dead_code, reason = "the imports need no handle"))]
    backend: &'a Backend,
}

impl<'a> Hypervisor<'a> {
    pub(crate) fn new(backend: &'a Backend) -> Self {
        Self { backend }
    }
}

functions! {
    /// What the hypervisor is and has.
    describe() -> Info;
    /// This cloud's domains.
    domains() -> Vec<Domain>;
    /// One domain of this cloud.
    get_domain(uuid: &str) -> Domain;
    /// Defines a domain and, if wanted, starts it. Idempotent by uuid.
    create_domain(spec: &DomainSpec) -> Domain;
    /// Stops and removes a domain, its seed disk, its state and the volumes it owns.
    delete_domain(uuid: &str) -> ();
    /// Changes the power of a domain.
    set_power(uuid: &str, power: &Power) -> ();
    /// The addresses that a domain's cards have now, newest first.
    leases(uuid: &str) -> Vec<Lease>;
    /// Present measurements of these domains; of all of this cloud's for an empty list.
    get_samples(uuids: &[String]) -> Vec<Sample>;
    /// This cloud's volumes in a pool.
    volumes(pool: &str) -> Vec<Volume>;
    /// One volume of this cloud, with its progress while it arrives.
    get_volume(at: &VolumeRef) -> Volume;
    /// Makes a volume; returns at once where content has to arrive. Idempotent by token.
    create_volume(spec: &VolumeSpec) -> Volume;
    /// Makes a volume larger. Smaller is `invalid`.
    resize_volume(at: &VolumeRef, capacity_bytes: u64) -> Volume;
    /// Deletes a volume. `conflict` while something uses it.
    delete_volume(at: &VolumeRef) -> ();
    /// The devices that domains could be given.
    devices() -> Vec<Device>;
}
