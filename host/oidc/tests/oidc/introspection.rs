//! Tokens that only their issuer can read.

use std::sync::Arc;

use futures::future::join_all;
use ostler_oidc::{Error, Introspection, Invalid, IssuerConfig, Problem};
use serde_json::{Value, json};

use crate::support::{INTROSPECTION, SECOND, START, Scene, Time, basic, invalid, issuers, unavailable, verify, within};

const OPAQUE: &str = "kE93Xf8-opaque_token~value+/==";

fn active(changes: &Value) -> Value {
    let mut answer = json!({
        "active": true, "sub": "user-1", "aud": "ostler", "scope": "profile", "exp": START + 600, "token_type": "bearer",
    });
    for (name, value) in changes.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer
}

#[tokio::test]
async fn an_active_token() {
    let scene = Scene::new().await;
    let facts =
        json!({ "client_id": "orchent", "token_type": "Bearer", "iss": scene.issuer.url, "name": "Ada", "groups": ["g"] });
    scene.issuer.answer(INTROSPECTION, 200, &active(&facts));
    let identity = scene.good(OPAQUE).await;
    assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (scene.issuer.url.as_str(), "user-1"));
    assert_eq!(
        (identity.audience.as_slice(), identity.client_id.as_deref()),
        (["ostler".to_owned()].as_slice(), Some("orchent"))
    );
    assert_eq!(identity.expires_at, (START + 600) * SECOND);
    assert!(identity.scopes.contains("profile") && identity.groups.contains("g"));
    let [request] = scene.issuer.seen(INTROSPECTION).try_into().ok().unwrap();
    assert_eq!(request.authorization, basic());
    assert_eq!(request.body, "token=kE93Xf8-opaque_token%7Evalue%2B%2F%3D%3D&token_type_hint=access_token");
}

#[tokio::test]
async fn answers_count_for_a_minute_and_refusals_for_five_seconds() {
    let scene = Scene::new().await;
    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({})));
    let first = scene.good(OPAQUE).await;
    scene.time.pass(60 * SECOND - 1);
    assert!(Arc::ptr_eq(&first, &scene.good(OPAQUE).await));
    assert_eq!(scene.issuer.count(INTROSPECTION), 1);
    scene.issuer.answer(INTROSPECTION, 200, &json!({ "active": false }));
    scene.time.pass(1);
    assert_eq!(scene.invalid(OPAQUE).await, Invalid::Inactive);
    assert_eq!(scene.issuer.count(INTROSPECTION), 2);
    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({})));
    scene.time.pass(5 * SECOND - 1);
    assert_eq!(scene.invalid(OPAQUE).await, Invalid::Inactive);
    assert_eq!(scene.issuer.count(INTROSPECTION), 2);
    scene.time.pass(1);
    scene.good(OPAQUE).await;
    assert_eq!(scene.issuer.count(INTROSPECTION), 3);
    // Another token is another question.
    scene.good("another").await;
    assert_eq!(scene.issuer.count(INTROSPECTION), 4);
}

#[tokio::test]
async fn memory_ends_with_the_token() {
    let scene = Scene::with(|config| config.leeway = 0).await;
    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({ "exp": START + 20 })));
    scene.good(OPAQUE).await;
    scene.time.pass(20 * SECOND - 1);
    scene.good(OPAQUE).await;
    assert_eq!(scene.issuer.count(INTROSPECTION), 1);
    scene.time.pass(1);
    assert_eq!(scene.invalid(OPAQUE).await, Invalid::Expired);
    assert_eq!(scene.issuer.count(INTROSPECTION), 2);

    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({ "exp": null })));
    let identity = scene.good("without-end").await;
    assert_eq!(identity.expires_at, (START + 20 + 60) * SECOND);
}

