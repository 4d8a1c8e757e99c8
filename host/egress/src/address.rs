//! What kind of address a name resolved to, and which kinds are acceptable.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of an IP address, after the registries of RFC 6890 (special-purpose addresses).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressClass {
    /// Globally routed unicast.
    Public,
    /// This machine: `127.0.0.0/8`, `::1`.
    Loopback,
    /// The operator's networks: RFC 1918, shared address space `100.64.0.0/10` (RFC 6598), unique local `fc00::/7`.
    Private,
    /// The local link: `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// A cloud's instance metadata service, wherever that cloud has put it. It hands out credentials to whoever asks.
    Metadata,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `0.0.0.0`, `::`; most systems take it to mean this machine.
    Unspecified,
    /// `255.255.255.255`.
    Broadcast,
    /// Documentation, benchmarking, protocol assignments and everything that is not allocated.
    Reserved,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Multicast => "multicast",
            Self::Unspecified => "unspecified",
            Self::Broadcast => "broadcast",
            Self::Reserved => "reserved",
        })
    }
}

impl AddressClass {
    /// The class of `address`. An IPv6 address that carries an IPv4 address (mapped, compatible, translated, NAT64, 6to4) has
    /// the class of what it carries, since that is where the packets end up.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    /// Whether a connection to it can be right at all. What is not usable is refused whatever a policy says.
    #[must_use]
    pub fn is_usable(self) -> bool {
        !matches!(self, Self::Multicast | Self::Unspecified | Self::Broadcast | Self::Reserved)
    }

