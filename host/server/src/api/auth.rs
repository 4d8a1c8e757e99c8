//! From a request to a principal, and which route needs which permission.

use super::forwarded::{self, Known};
use super::{App, problem};
use crate::listen::PeerInfo;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use http::header::{ALLOW, AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri};
use ostler_core::Error;
use ostler_core::identity::{Credentials, Permission, Principal};
use secrecy::SecretString;

/// Bytes of the longest `Authorization` header and token.
const LONGEST: usize = 8 << 10;

/// What a route asks of whoever calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// Valid credentials, by any scheme, of a principal with this permission.
    Needs(Permission),
    /// Valid credentials, even where the dialect is open.
    Always(Permission),
    /// A client certificate, of a principal with this permission. Nothing else will do.
    Certificate(Permission),
}

/// A route, and for each of its methods what it asks. What is not listed is denied.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The path, as the router writes it.
    pub path: &'static str,
    /// The methods. `HEAD` goes with `GET`.
    pub methods: &'static [(Method, Access)],
}

/// What this row asks for a method.
pub fn access(row: &Row, method: &Method) -> Option<Access> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    row.methods.iter().find(|(known, _)| known == method).map(|(_, access)| *access)
}

/// The credentials in a request's headers.
pub fn from_headers(headers: &HeaderMap) -> Result<Option<Credentials>, Error> {
    if let Some(token) = headers.get("x-auth-token") {
        return token_of(token.to_str().unwrap_or_default()).map(Some);
    }
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().ok().filter(|value| value.len() <= LONGEST).ok_or(Error::Unauthenticated)?;
    let (scheme, rest) = value.split_once(' ').ok_or(Error::Unauthenticated)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return token_of(rest.trim()).map(Some);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Error::Unauthenticated);
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).map_err(|_| Error::Unauthenticated)?;
    let decoded = String::from_utf8(decoded).map_err(|_| Error::Unauthenticated)?;
    let (user, password) = decoded.split_once(':').ok_or(Error::Unauthenticated)?;
    Ok(Some(Credentials::Password(user.to_owned(), password.into())))
}

/// A token, within bounds.
pub fn token_of(token: &str) -> Result<Credentials, Error> {
    if token.is_empty() || token.len() > LONGEST {
        return Err(Error::Unauthenticated);
    }
    Ok(Credentials::Token(SecretString::from(token)))
}

/// Whether a request comes from this machine, by a program that means this machine: an open API must not be reachable through a
/// browser that some web page sends here, by a name of its own (DNS rebinding) or across origins.
pub fn is_local(peer: &PeerInfo, uri: &Uri, headers: &HeaderMap) -> bool {
    let loopback = |host: &str| {
        let host = host.trim_start_matches('[');
        let host = host.split_once(']').map_or_else(|| host.rsplit_once(':').map_or(host, |(host, _)| host), |(host, _)| host);
        host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    // HTTP/2 and absolute-form targets name the host in the URI.
    let hosts = [uri.authority().map(Authority::as_str), headers.get(HOST).map(|host| host.to_str().unwrap_or_default())];
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    peer.addr.ip().to_canonical().is_loopback()
        && hosts.into_iter().flatten().all(loopback)
        && origin.is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| loopback(host)))
}

/// The certificate of a request's connection. Browsers show theirs whoever sends them here, so a request that a page of another
/// origin caused has none.
pub fn certificate(peer: &PeerInfo, headers: &HeaderMap) -> Result<Credentials, Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let foreign = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").is_none_or(|(_, host)| Some(host) != text("host")),
        (None, None) => false,
    };
    let leaf = peer.tls.as_ref().and_then(|tls| tls.client_certificates.first());
    match leaf {
        Some(leaf) if !foreign => Ok(Credentials::Certificate(leaf.to_vec())),
        _ => Err(Error::Unauthenticated),
    }
}

