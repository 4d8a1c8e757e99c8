//! Origins: scheme, host and port, as an operator writes them and as a request names them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::Uri;

/// The scheme of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`, default port 80.
    Http,
    /// `https`, default port 443.
    Https,
}

impl Scheme {
    /// The port that is meant when none is written.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// `http` or `https`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }
}

/// The hosts an [`Origin`] covers. Names are lower case and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// One name.
    Name(String),
    /// One address, written literally. A name that resolves to it does not match, nor does another spelling of it in IPv6.
    Address(IpAddr),
    /// Every name with one or more labels before this one (`*.example.org` is `Below("example.org")`); not the name itself.
    Below(String),
}

/// One entry of an allow-list: `https://cloud.example:5000`, `http://[fd00::1]`, `https://*.example.org`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: HostPattern,
    port: u16,
}

/// Why a text is not an [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// No `://`.
    #[error("an origin starts with \"http://\" or \"https://\"")]
    NoScheme,
    /// Neither `http` nor `https`.
    #[error("the scheme of an origin is \"http\" or \"https\", not {0:?}")]
    Scheme(String),
    /// `user@` before the host.
    #[error("an origin has no user information: remove what is before \"@\"")]
    UserInfo,
    /// Something after the port, be it only a slash.
    #[error("an origin ends after the host and port: remove the path, query or fragment, the slash included")]
    Path,
    /// An unacceptable host.
    #[error("host: {0}")]
    Host(&'static str),
    /// `*` anywhere but as the whole first label.
    #[error("\"*\" stands only for whole labels at the start, as in \"https://*.example.org\"")]
    Wildcard,
    /// The port is not a number from 1 to 65535.
    #[error("the port is a number from 1 to 65535")]
    Port,
}

impl Origin {
    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host or hosts.
    #[must_use]
    pub fn host(&self) -> &HostPattern {
        &self.host
    }

    /// The port, the scheme's default if none was written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a request to `uri` goes to this origin. Case of the host and a trailing dot make no difference. A URI that
    /// [`Client::send`](crate::Client::send) would refuse as malformed (user information, a relative one) matches nothing.
    #[must_use]
    pub fn matches(&self, uri: &Uri) -> bool {
        Destination::from_uri(uri).is_ok_and(|destination| self.covers(&destination))
    }

    pub(crate) fn covers(&self, to: &Destination) -> bool {
        self.scheme == to.scheme
            && self.port == to.port
            && match (&self.host, &to.host) {
                (HostPattern::Name(pattern), Host::Name(name)) => pattern == name,
                (HostPattern::Address(pattern), Host::Address(address)) => pattern == address,
                (HostPattern::Below(suffix), Host::Name(name)) => name
                    .strip_suffix(suffix.as_str())
                    .and_then(|labels| labels.strip_suffix('.'))
                    .is_some_and(|labels| !labels.is_empty()),
                _ => false,
            }
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::NoScheme)?;
        let scheme = Scheme::parse(scheme).ok_or_else(|| OriginError::Scheme(scheme.chars().take(32).collect()))?;
        let (host, port) = split_port(rest, scheme).map_err(|problem| match problem {
            AuthorityProblem::UserInfo => OriginError::UserInfo,
            AuthorityProblem::Path => OriginError::Path,
            AuthorityProblem::Port => OriginError::Port,
        })?;
        let host = match host.strip_prefix("*.") {
            Some(suffix) => match Host::parse(suffix).map_err(|reason| wildcard_or(suffix, reason))? {
                Host::Name(name) => HostPattern::Below(name),
                Host::Address(_) => return Err(OriginError::Wildcard),
            },
            None => match Host::parse(host).map_err(|reason| wildcard_or(host, reason))? {
                Host::Name(name) => HostPattern::Name(name),
                Host::Address(address) => HostPattern::Address(address),
            },
        };
        Ok(Self { scheme, host, port })
    }
}

fn wildcard_or(host: &str, reason: &'static str) -> OriginError {
    if host.contains('*') { OriginError::Wildcard } else { OriginError::Host(reason) }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            HostPattern::Name(name) => f.write_str(name),
            HostPattern::Address(address) => write_address(f, *address),
            HostPattern::Below(suffix) => write!(f, "*.{suffix}"),
        }?;
        write_port(f, self.scheme, self.port)
    }
}

fn write_address(f: &mut fmt::Formatter<'_>, address: IpAddr) -> fmt::Result {
    match address {
        IpAddr::V4(v4) => write!(f, "{v4}"),
        IpAddr::V6(v6) => write!(f, "[{v6}]"),
    }
}

