//! Under which address clients know this server, for links.

use crate::config::Server;
use crate::listen::PeerInfo;
use http::header::{FORWARDED, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use url::Url;

const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether nobody on the way can have read a request: it came by TLS, from this machine, or to a trusted proxy by TLS.
pub(super) fn is_confidential(headers: &HeaderMap, peer: &PeerInfo, known: Known<'_>) -> bool {
    let address = peer.addr.ip().to_canonical();
    if peer.tls.is_some() {
        return true;
    }
    if !known.trusted.iter().any(|network| network.contains(&address)) {
        return address.is_loopback();
    }
    let mut origin = Origin { scheme: "http", host: String::new(), port: None };
    forwarded(&mut origin, headers);
    // A proxy on this machine that says nothing of itself is a program like others.
    let says_nothing = [FORWARDED, PROTO].iter().all(|name| !headers.contains_key(name));
    origin.scheme == "https" || (address.is_loopback() && says_nothing)
}

/// What the configuration says about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'k> {
    /// Networks of proxies whose word counts.
    pub(super) trusted: &'k [IpNet],
    /// `server.public_url`.
    pub(super) public: Option<&'k Url>,
}

impl<'k> Known<'k> {
    /// Of this configuration.
    pub(super) fn of(server: &'k Server) -> Self {
        Self { trusted: &server.trusted_proxies, public: server.public_url.as_ref() }
    }
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: &'static str,
    host: String,
    port: Option<u16>,
}

/// `scheme://host[:port]`, without a slash at its end.
pub(super) fn origin(parts: &Parts, peer: &PeerInfo, known: Known<'_>) -> String {
    let mut origin = match known.public.and_then(of_url) {
        Some(origin) => origin,
        None => of_request(parts, peer),
    };
    let address = peer.addr.ip().to_canonical();
    if known.trusted.iter().any(|network| network.contains(&address)) {
        forwarded(&mut origin, &parts.headers);
    }
    let default = if origin.scheme == "https" { 443 } else { 80 };
    match origin.port.filter(|port| *port != default) {
        Some(port) => format!("{}://{}:{port}", origin.scheme, origin.host),
        None => format!("{}://{}", origin.scheme, origin.host),
    }
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| text.eq_ignore_ascii_case(known))
}

fn of_url(url: &Url) -> Option<Origin> {
    Some(Origin { scheme: scheme(url.scheme())?, host: url.host_str()?.to_owned(), port: url.port() })
}

/// By `Host` (HTTP/2: `:authority`), or else by the address of the connection.
fn of_request(parts: &Parts, peer: &PeerInfo) -> Origin {
    let scheme = if peer.tls.is_some() { "https" } else { "http" };
    let named = parts.uri.authority().map(Authority::as_str).or_else(|| text(&parts.headers, &HOST));
    let (host, port) = named.and_then(host_and_port).unwrap_or_else(|| {
        let ip = peer.local.ip().to_canonical();
        (if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }, Some(peer.local.port()))
    });
    Origin { scheme, host, port }
}

/// What a proxy says, in the order of precedence of the original's framework. Of several proxies' words the first counts: it is
/// of the one that the client spoke to.
fn forwarded(origin: &mut Origin, headers: &HeaderMap) {
    const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
    const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
    let (proto, host, port) = match text(headers, &FORWARDED) {
        Some(forwarded) => {
            let first = forwarded.split(',').next().unwrap_or_default();
            let part = |name: &str| {
                let mut pairs = first.split(';').filter_map(|pair| pair.split_once('='));
                pairs.find(|(known, _)| known.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().trim_matches('"'))
            };
            (part("proto"), part("host"), None)
        }
        None => {
            let first = |name| text(headers, name).map(|value| value.split(',').next().unwrap_or_default().trim());
            (first(&PROTO), first(&FORWARDED_HOST), first(&PORT))
        }
    };
    if let Some(proto) = proto.and_then(scheme) {
        (origin.scheme, origin.port) = (proto, None);
    }
    if let Some((host, port)) = host.and_then(host_and_port) {
        (origin.host, origin.port) = (host, port);
    }
    if let Some(port) = port.and_then(|port| port.parse().ok()) {
        origin.port = Some(port);
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.trim().is_empty())
}

