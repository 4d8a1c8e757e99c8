//! From an address to the response that has the content: redirects, each judged like the first address.

use crate::{Error, Settings};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use ostler_egress::{AddressClass, AddressPolicy, Allow, Client, ClientConfig, ResponseBody, Timeouts, empty};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// Bytes of an address.
const LONGEST: usize = 8 << 10;

/// The two ways out: to public addresses, and to the origins that the operator listed.
#[derive(Debug)]
pub(crate) struct Clients {
    public: Client,
    inside: Client,
    origins: Vec<ostler_egress::Origin>,
}

/// A response, and where it came from.
pub(crate) struct Landed {
    pub(crate) at: Url,
    pub(crate) response: Response<ResponseBody>,
}

impl Clients {
    /// Within a Tokio runtime.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let timeouts = Timeouts { between_bytes: settings.stall, first_byte: settings.stall, ..Timeouts::default() };
        let common = ClientConfig {
            max_response_bytes: Some(settings.max_bytes),
            max_connections: 64,
            timeouts,
            ..ClientConfig::default()
        };
        let public = ClientConfig { allow: Allow::Any, addresses: AddressPolicy::PUBLIC_ONLY, ..common.clone() };
        let inside = ClientConfig {
            allow: Allow::Origins(settings.inside.clone()),
            addresses: AddressPolicy { loopback: true, private: true, link_local: false },
            ..common
        };
        let client = |name, config: &ClientConfig| {
            Client::new(name, config).map_err(|error| Error::Io(std::io::Error::other(error.to_string())))
        };
        Ok(Self {
            public: client("images", &public)?,
            inside: client("images-inside", &inside)?,
            origins: settings.inside.clone(),
        })
    }

    /// Asks for the content of an address. `fields` tells what to ask for besides at an address on the way.
    pub(crate) async fn ask(&self, source: &Url, fields: impl Fn(&Url) -> HeaderMap) -> Result<Landed, Error> {
        let credentials = credentials(source)?;
        let mut at = bare(source);
        for _ in 0..=REDIRECTS {
            let uri = judge(&at, &self.origins)?;
            let inside = self.origins.iter().any(|origin| origin.matches(&uri));
            let client = if inside { &self.inside } else { &self.public };
            let mut request = Request::new(empty());
            *request.headers_mut() = fields(&at);
            // What is transferred is the file itself.
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("ostler"));
            if let Some(credentials) = &credentials
                && at.origin() == source.origin()
            {
                request.headers_mut().insert(AUTHORIZATION, credentials.clone());
            }
            *request.uri_mut() = uri;
            let response = client.send(request).await.map_err(|error| read(&error, &at))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Landed { at, response });
            }
            at = next(&at, response.headers().get(LOCATION))?;
        }
        Err(Error::refused(format!("the address of the image redirects more than {REDIRECTS} times")))
    }
}

/// Where a redirect leads.
fn next(at: &Url, location: Option<&HeaderValue>) -> Result<Url, Error> {
    let next = location.and_then(|target| target.to_str().ok()).and_then(|target| at.join(target).ok());
    let next = next.ok_or_else(|| Error::refused(format!("{} redirects to nowhere", place(at))))?;
    if at.scheme() == "https" && next.scheme() != "https" {
        return Err(Error::refused(format!("{} redirects from https to {}", place(at), next.scheme())));
    }
    Ok(bare(&next))
}

/// Whether an address may be fetched from, as far as it says itself; as the client wants it.
pub(crate) fn judge(at: &Url, inside: &[ostler_egress::Origin]) -> Result<Uri, Error> {
    if !matches!(at.scheme(), "http" | "https") {
        return Err(Error::refused("the address of an image must begin with http:// or https://"));
    }
    if at.as_str().len() > LONGEST {
        return Err(Error::refused("the address of the image is too long"));
    }
    let uri: Uri = bare(at).as_str().parse().map_err(|_| Error::refused("the address of the image is malformed"))?;
    if inside.iter().any(|origin| origin.matches(&uri)) {
        return Ok(uri);
    }
    let public = match at.host() {
        None => return Err(Error::refused("the address of the image has no host")),
        Some(Host::Domain(name)) => !name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => AddressClass::of(address.into()) == AddressClass::Public,
        Some(Host::Ipv6(address)) => AddressClass::of(address.into()) == AddressClass::Public,
    };
    if public { Ok(uri) } else { Err(not_public(at)) }
}

/// Nobody learns from here what a name inside resolves to.
fn not_public(at: &Url) -> Error {
    Error::refused(format!("images are fetched from public addresses only, and {} has none", place(at)))
}

