//! The libvirt driver on the plugin host: against libvirt's own hypervisor for tests, and on real guests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, unreachable_pub)]

#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "../runtime/components.rs"]
mod components;
mod contract;
mod guests;
mod imports;
#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "../runtime/support.rs"]
mod support;

use ostler_drivers::{CloudSettings, HypervisorSettings};
use support::Adjust;

/// The driver.
pub fn libvirt() -> Vec<u8> {
    components::built("ostler-plugin-libvirt", "plugins/libvirt")
}

/// A cloud on this hypervisor.
pub fn cloud(name: &str, uri: &str, hypervisor: HypervisorSettings) -> CloudSettings {
    let mut settings = CloudSettings::new(name, "libvirt").grant(|grants| grants.hypervisor = Some(uri.to_owned()));
    settings.hypervisor = hypervisor;
    settings
}