fn write_port(f: &mut fmt::Formatter<'_>, scheme: Scheme, port: u16) -> fmt::Result {
    if port == scheme.default_port() { Ok(()) } else { write!(f, ":{port}") }
}

/// The host of a request: a name in lower case without a trailing dot, or a literal address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Parses a host as it stands in an authority, IPv6 in brackets.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or("\"[\" without \"]\"")?;
            return inner
                .parse::<Ipv6Addr>()
                .map(|v6| Self::Address(v6.into()))
                .map_err(|_| "not an IPv6 address between the brackets");
        }
        if text.contains(':') {
            return Err("an IPv6 address stands in brackets");
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(v4) = name.parse::<Ipv4Addr>() {
            return Ok(Self::Address(v4.into()));
        }
        if name.is_empty() {
            return Err("missing");
        }
        if name.len() > 253 {
            return Err("longer than 253 characters");
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err("every label has 1 to 63 characters");
            }
            if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
                return Err("only letters, digits, \"-\", \"_\" and \".\" (write other scripts in their \"xn--\" form)");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err("no label starts or ends with \"-\"");
            }
        }
        // System resolvers read `127.1`, `0x7f000001` and `2130706433` as addresses: no name ends so.
        let last = name.rsplit('.').next().unwrap_or(name);
        let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
        if last.bytes().all(|byte| byte.is_ascii_digit())
            || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err("a name cannot end in a number, and an IPv4 address has four decimal numbers");
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write_address(f, *address),
        }
    }
}

/// Where a request goes, normalised. Everything that decides (allow-list, pool, connector, `Host`) sees this one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Destination {
    pub(crate) fn from_uri(uri: &Uri) -> Result<Self, &'static str> {
        let scheme = uri.scheme_str().ok_or("the URI is not absolute")?;
        let scheme = Scheme::parse(scheme).ok_or("the scheme is neither http nor https")?;
        let authority = uri.authority().ok_or("the URI has no host")?;
        let (host, port) = split_port(authority.as_str(), scheme).map_err(|problem| match problem {
            AuthorityProblem::UserInfo => "the URI has user information",
            AuthorityProblem::Path => "the authority is malformed",
            AuthorityProblem::Port => "the port is not a number from 1 to 65535",
        })?;
        let host = Host::parse(host).map_err(|_| "the host is malformed")?;
        Ok(Self { scheme, host, port })
    }

    /// Host and, unless it is the default, port.
    pub(crate) fn authority(&self) -> String {
        struct Authority<'a>(&'a Destination);
        impl fmt::Display for Authority<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.host)?;
                write_port(f, self.0.scheme, self.0.port)
            }
        }
        Authority(self).to_string()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

enum AuthorityProblem {
    UserInfo,
    Path,
    Port,
}

