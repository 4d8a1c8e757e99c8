//! What the operator can set.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_driver::{Context, Error, Extra, Result, Setting, Size};
use serde::Deserialize;
use serde_json::json;

/// Every key, with its meaning.
const KEYS: [(&str, &str); 9] = [
    (
        "url",
        "The address of the API, such as `https://far.example:5555/cloudedge` or `https://far.example:5555/lab/cloudedge`. By HTTPS, \
         or by HTTP to this machine (and elsewhere with `allow_plain`).",
    ),
    ("username", "The account at the far side; without colon."),
    (
        "sizes",
        "A list of tables with `id`, `vcpus`, `ram_mb` (mebibytes), `disk_gb` and, if wanted, `name`: the sizes of the far side, \
         which it does not tell. They are asked for as `flavor`. An entry with the id `default` describes the size that the far \
         side takes when none is asked for; that one is always offered.",
    ),
    (
        "forward_ports",
        "A list of up to 16 ports, such as `[22, 443]`: a node whose order wants a public address gets a forwarding rule to each. By \
         default none.",
    ),
    (
        "far_user_data",
        "`true` where the far side is an Ostler whose cloud takes user data: data and keys for the first boot are passed on. By \
         default `false`, and orders that need them are refused.",
    ),
    (
        "address_reach",
        "From where nodes' addresses can be reached: `public`, `private`, or `auto` (default), which goes by the address.",
    ),
    ("start_seconds", "How long an instance that was made may take to be started, 10 to 86400; 600 by default."),
    ("allow_plain", "`true` sends the password without TLS to other machines than this one; `false` by default."),
    (
        "instance",
        "The identifier of the Ostler that has this cloud; a far side that leads back to it is refused, by `check` and for orders.",
    ),
];

/// What is sent for the size that has no name at the far side: nothing.
pub(crate) const DEFAULT_SIZE: &str = "default";
/// Ports that can be forwarded to a node.
const MOST_PORTS: usize = 16;
/// Sizes that can be configured.
const MOST_SIZES: usize = 256;

/// One size, as it is configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizeSetting {
    id: String,
    name: Option<String>,
    vcpus: Option<u32>,
    #[serde(default)]
    ram_mb: u64,
    #[serde(default)]
    disk_gb: u64,
}

/// What an address says of its reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressReach {
    Auto,
    Public,
    Private,
}

/// What the operator set. No `Debug`: it holds secrets.
pub(crate) struct Settings {
    /// Without a slash at its end.
    pub(crate) url: String,
    /// The far side, as errors name it: host and port.
    pub(crate) host: String,
    pub(crate) username: String,
    /// The value of the header `authorization`.
    pub(crate) authorization: String,
    /// What no text may repeat.
    pub(crate) secrets: Vec<String>,
    pub(crate) sizes: Vec<Size>,
    pub(crate) forward_ports: Vec<u16>,
    pub(crate) far_user_data: bool,
    pub(crate) address_reach: AddressReach,
    pub(crate) start_patience: Duration,
    pub(crate) instance: Option<String>,
    /// What is cached for these settings is not for others.
    pub(crate) fingerprint: String,
}

