//! What a driver can use of the host: one file a capability, each implementing its interface of the contract for [`Guest`].

pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod hypervisor;
pub(crate) mod log;
pub(crate) mod secrets;
pub(crate) mod state;

use crate::guest::Guest;
use crate::v0_1::imports;
use wasmtime::component::{HasSelf, Linker};

/// Links everything that the host can provide. What a cloud may use of it is decided when a component is loaded.
///
/// A build without libvirt links `hypervisor` too, so that a component that imports it is refused for the clouds that have it, and
/// with the reason.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    // The interfaces that language runtimes import. Their context is empty: no files, no sockets, no environment.
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    imports::config::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    imports::secrets::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    imports::log::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    imports::cache::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    imports::state::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    imports::hypervisor::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    Ok(())
}
