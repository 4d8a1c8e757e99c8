#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use ostler_core::identity::{Algorithm, Role};
use secrecy::ExposeSecret;

use super::*;

const CANARY: &str = "canary-5ecret";

fn environment(name: &str) -> Option<String> {
    match name {
        "PROD_PASSWORD" => Some(CANARY.to_owned()),
        _ => None,
    }
}

/// A directory with files to refer to.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("present.pem"), "x").unwrap();
    fs::write(directory.path().join("secret"), format!("{CANARY}\r\n")).unwrap();
    fs::write(directory.path().join("empty"), "\n").unwrap();
    fs::write(directory.path().join("binary"), [0xff, 0xfe]).unwrap();
    fs::write(directory.path().join("large"), vec![b'x'; 65_537]).unwrap();
    directory
}

fn parse(text: &str) -> (Result<Config, Problems>, tempfile::TempDir) {
    let directory = directory();
    let result = settle(read("ostler.toml", text, directory.path(), Mode::Configured, &environment));
    (result, directory)
}

fn good(text: &str) -> Config {
    parse(text).0.unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn first_lines(problems: &[Problem], directory: &std::path::Path) -> Vec<String> {
    let place = format!("{}/", directory.display());
    problems.iter().map(|problem| problem.to_string().lines().next().unwrap().replace(&place, "")).collect()
}

#[test]
fn every_mistake_is_explained_with_its_place() {
    let cloud = "[clouds.lab]\ndriver = \"dummy\"\n";
    let table: &[(&str, &[&str])] = &[
        // Syntax.
        ("[server]\nlisten = 127", &["ostler.toml:2:10: server.listen: must be a string, found a whole number"]),
        ("[server\n", &["ostler.toml:1:8: unclosed table, expected `]`"]),
        ("[server]\nlisten =\n", &["ostler.toml:2:9: string values must be quoted, expected literal string"]),
        ("[log]\nformat = \"text\"\nformat = \"json\"", &["ostler.toml:3:1: duplicate key"]),
        // Unknown keys.
        ("[servr]\n", &["ostler.toml:1:2: servr: unknown key"]),
        ("[server]\n\"a b\" = 1\n", &["ostler.toml:2:1: server.\"a b\": unknown key"]),
        // Listeners.
        (
            "[server]\nlisten = \"localhost:5050\"",
            &[
                "ostler.toml:2:10: server.listen: must be an IP address with a port, such as \"127.0.0.1:5050\", \"0.0.0.0:5050\" or \"[::]:5050\", found \"localhost:5050\"",
            ],
        ),
        (
            "[server]\nlisten = \"127.0.0.1:1\"\nlisten_tls = \"127.0.0.1:1\"",
            &["ostler.toml:3:14: server.listen_tls: is the address of server.listen as well: each listener needs its own"],
        ),
        (
            "[server]\nlisten_tls = \"127.0.0.1:1\"\ntls_certificate = \"present.pem\"",
            &["ostler.toml:3:1: server.tls_certificate: needs server.tls_key as well"],
        ),
        (
            "[server]\nlisten_tls = \"127.0.0.1:1\"\ntls_certificate = \"absent.pem\"\ntls_key = \".\"",
            &[
                "ostler.toml:3:19: server.tls_certificate: cannot read absent.pem: there is no such file",
                "ostler.toml:4:11: server.tls_key: cannot read .: it is a directory",
            ],
        ),
        (
            "[server]\npublic_url = \"https://ostler.example/api\"",
            &[
                "ostler.toml:2:14: server.public_url: must be the server's address as clients see it, such as \"https://ostler.example:5555\": it must end after the host and port",
            ],
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/33\", 7]",
            &[
                "ostler.toml:2:34: server.trusted_proxies[1]: must be an IP address or network, such as \"10.0.0.1\" or \"10.0.0.0/8\", found \"10.0.0.0/33\"",
                "ostler.toml:2:49: server.trusted_proxies[2]: must be a string, found a whole number",
            ],
        ),
        ("server = 1", &["ostler.toml:1:10: server: must be a table, found a whole number"]),
        (
            "[server]\nmax_body_bytes = -1\nshutdown_seconds = 1.5",
            &[
                "ostler.toml:2:18: server.max_body_bytes: must be between 1024 and 1073741824 bytes, found -1",
                "ostler.toml:3:20: server.shutdown_seconds: must be a whole number, found a decimal number",
            ],
        ),
        // Store, drivers, log.
        (
            "[store]\nurl = \"mysql://x\"",
            &[
                "ostler.toml:2:7: store.url: must be sqlite:FILE, sqlite::memory: or postgres://USER:PASSWORD@HOST/DATABASE: the scheme is another",
            ],
        ),
        (
            "[drivers]\ntrusted_keys = [\"ed25519:AAAA\", \"rsa:AAAA\", \"ed25519:?\"]",
            &[
                "ostler.toml:2:17: drivers.trusted_keys[0]: must be an Ed25519 public key, \"ed25519:<base64 of its 32 bytes>\": these are 3 bytes",
                "ostler.toml:2:33: drivers.trusted_keys[1]: must be an Ed25519 public key, \"ed25519:<base64 of its 32 bytes>\": it does not begin with ed25519:",
                "ostler.toml:2:45: drivers.trusted_keys[2]: must be an Ed25519 public key, \"ed25519:<base64 of its 32 bytes>\": this is not base64",
            ],
        ),
        (
            "[drivers]\nrequire_signature = true",
            &[
                "ostler.toml:2:21: drivers.require_signature: is true, but drivers.trusted_keys is empty: no driver could ever be loaded",
            ],
        ),
        (
            "[log]\nfilter = \"a=b=c\"\nformat = \"jsn\"",
            &[
                "ostler.toml:2:10: log.filter: must be a level or directives, such as \"info,ostler_drivers=debug\"",
                "ostler.toml:3:10: log.format: must be one of \"text\", \"json\", found \"jsn\"",
            ],
        ),
        // Clouds.
        (
            "[clouds.lab]\n",
            &["ostler.toml:1:9: clouds.lab.driver: is missing: the name of the cloud's driver, such as \"dummy\""],
        ),
        ("[clouds]\nlab = \"dummy\"", &["ostler.toml:2:7: clouds.lab: must be a table: [clouds.lab], found a string"]),
        (
            "[clouds.\".x\"]\ndriver = \"dummy\"",
            &[
                "ostler.toml:1:9: clouds.\".x\": a cloud's name must be 1 to 64 letters, digits, `_`, `.` or `-`, and not start with a dot",
            ],
        ),
        (
            "[clouds.deployments]\ndriver = \"../x\"",
            &[
                "ostler.toml:1:9: clouds.deployments: `deployments` is a word of the APIs' paths, give the cloud another name",
                "ostler.toml:2:10: clouds.deployments.driver: must be 1 to 64 lower-case letters, digits, `-`, `_` or `.`: the file's name in the driver directory without .wasm",
            ],
        ),
        (
            "[clouds.lab]\ndriver = \"dummy\"\nlimits.memory_mb = 0\n[clouds.other]\ndriver = \"dummy\"\nlimits = { memory = 1, rate_per_second = 0 }",
            &[
                "ostler.toml:3:20: clouds.lab.limits.memory_mb: must be between 1 and 4096 MiB, found 0",
                "ostler.toml:6:12: clouds.other.limits.memory: unknown key",
                "ostler.toml:6:42: clouds.other.limits.rate_per_second: must be above 0 and at most 1000000",
            ],
        ),
        (
            "[clouds.lab]\ndriver = \"dummy\"\ngrants = { http = [\"https://x/v3\", \"ftp://x\", \"x\"], state = 1, hypervisor = \"system\" }",
            &[
                "ostler.toml:3:20: clouds.lab.grants.http[0]: must be an origin, such as \"https://cloud.example:5000\": it must end after the host and port",
                "ostler.toml:3:36: clouds.lab.grants.http[1]: must be an origin, such as \"https://cloud.example:5000\": the scheme must be http or https",
                "ostler.toml:3:47: clouds.lab.grants.http[2]: must be an origin, such as \"https://cloud.example:5000\": it is not a URL",
                "ostler.toml:3:61: clouds.lab.grants.state: must be true or false, found a whole number",
                "ostler.toml:3:77: clouds.lab.grants.hypervisor: must be a libvirt connection, such as \"qemu:///system\"",
            ],
        ),
        (
            "[clouds.lab]\ndriver = \"dummy\"\ninstances = \"cold\"\ntls = { certificate = \"present.pem\" }\ndeployments = { priority = 0 }",
            &[
                "ostler.toml:3:13: clouds.lab.instances: must be one of \"warm\", \"fresh\", found \"cold\"",
                "ostler.toml:4:9: clouds.lab.tls.certificate: needs clouds.lab.tls.key as well",
                "ostler.toml:5:28: clouds.lab.deployments.priority: must be above 0 and at most 1000",
            ],
        ),
        // Secrets.
        (
            "[clouds.lab]\ndriver = \"dummy\"\n[clouds.lab.secrets]\na = { env = \"NOT_SET\" }\nb = { file = \"absent\" }\nc = { file = \"empty\" }\nd = { file = \"binary\" }\ne = { file = \"large\" }\nf = \"canary-5ecret\"\ng = { env = \"A\", file = \"B\" }\nh = { env = \"canary-5ecret\" }\ni = { value = \"canary-5ecret\" }\nj = { env = 5 }",
            &[
                "ostler.toml:4:13: clouds.lab.secrets.a.env: the environment variable NOT_SET is not set",
                "ostler.toml:5:14: clouds.lab.secrets.b.file: cannot read absent: there is no such file",
                "ostler.toml:6:14: clouds.lab.secrets.c.file: cannot read empty: it is empty",
                "ostler.toml:7:14: clouds.lab.secrets.d.file: cannot read binary: it is not UTF-8 text",
                "ostler.toml:8:14: clouds.lab.secrets.e.file: cannot read large: it is larger than 64 KiB",
                "ostler.toml:9:1: clouds.lab.secrets.f: must be { env = \"NAME\" } or { file = \"PATH\" }: secrets themselves do not belong in this file, found a string",
                "ostler.toml:10:1: clouds.lab.secrets.g: must be { env = \"NAME\" } or { file = \"PATH\" }: exactly one of them",
                "ostler.toml:11:1: clouds.lab.secrets.h: must be { env = \"NAME\" } or { file = \"PATH\" }: NAME is the name of an environment variable, of letters, digits and `_`",
                "ostler.toml:12:1: clouds.lab.secrets.i: must be { env = \"NAME\" } or { file = \"PATH\" }: other keys are not known",
                "ostler.toml:13:1: clouds.lab.secrets.j: must be { env = \"NAME\" } or { file = \"PATH\" }: with a text",
            ],
        ),
        // Dialects.
        (
            &format!("{cloud}[api.indigo]\ncloud = \"lap\"\nprefix = \"orchestrator/\"\nlistener = \"plain\"\n[api.v2]\n"),
            &[
                "ostler.toml:3:6: api.indigo.listener: needs server.listen, which is not given",
                "ostler.toml:4:9: api.indigo.cloud: there is no cloud \"lap\"",
                "ostler.toml:5:10: api.indigo.prefix: must be a path without a slash at its end, such as \"/orchestrator\", found \"orchestrator/\"",
                "ostler.toml:7:6: api.v2: unknown key",
            ],
        ),
        (
            "[api.indigo.callbacks]\nallow_private = 1\nhosts = [\"http://a/\", \"a b\", 3]\nhost = []",
            &[
                "ostler.toml:2:17: api.indigo.callbacks.allow_private: must be true or false, found a whole number",
                "ostler.toml:3:10: api.indigo.callbacks.hosts[0]: must be a host or an origin, such as \"hooks.example\" or \"http://10.0.0.5:8080\": an origin ends after the host and port: remove the path, query or fragment, the slash included",
                "ostler.toml:3:23: api.indigo.callbacks.hosts[1]: must be a host or an origin, such as \"hooks.example\" or \"http://10.0.0.5:8080\": host: only letters, digits, \"-\", \"_\" and \".\" (write other scripts in their \"xn--\" form)",
                "ostler.toml:3:30: api.indigo.callbacks.hosts[2]: must be a string, found a whole number",
                "ostler.toml:4:1: api.indigo.callbacks.host: unknown key",
            ],
        ),
        (
            &format!(
                "{cloud}[services]\nmanager_port = 0\nname_prefix = \"a b\"\n[services.types.PHP]\nimage = \"1\"\n[services.types.php.clouds.lap]\nimage = \"1\"\nsize = \"1\"\n"
            ),
            &[
                "ostler.toml:4:16: services.manager_port: must be between 1 and 65535, found 0",
                "ostler.toml:5:15: services.name_prefix: must be 1 to 32 letters, digits and hyphens, found \"a b\"",
                "ostler.toml:6:17: services.types.PHP: a type of service is 1 to 64 of a-z, 0-9, _ and -, found \"PHP\"",
                "ostler.toml:6:17: services.types.PHP.size: is missing: the provider's identifier of the size",
                "ostler.toml:8:17: services.types.php.image: is missing: the provider's identifier of the image",
                "ostler.toml:8:17: services.types.php.size: is missing: the provider's identifier of the size",
                "ostler.toml:8:28: services.types.php.clouds.lap: there is no cloud \"lap\"",
            ],
        ),
        (
            &format!(
                "{cloud}[work]\nsweep_seconds = -1\nremove_orphans = 1\n[billing]\nprice = -1\nperiod_seconds = 0\n[billing.prices.lab]\ntiny = 1.5\n[billing.prices.lap]\n"
            ),
            &[
                "ostler.toml:4:17: work.sweep_seconds: must be between 0 and 86400 seconds, found -1",
                "ostler.toml:5:18: work.remove_orphans: must be true or false, found a whole number",
                "ostler.toml:7:9: billing.price: must be between 0 and 1000000 credits, found -1",
                "ostler.toml:8:18: billing.period_seconds: must be between 1 and 31536000 seconds, found 0",
                "ostler.toml:10:8: billing.prices.lab.tiny: must be a whole number between 0 and 1000000 credits",
                "ostler.toml:11:17: billing.prices.lap: there is no cloud \"lap\"",
            ],
        ),
        (
            "[server]\nlisten = \"0.0.0.0:5050\"\n[api.crs4]\nopen = true\ncistern = \"x\"",
            &[
                "ostler.toml:4:8: api.crs4.open: must be false while server.listen is 0.0.0.0:5050: without credentials, only loopback addresses are served",
                "ostler.toml:5:11: api.crs4.cistern: must be the address of a Cistern, such as \"http://127.0.0.1:5051/api/v1\"",
            ],
        ),
        (
            "[server]\nlisten = \"0.0.0.0:5050\"\n[api.indigo]\nopen = true\nprefix = \"/deployments/x\"",
            &[
                "ostler.toml:4:8: api.indigo.open: must be false while server.listen is 0.0.0.0:5050: without credentials, only loopback addresses are served",
                "ostler.toml:5:10: api.indigo.prefix: `deployments` begins other paths of this server: choose another, such as \"/orchestrator\"",
            ],
        ),
        // A platform of instances.
        (
            "[images]\nmax_gb = 0\ninside = [\"10.0.0.5\"]\n[forwarding]\nlisten = \"lan\"\nports = \"8000-7000\"\n[metrics]\ninterval_seconds = -1\nkeep_days = 3\n",
            &[
                "ostler.toml:2:10: images.max_gb: must be between 1 and 65536 GiB, found 0",
                "ostler.toml:3:11: images.inside[0]: must be an origin such as \"http://10.0.0.5:8080\": an origin starts with \"http://\" or \"https://\"",
                "ostler.toml:5:10: forwarding.listen: must be an IP address, such as \"0.0.0.0\", found \"lan\"",
                "ostler.toml:6:9: forwarding.ports: must be the first and the last port, such as \"7000-7999\", found \"8000-7000\"",
                "ostler.toml:8:20: metrics.interval_seconds: must be between 0 and 3600 seconds, found -1",
                "ostler.toml:9:1: metrics.keep_days: unknown key",
            ],
        ),
        // Mail.
        (
            "[mail]\nserver = \"mail.example\"\ntls = \"none\"\nfrom = \"nobody\"\nuser = \"ostler\"",
            &[
                "ostler.toml:1:2: mail.tls: \"none\" is for a server on this machine only: localhost, 127.0.0.1, [::1]",
                "ostler.toml:4:8: mail.from: must be a mail address with or without a name, such as \"Ostler <ostler@example.org>\"",
                "ostler.toml:5:8: mail.user: needs password = { env = \"NAME\" } or { file = \"PATH\" }",
            ],
        ),
        (
            "[mail]\nport = 0\npassword = \"canary-5ecret\"\ntls = \"ssl\"",
            &[
                "ostler.toml:1:2: mail.server: is missing: the SMTP server, such as \"mail.example\"",
                "ostler.toml:1:2: mail.from: is missing: the sender, such as \"Ostler <ostler@example.org>\"",
                "ostler.toml:1:2: mail.password: must be { env = \"NAME\" } or { file = \"PATH\" }: secrets themselves do not belong in this file, found a string",
                "ostler.toml:2:8: mail.port: must be between 1 and 65535, found 0",
                "ostler.toml:4:7: mail.tls: must be one of \"starttls\", \"tls\", \"none\", found \"ssl\"",
            ],
        ),
        (
            "[mail]\nserver = \"smtp://mail.example\"\nfrom = \"a@b.example\"\npassword = { env = \"PROD_PASSWORD\" }",
            &[
                "ostler.toml:1:2: mail.password: needs user",
                "ostler.toml:2:10: mail.server: must be a host name or an IP address, IPv6 in brackets, and nothing else, found \"smtp://mail.example\"",
            ],
        ),
        // Issuers.
        (
            "[[oidc]]\nissuer = \"http://issuer.example\"\naudience = [\"x\"]\nalgorithms = [\"none\"]\n[[oidc]]\n",
            &[
                "ostler.toml:2:10: oidc[0].issuer: must begin with https:// (http:// is possible for a loopback address only)",
                "ostler.toml:4:15: oidc[0].algorithms[0]: must be one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, found \"none\"",
                "ostler.toml:5:1: oidc[1].issuer: is missing: the issuer as its tokens say it in `iss`, https://…",
                "ostler.toml:5:1: oidc[1].audience: is missing: the values of `aud` that are meant for this server, such as [\"ostler\"]",
            ],
        ),
    ];
    for (text, expected) in table {
        let (result, directory) = parse(text);
        let problems = result.err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert_eq!(first_lines(&problems.0, directory.path()), *expected, "{text}\n{problems}");
        assert!(!format!("{problems} {problems:?}").contains(CANARY), "{problems}");
    }
}

#[test]
fn a_problem_looks_like_a_compilers() {
    let (result, _directory) = parse("[clouds.lab]\ndriver = \"dummy\"\nlimits = { \"mémory_mb\" = 1, memry_mb = 64 }\n");
    let expected = "\
ostler.toml:3:12: clouds.lab.limits.\"mémory_mb\": unknown key
  |
3 | limits = { \"mémory_mb\" = 1, memry_mb = 64 }
  |            ^^^^^^^^^^^
  = help: did you mean `memory_mb`?

ostler.toml:3:29: clouds.lab.limits.memry_mb: unknown key
  |
3 | limits = { \"mémory_mb\" = 1, memry_mb = 64 }
  |                             ^^^^^^^^
  = help: did you mean `memory_mb`?";
    assert_eq!(result.unwrap_err().to_string(), expected);
    let (result, _directory) = parse("[log]\nunrelated = 1");
    assert!(result.unwrap_err().to_string().ends_with("= help: the keys here are filter, format"));
}

#[test]
fn secrets_are_cut_out_of_source_lines() {
    for (text, shown) in [
        ("[store]\nurl = \"mysql://u:canary-5ecret@h/d\"", "2 | url = …\n  |       ^"),
        ("[store]\nurl = \"postgres://u:canary-5ecret@h/d\nx = 1", "2 | url = …"),
        (
            "clouds.lab = { driver = \"d\", secrets = { a = \"canary-5ecret\" }, limts = 1 }",
            "1 | clouds.lab = { driver = \"d\", secrets = { a = … }, limts = 1 }\n  |                                                   ^^^^^",
        ),
        (
            "[clouds.lab]\ndriver = \"d\"\nconfig = { password = \"canary-5ecret\" }\nx = 1",
            "3 | config = { password = … }\n  |            ^^^^^^^^",
        ),
        ("[clouds.lab]\ndriver = \"d\"\ngrants = { http = [\"http://u:canary-5ecret@h\"] }", "3 | grants = { http = […] }"),
        ("[clouds.lab]\npassword = canary-5ecret\n", "2 | password = …"),
        ("[clouds.lab] password = \"canary-5ecret\"\n", "1 | [clouds.lab] password = …"),
        ("[store]\nurl = [\"postgres://u:canary-5ecret@h/d\"]", "2 | url = …"),
        ("[clouds.lab]\ndriver = \"d\"\nsecrets = \"canary-5ecret\"", "3 | secrets = …"),
    ] {
        let (result, _directory) = parse(text);
        let problems = result.expect_err(text);
        let all = format!("{problems} {problems:?}");
        assert!(problems.to_string().contains(shown), "{problems}");
        assert!(!all.contains("canary") && !all.contains("5ecret"), "{all}");
    }
}

const FULL: &str = r#"
[server]
listen = "127.0.0.1:5050"
listen_tls = "0.0.0.0:5555"
public_url = "https://ostler.example:5555"
trusted_proxies = ["10.0.0.1", "fd00::/8"]
tls_certificate = "present.pem"
tls_key = "present.pem"
max_body_bytes = 0x10_0000
[store]
url = "postgres://ostler:canary-5ecret@db.example/ostler?sslpassword=canary-5ecret"
[drivers]
directory = "/srv/drivers"
trusted_keys = ["ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
[clouds.default]
driver = "dummy"
[clouds.prod]
driver = "openstack"
instances = "fresh"
grants = { http = ["https://Cloud.example:443", "http://[::1]:8774"], cache = false }
config = { auth_url = "https://cloud.example:5000/v3", nested = { a = [1, 2.5, true] } }
secrets = { password = { env = "PROD_PASSWORD" }, key = { file = "secret" } }
limits = { call_seconds = 20, rate_per_second = 2, list_ttl_ms = 2000 }
tls = { ca = "present.pem" }
[api.crs4]
listener = "plain"
open = true
[api.cloudedge]
cloud = "prod"
prefix = "/edge"
[api.indigo]
enabled = false
callbacks = { allow_private = true, hosts = ["Hooks.example", "http://10.0.0.5:8080"] }
[[oidc]]
issuer = "https://issuer.example/"
audience = ["ostler"]
[mail]
server = "mail.example"
user = "ostler"
password = { file = "secret" }
from = "Ostler <ostler@example.org>"
[log]
filter = "info,ostler_drivers=debug"
format = "json"
"#;

#[test]
fn a_full_file_is_read() {
    let (result, directory) = parse(FULL);
    let config = result.unwrap();
    let warnings: Vec<&str> = config.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warnings, ["api.crs4.open"], "{:?}", config.warnings);
    assert_eq!(config.server.listen_tls, Some("0.0.0.0:5555".parse().unwrap()));
    assert_eq!(config.server.max_body_bytes, 1 << 20);
    assert_eq!(config.server.trusted_proxies[0].to_string(), "10.0.0.1/32");
    assert!(!config.server.plain_passwords, "where nothing is said");
    assert_eq!(config.server.tls_key, Some(directory.path().join("present.pem")));
    assert_eq!(config.drivers.directory, PathBuf::from("/srv/drivers"));
    assert!(config.drivers.require_signature, "trusted keys imply it");
    assert_eq!(config.drivers.trusted_keys[0].0[31], 31);
    let prod = &config.clouds["prod"];
    assert_eq!(prod.grants.http, ["https://cloud.example", "http://[::1]:8774"]);
    assert!(!prod.grants.cache && prod.grants.state);
    assert_eq!(prod.config["nested"]["a"][1].as_float(), Some(2.5));
    assert_eq!(prod.secrets["password"].value.expose_secret(), CANARY);
    assert_eq!(prod.secrets["key"].value.expose_secret(), CANARY, "the line end is cut");
    assert_eq!(prod.secrets["key"].source, SecretSource::File(directory.path().join("secret")));
    assert_eq!(prod.secrets["key"].source.read(&|_| None).unwrap().expose_secret(), CANARY);
    assert_eq!(prod.limits, Limits { call_seconds: 20, rate_per_second: Some(2.0), list_ttl_ms: 2000, ..Limits::default() });
    assert_eq!(prod.instances, Instances::Fresh);
    assert!(config.api.crs4.open, "the public listener does not serve it");
    assert_eq!(config.api.crs4.dialect.cloud.as_deref(), Some("default"));
    assert_eq!(config.api.cloudedge.cloud.as_deref(), Some("prod"));
    assert_eq!(config.api.cloudedge.prefix.as_deref(), Some("/edge"));
    assert!(!config.api.indigo.dialect.enabled && !config.api.indigo.open);
    let callbacks = &config.api.indigo.callbacks;
    let hosts: Vec<_> = callbacks.hosts.iter().map(ToString::to_string).collect();
    assert!(callbacks.allow_private);
    assert_eq!(hosts, ["https://hooks.example", "http://hooks.example", "http://10.0.0.5:8080"]);
    assert_eq!(config.oidc[0].algorithms, [Algorithm::RS256, Algorithm::ES256]);
    assert_eq!((&config.oidc[0].roles[..], config.oidc[0].leeway_seconds), (&[Role::Customer][..], 30));
    assert_eq!(config.log.format, LogFormat::Json);
    let mail = config.mail.as_ref().unwrap();
    assert_eq!((mail.server.as_str(), mail.port, mail.tls), ("mail.example", 587, ostler_mail::Tls::StartTls));
    assert_eq!((mail.user.as_deref(), mail.from.to_string().as_str()), (Some("ostler"), "Ostler <ostler@example.org>"));
    assert_eq!(mail.password.as_ref().unwrap().value.expose_secret(), CANARY);

    let report = config.check_report();
    assert!(report.contains("postgres://db.example/ostler\n"), "{report}");
    assert!(report.contains("ostler@example.org by mail.example:587 (STARTTLS)\n"), "{report}");
    assert!(report.contains("/cloudedge, also under /edge, cloud prod by default\n"), "{report}");
    assert!(report.contains("clouds.prod      driver openstack (fresh), may use state, config, secrets, log, https://cloud.example, http://[::1]:8774; config: auth_url, nested; secrets: key, password\n"), "{report}");
    for text in [report, format!("{config:?}")] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[test]
fn defaults() {
    let config = good("");
    assert_eq!(config.server, Server { listen_tls: Some("0.0.0.0:5555".parse().unwrap()), ..Server::default() }, "HTTPS only");
    assert!(!config.api.conpaas.open_registration && config.services.types.is_empty());
    assert_eq!((config.billing, config.services, config.work), (Billing::default(), Services::default(), Work::default()));
    assert_eq!(config.drivers, Drivers::default());
    assert_eq!(config.log, Log::default());
    assert!(config.mail.is_none() && config.api.cloudedge == Dialect::default());
    assert!(config.clouds.is_empty() && config.oidc.is_empty() && config.store.url.is_none());
    assert!(!config.api.crs4.open && config.api.crs4.dialect == Dialect::default());
    assert!(!config.api.indigo.open && config.api.indigo.dialect == Dialect::default());
    assert_eq!(config.api.indigo.callbacks, Callbacks::default());

    let config = good("[server]\nlisten_tls = \"127.0.0.1:0\"\n");
    assert_eq!(config.server.listen, None, "HTTPS only");
    let config = good("[server]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(config.server.listen_tls, None, "HTTP only, where that is what is said");
}

#[test]
fn development() {
    let config = Config::development();
    assert_eq!(config.mode, Mode::Development);
    assert_eq!(config.server.listen, Some("127.0.0.1:5050".parse().unwrap()));
    assert_eq!(config.server.listen_tls, Some("127.0.0.1:5555".parse().unwrap()));
    assert_eq!(config.clouds.keys().collect::<Vec<_>>(), ["default", "fake_driver"]);
    assert!(config.api.conpaas.open_registration && config.services.types.len() == 11);
    assert!(config.clouds.values().all(|cloud| cloud.driver == "dummy" && cloud.grants == Grants::default()));
    assert!(config.api.crs4.open && config.api.indigo.open);
    assert!(config.api.served().iter().all(|(_, _, dialect)| dialect.enabled && dialect.cloud.as_deref() == Some("default")));
    assert!(config.check_report().starts_with("mode             development"));
}

#[test]
fn the_environment_overrides() {
    type Check = fn(&Config) -> bool;
    let table: &[(&str, &str, Check)] = &[
        ("OSTLER_LISTEN", "127.0.0.1:1", |c| c.server.listen.map(|a: SocketAddr| a.port()) == Some(1)),
        ("OSTLER_LISTEN_TLS", "127.0.0.1:2", |c| c.server.listen_tls.map(|a: SocketAddr| a.port()) == Some(2)),
        ("OSTLER_PUBLIC_URL", "http://a.example", |c| {
            c.server.public_url.as_ref().is_some_and(|u| u.as_str() == "http://a.example/")
        }),
        ("OSTLER_STORE_URL", "sqlite:other.db", |c| c.store.url.as_deref() == Some("sqlite:other.db")),
        ("OSTLER_DRIVERS_DIRECTORY", "elsewhere", |c| c.drivers.directory.as_os_str() == "elsewhere"),
        ("OSTLER_LOG", "debug", |c| c.log.filter == "debug"),
    ];
    let overriding: Vec<&str> =
        VARIABLES.iter().filter(|variable| variable.key.is_some()).map(|variable| variable.name).collect();
    assert!(overriding.iter().all(|name| table.iter().any(|(known, ..)| known == name)), "each is tested");

    let file = "[server]\nlisten = \"127.0.0.1:9\"\nlisten_tls = \"127.0.0.1:8\"\npublic_url = \"http://b.example\"\n[store]\nurl = \"sqlite:a.db\"\n[drivers]\ndirectory = \"d\"\n[log]\nfilter = \"warn\"\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ostler.toml");
    fs::write(&path, file).unwrap();
    for (name, value, check) in table {
        let env = |asked: &str| (asked == *name).then(|| (*value).to_owned());
        assert!(check(&Config::load(Some(&path), &env).unwrap()), "{name} over the file");
        assert!(check(&Config::load(None, &env).unwrap()), "{name} without a file");
        let empty = |asked: &str| (asked == *name).then(String::new);
        assert!(!check(&Config::load(Some(&path), &empty).unwrap()), "an empty {name} counts as not set");
    }
    let wrong = |asked: &str| (asked == "OSTLER_STORE_URL").then(|| format!("mysql://u:{CANARY}@h"));
    let problems = Config::load(Some(&path), &wrong).unwrap_err().to_string();
    assert!(problems.starts_with("environment: OSTLER_STORE_URL: must be sqlite:FILE"), "{problems}");
    assert!(!problems.contains(CANARY), "{problems}");

    let public = |asked: &str| (asked == "OSTLER_LISTEN").then(|| "0.0.0.0:5050".to_owned());
    let problems = Config::load(None, &public).unwrap_err().to_string();
    assert!(problems.starts_with("environment: OSTLER_LISTEN: 0.0.0.0:5050 is not a loopback address"), "{problems}");
}

#[test]
fn unknown_variables_are_warned_about() {
    let names = ["OSTLER_LISTN", "OSTLER_TOKEN", "PATH", "OSTLER_XYZZY"].map(str::to_owned);
    let lines: Vec<String> = unknown_variables(names).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "environment: warning: OSTLER_LISTN: unknown variable, it has no effect\n  = help: did you mean `OSTLER_LISTEN`?",
            "environment: warning: OSTLER_XYZZY: unknown variable, it has no effect",
        ]
    );
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ostler.toml");
    let load = || Config::load(Some(&path), &|_| None).unwrap_err().to_string();
    let expect = |reason: &str| format!("{}: cannot read the configuration: {reason}", path.display());
    assert_eq!(load(), expect("there is no such file"));
    fs::write(&path, [b'#', 0xff]).unwrap();
    assert_eq!(load(), expect("it is not UTF-8 text"));
    fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert_eq!(load(), expect("it is larger than 1 MiB"));
}

#[test]
fn warnings_do_not_prevent_the_start() {
    let config = good(
        "[clouds.lab]\ndriver = \"dummy\"\ngrants.secrets = false\nsecrets.a = { env = \"PROD_PASSWORD\" }\nconfig.api_token = \"canary-5ecret\"\n\
         [clouds.lab.hypervisor]\npools = [\"fast\"]",
    );
    let lines: Vec<String> =
        config.warnings.iter().map(|warning| warning.to_string().lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "ostler.toml:4:1: warning: clouds.lab.secrets: cannot be read by the driver: grants.secrets is false",
            "ostler.toml:5:8: warning: clouds.lab.config.api_token: looks like a secret: better in `secrets`, where it is never shown",
            "ostler.toml:6:13: warning: clouds.lab.hypervisor: has no effect: grants.hypervisor names no connection, such as \"qemu:///system\"",
        ]
    );
}
