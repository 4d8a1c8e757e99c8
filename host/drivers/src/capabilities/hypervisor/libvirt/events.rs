//! libvirt's events: one loop for all connections of the process, and the callbacks of one connection.
//!
//! Events keep connections alive, tell when one ends, and tell when a domain changed behind the host's back.

use super::shared::Shared;
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, OnceLock};
use virt::connect::Connect;
use virt::sys;

/// Starts the loop once, and makes libvirt quiet: it would print every error. Whether there is a loop. Must come before the first
/// connection is opened.
pub(super) fn start() -> bool {
    static STARTED: OnceLock<bool> = OnceLock::new();
    *STARTED.get_or_init(|| {
        virt::error::clear_error_callback();
        // SAFETY: called once, before any connection is opened.
        #[allow(unsafe_code)]
        let registered = unsafe { sys::virEventRegisterDefaultImpl() } == 0;
        let turn = || {
            loop {
                // SAFETY: the default implementation is registered, and only this thread runs it.
                #[allow(unsafe_code)]
                let result = unsafe { sys::virEventRunDefaultImpl() };
                if result < 0 {
                    tracing::warn!(error = virt::error::Error::last_error().message(), "libvirt's event loop");
                    // It does not end in practice; should it fail at once, it must not take a processor.
                    std::thread::sleep(std::time::Duration::from_secs(1));
                }
            }
        };
        registered && std::thread::Builder::new().name("libvirt-events".into()).spawn(turn).is_ok()
    })
}

/// The callbacks of a connection, which hold it open: they must be taken back before it is dropped.
pub(super) struct Callbacks {
    events: Vec<c_int>,
    close: bool,
}

/// Asks for the events of a connection. What a hypervisor does not offer is done without.
#[allow(unsafe_code)]
pub(super) fn listen(connect: &Connect, shared: &Arc<Shared>) -> Callbacks {
    // Each registration owns one count of `shared`, which `forget` gives back.
    let owned = || Arc::into_raw(Arc::clone(shared)).cast::<c_void>().cast_mut();
    let mut events = Vec::new();
    // SAFETY: libvirt calls what is registered for an event with the arguments of that event, whatever the parameter's type says.
    let (lifecycle, metadata) = unsafe {
        (
            std::mem::transmute::<sys::virConnectDomainEventCallback, sys::virConnectDomainEventGenericCallback>(Some(lifecycle)),
            std::mem::transmute::<sys::virConnectDomainEventMetadataChangeCallback, sys::virConnectDomainEventGenericCallback>(
                Some(metadata_changed),
            ),
        )
    };
    for (event, callback) in
        [(sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle), (sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, metadata)]
    {
        let opaque = owned();
        // SAFETY: the connection is open; `opaque` lives until `forget`, which libvirt calls once if it took it.
        let id = unsafe {
            let (event, none) = (c_int::try_from(event).unwrap_or_default(), std::ptr::null_mut());
            sys::virConnectDomainEventRegisterAny(connect.as_ptr(), none, event, callback, opaque, Some(forget))
        };
        if id < 0 {
            // SAFETY: libvirt did not take it.
            unsafe { forget(opaque) };
        } else {
            events.push(id);
        }
    }
    let opaque = owned();
    // SAFETY: as above.
    let result = unsafe { sys::virConnectRegisterCloseCallback(connect.as_ptr(), Some(closed), opaque, Some(forget)) };
    if result < 0 {
        // SAFETY: libvirt did not take it.
        unsafe { forget(opaque) };
    }
    Callbacks { events, close: result == 0 }
}

impl Callbacks {
    /// None, for a connection that is told nothing.
    pub(super) fn none() -> Self {
        Self { events: Vec::new(), close: false }
    }

    /// Whether domains' changes are told.
    pub(super) fn tell_changes(&self) -> bool {
        self.events.len() == 2
    }

    /// Takes the callbacks back.
    #[allow(unsafe_code)]
    pub(super) fn release(&mut self, connect: &Connect) {
        for id in self.events.drain(..) {
            // SAFETY: registered by `listen` on this connection, and taken back once.
            unsafe { sys::virConnectDomainEventDeregisterAny(connect.as_ptr(), id) };
        }
        if std::mem::take(&mut self.close) {
            // SAFETY: as above.
            unsafe { sys::virConnectUnregisterCloseCallback(connect.as_ptr(), Some(closed)) };
        }
    }
}

/// Runs what a callback has to do: nothing may unwind into libvirt.
///
/// # Safety
/// `opaque` is what [`listen`] registered and [`forget`] has not freed.
#[allow(unsafe_code)]
unsafe fn with(opaque: *mut c_void, work: impl FnOnce(&Shared)) {
    // SAFETY: by the contract of this function.
    let shared = unsafe { &*opaque.cast_const().cast::<Shared>() };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(shared)));
}

/// The uuid of the domain that a callback is about.
#[allow(unsafe_code)]
fn uuid(domain: sys::virDomainPtr) -> Option<uuid::Uuid> {
    let mut bytes = [0_u8; sys::VIR_UUID_BUFLEN as usize];
    // SAFETY: libvirt passes a domain that is valid during the callback, and writes as many bytes as its constant says.
    let result = unsafe { sys::virDomainGetUUID(domain, bytes.as_mut_ptr()) };
    (result == 0).then(|| uuid::Uuid::from_bytes(bytes))
}

#[allow(unsafe_code)]
unsafe extern "C" fn lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    _detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let stopped = c_int::try_from(sys::VIR_DOMAIN_EVENT_STOPPED) == Ok(event);
    // SAFETY: libvirt passes what was registered.
    unsafe {
        with(opaque, |shared| {
            if let Some(uuid) = uuid(domain) {
                shared.changed(uuid, stopped);
            }
        });
    }
    0
}

#[allow(unsafe_code)]
unsafe extern "C" fn metadata_changed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _kind: c_int,
    _uri: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt passes what was registered.
    unsafe {
        with(opaque, |shared| {
            if let Some(uuid) = uuid(domain) {
                shared.changed(uuid, false);
            }
        });
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn closed(_: sys::virConnectPtr, _reason: c_int, opaque: *mut c_void) {
    // SAFETY: libvirt passes what was registered.
    unsafe { with(opaque, Shared::closed) };
}

/// Gives back what a registration owns.
#[allow(unsafe_code)]
unsafe extern "C" fn forget(opaque: *mut c_void) {
    // SAFETY: made by `Arc::into_raw` in `listen`, and given back once.
    drop(unsafe { Arc::from_raw(opaque.cast_const().cast::<Shared>()) });
}
