//! Credentials, and tokens that end.

use std::time::Instant;

use ostler_driver::http::Answer;
use ostler_driver::testing::Cloud;
use ostler_driver::{Driver, NodeSpec, NodeState, Result};
use serde_json::{Value, json};

use super::stack::Stack;
use super::wire::{self, sent};
use super::{DEADLINE, destroy, driver, nap, order, wait};

/// A request to Keystone, which the driver asks for tokens only.
fn keystone(stack: &Stack, cloud: &Cloud, method: &'static str, path: &str, body: Option<&Value>) -> Answer {
    let api = Stack::api(cloud);
    let token = api.session().unwrap().token;
    let mut request = api.request(method, format!("{}{path}", stack.of("OS_AUTH_URL"))).header("accept", "application/json");
    request = request.header("x-auth-token", token.as_str()).header("x-subject-token", token);
    if let Some(body) = body {
        request = request.body("application/json", body.to_string());
    }
    let answer = request.answer().unwrap();
    assert!(answer.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
    answer
}

/// Tokens asked for since the last time.
fn logins() -> usize {
    sent().iter().filter(|request| request.ends_with("/auth/tokens")).count()
}

#[test]
fn credentials_open_the_cloud_or_do_not() {
    let Some(stack) = Stack::open() else { return };
    let seen = stack.report();
    let (user, project) = (seen["user"].as_str().unwrap(), seen["project"].as_str().unwrap());
    let (url, app) = (stack.of("OS_AUTH_URL"), stack.of("OS_APPLICATION_CREDENTIAL_ID"));
    let bare = url.strip_suffix("/v3").unwrap();
    let elsewhere = format!("{bare}/elsewhere");
    let (password, app_secret) = (stack.of("OS_PASSWORD"), stack.of("OS_APPLICATION_CREDENTIAL_SECRET"));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let nobody = format!("http://{nobody}/v3");
    type Row<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, (&'a str, &'a str), Result<(), &'a str>);
    let by_name = || vec![("username", "demo"), ("project_name", "demo")];
    let rows: Vec<Row<'_>> = vec![
        ("names", url, by_name(), ("password", password), Ok(())),
        ("no version", bare, by_name(), ("password", password), Ok(())),
        ("identifiers", url, vec![("user_id", user), ("project_id", project)], ("password", password), Ok(())),
        (
            "domains by name",
            url,
            vec![
                ("username", "demo"),
                ("user_domain_name", "Default"),
                ("project_name", "demo"),
                ("project_domain_name", "Default"),
            ],
            ("password", password),
            Ok(()),
        ),
        ("internal", url, by_name().into_iter().chain([("interface", "internal")]).collect(), ("password", password), Ok(())),
        (
            "region",
            url,
            by_name().into_iter().chain([("region", "Nowhere")]).collect(),
            ("password", password),
            Err("unsupported"),
        ),
        ("wrong password", url, by_name(), ("password", "wrong"), Err("unauthorized")),
        ("wrong user", url, vec![("username", "x"), ("project_name", "demo")], ("password", password), Err("unauthorized")),
        ("wrong project", url, vec![("username", "demo"), ("project_name", "x")], ("password", password), Err("unauthorized")),
        ("app", url, vec![("application_credential_id", app)], ("application_credential_secret", app_secret), Ok(())),
        (
            "app by name",
            url,
            vec![("application_credential_name", "demo-app"), ("username", "demo")],
            ("application_credential_secret", app_secret),
            Ok(()),
        ),
        (
            "wrong app secret",
            url,
            vec![("application_credential_id", app)],
            ("application_credential_secret", "wrong"),
            Err("unauthorized"),
        ),
        (
            "no such app",
            url,
            vec![("application_credential_id", "none")],
            ("application_credential_secret", app_secret),
            Err("unauthorized"),
        ),
        ("no Keystone there", &elsewhere, by_name(), ("password", password), Err("invalid")),
        ("nobody there", &nobody, by_name(), ("password", password), Err("transient")),
    ];
    for (what, url, settings, (name, secret), expected) in rows {
        let cloud = settings.iter().fold(wire::cloud(), |cloud, (key, value)| cloud.config(key, value));
        let cloud = cloud.config("auth_url", url).secret(name, secret);
        match (driver(&cloud).check(), expected) {
            (Ok(health), Ok(())) => {
                assert_eq!(health.account.as_deref(), Some("demo in project demo"), "{what}");
                assert!(health.provider_version.unwrap().starts_with("compute 2."), "{what}");
                assert!(!driver(&cloud).list_sizes(None).unwrap().items.is_empty(), "{what}");
            }
            (Err(error), Err(class)) => {
                assert_eq!(error.class(), class, "{what}: {error}");
                let told = format!("{error} {:?}", cloud.logs());
                assert!(!told.contains(secret), "{what}: {told}");
            }
            (result, _) => panic!("{what}: {result:?}"),
        }
    }
    stack.assert_unchanged();
}

