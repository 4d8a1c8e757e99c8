//! `[api.…]`, with what it must agree on with the rest.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ostler_egress::Origin;
use url::Url;

use super::problem::Place;
use super::reader::{Section, Text};
use super::sections::Listeners;
use super::types::{Api, Callbacks, Cloud, Conpaas, Crs4, Dialect, Indigo, ListenerChoice, Mode, Registries, Server};

/// Words with which paths begin already. A prefix below which everything belongs to one dialect cannot begin with them.
const TAKEN: &str = "add api available_clouds available_services ca callback cloudedge configuration create_nodes createapp \
    credit debug_level delete deleteapp deployments download download_data download_manifest get_user_certs getcerts \
    healthz info list list_resources listapp login metrics new_user ostler readyz remove remove_nodes rename \
    renameapp schedules start startapp stop stopapp support_external_idp support_openid upload_manifest \
    user_config user_credit version";

/// What the dialects refer to.
pub(super) struct Context<'c> {
    pub(super) mode: Mode,
    pub(super) server: &'c Server,
    pub(super) listeners: &'c Listeners,
    pub(super) clouds: &'c BTreeMap<String, Cloud>,
}

pub(super) fn api(root: &Section<'_, '_>, context: &Context<'_>) -> Api {
    let api = root.section("api");
    Api {
        crs4: crs4(&api.section("crs4"), context),
        conpaas: conpaas(&api.section("conpaas"), context),
        cloudedge: dialect(&api.section("cloudedge"), context),
        indigo: indigo(&api.section("indigo"), context),
    }
}

fn dialect(section: &Section<'_, '_>, context: &Context<'_>) -> Dialect {
    dialect_below(section, context, prefix)
}

fn dialect_below(section: &Section<'_, '_>, context: &Context<'_>, prefix: fn(&str) -> Result<String, String>) -> Dialect {
    let enabled = section.boolean("enabled").is_none_or(|(enabled, _)| enabled);
    let prefix = section.parsed("prefix", prefix).map(|(prefix, _)| prefix);
    let choices = [("all", ListenerChoice::All), ("plain", ListenerChoice::Plain), ("tls", ListenerChoice::Tls)];
    let listener = section.choice("listener", &choices).unwrap_or_default();
    let missing = match listener {
        ListenerChoice::Plain if context.server.listen.is_none() => Some("server.listen"),
        ListenerChoice::Tls if context.server.listen_tls.is_none() => Some("server.listen_tls"),
        _ => None,
    };
    if let Some(missing) = missing.filter(|_| enabled) {
        section.reader.error(&section.place, &section.key("listener"), format!("needs {missing}, which is not given"));
    }
    let cloud = match section.text("cloud") {
        Some(text) if !context.clouds.contains_key(&text.value) => {
            let help = super::reader::suggestion(&text.value, context.clouds.keys().map(String::as_str));
            let listed = || match context.clouds.is_empty() {
                true => "no cloud is configured; add a table [clouds.NAME]".to_owned(),
                false => format!("the clouds are {}", context.clouds.keys().cloned().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("there is no cloud {:?}", text.value);
            section.reader.error_with_help(&text.place, &text.key, message, Some(help.unwrap_or_else(listed)));
            None
        }
        Some(text) => Some(text.value),
        None => Some("default".to_owned()).filter(|name| context.clouds.contains_key(name)),
    };
    Dialect { enabled, prefix, listener, cloud }
}

fn crs4(section: &Section<'_, '_>, context: &Context<'_>) -> Crs4 {
    let open = section.boolean("open");
    let cistern = section.parsed("cistern", |text| match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Ok(url),
        _ => Err("must be the address of a Cistern, such as \"http://127.0.0.1:5051/api/v1\"".to_owned()),
    });
    let dialect = dialect(section, context);
    let development = context.mode == Mode::Development;
    let crs4 = Crs4 { open: open.as_ref().map_or(development, |(open, _)| *open), cistern: cistern.map(|(url, _)| url), dialect };
    if crs4.open && crs4.dialect.enabled {
        refuse_open_to_all(section, context, &crs4.dialect, &open.map_or(Place::Default, |(_, place)| place));
    }
    crs4
}

fn indigo(section: &Section<'_, '_>, context: &Context<'_>) -> Indigo {
    let open = section.boolean("open");
    let dialect = dialect_below(section, context, free_prefix);
    let indigo = Indigo {
        open: open.as_ref().map_or(context.mode == Mode::Development, |(open, _)| *open),
        strict: section.boolean("strict").is_some_and(|(strict, _)| strict),
        callbacks: callbacks(&section.section("callbacks")),
        registries: registries(&section.section("registries")),
        dialect,
    };
    // In development mode, where the listeners may be was said for the other open dialect.
    if indigo.open && indigo.dialect.enabled && context.mode != Mode::Development {
        refuse_open_to_all(section, context, &indigo.dialect, &open.map_or(Place::Default, |(_, place)| place));
    }
    indigo
}

fn callbacks(section: &Section<'_, '_>) -> Callbacks {
    Callbacks {
        allow_private: section.boolean("allow_private").is_some_and(|(allowed, _)| allowed),
        hosts: section.all_parsed("hosts", receivers).into_iter().flatten().collect(),
    }
}

fn registries(section: &Section<'_, '_>) -> Registries {
    let url = |key| section.parsed(key, registry);
    let (slam, others) = (url("slam"), ["cmdb", "cpr", "monitoring"].map(url));
    if let (None, Some((_, first))) = (&slam, others.iter().flatten().next()) {
        section.reader.error(&first.place, &first.key, "needs `slam`: without agreements no other registry is asked");
    }
    let value = |found: Option<(Url, Text)>| found.map(|(url, _)| url);
    let [cmdb, cpr, monitoring] = others.map(value);
    let by_service = section.boolean("by_service").is_some_and(|(by_service, _)| by_service);
    Registries { slam: value(slam), cmdb, cpr, monitoring, by_service }
}

fn registry(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => Err("must not contain credentials".to_owned()),
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none() => Ok(url),
        _ => Err("must be the base URL of a registry, such as \"https://slam.example/rest/slam\"".to_owned()),
    }
}

