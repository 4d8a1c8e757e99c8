//! What the operator can set. The names are those of `clouds.yaml`.

use std::hash::{DefaultHasher, Hash, Hasher};

use ostler_driver::{Context, Error, Result, Setting};
use serde_json::{Value, json};

/// Every key, with its meaning.
const KEYS: [(&str, &str); 18] = [
    ("auth_url", "Keystone's address, such as `https://cloud.example:5000/v3`; `/v3` is added where it is missing."),
    ("region", "The region whose endpoints are used. May be left out where the catalog has only one."),
    ("interface", "The endpoints to use: `public` (default), `internal` or `admin`."),
    ("username", "The user's name, for password authentication and for an application credential given by name."),
    ("user_id", "The user's identifier, instead of `username`."),
    ("user_domain_name", "The domain of `username`, by name."),
    ("user_domain_id", "The domain of `username`, by identifier; `default` by default."),
    ("project_name", "The project, by name. Not with application credentials, which have their own."),
    ("project_id", "The project, by identifier."),
    ("project_domain_name", "The domain of `project_name`, by name."),
    ("project_domain_id", "The domain of `project_name`, by identifier; `default` by default."),
    ("application_credential_id", "An application credential, by identifier."),
    ("application_credential_name", "An application credential, by name; `username` or `user_id` says whose."),
    (
        "networks",
        "A list of networks, by name or identifier, for nodes whose order names none. By default Nova chooses, which it can only \
         where the project has one network.",
    ),
    (
        "floating_network",
        "The external network, by name or identifier, from which public addresses are allocated; by default the only one there \
         is. `none`: the networks' own addresses are public and nothing is allocated.",
    ),
    ("page_size", "Servers, flavors or images on a page, 1 to 1000; 100 by default."),
    (
        "snapshot_seconds",
        "For so many seconds a list of nodes that fits on one page is only brought up to date (`changes-since`) and not read \
         anew: quick, but addresses that others attach or detach meanwhile are seen late; 30 by default, 0 reads anew each time.",
    ),
    (
        "image_upload_mb",
        "Where Glance does not fetch images itself (`web-download`), the driver fetches and uploads those of up to so many \
         mebibytes, 0 to 32; 0 (default) does not. The image's origin must be granted then.",
    ),
];

const SECRETS: [(&str, &str); 2] = [
    ("password", "The user's password, for password authentication."),
    ("application_credential_secret", "The secret of the application credential."),
];

/// What the operator set. No `Debug`: it holds secrets.
pub(crate) struct Settings {
    pub(crate) auth_url: String,
    pub(crate) region: Option<String>,
    pub(crate) interface: String,
    pub(crate) networks: Vec<String>,
    pub(crate) floating: Floating,
    pub(crate) page_size: u32,
    pub(crate) snapshot_seconds: u64,
    pub(crate) upload_bytes: u64,
    /// What is cached for these settings is not for others.
    pub(crate) fingerprint: String,
    credentials: Credentials,
}

/// Where public addresses come from.
pub(crate) enum Floating {
    /// From the only external network.
    Only,
    /// From this one.
    Network(String),
    /// From nowhere: the networks' own addresses are public.
    Never,
}

enum Credentials {
    Password { user: Value, project: Value },
    Application(Value),
}

impl Settings {
    /// Reads and checks everything.
    pub(crate) fn read(ctx: &Context) -> Result<Self> {
        let config = ctx.config();
        config.reject_unknown(&KEYS.map(|(key, _)| key))?;
        let auth_url = auth_url(&config.require("auth_url")?)?;
        let interface = text(ctx, "interface").unwrap_or_else(|| "public".to_owned());
        if !["public", "internal", "admin"].contains(&interface.as_str()) {
            return Err(malformed("interface", "`public`, `internal` or `admin`"));
        }
        let page_size = config.parse("page_size")?.unwrap_or(100);
        if !(1..=1000).contains(&page_size) {
            return Err(malformed("page_size", "1 to 1000"));
        }
        let upload_mb = config.parse::<u64>("image_upload_mb")?.unwrap_or(0);
        if upload_mb > 32 {
            return Err(malformed("image_upload_mb", "0 to 32"));
        }
        let mut hasher = DefaultHasher::new();
        config.entries().hash(&mut hasher);
        Ok(Self {
            auth_url,
            interface,
            region: text(ctx, "region"),
            networks: config.json("networks")?.unwrap_or_default(),
            floating: match text(ctx, "floating_network") {
                None => Floating::Only,
                Some(none) if none == "none" => Floating::Never,
                Some(network) => Floating::Network(network),
            },
            page_size,
            snapshot_seconds: config.parse("snapshot_seconds")?.unwrap_or(30).min(3600),
            upload_bytes: upload_mb << 20,
            fingerprint: format!("{:016x}", hasher.finish()),
            credentials: Credentials::read(ctx)?,
        })
    }