impl Settings {
    /// Reads and checks everything.
    pub(crate) fn read(ctx: &Context) -> Result<Self> {
        let config = ctx.config();
        config.reject_unknown(&KEYS.map(|(key, _)| key))?;
        let (url, host) = address(&config.require("url")?, config.parse("allow_plain")?.unwrap_or(false))?;
        let username = config.require("username")?;
        if username.is_empty() || username.contains(|c: char| c == ':' || c.is_control()) {
            return Err(malformed("username", "a name without colon"));
        }
        let password = ctx.secrets().require("password")?;
        if password.is_empty() || password.contains(char::is_control) {
            return Err(Error::Invalid("secret `password`: expected a text without control characters".to_owned()));
        }
        let basic = STANDARD.encode(format!("{username}:{password}"));
        let start_seconds = config.parse("start_seconds")?.unwrap_or(600);
        if !(10..=86_400).contains(&start_seconds) {
            return Err(malformed("start_seconds", "10 to 86400"));
        }
        let address_reach = match config.get("address_reach").as_deref() {
            None | Some("auto") => AddressReach::Auto,
            Some("public") => AddressReach::Public,
            Some("private") => AddressReach::Private,
            Some(_) => return Err(malformed("address_reach", "`auto`, `public` or `private`")),
        };
        let mut hasher = DefaultHasher::new();
        config.entries().hash(&mut hasher);
        Ok(Self {
            url,
            host,
            authorization: format!("Basic {basic}"),
            secrets: vec![basic, password],
            username,
            sizes: sizes(config.json("sizes")?.unwrap_or_default())?,
            forward_ports: ports(config.json("forward_ports")?.unwrap_or_default())?,
            far_user_data: config.parse("far_user_data")?.unwrap_or(false),
            address_reach,
            start_patience: Duration::from_secs(start_seconds),
            instance: config.get("instance").map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()),
            fingerprint: format!("{:016x}", hasher.finish()),
        })
    }
}

impl Settings {
    /// The far side without its port.
    pub(crate) fn host_name(&self) -> &str {
        match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        }
    }
}

/// The address without a slash at its end, and the host with its port.
fn address(given: &str, allow_plain: bool) -> Result<(String, String)> {
    let expected = || malformed("url", "an http or https address without user, query or fragment");
    let url = given.trim().trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").ok_or_else(expected)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '?' | '#' | '\\');
    if host.is_empty() || rest.contains(odd) || path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(expected());
    }
    match scheme.to_ascii_lowercase().as_str() {
        "https" => {}
        "http" if allow_plain || is_loopback(host) => {}
        "http" => {
            return Err(Error::Invalid(
                "setting `url`: the password would cross the network in the clear: use https, or set `allow_plain`".to_owned(),
            ));
        }
        _ => return Err(expected()),
    }
    let path = if path.is_empty() { "/cloudedge" } else { path };
    Ok((format!("{}://{host}{path}", scheme.to_ascii_lowercase()), host.to_owned()))
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn sizes(given: Vec<SizeSetting>) -> Result<Vec<Size>> {
    if given.len() > MOST_SIZES {
        return Err(malformed("sizes", "at most 256 sizes"));
    }
    let mut sizes: Vec<Size> = Vec::new();
    if !given.iter().any(|size| size.id == DEFAULT_SIZE) {
        let size = Size::new(DEFAULT_SIZE, "as the far side chooses", 0, 0);
        sizes.push(size.with_extra(json!({"unspecified": true})));
    }
    for SizeSetting { id, name, vcpus, ram_mb, disk_gb } in given {
        let good = (1..=255).contains(&id.len()) && !id.contains(char::is_control);
        if !good || sizes.iter().any(|known| known.id == id) {
            return Err(malformed("sizes", "entries with an `id` of their own, of 1 to 255 characters"));
        }
        let mut size = Size::new(&id, name.unwrap_or_else(|| id.clone()), ram_mb, disk_gb);
        size.vcpus = vcpus;
        sizes.push(size);
    }
    Ok(sizes)
}

fn ports(given: Vec<u16>) -> Result<Vec<u16>> {
    let distinct: BTreeSet<_> = given.iter().collect();
    if given.len() > MOST_PORTS || distinct.len() != given.len() || given.contains(&0) {
        return Err(malformed("forward_ports", "up to 16 different ports from 1 to 65535"));
    }
    Ok(given)
}

/// The error for a malformed setting; it does not repeat the value.
fn malformed(key: &str, expected: &str) -> Error {
    Error::Invalid(format!("setting `{key}`: expected {expected}"))
}

