//! Token exchange and refresh.

use ostler_oidc::{Exchange, GrantError, Problem, Tokens, Unavailable};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::support::{SECOND, START, Scene, TOKENS, assert_shows_nothing, basic, within};

const SUBJECT: &str = "subject-token/of+user";
const REFRESH: &str = "refresh-token-1";
const NEW_ACCESS: &str = "new-access-token";
const NEW_REFRESH: &str = "refresh-token-2";

async fn scene() -> Scene {
    Scene::with(|config| {
        config.exchange = Some(Exchange { scopes: vec!["openid".to_owned(), "offline_access".to_owned()], audience: None });
    })
    .await
}

fn checked(result: Result<Tokens, GrantError>) -> Result<Tokens, GrantError> {
    let mut text = format!("{result:?}");
    if let Err(error) = &result {
        text = format!("{text} {error}");
    }
    for token in [SUBJECT, REFRESH, NEW_ACCESS, NEW_REFRESH] {
        assert_shows_nothing(&text, token);
    }
    result
}

async fn exchange(scene: &Scene) -> Result<Tokens, GrantError> {
    checked(within(scene.issuers.exchange(&scene.issuer.url, &SecretString::from(SUBJECT))).await)
}

async fn refresh(scene: &Scene) -> Result<Tokens, GrantError> {
    checked(within(scene.issuers.refresh(&scene.issuer.url, &SecretString::from(REFRESH))).await)
}

fn good(changes: &Value) -> Value {
    let mut answer = json!({ "access_token": NEW_ACCESS, "token_type": "Bearer", "expires_in": 3600 });
    for (name, value) in changes.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer
}

fn refresh_token(tokens: &Tokens) -> Option<&str> {
    tokens.refresh_token.as_ref().map(ExposeSecret::expose_secret)
}

#[tokio::test]
async fn an_exchange() {
    let scene = scene().await;
    scene.issuer.answer(TOKENS, 200, &good(&json!({ "refresh_token": NEW_REFRESH, "scope": "openid offline_access" })));
    let tokens = exchange(&scene).await.unwrap();
    assert_eq!((tokens.access_token.expose_secret(), refresh_token(&tokens)), (NEW_ACCESS, Some(NEW_REFRESH)));
    assert_eq!(tokens.expires_at, Some((START + 3600) * SECOND));
    assert_eq!(tokens.scopes.iter().collect::<Vec<_>>(), ["offline_access", "openid"]);
    let [request] = scene.issuer.seen(TOKENS).try_into().ok().unwrap();
    assert_eq!(request.authorization, basic());
    let expected = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=subject-token%2Fof%2Buser\
                    &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&scope=openid+offline_access";
    assert_eq!(request.body, expected);

    let scene = Scene::with(|config| {
        config.exchange = Some(Exchange { scopes: Vec::new(), audience: Some("api://im".to_owned()) });
    })
    .await;
    scene.issuer.answer(TOKENS, 200, &good(&json!({ "expires_in": null })));
    let tokens = exchange(&scene).await.unwrap();
    assert_eq!((refresh_token(&tokens), tokens.expires_at, tokens.scopes.len()), (None, None, 0));
    let body = &scene.issuer.seen(TOKENS)[0].body;
    assert!(body.ends_with("access_token&audience=api%3A%2F%2Fim"), "{body}");
}

#[tokio::test]
async fn a_refresh() {
    let scene = scene().await;
    scene.issuer.answer(TOKENS, 200, &good(&json!({})));
    let tokens = refresh(&scene).await.unwrap();
    assert_eq!((tokens.access_token.expose_secret(), refresh_token(&tokens)), (NEW_ACCESS, Some(REFRESH)), "still the old one");
    scene.issuer.answer(TOKENS, 200, &good(&json!({ "refresh_token": NEW_REFRESH })));
    assert_eq!(refresh_token(&refresh(&scene).await.unwrap()), Some(NEW_REFRESH));
    assert_eq!(scene.issuer.seen(TOKENS)[0].body, "grant_type=refresh_token&refresh_token=refresh-token-1");
    assert_eq!(scene.issuer.seen(TOKENS)[0].authorization, basic());
}

#[tokio::test]
async fn refusals() {
    let scene = scene().await;
    let table = [
        (400, json!({ "error": "invalid_grant", "error_description": format!("{REFRESH} is used up") }), "invalid_grant"),
        (401, json!({ "error": "invalid_client" }), "invalid_client"),
        (403, json!({ "error": "access_denied" }), "access_denied"),
        (400, json!({ "error": format!("no {REFRESH}") }), "no error code"),
        (400, json!({ "error": 7 }), "no error code"),
        (400, json!({}), "no error code"),
    ];
    for (status, body, code) in table {
        scene.issuer.answer(TOKENS, status, &body);
        let expected = GrantError::Refused { issuer: scene.issuer.url.clone(), code: code.to_owned() };
        assert_eq!(refresh(&scene).await.unwrap_err(), expected);
        assert_eq!(exchange(&scene).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn answers_that_are_not_acceptable() {
    let table = [
        (500, json!({}), Problem::Status(500)),
        (302, json!({}), Problem::Status(302)),
        (400, json!("text"), Problem::Answer("not a JSON object")),
        (200, json!([]), Problem::Answer("not a JSON object")),
        (200, good(&json!({ "access_token": null })), Problem::Answer("no access token")),
        (200, good(&json!({ "access_token": "" })), Problem::Answer("no access token")),
        (200, good(&json!({ "access_token": 7 })), Problem::Answer("a member has the wrong type")),
        (200, good(&json!({ "refresh_token": [NEW_REFRESH] })), Problem::Answer("a member has the wrong type")),
        (200, good(&json!({ "token_type": "N_A" })), Problem::Answer("the new token is not a bearer token")),
        (200, good(&json!({ "token_type": null })), Problem::Answer("the new token is not a bearer token")),
        (200, good(&json!({ "expires_in": "soon" })), Problem::Answer("the lifetime is not a number")),
        (200, good(&json!({ "scope": 7 })), Problem::Answer("the scopes are not a text")),
    ];
    for (status, body, expected) in table {
        let scene = scene().await;
        scene.issuer.answer(TOKENS, status, &body);
        match refresh(&scene).await {
            Err(GrantError::Unavailable(Unavailable { problem, .. })) => assert_eq!(problem, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn not_configured() {
    let scene = Scene::new().await;
    let url = scene.issuer.url.clone();
    assert_eq!(exchange(&scene).await.unwrap_err(), GrantError::NotConfigured(url.clone()));
    assert_eq!(refresh(&scene).await.unwrap_err(), GrantError::NotConfigured(url.clone()));
    let other = within(scene.issuers.refresh(&format!("{url}/"), &SecretString::from(REFRESH))).await;
    assert_eq!(checked(other).unwrap_err(), GrantError::UnknownIssuer(format!("\"{url}/\"")));
    assert_eq!(scene.issuer.total(), 0);
}