/// Splits `host[:port]`, strictly: nothing is guessed when the port is not a number.
fn split_port(text: &str, scheme: Scheme) -> Result<(&str, u16), AuthorityProblem> {
    let end = text.find(['/', '?', '#', '\\']).unwrap_or(text.len());
    if text.get(..end).is_some_and(|authority| authority.contains('@')) {
        return Err(AuthorityProblem::UserInfo);
    }
    if end < text.len() {
        return Err(AuthorityProblem::Path);
    }
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = text.get(after_brackets..).and_then(|rest| rest.find(':')).map(|at| at + after_brackets) else {
        return Ok((text, scheme.default_port()));
    };
    let (host, port) = text.split_at(colon);
    let port = port.get(1..).unwrap_or_default();
    // A second colon means an IPv6 address without brackets: let the host's error say so.
    if port.contains(':') {
        return Ok((text, scheme.default_port()));
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AuthorityProblem::Port);
    }
    match port.parse() {
        Ok(port) if port != 0 => Ok((host, port)),
        _ => Err(AuthorityProblem::Port),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::{HostPattern, Origin, OriginError};

    #[test]
    fn accepted_and_shown_normalised() {
        let table = [
            ("https://cloud.example:5000", "https://cloud.example:5000"),
            ("https://cloud.example", "https://cloud.example"),
            ("https://cloud.example:443", "https://cloud.example"),
            ("http://cloud.example:443", "http://cloud.example:443"),
            ("HTTP://Cloud.Example.:80", "http://cloud.example"),
            ("http://10.0.0.1:8774", "http://10.0.0.1:8774"),
            ("http://[FD00::1]", "http://[fd00::1]"),
            ("https://[fd00:0::1]:8443", "https://[fd00::1]:8443"),
            ("https://*.Example.org", "https://*.example.org"),
            ("http://*.internal:8080", "http://*.internal:8080"),
            ("http://my_host", "http://my_host"),
        ];
        for (text, shown) in table {
            let origin: Origin = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(origin.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Origin>().unwrap(), origin, "{text}");
        }
        let wild: Origin = "https://*.example.org".parse().unwrap();
        assert_eq!((wild.host(), wild.port()), (&HostPattern::Below("example.org".to_owned()), 443));
    }

    #[test]
    fn refused_with_the_reason() {
        use OriginError::{NoScheme, Path, Port, Scheme, UserInfo, Wildcard};
        let table = [
            ("cloud.example", NoScheme),
            ("", NoScheme),
            ("ftp://cloud.example", Scheme("ftp".to_owned())),
            ("*://cloud.example", Scheme("*".to_owned())),
            ("https://user@cloud.example", UserInfo),
            ("https://user:secret@cloud.example/", UserInfo),
            ("https://cloud.example/", Path),
            ("https://cloud.example/v3", Path),
            ("https://cloud.example?x=1", Path),
            ("https://cloud.example#x", Path),
            ("https://cloud.example\\x", Path),
            ("https://cloud.example:", Port),
            ("https://cloud.example:0", Port),
            ("https://cloud.example:65536", Port),
            ("https://cloud.example:+80", Port),
            ("https://cloud.example:*", Port),
            ("https://*", Wildcard),
            ("https://*example.org", Wildcard),
            ("https://a.*.example.org", Wildcard),
            ("https://*.*.example.org", Wildcard),
            ("https://*.10.0.0.1", Wildcard),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
        }
        let long = format!("https://{}", "a".repeat(64));
        let hosts = [
            "https://",
            "https://:80",
            "https://.",
            "https://a..b",
            "https://-a",
            "https://a-",
            "https://a b",
            "https://ä.example",
            "https://fd00::1",
            "https://[fd00::1",
            "https://[fe80::1%25eth0]",
            "https://[127.0.0.1]",
            "https://[]",
            "https://127.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://0x7f.0.0.0x1",
            "https://127.0.0.01",
            "https://1.2.3.4.5",
            "https://%31",
            "https://a\tb",
            &long,
        ];
        for text in hosts {
            assert!(matches!(text.parse::<Origin>(), Err(OriginError::Host(_))), "{text}");
        }
    }

    #[test]
    fn matching() {
        let table = [
            ("https://cloud.example", "https://cloud.example/v3?x=1", true),
            ("https://cloud.example", "https://CLOUD.example.:443/", true),
            ("https://cloud.example", "HTTPS://cloud.example", true),
            ("https://cloud.example", "http://cloud.example", false),
            ("https://cloud.example", "https://cloud.example:444", false),
            ("https://cloud.example", "https://cloud.example.evil", false),
            ("https://cloud.example", "https://sub.cloud.example", false),
            ("https://cloud.example", "https://cloud.example:443@evil.example", false),
            ("https://cloud.example", "https://user@cloud.example", false),
            ("https://cloud.example", "https://cloud.example:99999", false),
            ("https://cloud.example", "/v3", false),
            ("http://cloud.example:8080", "http://cloud.example:8080/", true),
            ("http://cloud.example:8080", "http://cloud.example/", false),
            ("https://*.example.org", "https://a.example.org", true),
            ("https://*.example.org", "https://a.b.example.org", true),
            ("https://*.example.org", "https://A.Example.ORG.", true),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://evilexample.org", false),
            ("https://*.example.org", "https://a.example.org.evil", false),
            ("http://127.0.0.1", "http://127.0.0.1/", true),
            ("http://127.0.0.1", "http://127.0.0.1./", true),
            ("http://127.0.0.1", "http://127.1/", false),
            ("http://127.0.0.1", "http://[::ffff:127.0.0.1]/", false),
            ("http://127.0.0.1", "http://localhost/", false),
            ("http://[fd00::1]:80", "http://[fd00:0:0::1]/", true),
            ("http://[fd00::1]:80", "http://[fd00::2]/", false),
        ];
        for (origin, uri, expected) in table {
            let matches = uri.parse().is_ok_and(|uri| origin.parse::<Origin>().unwrap().matches(&uri));
            assert_eq!(matches, expected, "{origin} and {uri}");
        }
    }
}