#[tokio::test]
async fn what_an_issuer_calls_active_has_to_be_for_us() {
    let scene = Scene::new().await;
    let table = [
        (json!({ "active": false }), Invalid::Inactive),
        (json!({ "exp": START - 30 }), Invalid::Expired),
        (json!({ "nbf": START + 31 }), Invalid::NotYetValid("nbf")),
        (json!({ "aud": null }), Invalid::Missing("aud")),
        (json!({ "aud": ["other"] }), Invalid::Audience),
        (json!({ "sub": null }), Invalid::Missing("sub")),
        (json!({ "sub": "", "client_id": "c" }), Invalid::Missing("sub")),
        (json!({ "iss": "https://other.example" }), Invalid::Other("issuer")),
        (json!({ "token_type": null }), Invalid::Missing("token_type")),
        (json!({ "token_type": null, "typ": "Refresh" }), Invalid::Type("\"Refresh\"".to_owned())),
        (json!({ "typ": "Offline" }), Invalid::Type("\"Offline\"".to_owned())),
        (json!({ "token_type": "refresh_token" }), Invalid::Type("\"refresh_token\"".to_owned())),
        (json!({ "token_type": "DPoP" }), Invalid::Type("\"DPoP\"".to_owned())),
        (json!({ "cnf": { "jkt": "x" } }), Invalid::Bound),
    ];
    for (index, (changes, expected)) in table.into_iter().enumerate() {
        scene.issuer.answer(INTROSPECTION, 200, &active(&changes));
        assert_eq!(scene.invalid(&format!("opaque-{index}")).await, expected, "{changes}");
    }
    // A client that acts for itself is its own subject.
    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({ "sub": null, "client_id": "robot" })));
    assert_eq!(scene.good("robots-token").await.subject, "robot");
    // Keycloak's way to say what it is.
    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({ "token_type": null, "typ": "Bearer" })));
    scene.good("of-keycloak").await;
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked() {
    let table = [
        (401, json!({}), Problem::Credentials),
        (403, json!({}), Problem::Status(403)),
        (500, json!({}), Problem::Status(500)),
        (200, json!([]), Problem::Answer("not a JSON object")),
        (200, json!({}), Problem::Answer("it does not say whether the token is active")),
        (200, json!({ "active": "true" }), Problem::Answer("it does not say whether the token is active")),
        (200, json!({ "active": 1 }), Problem::Answer("it does not say whether the token is active")),
    ];
    for (status, body, expected) in table {
        let scene = Scene::new().await;
        scene.issuer.answer(INTROSPECTION, status, &body);
        assert_eq!(scene.unavailable(OPAQUE).await, expected);
        // The next attempt asks again: this may have been about the one token.
        scene.issuer.answer(INTROSPECTION, 200, &active(&json!({})));
        scene.good(OPAQUE).await;
    }
    let scene = Scene::new().await;
    scene.issuer.answer(INTROSPECTION, 503, &json!({}));
    for index in 0..20 {
        assert_eq!(scene.unavailable(&format!("opaque-{index}")).await, Problem::Status(503));
    }
    assert_eq!(scene.issuer.count(INTROSPECTION), 1, "left alone for a while");
    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({})));
    scene.time.seconds(5);
    scene.good(OPAQUE).await;

    // Many failures at once are one: the rest is not longer for it.
    let scene = Scene::new().await;
    scene.issuer.answer(INTROSPECTION, 503, &json!({}));
    let tokens: Vec<String> = (0..10).map(|index| format!("opaque-{index}")).collect();
    within(join_all(tokens.iter().map(|token| scene.issuers.verify(token)))).await;
    let asked = scene.issuer.count(INTROSPECTION);
    assert!(asked > 1, "at once");
    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({})));
    scene.time.seconds(5);
    scene.good(OPAQUE).await;

    let scene = Scene::new().await;
    let mut document = scene.issuer.discovery();
    document["introspection_endpoint"] = "https://elsewhere.example/introspect".into();
    scene.issuer.answer(crate::support::DISCOVERY, 200, &document);
    assert_eq!(scene.unavailable(OPAQUE).await, Problem::Origin { origin: "https://elsewhere.example".to_owned() });
    // Tokens that need no introspection are not affected.
    scene.good(&scene.token()).await;
}