/// The settings, for operators.
pub(crate) fn describe() -> Vec<Setting> {
    let keys = KEYS.iter().map(|(key, doc)| match *key {
        "url" | "username" => Setting::required(*key, *doc),
        _ => Setting::optional(*key, *doc),
    });
    keys.chain([Setting::secret("password", "The account's password.")]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use ostler_driver::testing::Cloud;

    fn cloud(entries: &[(&str, &str)]) -> Cloud {
        entries.iter().fold(Cloud::new("home1").secret("password", "canary"), |cloud, (key, value)| cloud.config(key, value))
    }

    #[test]
    fn addresses_take_one_form() {
        for (given, url, host) in [
            ("https://far:5555/cloudedge", "https://far:5555/cloudedge", "far:5555"),
            (" HTTPS://far/lab/cloudedge/ ", "https://far/lab/cloudedge", "far"),
            ("https://far", "https://far/cloudedge", "far"),
            ("http://127.0.0.1:80/x", "http://127.0.0.1:80/x", "127.0.0.1:80"),
            ("http://[::1]:80/x", "http://[::1]:80/x", "[::1]:80"),
            ("http://localhost/x", "http://localhost/x", "localhost"),
        ] {
            assert_eq!(address(given, false).unwrap(), (url.to_owned(), host.to_owned()));
        }
        assert!(address("http://far/cloudedge", true).is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let login = [("url", "https://far"), ("username", "ann")];
        for (entries, part) in [
            (vec![], "`url` is missing"),
            (vec![("url", "https://far")], "`username` is missing"),
            (vec![("url", "https://far"), ("username", "a:canary")], "`username`: expected"),
            (vec![("url", "ftp://far"), ("username", "a")], "`url`: expected"),
            (vec![("url", "https://a:canary@far"), ("username", "a")], "`url`: expected"),
            (vec![("url", "https://far/x?canary"), ("username", "a")], "`url`: expected"),
            (vec![("url", "https://far/../x"), ("username", "a")], "`url`: expected"),
            (vec![("url", "http://far"), ("username", "a")], "in the clear"),
            (vec![("url", "http://127.0.0.1.far"), ("username", "a")], "in the clear"),
            (login.into_iter().chain([("sizes", r#"[{"id":"a"},{"id":"a"}]"#)]).collect(), "`sizes`: expected"),
            (login.into_iter().chain([("sizes", r#"[{"id":""}]"#)]).collect(), "`sizes`: expected"),
            (login.into_iter().chain([("sizes", r#"[{"id":"a","ram":1}]"#)]).collect(), "`sizes`: expected"),
            (login.into_iter().chain([("forward_ports", "[22,22]")]).collect(), "`forward_ports`: expected"),
            (login.into_iter().chain([("forward_ports", "[0]")]).collect(), "`forward_ports`: expected"),
            (login.into_iter().chain([("forward_ports", "[70000]")]).collect(), "`forward_ports`: expected"),
            (login.into_iter().chain([("start_seconds", "1")]).collect(), "`start_seconds`: expected"),
            (login.into_iter().chain([("address_reach", "x")]).collect(), "`address_reach`: expected"),
            (login.into_iter().chain([("far_user_data", "yes")]).collect(), "`far_user_data`: expected"),
            (login.into_iter().chain([("region", "x")]).collect(), "`region` is unknown"),
        ] {
            let error = Settings::read(&cloud(&entries).context()).err().unwrap();
            assert!(error.class() == "invalid" && error.message().contains(part), "{part}: {error}");
            assert!(!error.message().contains("canary"), "{error}");
        }
        let bare = login.iter().fold(Cloud::new("home1"), |cloud, (key, value)| cloud.config(key, value));
        assert!(Settings::read(&bare.context()).err().unwrap().message().contains("secret `password` is missing"));
        let odd = bare.secret("password", "a\nb");
        assert!(Settings::read(&odd.context()).err().unwrap().message().contains("secret `password`: expected"));
    }

    #[test]
    fn the_default_size_is_always_there() {
        let ids = |text: &str| -> Vec<(String, u64)> {
            sizes(serde_json::from_str(text).unwrap()).unwrap().into_iter().map(|size| (size.id, size.ram_mb)).collect()
        };
        assert_eq!(ids("[]"), [("default".to_owned(), 0)]);
        assert_eq!(ids(r#"[{"id":"s","ram_mb":512}]"#), [("default".to_owned(), 0), ("s".to_owned(), 512)]);
        assert_eq!(ids(r#"[{"id":"default","ram_mb":512}]"#), [("default".to_owned(), 512)]);
    }
}