/// Who asks: by the headers, or else by the certificate of the connection.
pub async fn principal(app: &App, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Error> {
    let credentials = match from_headers(headers)? {
        Some(credentials) => credentials,
        None => certificate(peer, headers)?,
    };
    confidential(app, peer, headers, &credentials)?;
    app.core.identity.authenticate(&credentials, peer.addr.ip()).await
}

/// Refuses a password that others on the way could have read: whoever sends one so should stop it.
pub fn confidential(app: &App, peer: &PeerInfo, headers: &HeaderMap, shown: &Credentials) -> Result<(), Error> {
    match shown {
        Credentials::Password(..) => takes_passwords(app, peer, headers),
        Credentials::Token(_) | Credentials::Certificate(_) => Ok(()),
    }
}

/// Whether a password may come by this way. [`Error::Exposed`] where others could read it, and the configuration does not say that
/// this is meant.
pub fn takes_passwords(app: &App, peer: &PeerInfo, headers: &HeaderMap) -> Result<(), Error> {
    let server = &app.config.server;
    let taken = server.plain_passwords || forwarded::is_confidential(headers, peer, Known::of(server));
    if taken { Ok(()) } else { Err(Error::Exposed) }
}

/// The table of our own routes, and the application.
#[derive(Clone)]
pub struct Guarded {
    /// The application.
    pub app: App,
    /// The table.
    pub rows: &'static [Row],
}

/// Lets a request through if the table says so: what has no row is denied. Handlers find the [`Principal`] in the extensions.
pub async fn guard(State(guarded): State<Guarded>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let row = guarded.rows.iter().find(|row| row.path == path);
    let needed = match row.and_then(|row| access(row, request.method())) {
        None => return denied(row),
        Some(Access::Public) => return next.run(request).await,
        Some(Access::Needs(permission) | Access::Always(permission) | Access::Certificate(permission)) => permission,
    };
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<PeerInfo>>().cloned() else {
        return problem::of(&Error::Unauthenticated);
    };
    let principal = match principal(&guarded.app, &peer, request.headers()).await {
        Ok(principal) => principal,
        // Development mode shows its metrics to this machine.
        Err(Error::Unauthenticated)
            if needed == Permission::ReadMetrics
                && guarded.app.is_development()
                && is_local(&peer, request.uri(), request.headers()) =>
        {
            return next.run(request).await;
        }
        Err(error) => return problem::of(&error),
    };
    if let Err(error) = principal.require(needed) {
        return problem::of(&error);
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// The answer where the table has nothing for a method, or for a path.
fn denied(row: Option<&Row>) -> Response {
    let Some(row) = row else { return problem::of(&Error::Forbidden) };
    let methods: Vec<&str> = row.methods.iter().map(|(method, _)| method.as_str()).collect();
    let mut response = problem::response(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "the path has other methods");
    if let Ok(allowed) = methods.join(", ").parse() {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn credentials_are_read_from_headers_or_refused() {
        for (pairs, expected) in [
            (&[][..], Ok("none")),
            (&[("authorization", "Basic YW5uOnB3OjE=")], Ok("ann/pw:1")),
            (&[("authorization", "basic YW5uOnB3OjE=")], Ok("ann/pw:1")),
            (&[("authorization", "Bearer abc")], Ok("token abc")),
            (&[("x-auth-token", "abc"), ("authorization", "Basic YW5uOnB3OjE=")], Ok("token abc")),
            (&[("authorization", "Basic YW5u")], Err(())),
            (&[("authorization", "Basic !!!!")], Err(())),
            (&[("authorization", "Basic")], Err(())),
            (&[("authorization", "Digest x")], Err(())),
            (&[("x-auth-token", "")], Err(())),
        ] {
            use secrecy::ExposeSecret;
            let shown = from_headers(&headers(pairs)).map_err(drop).map(|credentials| match credentials {
                None => "none".to_owned(),
                Some(Credentials::Token(token)) => format!("token {}", token.expose_secret()),
                Some(Credentials::Password(user, password)) => format!("{user}/{}", password.expose_secret()),
                Some(Credentials::Certificate(_)) => "certificate".to_owned(),
            });
            assert_eq!(shown, expected.map(str::to_owned), "{pairs:?}");
        }
        let long = format!("Basic {}", "A".repeat(LONGEST));
        assert!(from_headers(&headers(&[("authorization", long.as_str())])).is_err());
    }

    #[test]
    fn an_open_api_is_for_programs_of_this_machine() {
        let peer = |addr: &str| PeerInfo { addr: addr.parse().unwrap(), local: "127.0.0.1:5050".parse().unwrap(), tls: None };
        for (addr, pairs, expected) in [
            ("127.0.0.1:1", &[("host", "localhost:5050")][..], true),
            ("[::1]:1", &[("host", "[::1]:5050")], true),
            ("[::ffff:127.0.0.1]:1", &[("host", "127.0.0.1")], true),
            ("127.0.0.1:1", &[], true),
            ("127.0.0.1:1", &[("host", "evil.example:5050")], false),
            ("127.0.0.1:1", &[("host", "localhost.evil.example")], false),
            ("127.0.0.1:1", &[("host", "localhost"), ("origin", "https://evil.example")], false),
            ("127.0.0.1:1", &[("host", "localhost"), ("origin", "null")], false),
            ("127.0.0.1:1", &[("host", "localhost"), ("origin", "http://localhost:3000")], true),
            ("192.0.2.7:1", &[("host", "localhost")], false),
        ] {
            assert_eq!(is_local(&peer(addr), &Uri::from_static("/"), &headers(pairs)), expected, "{addr} {pairs:?}");
        }
        for (uri, expected) in [("http://localhost:5050/", true), ("http://127.0.0.1/", true), ("http://evil.example/", false)] {
            assert_eq!(is_local(&peer("127.0.0.1:1"), &Uri::from_static(uri), &HeaderMap::new()), expected, "{uri}");
        }
    }
}