#[test]
fn a_deleted_application_credential_ends_its_tokens() {
    let Some(stack) = Stack::open() else { return };
    let owner = stack.cloud();
    let user = stack.report()["user"].as_str().unwrap().to_owned();
    let path = format!("/users/{user}/application_credentials");
    let order = json!({"application_credential": {"name": "short", "secret": "short-secret"}});
    let made: Value = keystone(&stack, &owner, "POST", &path, Some(&order)).json().unwrap();
    let id = made["application_credential"]["id"].as_str().unwrap();
    let cloud = wire::cloud()
        .config("auth_url", stack.of("OS_AUTH_URL"))
        .config("application_credential_id", id)
        .secret("application_credential_secret", "short-secret");
    driver(&cloud).list_sizes(None).unwrap();
    keystone(&stack, &owner, "DELETE", &format!("{path}/{id}"), None);
    // Glance has never seen the token and asks Keystone; Nova may believe it for a while.
    let error = driver(&cloud).list_images(None).unwrap_err();
    assert!(error.class() == "unauthorized" && error.message().contains("pplication"), "{error}");
    assert_eq!(driver(&cloud).check().unwrap_err().class(), "unauthorized");
    stack.assert_unchanged();
}

#[test]
fn a_revoked_token_is_replaced() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    driver(&cloud).list_sizes(None).unwrap();
    keystone(&stack, &cloud, "DELETE", "/auth/tokens", None);
    logins();
    driver(&cloud).list_images(None).unwrap();
    assert_eq!(logins(), 1);
    stack.assert_unchanged();
}

/// The driver's clock stands still, so that it believes in tokens that have ended: each service says so itself, in its own way.
#[test]
fn tokens_that_have_ended_are_replaced_in_the_middle() {
    let Some(stack) = Stack::open() else { return };
    const LIFE: u32 = 10;
    stack.kill(&["keystone"]);
    stack.start(&["keystone"], Some(LIFE));
    let cloud = stack.cloud();
    let spec = order(&cloud, "live-6");
    let ended = || {
        let api = Stack::api(&cloud);
        let session = api.session().unwrap();
        let end = Instant::now() + DEADLINE;
        let limits = format!("{}/limits", session.endpoint(crate::auth::Service::Compute).unwrap());
        let request = api.request("GET", limits).header("x-auth-token", session.token);
        while request.clone().answer().unwrap().status != 401 {
            assert!(Instant::now() < end, "the token does not end");
            nap();
        }
        logins();
    };
    // Longer than a token lives, so that Nova ends the build with one that has ended.
    let metadata = vec![("fake_spawn_seconds".to_owned(), (LIFE + 3).to_string())];
    let spec = NodeSpec { metadata, public_address: true, ..spec };
    let order = || driver(&cloud).create_node("live-6", spec.clone()).map(drop);
    let works: [(&str, &dyn Fn() -> Result<()>); 4] = [
        ("compute", &|| driver(&cloud).list_nodes(None).map(drop)),
        ("image", &|| driver(&cloud).list_images(None).map(drop)),
        ("network", &|| Stack::api(&cloud).check_floating()),
        ("an order", &order),
    ];
    for (what, work) in works {
        ended();
        work().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(logins(), 1, "{what}");
    }
    let node = driver(&cloud).find_node("live-6").unwrap().unwrap();
    let up = wait(&cloud, &node.id, &NodeState::Running);
    assert!(up.addresses.len() >= 2, "{up:?}");
    ended();
    destroy(&cloud, &[node.id]);
    // Renewed before its end, where the clock goes.
    logins();
    driver(&cloud).list_sizes(None).unwrap();
    cloud.advance(std::time::Duration::from_secs(u64::from(LIFE)));
    driver(&cloud).list_sizes(None).unwrap();
    let requests = sent();
    let logins = requests.iter().filter(|request| request.ends_with("/auth/tokens")).count();
    let lists = requests.iter().filter(|request| request.contains("/flavors/detail")).count();
    assert!(logins >= 1 && lists == 2, "nothing was tried twice: {requests:?}");
    stack.kill(&["keystone"]);
    stack.start(&["keystone"], Some(3600));
    stack.assert_unchanged();
}
