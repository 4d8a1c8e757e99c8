//! `[api.…]`, with what it must agree on with the rest.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::problem::Place;
use super::reader::Section;
use super::sections::Listeners;
use super::types::{Api, Cloud, Crs4, Dialect, ListenerChoice, Mode, Server};

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
        conpaas: not_served(&api.section("conpaas"), context),
        cloudedge: not_served(&api.section("cloudedge"), context),
        indigo: not_served(&api.section("indigo"), context),
    }
}

/// A dialect whose settings are checked, but which this version does not serve: nobody should believe otherwise.
fn not_served(section: &Section<'_, '_>, context: &Context<'_>) -> Dialect {
    if section.place != Place::Default {
        section.reader.warning(&section.place, &section.path, "has no effect: this version does not serve it");
    }
    dialect(section, context)
}

fn dialect(section: &Section<'_, '_>, context: &Context<'_>) -> Dialect {
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
        refuse_open_to_all(section, context, &crs4, &open.map_or(Place::Default, |(_, place)| place));
    }
    crs4
}

/// Without credentials, only this machine may come in.
fn refuse_open_to_all(section: &Section<'_, '_>, context: &Context<'_>, crs4: &Crs4, place: &Place) {
    let key = section.key("open");
    for (tls, listener) in [(false, &context.listeners.plain), (true, &context.listeners.tls)] {
        let Some((address, text)) = listener.as_ref().filter(|_| crs4.dialect.listener.includes(tls)) else { continue };
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
