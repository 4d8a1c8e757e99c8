//! What the `virt` crate lacks: leases, statistics of domains (its own wrapper never frees them), memory of the hypervisor.

use super::error::Outcome;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::network::Network;
use virt::sys;

/// A lease as a network's DHCP server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leased {
    pub(super) mac: String,
    pub(super) ip: String,
    pub(super) hostname: Option<String>,
    /// Seconds since 1970; zero for ever.
    pub(super) expires: u64,
}

/// Statistics of one domain: numbers by libvirt's names.
pub(super) struct Statistics {
    pub(super) uuid: Uuid,
    pub(super) values: HashMap<String, u64>,
}

/// The text behind a pointer; none for null.
///
/// # Safety
/// The pointer is null, or leads to a text that ends in zero and lives during the call.
#[allow(unsafe_code)]
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: by the contract of this function.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// All leases of a network.
#[allow(unsafe_code)]
pub(super) fn leases(network: &Network) -> Outcome<Vec<Leased>> {
    let mut list: *mut sys::virNetworkDHCPLeasePtr = std::ptr::null_mut();
    // SAFETY: the network is open; libvirt allocates the list and says how long it is.
    let count = unsafe { sys::virNetworkGetDHCPLeases(network.as_ptr(), std::ptr::null(), &raw mut list, 0) };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error().into()) };
    let mut leases = Vec::with_capacity(count);
    for at in 0..count {
        // SAFETY: within the list's length; each lease is read, then freed once.
        unsafe {
            let pointer = *list.add(at);
            let lease = &*pointer;
            if let (Some(mac), Some(ip)) = (text(lease.mac), text(lease.ipaddr)) {
                leases.push(Leased {
                    mac: mac.to_ascii_lowercase(),
                    ip,
                    hostname: text(lease.hostname).filter(|name| !name.is_empty() && name != "*"),
                    expires: u64::try_from(lease.expirytime).unwrap_or(0),
                });
            }
            sys::virNetworkDHCPLeaseFree(pointer);
        }
    }
    // SAFETY: allocated by libvirt with malloc, as its documentation says, and freed once.
    unsafe { libc_free(list.cast()) };
    Ok(leases)
}

/// Statistics of these domains.
#[allow(unsafe_code)]
pub(super) fn statistics(domains: &[Domain], kinds: c_uint) -> Outcome<Vec<Statistics>> {
    if domains.is_empty() {
        return Ok(Vec::new());
    }
    let mut pointers: Vec<sys::virDomainPtr> = domains.iter().map(Domain::as_ptr).collect();
    pointers.push(std::ptr::null_mut());
    let mut list: *mut sys::virDomainStatsRecordPtr = std::ptr::null_mut();
    // SAFETY: the list of domains ends in null; libvirt allocates the records, whose list ends in null too.
    let count = unsafe { sys::virDomainListGetStats(pointers.as_mut_ptr(), kinds, &raw mut list, 0) };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error().into()) };
    // SAFETY: as many records as libvirt says, read before they are freed, and freed once.
    unsafe {
        let records = (0..count).filter_map(|at| read(&**list.add(at))).collect();
        sys::virDomainStatsRecordListFree(list);
        Ok(records)
    }
}

/// Reads a record.
///
/// # Safety
/// The record is libvirt's and lives during the call.
#[allow(unsafe_code)]
unsafe fn read(record: &sys::_virDomainStatsRecord) -> Option<Statistics> {
    let mut bytes = [0_u8; sys::VIR_UUID_BUFLEN as usize];
    // SAFETY: a record's domain lives as long as the record.
    if unsafe { sys::virDomainGetUUID(record.dom, bytes.as_mut_ptr()) } != 0 {
        return None;
    }
    let mut values = HashMap::new();
    for at in 0..usize::try_from(record.nparams).unwrap_or(0) {
        // SAFETY: within the record's parameters.
        let parameter = unsafe { &*record.params.add(at) };
        let kind = c_uint::try_from(parameter.type_).unwrap_or_default();
        // SAFETY: the parameter's type says which of the values is set.
        let value = unsafe {
            match kind {
                sys::VIR_TYPED_PARAM_INT => u64::try_from(parameter.value.i).ok(),
                sys::VIR_TYPED_PARAM_UINT => Some(u64::from(parameter.value.ui)),
                sys::VIR_TYPED_PARAM_LLONG => u64::try_from(parameter.value.l).ok(),
                sys::VIR_TYPED_PARAM_ULLONG => Some(parameter.value.ul),
                _ => None,
            }
        };
        if let (Some(field), Some(value)) = (field(&parameter.field), value) {
            values.insert(field, value);
        }
    }
    Some(Statistics { uuid: Uuid::from_bytes(bytes), values })
}

/// A name in an array that ends in zero.
fn field(characters: &[c_char]) -> Option<String> {
    let bytes: Vec<u8> = characters.iter().map(|c| c.to_ne_bytes()[0]).take_while(|byte| *byte != 0).collect();
    String::from_utf8(bytes).ok()
}

/// Memory of the hypervisor in KiB: all, and what is free, buffers and caches included. libvirt's node information tells another
/// total, which is that of the first NUMA node.
#[allow(unsafe_code)]
pub(super) fn memory(connect: &Connect) -> Outcome<(u64, u64)> {
    let mut count: c_int = 0;
    let all = sys::VIR_NODE_MEMORY_STATS_ALL_CELLS;
    // SAFETY: asks for the number of values only.
    let result = unsafe { sys::virNodeGetMemoryStats(connect.as_ptr(), all, std::ptr::null_mut(), &raw mut count, 0) };
    if result < 0 {
        return Err(Error::last_error().into());
    }
    let empty = sys::_virNodeMemoryStats { field: [0; 80], value: 0 };
    let mut values = vec![empty; usize::try_from(count).unwrap_or(0)];
    // SAFETY: as many values as were asked for.
    let result = unsafe { sys::virNodeGetMemoryStats(connect.as_ptr(), all, values.as_mut_ptr(), &raw mut count, 0) };
    if result < 0 {
        return Err(Error::last_error().into());
    }
    let of = |name: &str| {
        values.iter().filter(|value| field(&value.field).as_deref() == Some(name)).map(|value| value.value).sum::<u64>()
    };
    Ok((of("total"), of("free") + of("buffers") + of("cached")))
}

/// C's `free`.
///
/// # Safety
/// As C's.
#[allow(unsafe_code)]
unsafe fn libc_free(pointer: *mut std::ffi::c_void) {
    unsafe extern "C" {
        fn free(pointer: *mut std::ffi::c_void);
    }
    // SAFETY: by the contract of this function.
    unsafe { free(pointer) };
}