    /// The body of `POST /auth/tokens`.
    pub(crate) fn auth_request(&self) -> Value {
        match &self.credentials {
            Credentials::Password { user, project } => json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": project},
            }}),
            // With a scope beside it Keystone refuses.
            Credentials::Application(credential) => json!({"auth": {
                "identity": {"methods": ["application_credential"], "application_credential": credential},
            }}),
        }
    }

    /// Whether an application credential is used.
    pub(crate) fn uses_application_credential(&self) -> bool {
        matches!(self.credentials, Credentials::Application(_))
    }
}

impl Credentials {
    fn read(ctx: &Context) -> Result<Self> {
        let id = text(ctx, "application_credential_id");
        let name = text(ctx, "application_credential_name");
        if id.is_none() && name.is_none() {
            let password = ctx.secrets().require("password")?;
            let mut user = user(ctx)?;
            user["password"] = password.into();
            let project = match (text(ctx, "project_id"), text(ctx, "project_name")) {
                (Some(id), _) => json!({"id": id}),
                (None, Some(name)) => json!({"name": name, "domain": domain(ctx, "project_domain_id", "project_domain_name")}),
                (None, None) => return Err(Error::Invalid("setting `project_name` or `project_id` is missing".to_owned())),
            };
            return Ok(Self::Password { user, project });
        }
        if text(ctx, "project_id").or_else(|| text(ctx, "project_name")).is_some() {
            return Err(Error::Invalid(
                "an application credential has its own project: leave out `project_name` and `project_id`".to_owned(),
            ));
        }
        let mut credential = match (id, name) {
            (Some(id), _) => json!({"id": id}),
            (None, name) => json!({"name": name, "user": user(ctx)?}),
        };
        credential["secret"] = ctx.secrets().require("application_credential_secret")?.into();
        Ok(Self::Application(credential))
    }
}

fn user(ctx: &Context) -> Result<Value> {
    match (text(ctx, "user_id"), text(ctx, "username")) {
        (Some(id), _) => Ok(json!({"id": id})),
        (None, Some(name)) => Ok(json!({"name": name, "domain": domain(ctx, "user_domain_id", "user_domain_name")})),
        (None, None) => Err(Error::Invalid("setting `username` or `user_id` is missing".to_owned())),
    }
}

fn domain(ctx: &Context, id: &str, name: &str) -> Value {
    match (text(ctx, id), text(ctx, name)) {
        (Some(id), _) => json!({"id": id}),
        (None, Some(name)) => json!({"name": name}),
        (None, None) => json!({"id": "default"}),
    }
}

