//! The real provider of `tests/setup/oidc`: `OSTLER_TEST_OIDC` is its issuer's URL. Without it these tests say that they are
//! skipped.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request};
use ostler_egress::{Allow, Client, ClientConfig, full};
use ostler_oidc::{Algorithm, ClientCredentials, Exchange, GrantError, Invalid, IssuerConfig, Issuers, Problem};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::form_urlencoded;

use crate::support::{SECRET, invalid, unavailable, verify, within};

/// The provider, with us and another client.
struct Provider {
    url: String,
    http: Client,
    /// How far our clock is ahead of that of the provider, in microseconds.
    ahead: Arc<AtomicI64>,
}

impl Provider {
    fn find() -> Option<Self> {
        let Ok(url) = std::env::var("OSTLER_TEST_OIDC") else {
            println!("SKIPPED: OSTLER_TEST_OIDC is not set");
            return None;
        };
        let allow = Allow::Origins(vec![url.parse().unwrap()]);
        let http = Client::new("tests", &ClientConfig { allow, ..ClientConfig::default() }).unwrap();
        Some(Self { url, http, ahead: Arc::default() })
    }

    fn config(&self) -> IssuerConfig {
        IssuerConfig {
            credentials: Some(ClientCredentials { id: "ostler".to_owned(), secret: SECRET.into() }),
            userinfo: true,
            exchange: Some(Exchange::default()),
            ..IssuerConfig::new(&self.url, vec!["ostler".to_owned()])
        }
    }

    fn issuers(&self, config: IssuerConfig) -> Issuers {
        let ahead = Arc::clone(&self.ahead);
        let clock = move || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
            i64::try_from(now).unwrap() + ahead.load(Ordering::SeqCst)
        };
        Issuers::with_clock(vec![config], Arc::new(clock)).unwrap()
    }

    fn pass(&self, seconds: i64) {
        self.ahead.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let robot = format!("Basic {}", STANDARD.encode("robot:robots-secret"));
        let request = Request::post(format!("{}{path}", self.url))
            .header(AUTHORIZATION, robot)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(full(body))
            .unwrap();
        let response = within(self.http.send(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().bytes(1 << 20).await.unwrap();
        if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() }
    }

    /// A token that a client got for itself.
    async fn robot(&self, resource: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", "deploy"), ("resource", resource)];
        self.post("/token", &form).await["access_token"].as_str().unwrap().to_owned()
    }

    /// A token that a client got for the user.
    async fn ada(&self) -> String {
        let (status, body) =
            self.http.json(http::Method::POST, &format!("{}/test/login", self.url), HeaderMap::new(), None).await.unwrap();
        assert_eq!(status, 200);
        serde_json::from_slice::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn signed_tokens() {
    let Some(provider) = Provider::find() else { return };
    let issuers = provider.issuers(provider.config());
    let only_es256 = provider.issuers(IssuerConfig { algorithms: vec![Algorithm::ES256], ..provider.config() });
    let rs256 = provider.robot("urn:ostler:rs256").await;
    let es256 = provider.robot("urn:ostler:es256").await;
    for token in [&rs256, &es256] {
        let identity = verify(&issuers, token).await.unwrap();
        assert_eq!((identity.subject.as_str(), identity.client_id.as_deref()), ("robot", Some("robot")));
        assert_eq!((identity.audience.as_slice(), identity.scopes.len()), (["ostler".to_owned()].as_slice(), 1));
        assert!(identity.scopes.contains("deploy") && identity.groups.is_empty());
    }
    verify(&only_es256, &es256).await.unwrap();
    assert_eq!(invalid(verify(&only_es256, &rs256).await), Invalid::Algorithm("\"RS256\"".to_owned()));
    let other = provider.robot("urn:other").await;
    assert_eq!(invalid(verify(&issuers, &other).await), Invalid::Audience);
    // The signature of the one under the words of the other.
    let (words, _) = rs256.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    assert_eq!(invalid(verify(&issuers, &format!("{words}.{signature}")).await), Invalid::Signature);
    provider.pass(700);
    assert_eq!(invalid(verify(&issuers, &rs256).await), Invalid::Expired);
}

#[tokio::test]
async fn opaque_tokens() {
    let Some(provider) = Provider::find() else { return };
    let issuers = provider.issuers(provider.config());
    let token = provider.robot("urn:ostler:opaque").await;
    let identity = verify(&issuers, &token).await.unwrap();
    assert_eq!((identity.subject.as_str(), identity.issuer.as_str()), ("robot", provider.url.as_str()));
    assert_eq!(invalid(verify(&issuers, "of-nobody").await), Invalid::Inactive);
    provider.post("/token/revocation", &[("token", &token)]).await;
    provider.pass(60);
    assert_eq!(invalid(verify(&issuers, &token).await), Invalid::Inactive);

    let wrong = ClientCredentials { id: "ostler".to_owned(), secret: "wrong".into() };
    let stranger = provider.issuers(IssuerConfig { credentials: Some(wrong), ..provider.config() });
    assert_eq!(unavailable(verify(&stranger, &token).await), Problem::Credentials);
}

#[tokio::test]
async fn facts_about_the_user() {
    let Some(provider) = Provider::find() else { return };
    let issuers = provider.issuers(provider.config());
    let identity = verify(&issuers, &provider.ada().await).await.unwrap();
    assert_eq!((identity.subject.as_str(), identity.name.as_deref()), ("ada", Some("Ada")));
    assert_eq!(identity.groups.iter().collect::<Vec<_>>(), ["physics", "physics/lhc"]);
    assert_eq!((identity.organisation.as_deref(), identity.client_id.as_deref()), (Some("indigo"), Some("orchent")));
}

#[tokio::test]
async fn exchange_and_refresh() {
    let Some(provider) = Provider::find() else { return };
    let issuers = provider.issuers(provider.config());
    let first = within(issuers.exchange(&provider.url, &provider.ada().await.into())).await.unwrap();
    let identity = verify(&issuers, first.access_token.expose_secret()).await.unwrap();
    assert_eq!((identity.subject.as_str(), identity.client_id.as_deref()), ("ada", Some("ostler")));
    assert!(identity.scopes.contains("offline_access") && first.expires_at.is_some());

    let refresh = first.refresh_token.unwrap();
    // It is active, and yet nothing to come in with.
    assert_eq!(invalid(verify(&issuers, refresh.expose_secret()).await), Invalid::Missing("token_type"));
    let second = within(issuers.refresh(&provider.url, &refresh)).await.unwrap();
    assert_eq!(verify(&issuers, second.access_token.expose_secret()).await.unwrap().subject, "ada");
    let next = second.refresh_token.unwrap();
    assert_ne!(next.expose_secret(), refresh.expose_secret());
    within(issuers.refresh(&provider.url, &next)).await.unwrap();

    let refused = GrantError::Refused { issuer: provider.url.clone(), code: "invalid_grant".to_owned() };
    assert_eq!(within(issuers.refresh(&provider.url, &refresh)).await.unwrap_err(), refused, "used up");
    let unknown = SecretString::from("of-nobody");
    assert_eq!(within(issuers.exchange(&provider.url, &unknown)).await.unwrap_err(), refused);
    let wrong = ClientCredentials { id: "ostler".to_owned(), secret: "wrong".into() };
    let stranger = provider.issuers(IssuerConfig { credentials: Some(wrong), ..provider.config() });
    let error = within(stranger.refresh(&provider.url, &next)).await.unwrap_err();
    assert_eq!(error, GrantError::Refused { issuer: provider.url.clone(), code: "invalid_client".to_owned() });
}
