//! `[[oidc]]`.

use super::clouds;
use super::reader::Section;
use super::types::Oidc;
use ostler_core::identity::{Algorithm, Exchange, Introspection, ROLES, Role};
use ostler_egress::Origin;
use url::{Host, Url};

pub(super) fn oidc(root: &Section<'_, '_>) -> Vec<Oidc> {
    let mut issuers: Vec<Oidc> = Vec::new();
    for section in root.sections_in_order("oidc") {
        let Some(one) = issuer(&section, &issuers) else { continue };
        issuers.push(one);
    }
    issuers
}

fn issuer(section: &Section<'_, '_>, others: &[Oidc]) -> Option<Oidc> {
    let reader = section.reader;
    let texts = |key| section.texts(key).into_iter().map(|text| text.value).collect::<Vec<_>>();
    let or = |given: Vec<String>, usual: &[&str]| {
        if given.is_empty() { usual.iter().map(|one| (*one).to_owned()).collect() } else { given }
    };
    let issuer = section.required_text("issuer", "the issuer as its tokens say it in `iss`, https://…");
    let audience = texts("audience");
    if audience.is_empty() {
        let message = "is missing: the values of `aud` that are meant for this server, such as [\"ostler\"]";
        reader.error(&section.place, &section.key("audience"), message);
    }
    let mut algorithms = section.all_parsed("algorithms", algorithm);
    if algorithms.is_empty() {
        algorithms = vec![Algorithm::RS256, Algorithm::ES256];
    }
    let client_id = section.text("client_id");
    let client_secret = clouds::one_secret(section, "client_secret");
    if let (Some(id), None) = (&client_id, &client_secret) {
        reader.error(&id.place, &id.key, "needs client_secret = { env = \"NAME\" } or { file = \"PATH\" }");
    }
    if client_id.is_none() && client_secret.is_some() {
        reader.error(&section.place, &section.key("client_secret"), "needs client_id");
    }
    let words = [("opaque", Introspection::Opaque), ("always", Introspection::Always), ("never", Introspection::Never)];
    let introspection = section.choice("introspection", &words).unwrap_or_default();
    if introspection == Introspection::Always && client_id.is_none() {
        reader.error(&section.place, &section.key("introspection"), "needs client_id and client_secret");
    }
    let exchange = exchange(section, client_id.is_some());
    let roles = section.all_parsed("roles", role);
    let oidc = Oidc {
        audience,
        algorithms,
        ca: section.file("ca"),
        endpoints: section.all_parsed("endpoints", origin),
        client_id: client_id.map(|text| text.value),
        client_secret,
        introspection,
        exchange,
        userinfo: section.boolean("userinfo").is_some_and(|(userinfo, _)| userinfo),
        groups_claims: or(texts("groups_claims"), &["groups", "wlcg.groups"]),
        organisation_claim: section.text("organisation_claim").map_or_else(|| "organisation_name".to_owned(), |text| text.value),
        organisation: section.text("organisation").map(|text| text.value),
        leeway_seconds: section.integer("leeway_seconds", 30, 0..=300, "seconds"),
        roles: if roles.is_empty() { vec![Role::Customer] } else { roles },
        supervisors: section.text("supervisors").map(|text| text.value),
        issuer: String::new(),
    };
    let text = issuer?;
    if let Err(message) = issuer_url(&text.value) {
        reader.error(&text.place, &text.key, message);
        return None;
    }
    if others.iter().any(|other| other.issuer == text.value) {
        reader.error(&text.place, &text.key, "is an issuer that was given before");
        return None;
    }
    Some(Oidc { issuer: text.value, ..oidc })
}

fn exchange(section: &Section<'_, '_>, known: bool) -> Option<Exchange> {
    let wanted = section.boolean("exchange").filter(|(wanted, _)| *wanted);
    let scopes: Vec<_> = section.texts("exchange_scopes").into_iter().map(|text| text.value).collect();
    let audience = section.text("exchange_audience").map(|text| text.value);
    let Some((_, place)) = wanted else {
        if !scopes.is_empty() || audience.is_some() {
            section.reader.warning(
                &section.place,
                &section.path,
                "exchange_scopes and exchange_audience mean nothing without exchange = true",
            );
        }
        return None;
    };
    if !known {
        section.reader.error(&place, &section.key("exchange"), "needs client_id and client_secret");
    }
    let usual = Exchange::default();
    Some(Exchange { scopes: if scopes.is_empty() { usual.scopes } else { scopes }, audience: audience.or(usual.audience) })
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse().map_err(|_| {
        let known = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
        format!("must be one of {known}, found {text:?}")
    })
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("must be one of {}, found {text:?}", ROLES.map(Role::as_str).join(", ")))
}

fn origin(text: &str) -> Result<Origin, String> {
    text.parse().map_err(|error| format!("must be an origin, such as \"https://login.example\": {error}"))
}

fn issuer_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|_| "must be a URL, such as \"https://issuer.example/\"".to_owned())?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        _ if url.host().is_none() => Err("must be a URL with a host, such as \"https://issuer.example/\"".to_owned()),
        _ if !url.username().is_empty() || url.password().is_some() => Err("must not contain credentials".to_owned()),
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err("must begin with https:// (http:// is possible for a loopback address only)".to_owned()),
    }
}