/// A value that is there and not blank.
fn text(ctx: &Context, key: &str) -> Option<String> {
    ctx.config().get(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn auth_url(given: &str) -> Result<String> {
    let url = given.trim().trim_end_matches('/');
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if host.is_none_or(|host| host.is_empty() || host.contains(['@', '?', '#', ' '])) {
        return Err(malformed("auth_url", "an http or https address without user, query or fragment"));
    }
    Ok(if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") })
}

/// The error for a malformed setting; it does not repeat the value.
fn malformed(key: &str, expected: &str) -> Error {
    Error::Invalid(format!("setting `{key}`: expected {expected}"))
}

/// The settings, for operators.
pub(crate) fn describe() -> Vec<Setting> {
    let keys = KEYS.iter().map(|(key, doc)| match *key {
        "auth_url" => Setting::required(*key, *doc),
        _ => Setting::optional(*key, *doc),
    });
    // Which of the two is needed depends on the way to authenticate.
    let secrets = SECRETS.iter().map(|(name, doc)| Setting { required: false, ..Setting::secret(*name, *doc) });
    keys.chain(secrets).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use ostler_driver::testing::Cloud;

    fn cloud(entries: &[(&str, &str)]) -> Cloud {
        let cloud = Cloud::new("lab").secret("password", "canary").secret("application_credential_secret", "canary");
        entries.iter().fold(cloud, |cloud, (key, value)| cloud.config(key, value))
    }

    #[test]
    fn credentials_take_the_form_that_keystone_reads() {
        let domain = json!({"id": "default"});
        for (entries, expected) in [
            (
                vec![("username", "demo"), ("project_name", "demo")],
                json!({"auth": {
                    "identity": {"methods": ["password"], "password": {"user": {"name": "demo", "domain": domain, "password": "canary"}}},
                    "scope": {"project": {"name": "demo", "domain": domain}},
                }}),
            ),
            (
                vec![("user_id", "u1"), ("project_id", "p1")],
                json!({"auth": {
                    "identity": {"methods": ["password"], "password": {"user": {"id": "u1", "password": "canary"}}},
                    "scope": {"project": {"id": "p1"}},
                }}),
            ),
            (
                vec![("username", "d"), ("user_domain_name", "A"), ("project_name", "p"), ("project_domain_id", "b")],
                json!({"auth": {
                    "identity": {"methods": ["password"], "password": {"user": {"name": "d", "domain": {"name": "A"}, "password": "canary"}}},
                    "scope": {"project": {"name": "p", "domain": {"id": "b"}}},
                }}),
            ),
            (
                vec![("application_credential_id", "a1")],
                json!({"auth": {"identity": {
                    "methods": ["application_credential"], "application_credential": {"id": "a1", "secret": "canary"},
                }}}),
            ),
            (
                vec![("application_credential_name", "demo-app"), ("username", "demo")],
                json!({"auth": {"identity": {"methods": ["application_credential"], "application_credential": {
                    "name": "demo-app", "user": {"name": "demo", "domain": domain}, "secret": "canary",
                }}}}),
            ),
        ] {
            let cloud = cloud(&entries).config("auth_url", "http://k/v3");
            assert_eq!(Settings::read(&cloud.context()).unwrap().auth_request(), expected);
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let login = [("username", "u"), ("project_name", "p")];
        for (entries, part) in [
            (vec![], "`auth_url` is missing"),
            (vec![("auth_url", "ftp://k")], "`auth_url`: expected"),
            (vec![("auth_url", "https://u:canary@k")], "`auth_url`: expected"),
            (vec![("auth_url", "http://k")], "`username` or `user_id` is missing"),
            (vec![("auth_url", "http://k"), ("username", "u")], "`project_name` or `project_id` is missing"),
            (vec![("auth_url", "http://k"), ("application_credential_name", "a")], "`username` or `user_id` is missing"),
            (vec![("auth_url", "http://k"), ("application_credential_id", "a"), ("project_id", "p")], "has its own project"),
            ([("auth_url", "http://k"), ("interface", "x")].into_iter().chain(login).collect(), "`interface`: expected"),
            ([("auth_url", "http://k"), ("page_size", "0")].into_iter().chain(login).collect(), "`page_size`: expected"),
            (
                [("auth_url", "http://k"), ("image_upload_mb", "33")].into_iter().chain(login).collect(),
                "`image_upload_mb`: expected",
            ),
            ([("auth_url", "http://k"), ("networks", "a")].into_iter().chain(login).collect(), "`networks`: expected"),
            ([("auth_url", "http://k"), ("reigon", "a")].into_iter().chain(login).collect(), "`reigon` is unknown"),
        ] {
            let error = Settings::read(&cloud(&entries).context()).err().unwrap();
            assert!(error.class() == "invalid" && error.message().contains(part), "{part}: {error}");
            assert!(!error.message().contains("canary"), "{error}");
        }
        let bare = Cloud::new("lab").config("auth_url", "http://k").config("username", "u").config("project_name", "p");
        assert!(Settings::read(&bare.context()).err().unwrap().message().contains("secret `password` is missing"));
    }

    #[test]
    fn keystone_is_asked_in_version_3() {
        for (given, url) in [
            ("http://k:5000/v3/", "http://k:5000/v3"),
            ("https://k/identity", "https://k/identity/v3"),
            (" http://k/ ", "http://k/v3"),
        ] {
            assert_eq!(auth_url(given).unwrap(), url);
        }
    }
}
