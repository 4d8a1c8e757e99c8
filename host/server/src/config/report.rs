//! What a configuration would serve, for `ostler config check`.

use std::fmt::Write;

use super::types::{Cloud, Config, Dialect, Instances, ListenerChoice, Mode};

impl Config {
    /// A summary for people: listeners, store, drivers, APIs and clouds with their grants. Contains no secrets: of the store only
    /// the address, of the clouds' settings and secrets only the names.
    pub fn check_report(&self) -> String {
        let mut lines = Lines::default();
        lines.add(
            "mode",
            match self.mode {
                Mode::Development => "development (no configuration file): open, for this machine only",
                Mode::Configured => "configured",
            },
        );
        if let Some(address) = self.server.listen {
            lines.add("listen", &format!("http://{address}"));
        }
        if let Some(address) = self.server.listen_tls {
            let certificate = match &self.server.tls_certificate {
                Some(path) => format!("certificate {}", path.display()),
                None => "certificate of our own authority".to_owned(),
            };
            lines.add("listen_tls", &format!("https://{address} ({certificate})"));
        }
        if let Some(url) = &self.server.public_url {
            lines.add("public_url", url.as_str().trim_end_matches('/'));
        }
        lines.add("store", &self.store.redacted());
        let signed = if self.drivers.require_signature { "signature required" } else { "signature not required" };
        let keys = count(self.drivers.trusted_keys.len(), "trusted key");
        lines.add("drivers", &format!("{} ({signed}, {keys})", self.drivers.directory.display()));
        for (name, path, dialect) in self.api.served() {
            let open = match name {
                "crs4" if self.api.crs4.open => ", open without credentials",
                "indigo" if self.api.indigo.open => ", open without credentials",
                "conpaas" if self.api.conpaas.open_registration => ", open registration",
                _ => "",
            };
            lines.add(&format!("api.{name}"), &format!("{}{open}", describe_dialect(path, dialect)));
        }
        let types: Vec<_> = self.services.types.keys().map(String::as_str).collect();
        let metering = if self.services.metering { "metered by the host" } else { "not metered" };
        lines.add("services", &format!("{} ({metering})", if types.is_empty() { "none".to_owned() } else { types.join(", ") }));
        let for_what = if self.billing.deployments { "; deployments are charged" } else { "" };
        let (price, period) = (count_u64(self.billing.price, "credit"), self.billing.period_seconds);
        let price = format!("{price} per node and {period} s{for_what}");
        lines.add("billing", &price);
        lines.add("mail", &self.mail.as_ref().map_or_else(|| "off".to_owned(), super::types::Mail::described));
        lines.add("log", &format!("{} ({:?})", self.log.filter, self.log.format).to_lowercase());
        if self.clouds.is_empty() {
            lines.add("clouds", "none");
        }
        for (name, cloud) in &self.clouds {
            lines.add(&format!("clouds.{name}"), &describe_cloud(cloud));
        }
        lines.0
    }
}

impl super::types::Api {
    /// The dialects that this version serves, with their names in the configuration and their paths.
    pub fn served(&self) -> [(&'static str, &'static str, &Dialect); 4] {
        [
            ("conpaas", "/", &self.conpaas.dialect),
            ("crs4", "/api/v1", &self.crs4.dialect),
            ("cloudedge", "/cloudedge", &self.cloudedge),
            ("indigo", "/deployments", &self.indigo.dialect),
        ]
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, text: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{name:<16} {text}");
    }
}

fn describe_dialect(path: &str, dialect: &Dialect) -> String {
    if !dialect.enabled {
        return "off".to_owned();
    }
    let prefix = dialect.prefix.as_ref().map(|prefix| format!(", also under {prefix}")).unwrap_or_default();
    let listener = match dialect.listener {
        ListenerChoice::All => "",
        ListenerChoice::Plain => ", HTTP only",
        ListenerChoice::Tls => ", HTTPS only",
    };
    let cloud =
        dialect.cloud.as_ref().map_or_else(|| "no cloud by default".to_owned(), |cloud| format!("cloud {cloud} by default"));
    format!("{path}{prefix}{listener}, {cloud}")
}

fn describe_cloud(cloud: &Cloud) -> String {
    let mut grants: Vec<String> = Vec::new();
    for (name, granted) in [
        ("state", cloud.grants.state),
        ("cache", cloud.grants.cache),
        ("config", cloud.grants.config),
        ("secrets", cloud.grants.secrets),
        ("log", cloud.grants.log),
    ] {
        if granted {
            grants.push(name.to_owned());
        }
    }
    grants.extend(cloud.grants.http.iter().cloned());
    grants.extend(cloud.grants.hypervisor.iter().cloned());
    let grants = if grants.is_empty() { "nothing".to_owned() } else { grants.join(", ") };
    let instances = match cloud.instances {
        Instances::Warm => "warm",
        Instances::Fresh => "fresh",
    };
    let mut text = format!("driver {} ({instances}), may use {grants}", cloud.driver);
    for (what, names) in
        [("config", cloud.config.keys().cloned().collect::<Vec<_>>()), ("secrets", cloud.secrets.keys().cloned().collect())]
    {
        if !names.is_empty() {
            let _ = write!(text, "; {what}: {}", names.join(", "));
        }
    }
    text
}

fn count_u64(number: u64, what: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), what)
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