/// An address without credentials and fragment.
pub(crate) fn bare(at: &Url) -> Url {
    let mut bare = at.clone();
    bare.set_fragment(None);
    // Neither fails where there is a host.
    let _ = (bare.set_username(""), bare.set_password(None));
    bare
}

/// Scheme, host and port, for people.
pub(crate) fn place(at: &Url) -> String {
    at.origin().ascii_serialization()
}

/// The credentials in an address, as Basic authentication (RFC 7617).
fn credentials(source: &Url) -> Result<Option<HeaderValue>, Error> {
    if source.username().is_empty() && source.password().is_none() {
        return Ok(None);
    }
    let mut text: Vec<u8> = percent_decode_str(source.username()).collect();
    text.push(b':');
    text.extend(percent_decode_str(source.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(text)))
        .map_err(|_| Error::refused("the credentials in the address of the image are malformed"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What an error on the way means.
pub(crate) fn read(error: &ostler_egress::Error, at: &Url) -> Error {
    use ostler_egress::Error as Egress;
    match error {
        Egress::Address { .. } | Egress::Denied { .. } => not_public(at),
        Egress::TooLarge { what: ostler_egress::Part::ResponseBody, limit } => too_large(*limit),
        Egress::BadRequest { .. } | Egress::TooLarge { .. } | Egress::Tls { certificate: true, .. } => {
            Error::refused(format!("{}: {error}", place(at)))
        }
        _ => Error::interrupted(format!("{}: {error}", place(at))),
    }
}

pub(crate) fn too_large(limit: u64) -> Error {
    Error::refused(format!("the image is larger than the {} that may be fetched", crate::shown(limit)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_address_says_whether_it_is_public() {
        let inside = ["http://10.0.0.1:8080".parse().unwrap(), "http://mirror.lan".parse().unwrap()];
        for (address, permitted) in [
            ("https://images.example/a.img", true),
            ("http://images.example:8080/a.img?x=y#z", true),
            ("http://8.8.8.8/a.img", true),
            ("http://user:secret@images.example/a.img", true),
            ("http://10.0.0.1:8080/a.img", true),
            ("http://mirror.lan/a.img", true),
            ("http://10.0.0.1/a.img", false),
            ("http://10.0.0.2:8080/a.img", false),
            ("http://127.0.0.1/a.img", false),
            ("http://127.1/a.img", false),
            ("http://2130706433/a.img", false),
            ("http://0x7f.0.0.1/a.img", false),
            ("http://localhost/a.img", false),
            ("http://LOCALHOST./a.img", false),
            ("http://0.0.0.0/a.img", false),
            ("http://[::1]/a.img", false),
            ("http://[::ffff:127.0.0.1]/a.img", false),
            ("http://169.254.169.254/latest/meta-data", false),
            ("http://[fd00:ec2::254]/latest", false),
            ("file:///etc/shadow", false),
            ("ftp://images.example/a.img", false),
            ("data:text/plain,a", false),
        ] {
            let judged = judge(&address.parse().unwrap(), &inside);
            assert_eq!(judged.is_ok(), permitted, "{address}: {judged:?}");
            assert!(!format!("{judged:?}").contains("secret"), "{judged:?}");
        }
    }

    #[test]
    fn a_redirect_stays_as_safe_as_it_was() {
        for (at, location, expected) in [
            ("https://a.example/x", "https://b.example/y", Some("https://b.example/y")),
            ("https://a.example/x", "/y?z", Some("https://a.example/y?z")),
            ("http://a.example/x", "https://a.example/x", Some("https://a.example/x")),
            ("http://a.example/x", "http://u:p@b.example/x#f", Some("http://b.example/x")),
            ("https://a.example/x", "http://a.example/x", None),
            ("https://a.example/x", "file:///etc/shadow", None),
        ] {
            let next = next(&at.parse().unwrap(), Some(&location.parse().unwrap()));
            assert_eq!(next.ok().map(String::from).as_deref(), expected, "{at} {location}");
        }
        assert!(next(&"https://a.example/x".parse().unwrap(), None).is_err());
    }

    #[test]
    fn credentials_go_into_a_field() {
        let field = credentials(&"https://me%40x:p%3Aw@a.example".parse().unwrap()).unwrap().unwrap();
        assert_eq!(field, format!("Basic {}", STANDARD.encode("me@x:p:w")));
        assert!(field.is_sensitive() && credentials(&"https://a.example".parse().unwrap()).unwrap().is_none());
    }
}
