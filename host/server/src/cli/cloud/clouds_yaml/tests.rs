#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use secrecy::ExposeSecret;
use serde_json::json;

const AUTH_URL: &str = "https://cloud.example:5000/v3";

fn read(yaml: &str) -> Result<Vec<Found>, String> {
    let document = parse(&yaml.replace("URL!", AUTH_URL))?;
    regions(clouds(&document)?.values().next().unwrap())
}

/// Without the address, which all have.
fn config(found: &Found) -> Value {
    let mut config = found.config.clone();
    assert_eq!(config.remove("auth_url"), Some(json!(AUTH_URL)));
    Value::Object(config)
}

#[test]
fn each_cloud_becomes_settings_of_the_driver() {
    let head = "clouds:\n  lab:\n    auth:\n      auth_url: URL!\n";
    for (yaml, expected, needs) in [
        (
            "      username: demo\n      password: canary\n      project_name: p\n      user_domain_name: D\n      project_domain_id: e\n    region_name: R\n",
            json!({"username": "demo", "project_name": "p", "user_domain_name": "D", "project_domain_id": "e", "region": "R"}),
            "password",
        ),
        (
            "      user_id: 0123\n      project_id: 45\n      password: 'canary'\n    auth_type: v3password\n    interface: internal\n",
            json!({"user_id": "0123", "project_id": "45", "interface": "internal"}),
            "password",
        ),
        (
            "      application_credential_id: a1\n      application_credential_secret: canary\n      project_name: left\n    auth_type: v3applicationcredential\n",
            json!({"application_credential_id": "a1"}),
            "application_credential_secret",
        ),
        (
            "      application_credential_name: n\n      username: u\n      user_domain_id: default\n      application_credential_secret: canary\n",
            json!({"application_credential_name": "n", "username": "u", "user_domain_id": "default"}),
            "application_credential_secret",
        ),
        // What older files have.
        (
            "      username: u\n      default_domain: d\n    tenant_name: t\n    password: canary\n    endpoint_type: adminURL\n    identity_api_version: 3\n    verify: yes\n    insecure: off\n",
            json!({"username": "u", "user_domain_id": "d", "project_domain_id": "d", "project_name": "t", "interface": "admin"}),
            "password",
        ),
    ] {
        let found = read(&format!("{head}{yaml}")).unwrap_or_else(|error| panic!("{yaml}: {error}"));
        assert_eq!(found.len(), 1);
        assert_eq!((config(&found[0]), found[0].needs), (expected, needs), "{yaml}");
        assert_eq!(found[0].secrets[needs].expose_secret(), "canary", "{yaml}");
        assert_eq!(found[0].secrets.len(), 1);
        assert_eq!(found[0].origin, "https://cloud.example:5000");
        assert!(!format!("{found:?}").contains("canary"));
    }
}

#[test]
fn each_region_is_a_cloud() {
    let found = read(
        "clouds:\n  lab:\n    auth: {auth_url: URL!, username: u, password: p, project_name: p}\n    cacert: /ca.pem\n    regions:\n    - One\n    \
         - {name: Two, values: {interface: internal, auth: {project_name: q}}}\n    floating_ip_source: neutron\n",
    )
    .unwrap();
    let shown: Vec<_> = found.iter().map(|one| (one.region.as_deref(), config(one))).collect();
    let (one, two) = (
        json!({"username": "u", "project_name": "p", "region": "One"}),
        json!({"username": "u", "project_name": "q", "region": "Two", "interface": "internal"}),
    );
    assert_eq!(shown, [(Some("One"), one), (Some("Two"), two)]);
    assert_eq!((found[0].ca.clone(), &found[0].unused), (Some("/ca.pem".into()), &vec!["floating_ip_source".to_owned()]));
}

#[test]
fn what_cannot_be_taken_over_is_named_and_no_value_is_repeated() {
    let auth = "auth: {auth_url: URL!, username: u, password: canary, project_name: p";
    for (yaml, part) in [
        ("{profile: canary}".to_owned(), "profile: vendors' profiles are not fetched"),
        ("{cloud: canary}".to_owned(), "cloud: vendors' profiles"),
        ("{auth: canary}".to_owned(), "auth: must be a table"),
        ("canary".to_owned(), "must be a table"),
        ("{auth: {username: canary}}".to_owned(), "auth.auth_url: is missing"),
        ("{auth: {auth_url: 'ftp://canary'}}".to_owned(), "auth.auth_url: must be"),
        ("{auth: {auth_url: 'https://u:canary@k'}}".to_owned(), "auth.auth_url: must be"),
        (format!("{{{auth}, passcode: canary}}}}"), "auth.passcode: is not known"),
        (format!("{{{auth}, system_scope: all}}}}"), "auth.system_scope: the driver acts in a project"),
        (format!("{{{auth}, trust_id: canary}}}}"), "auth.trust_id"),
        (format!("{{{auth}}}, auth_type: canary}}"), "auth_type: must be `password`"),
        (format!("{{{auth}}}, verify: false}}"), "verify: certificates are always checked"),
        (format!("{{{auth}}}, verify: 'canary'}}"), "verify: certificates are always checked"),
        (format!("{{{auth}}}, verify: no}}"), "verify: certificates are always checked"),
        (format!("{{{auth}}}, insecure: true}}"), "insecure: certificates are always checked"),
        (format!("{{{auth}}}, identity_api_version: 2.0}}"), "identity_api_version: must be a text"),
        (format!("{{{auth}}}, identity_api_version: '2.0'}}"), "identity_api_version: the driver speaks"),
        (format!("{{{auth}}}, interface: canary}}"), "interface: must be"),
        (format!("{{{auth}}}, region_name: 1e5}}"), "region_name: must be a text: put it in quotes"),
        (format!("{{{auth}}}, regions: []}}"), "regions: is empty"),
        (format!("{{{auth}}}, regions: [One, {{nome: canary}}]}}"), "regions[1]: must be a text, or"),
        (
            "{auth: {auth_url: URL!, username: u, password: 12345678, project_name: p}}".to_owned(),
            "auth.password: must be a text",
        ),
        ("{auth: {auth_url: URL!, password: *canary}}".to_owned(), "cannot be read as YAML"),
        ("{auth: {auth_url: URL!, password: \"canary}}".to_owned(), "cannot be read as YAML"),
    ] {
        let error = read(&format!("clouds:\n  lab: {yaml}\n")).unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
        assert!(!error.contains("canary") && !error.contains("12345678"), "{error}");
    }
    // A file that unfolds into more than it is.
    let bomb = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(","))
    });
    assert!(parse(&bomb).is_err());
}

#[test]
fn secrets_come_from_the_file_beside() {
    let mut document = parse("clouds:\n  lab:\n    auth: {auth_url: URL!, username: u}\n    region_name: R\n").unwrap();
    merge(&mut document, parse("clouds:\n  lab:\n    auth: {password: canary}\n    region_name:\n  other: {}\n").unwrap());
    let lab = json!({"auth": {"auth_url": "URL!", "username": "u", "password": "canary"}, "region_name": "R"});
    assert_eq!(document, json!({"clouds": {"lab": lab, "other": {}}}));
}
