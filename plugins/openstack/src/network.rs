//! Neutron: networks and security groups by name, and floating IPs.
//!
//! A floating IP that the driver allocates is allocated and attached in one request, and its description carries the token and
//! the server's identifier. By either it is found again and released, also when the server does not exist any more.

use ostler_driver::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Service;
use crate::compute::server::Server;
use crate::config::Floating;
use crate::http::{Api, Call, Link, next};

/// Begins the description of what the driver made.
const MARK: &str = "ostler:";

#[derive(Debug, Deserialize)]
struct Named {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Networks {
    networks: Vec<Named>,
    #[serde(default)]
    networks_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Groups {
    security_groups: Vec<Named>,
    #[serde(default)]
    security_groups_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Ports {
    ports: Vec<Port>,
    #[serde(default)]
    ports_links: Vec<Link>,
}

#[derive(Deserialize)]
struct Port {
    id: String,
    #[serde(default)]
    fixed_ips: Vec<FixedIp>,
}

impl Port {
    /// Its first IPv4 address: floating IPs are IPv4.
    fn address(&self) -> Option<&str> {
        self.fixed_ips.iter().map(|fixed| fixed.ip_address.as_str()).find(|ip| !ip.contains(':'))
    }
}

#[derive(Deserialize)]
struct FixedIp {
    ip_address: String,
}

#[derive(Deserialize)]
struct FloatingIps {
    floatingips: Vec<FloatingIp>,
    #[serde(default)]
    floatingips_links: Vec<Link>,
}

#[derive(Deserialize)]
struct OneFloatingIp {
    floatingip: FloatingIp,
}

#[derive(Deserialize)]
struct FloatingIp {
    id: String,
    floating_ip_address: String,
    #[serde(default)]
    port_id: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

impl FloatingIp {
    /// Token and server for which the driver allocated it.
    fn owner(&self) -> Option<(&str, &str)> {
        self.description.as_deref()?.strip_prefix(MARK)?.split_once(':')
    }
}

fn description(token: &str, server: &str) -> String {
    format!("{MARK}{token}:{server}")
}

impl Api {
    /// Identifiers of networks that are named in either way.
    pub(crate) fn networks(&self, wanted: &[String]) -> Result<Vec<String>> {
        self.resolve("network", wanted, || {
            self.list("/networks").pages(|page: Networks| (page.networks, next(page.networks_links)))
        })
    }

    /// Identifiers of security groups that are named in either way.
    pub(crate) fn security_groups(&self, wanted: &[String]) -> Result<Vec<String>> {
        let project = self.session()?.project_id;
        self.resolve("security group", wanted, || {
            // An administrator would see those of others.
            let list = self.list("/security-groups").query("project_id", &project);
            list.pages(|page: Groups| (page.security_groups, next(page.security_groups_links)))
        })
    }

    fn resolve(&self, kind: &str, wanted: &[String], list: impl Fn() -> Result<Vec<Named>>) -> Result<Vec<String>> {
        // An identifier that does not exist is refused by Nova.
        if wanted.iter().all(|wanted| is_uuid(wanted)) {
            return Ok(wanted.to_vec());
        }
        let all = list()?;
        wanted.iter().map(|wanted| pick(kind, wanted, &all).map(|found| found.id.clone())).collect()
    }

    fn list(&self, path: &str) -> Call<'_> {
        self.get(Service::Network, path).query("fields", "id").query("fields", "name").query("limit", "500")
    }

    /// The external network for public addresses.
    fn external_network(&self) -> Result<String> {
        let list = self.list("/networks").query("router:external", "true");
        let all = list.pages(|page: Networks| (page.networks, next(page.networks_links)))?;
        match (&self.settings.floating, all.as_slice()) {
            (Floating::Network(wanted), all) => Ok(pick("external network", wanted, all)?.id.clone()),
            (_, [only]) => Ok(only.id.clone()),
            (_, []) => Err(Error::Unsupported("network: there is no external network for public addresses".to_owned())),
            (_, all) => {
                let names: Vec<_> = all.iter().map(|network| network.name.as_str()).collect();
                Err(Error::Invalid(format!("setting `floating_network` is missing: there are {}", names.join(", "))))
            }
        }
    }

    /// Neutron's quotas of a project, by resource.
    pub(crate) fn network_quota(&self, project: &str) -> Result<Value> {
        let answer: Value = self.get(Service::Network, format!("/quotas/{project}/details")).json()?;
        Ok(answer["quota"].clone())
    }

    /// Whether there is a network to allocate public addresses from, and quota for one more. Not every cloud shows quotas.
    pub(crate) fn check_floating(&self) -> Result<()> {
        self.external_network()?;
        let quota = match self.network_quota(&self.session()?.project_id) {
            Ok(quota) => quota["floatingip"].clone(),
            Err(Error::Forbidden(_) | Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let count = |field: &str| quota[field].as_u64();
        match (count("limit"), count("used")) {
            (Some(limit), Some(used)) if used >= limit => {
                Err(Error::Quota(format!("network: {used} of {limit} floating IPs are in use")))
            }
            _ => Ok(()),
        }
    }

    /// Attaches a floating IP to a server; its address, or none while the server has no port.
    ///
    /// What an earlier call, or another one at the same time, has attached is found by its description; the same port cannot be
    /// given a second one.
    pub(crate) fn attach_floating(&self, server: &str, token: &str) -> Result<Option<String>> {
        let list = self.get(Service::Network, "/ports").query("device_id", server).query("limit", "500");
        let ports = list.pages(|page: Ports| (page.ports, next(page.ports_links)))?;
        let ports: Vec<_> = ports.iter().filter_map(|port| Some((port.id.as_str(), port.address()?))).collect();
        if ports.is_empty() {
            return Ok(None);
        }
        let find = || Ok::<_, Error>(self.floating_ips()?.into_iter().find(|ip| ip.owner() == Some((token, server))));
        let made = find()?;
        if let Some(ip) = made.as_ref().filter(|ip| ip.port_id.is_some()) {
            return Ok(Some(ip.floating_ip_address.clone()));
        }
        let network = if made.is_none() { Some(self.external_network()?) } else { None };
        let mut refused = Error::Failed("network: no port took the address".to_owned());
        for (port, fixed) in ports {
            let mut body = json!({"port_id": port, "fixed_ip_address": fixed});
            let call = match &made {
                Some(ip) => self.call("PUT", Service::Network, format!("/floatingips/{}", ip.id)),
                None => {
                    body["floating_network_id"] = network.clone().into();
                    body["description"] = description(token, server).into();
                    self.post(Service::Network, "/floatingips")
                }
            };
            match call.json_body(&json!({"floatingip": body})).json::<OneFloatingIp>() {
                Ok(one) => return Ok(Some(one.floatingip.floating_ip_address)),
                // No way from the external network to this port: another may have one.
                Err(error @ Error::NotFound(_)) => refused = error,
                Err(error @ Error::Conflict(_)) => {
                    return match find()?.filter(|ip| ip.port_id.is_some()) {
                        Some(ip) => Ok(Some(ip.floating_ip_address)),
                        None => Err(error),
                    };
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Releases the floating IPs that were allocated for a server.
    pub(crate) fn release_floating_of(&self, server: &str) -> Result<()> {
        if !self.session()?.has(Service::Network) {
            return Ok(());
        }
        for ip in self.floating_ips()? {
            if ip.owner().is_some_and(|(_, of)| of == server) {
                self.release(&ip.id)?;
            }
        }
        Ok(())
    }

    /// Releases the floating IPs that were allocated by a token for servers that do not exist any more. A server that does
    /// exist, though Nova did not find it by its tag.
    pub(crate) fn release_floating_by(&self, token: &str) -> Result<Option<Server>> {
        if !self.session()?.has(Service::Network) {
            return Ok(None);
        }
        for ip in self.floating_ips()? {
            let Some((_, server)) = ip.owner().filter(|(by, _)| *by == token) else { continue };
            match self.server(server) {
                Ok(server) if !server.is_gone() => {
                    if server.token() == Some(token) {
                        return Ok(Some(server));
                    }
                }
                Ok(_) | Err(Error::NotFound(_)) => self.release(&ip.id)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn release(&self, id: &str) -> Result<()> {
        match self.delete(Service::Network, format!("/floatingips/{id}")).send() {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn floating_ips(&self) -> Result<Vec<FloatingIp>> {
        let mut list = self.get(Service::Network, "/floatingips").query("limit", "500");
        for field in ["id", "floating_ip_address", "port_id", "description"] {
            list = list.query("fields", field);
        }
        list.pages(|page: FloatingIps| (page.floatingips, next(page.floatingips_links)))
    }
}

/// The one with this identifier, or the only one with this name.
fn pick<'a>(kind: &str, wanted: &str, all: &'a [Named]) -> Result<&'a Named> {
    if let Some(found) = all.iter().find(|named| named.id == wanted) {
        return Ok(found);
    }
    let found: Vec<_> = all.iter().filter(|named| named.name == wanted).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] => Err(Error::Invalid(format!("there is no {kind} `{wanted}`"))),
        _ => Err(Error::Invalid(format!("there are {} of {kind} `{wanted}`: name it by its identifier", found.len()))),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_must_be_unique_and_identifiers_win() {
        let named = |id: &str, name: &str| Named { id: id.into(), name: name.into() };
        let all = [named("1", "a"), named("2", "b"), named("3", "b"), named("b2", "1")];
        for (wanted, found) in
            [("a", Ok("1")), ("1", Ok("1")), ("3", Ok("3")), ("b", Err("there are 2 of group `b`")), ("c", Err("no group `c`"))]
        {
            match (pick("group", wanted, &all), found) {
                (Ok(one), Ok(id)) => assert_eq!(one.id, id),
                (Err(error), Err(part)) => assert!(error.class() == "invalid" && error.message().contains(part), "{error}"),
                (got, _) => panic!("{wanted}: {got:?}"),
            }
        }
    }

    #[test]
    fn an_owner_is_read_from_our_descriptions_only() {
        for (text, owner) in [
            (Some(description("t-1", "s-1")), Some(("t-1".to_owned(), "s-1".to_owned()))),
            (Some("my address".to_owned()), None),
            (Some(String::new()), None),
            (None, None),
        ] {
            let ip = FloatingIp { id: "f".into(), floating_ip_address: "1.1.1.1".into(), port_id: None, description: text };
            assert_eq!(ip.owner().map(|(token, server)| (token.to_owned(), server.to_owned())), owner);
        }
    }

    #[test]
    fn a_uuid_has_a_form() {
        assert!(is_uuid("3f6dbbd4-6b39-4c3e-ae9e-4a7c6f0a7d11"));
        assert!(
            !is_uuid("3f6dbbd4-6b39-4c3e-ae9e-4a7c6f0a7d1")
                && !is_uuid("private")
                && !is_uuid("3f6dbbd46b394c3eae9e4a7c6f0a7d110000")
        );
    }
}
