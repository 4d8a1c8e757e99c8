//! Configurations that are refused.

use ostler_egress::Origin;
use ostler_oidc::{ConfigError, Exchange, Introspection, IssuerConfig, Issuers};

use crate::support::client;

fn config(issuer: &str) -> IssuerConfig {
    IssuerConfig::new(issuer, vec!["ostler".to_owned()])
}

fn refusal(config: IssuerConfig) -> Option<String> {
    Issuers::new(vec![config]).err().map(|error| error.to_string())
}

#[tokio::test]
async fn issuers() {
    let accepted = [
        "https://issuer.example",
        "https://issuer.example/",
        "https://issuer.example:8443/realms/a",
        "http://127.0.0.1:3000",
        "http://localhost/x",
        "http://[::1]:3000/",
    ];
    for issuer in accepted {
        assert_eq!(refusal(config(issuer)), None, "{issuer}");
    }
    let refused = [
        ("http://issuer.example", "must begin with https://"),
        ("http://10.0.0.1/", "must begin with https://"),
        ("https://issuer.example?x", "query"),
        ("https://issuer.example#x", "fragment"),
        ("https://me:secret@issuer.example", "credentials"),
        ("https://*.example", "URL"),
        ("issuer.example", "URL"),
        ("/issuer", "URL"),
        ("ftp://issuer.example", "URL"),
        ("", "URL"),
    ];
    for (issuer, why) in refused {
        let refusal = refusal(config(issuer)).unwrap();
        assert!(refusal.contains(why), "{issuer}: {refusal}");
    }
    let twice = Issuers::new(vec![config("https://a.example"), config("https://a.example/"), config("https://a.example")]);
    assert_eq!(twice.err(), Some(ConfigError::Twice("https://a.example".to_owned())));
}

#[tokio::test]
async fn settings() {
    let good = || config("https://issuer.example");
    let loopback = || config("http://127.0.0.1:3000");
    let origin = |text: &str| text.parse::<Origin>().unwrap();
    let accepted = [
        IssuerConfig { leeway: 300, ..good() },
        IssuerConfig { endpoints: vec![origin("https://keys.example"), origin("https://*.example")], ..good() },
        IssuerConfig { endpoints: vec![origin("http://localhost:1")], ..loopback() },
        IssuerConfig { credentials: Some(client()), exchange: Some(Exchange::default()), ..good() },
        IssuerConfig { introspection: Introspection::Never, ..good() },
    ];
    for config in accepted {
        assert_eq!(refusal(config), None);
    }
    let refused = [
        (IssuerConfig { audience: Vec::new(), ..good() }, "audience"),
        (IssuerConfig { audience: vec![String::new()], ..good() }, "audience"),
        (IssuerConfig { algorithms: Vec::new(), ..good() }, "algorithm"),
        (IssuerConfig { leeway: 301, ..good() }, "leeway"),
        (IssuerConfig { introspection: Introspection::Always, ..good() }, "introspection"),
        (IssuerConfig { exchange: Some(Exchange::default()), ..good() }, "exchange"),
        (IssuerConfig { endpoints: vec![origin("http://keys.example")], ..good() }, "endpoint"),
        (IssuerConfig { endpoints: vec![origin("http://127.0.0.1:3001")], ..good() }, "endpoint"),
        (IssuerConfig { endpoints: vec![origin("http://10.0.0.1")], ..loopback() }, "endpoint"),
    ];
    for (config, why) in refused {
        let refusal = refusal(config).unwrap();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn outside_a_runtime() {
    assert!(matches!(Issuers::new(vec![config("https://issuer.example")]), Err(ConfigError::Client { .. })));
}