/// A host and perhaps a port; nothing for what is neither, or more.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = text.trim().parse().ok()?;
    let host = authority.host();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let whole = authority.as_str().strip_prefix(host)?;
    let port = authority.port_u16();
    if host.is_empty() || !host.chars().all(plain) || !(whole.is_empty() || whole == ":" || port.is_some()) {
        return None;
    }
    Some((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::listen::TlsInfo;
    use http::Request;
    use std::sync::Arc;

    const PROXY: &str = "10.0.0.1:9";

    fn request(peer: &str, tls: bool, headers: &[(&str, &str)]) -> (Parts, PeerInfo) {
        let mut request = Request::builder().uri("/deployments");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let tls = tls.then(|| Arc::new(TlsInfo { client_certificates: Vec::new(), server_name: None }));
        (parts, PeerInfo { addr: peer.parse().unwrap(), local: "127.0.0.1:5050".parse().unwrap(), tls })
    }

    fn shown(peer: &str, tls: bool, public: Option<&str>, headers: &[(&str, &str)]) -> String {
        let (parts, peer) = request(peer, tls, headers);
        let public = public.map(|url| Url::parse(url).unwrap());
        let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        origin(&parts, &peer, Known { trusted: &trusted, public: public.as_ref() })
    }

    #[test]
    fn passwords_are_safe_by_tls_and_on_this_machine() {
        let https = &[("x-forwarded-proto", "https")][..];
        let trusted: [IpNet; 2] = ["10.0.0.0/8".parse().unwrap(), "127.0.0.9".parse::<std::net::IpAddr>().unwrap().into()];
        let public = Url::parse("https://ostler.example").unwrap();
        for (peer, tls, headers, expected) in [
            ("192.0.2.7:1", true, &[][..], true),
            ("192.0.2.7:1", false, &[], false),
            ("192.0.2.7:1", false, https, false),
            ("127.0.0.1:1", false, &[], true),
            ("[::ffff:127.0.0.1]:1", false, &[], true),
            (PROXY, false, &[], false),
            (PROXY, false, https, true),
            (PROXY, false, &[("forwarded", "proto=https")], true),
            (PROXY, false, &[("forwarded", "proto=http"), ("x-forwarded-proto", "https")], false),
            ("127.0.0.9:1", false, &[], true),
            ("127.0.0.9:1", false, &[("x-forwarded-proto", "http")], false),
            ("127.0.0.9:1", false, https, true),
        ] {
            let (parts, peer) = request(peer, tls, headers);
            let known = Known { trusted: &trusted, public: Some(&public) };
            assert_eq!(is_confidential(&parts.headers, &peer, known), expected, "{peer:?} {headers:?}");
        }
    }

    #[test]
    fn without_a_proxy_the_host_decides() {
        for (tls, host, expected) in [
            (false, "localhost:8080", "http://localhost:8080"),
            (false, "Example.ORG", "http://example.org"),
            (false, "example.org:80", "http://example.org"),
            (true, "example.org:443", "https://example.org"),
            (true, "example.org:80", "https://example.org:80"),
            (false, "[::1]:5050", "http://[::1]:5050"),
            // No host: the address of the connection.
            (false, "a@b", "http://127.0.0.1:5050"),
            (false, "x/y", "http://127.0.0.1:5050"),
            (false, "\"><script>", "http://127.0.0.1:5050"),
        ] {
            assert_eq!(shown("192.0.2.7:1", tls, None, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(shown("192.0.2.7:1", false, None, &[]), "http://127.0.0.1:5050");
        let public = Some("https://ostler.example:5555");
        assert_eq!(shown("192.0.2.7:1", false, public, &[("host", "other")]), "https://ostler.example:5555");
    }

    #[test]
    fn nobody_but_trusted_proxies_is_believed() {
        for headers in [
            &[("host", "here:1"), ("forwarded", "host=evil.example;proto=https")][..],
            &[("host", "here:1"), ("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "https")],
        ] {
            assert_eq!(shown("192.0.2.7:1", false, None, headers), "http://here:1");
            assert_eq!(shown(PROXY, false, None, headers), "https://evil.example");
            assert_eq!(shown("[::ffff:10.0.0.1]:9", false, None, headers), "https://evil.example");
            assert_eq!(shown(PROXY, false, Some("https://public.example"), headers), "https://evil.example");
        }
    }

    #[test]
    fn what_proxies_say() {
        for (headers, expected) in [
            (&[("x-forwarded-proto", "https")][..], "https://here"),
            (&[("x-forwarded-port", "8443")], "http://here:8443"),
            (&[("x-forwarded-host", "p.example:8080")], "http://p.example:8080"),
            (&[("x-forwarded-host", "p.example, inner:1")], "http://p.example"),
            (
                &[("x-forwarded-host", "p.example"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "443")],
                "https://p.example",
            ),
            (&[("x-forwarded-host", "p.example:1"), ("x-forwarded-port", "8443")], "http://p.example:8443"),
            (&[("x-forwarded-host", "[fd00::1]:8443")], "http://[fd00::1]:8443"),
            (&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a b"), ("x-forwarded-port", "x")], "http://here:5050"),
            (&[("forwarded", "for=192.0.2.1;host=\"p.example:8443\";proto=https, host=inner")], "https://p.example:8443"),
            (&[("forwarded", "Proto=HTTPS; Host=p.example")], "https://p.example"),
            // It comes before the others.
            (&[("forwarded", "host=p.example"), ("x-forwarded-host", "q.example")], "http://p.example"),
            (&[("forwarded", "for=192.0.2.1")], "http://here:5050"),
        ] {
            let mut all = vec![("host", "here:5050")];
            all.extend_from_slice(headers);
            assert_eq!(shown(PROXY, false, None, &all), expected, "{headers:?}");
        }
    }
}
