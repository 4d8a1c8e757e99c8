//! Which addresses the host may connect to in the name of an instance.
//!
//! A driver says where an instance is. Were it believed without a check, a port could lead to what listens on the host itself, or to
//! the service that hands out the host's own credentials.

use ostler_egress::AddressClass;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the host's own addresses are taken to be the same.
const KEPT: Duration = Duration::from_secs(5);

type Own = Arc<HashSet<IpAddr>>;

/// The check.
pub(super) struct Reach {
    /// Whether an instance may be on this host.
    here: bool,
    own: Mutex<Option<(Instant, Own)>>,
}

impl Reach {
    pub(super) fn new(here: bool) -> Self {
        Self { here, own: Mutex::new(None) }
    }

    /// Why this address is not connected to, if it is not.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), String> {
        let own = if self.here { Own::default() } else { self.own()? };
        match refusal(address, &own, self.here) {
            Some(what) => Err(format!("the instance's address {address} is {what}, to which nothing is forwarded")),
            None => Ok(()),
        }
    }

    /// The addresses of this host's network cards, which come and go.
    fn own(&self) -> Result<Own, String> {
        let mut known = self.own.lock();
        if let Some((at, own)) = &*known
            && at.elapsed() < KEPT
        {
            return Ok(Arc::clone(own));
        }
        let interfaces = if_addrs::get_if_addrs().map_err(|error| format!("the host's own addresses are not known: {error}"))?;
        let own: Own = Arc::new(interfaces.iter().map(|interface| interface.ip().to_canonical()).collect());
        *known = Some((Instant::now(), Arc::clone(&own)));
        Ok(own)
    }
}

/// What is wrong with an address. Networks for documentation and benchmarks are not: laboratories use them.
fn refusal(address: IpAddr, own: &HashSet<IpAddr>, here: bool) -> Option<&'static str> {
    match AddressClass::of(address) {
        AddressClass::Loopback if !here => Some("a loopback address"),
        AddressClass::LinkLocal => Some("a link-local address"),
        AddressClass::Metadata => Some("the address of a metadata service"),
        AddressClass::Multicast => Some("a multicast address"),
        AddressClass::Unspecified => Some("the unspecified address"),
        AddressClass::Broadcast => Some("the broadcast address"),
        _ if own.contains(&address.to_canonical()) => Some("the host's own address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn addresses() {
        let own = HashSet::from(["10.1.2.3", "fd00::2"].map(|address| address.parse().unwrap()));
        let table = [
            ("10.1.2.4", None),
            ("192.168.122.7", None),
            ("100.64.0.9", None),
            ("8.8.8.8", None),
            ("198.51.100.7", None),
            ("198.18.0.7", None),
            ("fd00::3", None),
            ("2001:db8::7", None),
            ("::ffff:10.1.2.4", None),
            ("127.0.0.1", Some("a loopback address")),
            ("127.9.9.9", Some("a loopback address")),
            ("::1", Some("a loopback address")),
            ("::ffff:127.0.0.1", Some("a loopback address")),
            ("64:ff9b::127.0.0.1", Some("a loopback address")),
            ("169.254.0.7", Some("a link-local address")),
            ("fe80::7", Some("a link-local address")),
            ("169.254.169.254", Some("the address of a metadata service")),
            ("fd00:ec2::254", Some("the address of a metadata service")),
            ("::ffff:169.254.169.254", Some("the address of a metadata service")),
            ("224.0.0.1", Some("a multicast address")),
            ("ff02::1", Some("a multicast address")),
            ("0.0.0.0", Some("the unspecified address")),
            ("::", Some("the unspecified address")),
            ("255.255.255.255", Some("the broadcast address")),
            ("10.1.2.3", Some("the host's own address")),
            ("::ffff:10.1.2.3", Some("the host's own address")),
            ("fd00::2", Some("the host's own address")),
        ];
        for (address, expected) in table {
            let address = address.parse().unwrap();
            assert_eq!(refusal(address, &own, false), expected, "{address}");
            let here = expected.filter(|what| *what != "a loopback address");
            assert_eq!(refusal(address, &own, true), here, "{address}");
        }
    }

    #[test]
    fn the_addresses_of_this_machine_are_its_own() {
        let reach = Reach::new(false);
        let loopback = "127.0.0.1".parse().unwrap();
        assert!(reach.own().unwrap().contains(&loopback));
        assert_eq!(
            reach.check(loopback).unwrap_err(),
            "the instance's address 127.0.0.1 is a loopback address, to which nothing is forwarded"
        );
        for address in reach.own().unwrap().iter() {
            assert!(reach.check(*address).is_err(), "{address}");
        }
    }
}