    fn of_v4(v4: Ipv4Addr) -> Self {
        match v4.octets() {
            [0, 0, 0, 0] => Self::Unspecified,
            [255, 255, 255, 255] => Self::Broadcast,
            // AWS, Azure, Google, OpenStack and most others; Alibaba; Azure's wire server; Oracle.
            [169, 254, 169, 254] | [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => Self::Metadata,
            [127, ..] => Self::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Self::Private,
            [169, 254, ..] => Self::LinkLocal,
            [224..=239, ..] => Self::Multicast,
            // "This network", protocol assignments, documentation, 6to4 relays, benchmarking, class E.
            [0, ..]
            | [192, 0, 0 | 2, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [240..=255, ..] => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_v6(v6: Ipv6Addr) -> Self {
        if let Some(v4) = carried_v4(v6) {
            return Self::of_v4(v4);
        }
        match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // AWS, Google, Scaleway.
            [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254]
            | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254]
            | [0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042] => Self::Metadata,
            [0xfc00..=0xfdff, ..] => Self::Private,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::Multicast,
            // Within global unicast: protocol assignments with Teredo (2001::/23), documentation (2001:db8::/32, 3fff::/20).
            [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Self::Reserved,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Reserved,
        }
    }
}

/// The IPv4 address inside an IPv6 address, for the forms in which a router or the kernel would use it.
fn carried_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match v6.segments() {
        // `::` and `::1` are addresses of their own, not IPv4-compatible ones.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Compatible `::/96`, mapped `::ffff:0:0/96`, translated `::ffff:0:0:0/96`, NAT64 `64:ff9b::/96`.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(join(high, low))
        }
        // 6to4.
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// Which resolved addresses a client may connect to. Public addresses always; unusable ones ([`AddressClass::is_usable`]) never.
///
/// An origin of the allow-list that names an address literally, or `localhost`, is the operator's explicit will: that address
/// (loopback addresses, for `localhost`) is acceptable for that origin without any flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Accept [`AddressClass::Loopback`].
    pub loopback: bool,
    /// Accept [`AddressClass::Private`].
    pub private: bool,
    /// Accept [`AddressClass::LinkLocal`] and [`AddressClass::Metadata`].
    pub link_local: bool,
}

impl AddressPolicy {
    /// Public addresses alone: for whatever a user may name (images, callbacks).
    pub const PUBLIC_ONLY: Self = Self { loopback: false, private: false, link_local: false };
    /// Public and private addresses: for a provider that the operator has configured, often in the operator's own network.
    pub const PROVIDER: Self = Self { loopback: false, private: true, link_local: false };

    /// Whether addresses of this class are acceptable.
    #[must_use]
    pub fn permits(self, class: AddressClass) -> bool {
        match class {
            AddressClass::Public => true,
            AddressClass::Loopback => self.loopback,
            AddressClass::Private => self.private,
            AddressClass::LinkLocal | AddressClass::Metadata => self.link_local,
            AddressClass::Multicast | AddressClass::Unspecified | AddressClass::Broadcast | AddressClass::Reserved => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::AddressClass::{Broadcast, LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved, Unspecified};
    use super::{AddressClass, AddressPolicy};

    #[test]
    fn classes() {
        let table = [
            ("1.1.1.1", Public),
            ("8.8.8.8", Public),
            ("9.255.255.255", Public),
            ("11.0.0.0", Public),
            ("172.15.255.255", Public),
            ("172.32.0.0", Public),
            ("192.167.255.255", Public),
            ("192.169.0.0", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("169.253.255.255", Public),
            ("126.255.255.255", Public),
            ("128.0.0.0", Public),
            ("223.255.255.255", Public),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("100.127.255.255", Private),
            ("169.254.0.1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", Metadata),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("0.0.0.0", Unspecified),
            ("0.0.0.1", Reserved),
            ("255.255.255.255", Broadcast),
            ("240.0.0.1", Reserved),
            ("192.0.0.1", Reserved),
            ("192.0.2.1", Reserved),
            ("198.51.100.1", Reserved),
            ("203.0.113.1", Reserved),
            ("198.18.0.1", Reserved),
            ("198.19.255.255", Reserved),
            ("2606:4700::1111", Public),
            ("2001:4860:4860::8888", Public),
            ("::", Unspecified),
            ("::1", Loopback),
            ("fc00::1", Private),
            ("fdff::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Reserved),
            ("ff02::1", Multicast),
            ("2001:db8::1", Reserved),
            ("3fff::1", Reserved),
            ("2001::1", Reserved),
            ("100::1", Reserved),
            ("64:ff9b:1::1", Reserved),
            ("4000::1", Reserved),
            // Mapped, compatible, translated.
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:169.254.169.254", Metadata),
            ("::ffff:a00:1", Private),
            ("::ffff:8.8.8.8", Public),
            ("::127.0.0.1", Loopback),
            ("::10.0.0.1", Private),
            ("::2", Reserved),
            ("::ffff:0:127.0.0.1", Loopback),
            // NAT64, 6to4.
            ("64:ff9b::127.0.0.1", Loopback),
            ("64:ff9b::a9fe:a9fe", Metadata),
            ("64:ff9b::8.8.8.8", Public),
            ("2002:7f00:1::", Loopback),
            ("2002:a9fe:a9fe::1", Metadata),
            ("2002:c0a8:101::1", Private),
            ("2002:808:808::1", Public),
        ];
        for (address, class) in table {
            assert_eq!(AddressClass::of(address.parse().unwrap()), class, "{address}");
        }
    }

    #[test]
    fn policies() {
        let all = AddressPolicy { loopback: true, private: true, link_local: true };
        let table = [
            (Public, true, true, true),
            (Loopback, false, false, true),
            (Private, false, true, true),
            (LinkLocal, false, false, true),
            (Metadata, false, false, true),
            (Multicast, false, false, false),
            (Unspecified, false, false, false),
            (Broadcast, false, false, false),
            (Reserved, false, false, false),
        ];
        for (class, public_only, provider, everything) in table {
            assert_eq!(AddressPolicy::PUBLIC_ONLY.permits(class), public_only, "{class}");
            assert_eq!(AddressPolicy::PROVIDER.permits(class), provider, "{class}");
            assert_eq!(all.permits(class), everything, "{class}");
            assert_eq!(class.is_usable(), everything, "{class}");
        }
    }
}