/// The origins of a host, or the one that is given.
fn receivers(text: &str) -> Result<Vec<Origin>, String> {
    let texts = match text.contains("://") {
        true => vec![text.to_owned()],
        false => vec![format!("https://{text}"), format!("http://{text}")],
    };
    let origins: Result<Vec<Origin>, _> = texts.iter().map(|text| text.parse()).collect();
    origins
        .map_err(|error| format!("must be a host or an origin, such as \"hooks.example\" or \"http://10.0.0.5:8080\": {error}"))
}

fn conpaas(section: &Section<'_, '_>, context: &Context<'_>) -> Conpaas {
    let registration = section.choice("registration", &[("closed", false), ("open", true)]);
    Conpaas {
        open_registration: registration.unwrap_or(context.mode == Mode::Development),
        max_initial_credit: section.integer("max_initial_credit", 50, 0..=1_000_000, "credits"),
        dialect: dialect(section, context),
    }
}

/// Without credentials, only this machine may come in.
fn refuse_open_to_all(section: &Section<'_, '_>, context: &Context<'_>, dialect: &Dialect, place: &Place) {
    let key = section.key("open");
    for (tls, listener) in [(false, &context.listeners.plain), (true, &context.listeners.tls)] {
        let Some((address, text)) = listener.as_ref().filter(|_| dialect.listener.includes(tls)) else { continue };
        if is_loopback(*address) {
            continue;
        }
        if context.mode == Mode::Development {
            let message = format!(
                "{address} is not a loopback address: without a configuration file everything is open, so only this machine may connect"
            );
            let help = "write a configuration file, or listen on 127.0.0.1".to_owned();
            section.reader.error_with_help(&text.place, &text.key, message, Some(help));
        } else {
            let message =
                format!("must be false while {} is {address}: without credentials, only loopback addresses are served", text.key);
            section.reader.error(place, &key, message);
        }
    }
    if !context.server.trusted_proxies.is_empty() {
        let message = "is true behind server.trusted_proxies: whoever reaches the proxy needs no credentials";
        section.reader.warning(place, &key, message);
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '~');
    let segments = text.strip_prefix('/').unwrap_or_default().split('/');
    let proper = |segment: &str| !segment.is_empty() && !segment.chars().all(|c| c == '.') && segment.chars().all(plain);
    if text.len() <= 256 && text.starts_with('/') && segments.clone().all(proper) {
        return Ok(text.to_owned());
    }
    Err(format!("must be a path without a slash at its end, such as \"/orchestrator\", found {text:?}"))
}

/// A prefix below which nothing else is.
fn free_prefix(text: &str) -> Result<String, String> {
    let prefix = prefix(text)?;
    let first = prefix.split('/').nth(1).unwrap_or_default();
    if TAKEN.split(' ').any(|word| word == first) {
        return Err(format!("`{first}` begins other paths of this server: choose another, such as \"/orchestrator\""));
    }
    Ok(prefix)
}