#[tokio::test]
async fn several_issuers_are_asked_in_turn() {
    let (one, two, silent) = (Scene::new().await, Scene::new().await, Scene::new().await);
    let configs = vec![silent.issuer.config(), one.issuer.config_with_client(), two.issuer.config_with_client()];
    let time = Time::new();
    let all = issuers(configs, &time);
    one.issuer.answer(INTROSPECTION, 200, &json!({ "active": false }));
    two.issuer.answer(INTROSPECTION, 200, &active(&json!({})));
    assert_eq!(verify(&all, OPAQUE).await.unwrap().issuer, two.issuer.url);
    assert_eq!((one.issuer.count(INTROSPECTION), two.issuer.count(INTROSPECTION), silent.issuer.total()), (1, 1, 0));
    // One is away: the other may know the token; if it does not, nobody can tell.
    one.issuer.answer(INTROSPECTION, 500, &json!({}));
    assert_eq!(verify(&all, "second").await.unwrap().issuer, two.issuer.url);
    two.issuer.answer(INTROSPECTION, 200, &json!({ "active": false }));
    assert_eq!(unavailable(verify(&all, "third").await), Problem::Status(500));
    one.issuer.answer(INTROSPECTION, 200, &json!({ "active": false }));
    assert_eq!(invalid(verify(&all, "third").await), Invalid::Inactive);
    // Known to the first and not for us: the second is not asked.
    let before = two.issuer.count(INTROSPECTION);
    one.issuer.answer(INTROSPECTION, 200, &active(&json!({ "aud": "other" })));
    assert_eq!(invalid(verify(&all, "fourth").await), Invalid::Audience);
    assert_eq!(two.issuer.count(INTROSPECTION), before);
}

#[tokio::test]
async fn one_token_at_many_doors_is_one_question() {
    let scene = Scene::new().await;
    scene.issuer.answer(INTROSPECTION, 200, &active(&json!({})));
    let gate = scene.issuer.gate();
    let all = join_all((0..50).map(|_| scene.issuers.verify(OPAQUE)));
    let (results, ()) = within(futures::future::join(all, async { gate.add_permits(1000) })).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(scene.issuer.count(INTROSPECTION), 1);
}

#[tokio::test]
async fn what_is_no_token_is_not_passed_on() {
    let scene = Scene::new().await;
    for text in ["", "a b", "a\r\nHost: evil", "a,b", "ä", "\"a\"", "{}"] {
        assert!(matches!(scene.verify(text).await, Err(Error::Invalid(Invalid::Malformed(_)))), "{text:?}");
    }
    assert_eq!(scene.issuer.total(), 0);
    let never = IssuerConfig { introspection: Introspection::Never, ..scene.issuer.config_with_client() };
    assert_eq!(invalid(verify(&issuers(vec![never], &scene.time), OPAQUE).await), Invalid::Opaque);
    assert_eq!(scene.issuer.total(), 0);
}

/// With `Always`, a JSON Web Token that was revoked is refused within a minute.
#[tokio::test]
async fn signed_tokens_can_be_introspected_too() {
    let scene = Scene::with(|config| config.introspection = Introspection::Always).await;
    scene.issuer.answer(INTROSPECTION, 200, &json!({ "active": true, "sub": "user-1" }));
    let token = scene.token();
    scene.good(&token).await;
    scene.issuer.answer(INTROSPECTION, 200, &json!({ "active": false }));
    scene.good(&token).await;
    scene.time.seconds(60);
    assert_eq!(scene.invalid(&token).await, Invalid::Inactive);
    scene.issuer.answer(INTROSPECTION, 200, &json!({ "active": true, "sub": "user-2" }));
    assert_eq!(scene.invalid(&scene.token_with(&json!({ "jti": 1 }))).await, Invalid::Other("subject"));
    let asked = scene.issuer.count(INTROSPECTION);
    assert_eq!(scene.invalid(&scene.token_with(&json!({ "aud": "other" }))).await, Invalid::Audience);
    assert_eq!(scene.issuer.count(INTROSPECTION), asked, "what is no good is not asked about");

    let plain = Scene::new().await;
    plain.good(&plain.token()).await;
    assert_eq!(plain.issuer.count(INTROSPECTION), 0);
}
