//! What is accepted, and every reason for which a JSON Web Token is not.

use std::collections::BTreeSet;

use ostler_oidc::{Algorithm, Invalid, IssuerConfig, Problem};
use serde_json::json;

use crate::signers::{Signer, encode};
use crate::support::{Issuer, KEYS, SECOND, START, Scene, Time, invalid, issuers, verify};

const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[tokio::test]
async fn a_good_token() {
    let scene = Scene::new().await;
    let token = scene.token_with(&json!({
        "aud": ["other", "ostler"],
        "client_id": "orchent",
        "name": "Ada",
        "email": "ada@issuer.example",
        "groups": ["physics", "physics/lhc"],
        "wlcg.groups": ["/cms"],
        "organisation_name": "indigo",
        "nbf": START,
        "iat": START,
    }));
    let identity = scene.good(&token).await;
    let strings = |texts: &[&str]| texts.iter().copied().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (scene.issuer.url.as_str(), "user-1"));
    assert_eq!(identity.audience, ["other", "ostler"]);
    assert_eq!(identity.client_id.as_deref(), Some("orchent"));
    assert_eq!(identity.scopes, strings(&["openid", "profile"]));
    assert_eq!(identity.expires_at, (START + 600) * SECOND);
    assert_eq!((identity.name.as_deref(), identity.email.as_deref()), (Some("Ada"), Some("ada@issuer.example")));
    assert_eq!(identity.groups, strings(&["physics", "physics/lhc", "/cms"]));
    assert_eq!(identity.organisation.as_deref(), Some("indigo"));
}

#[tokio::test]
async fn descriptions_are_optional_and_configurable() {
    let scene = Scene::with(|config| {
        config.groups_claims = vec!["eduperson_entitlement".to_owned()];
        config.organisation_claim = "org".to_owned();
        config.organisation = Some("egi".to_owned());
    })
    .await;
    let identity = scene.good(&scene.token_with(&json!({ "groups": ["a"], "scope": null }))).await;
    assert!(identity.groups.is_empty() && identity.scopes.is_empty());
    assert_eq!(identity.organisation.as_deref(), Some("egi"));
    let claims = json!({ "eduperson_entitlement": ["urn:x", 7, ""], "org": "o", "name": 7, "azp": "orpy" });
    let identity = scene.good(&scene.token_with(&claims)).await;
    assert_eq!(identity.groups.iter().collect::<Vec<_>>(), ["urn:x"]);
    assert_eq!((identity.organisation.as_deref(), identity.name.as_deref()), (Some("o"), None));
    assert_eq!(identity.client_id.as_deref(), Some("orpy"));
}

#[tokio::test]
async fn every_algorithm() {
    let (rsa, p256, p384, ed) = (Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed25519());
    let issuer = Issuer::start(&[rsa.jwk("rsa"), p256.jwk("p256"), p384.jwk("p384"), ed.jwk("ed")]).await;
    let config = IssuerConfig { algorithms: ALL.to_vec(), ..issuer.config() };
    let issuers = issuers(vec![config], &Time::new());
    for algorithm in ALL {
        let (signer, key) = match algorithm {
            Algorithm::ES256 => (&p256, "p256"),
            Algorithm::ES384 => (&p384, "p384"),
            Algorithm::EdDSA => (&ed, "ed"),
            _ => (&rsa, "rsa"),
        };
        for header in [json!({ "alg": algorithm.as_str(), "kid": key }), json!({ "alg": algorithm.as_str() })] {
            verify(&issuers, &signer.sign(&header, &issuer.claims())).await.unwrap_or_else(|error| panic!("{header}: {error}"));
        }
        assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
    }
    assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
    for name in ["none", "HS256", "HS384", "HS512", "rs256", "ES512", "ES256K", "", "RS256 "] {
        assert!(name.parse::<Algorithm>().is_err(), "{name}");
    }
    assert_eq!(issuer.count(KEYS), 1);
}

#[tokio::test]
async fn refused_claims() {
    let scene = Scene::new().await;
    let long = "s".repeat(256);
    let malformed = |what: &Invalid| matches!(what, Invalid::Malformed(_));
    let table = [
        (json!({ "exp": null }), Invalid::Missing("exp")),
        (json!({ "exp": START - 31 }), Invalid::Expired),
        (json!({ "nbf": START + 31 }), Invalid::NotYetValid("nbf")),
        (json!({ "iat": START + 31 }), Invalid::NotYetValid("iat")),
        (json!({ "aud": null }), Invalid::Missing("aud")),
        (json!({ "aud": [] }), Invalid::Audience),
        (json!({ "aud": "other" }), Invalid::Audience),
        (json!({ "aud": "ostler other" }), Invalid::Audience),
        (json!({ "aud": "Ostler" }), Invalid::Audience),
        (json!({ "aud": ["other", "ostler2"] }), Invalid::Audience),
        (json!({ "sub": null }), Invalid::Missing("sub")),
        (json!({ "sub": "" }), Invalid::Missing("sub")),
        (json!({ "cnf": { "jkt": "x" } }), Invalid::Bound),
        (json!({ "iss": null }), Invalid::Missing("iss")),
    ];
    for (claims, expected) in table {
        assert_eq!(scene.invalid(&scene.token_with(&claims)).await, expected, "{claims}");
    }
    let table = [
        json!({ "exp": "1893456600" }),
        json!({ "nbf": "0" }),
        json!({ "iat": [] }),
        json!({ "aud": 7 }),
        json!({ "aud": ["ostler", 7] }),
        json!({ "sub": 7 }),
        json!({ "sub": long }),
        json!({ "iss": 7 }),
        json!({ "scope": 7 }),
    ];
    for claims in table {
        let reason = scene.invalid(&scene.token_with(&claims)).await;
        assert!(malformed(&reason), "{claims}: {reason}");
    }
}

#[tokio::test]
async fn times_are_compared_to_the_microsecond_with_leeway() {
    let scene = Scene::with(|config| config.leeway = 10).await;
    let expiring = scene.token_with(&json!({ "exp": START }));
    let beginning = scene.token_with(&json!({ "nbf": START + 25 }));
    let issued = scene.token_with(&json!({ "iat": START + 25 }));
    scene.time.pass(10 * SECOND - 1);
    scene.good(&expiring).await;
    scene.time.pass(1);
    assert_eq!(scene.invalid(&expiring).await, Invalid::Expired);
    scene.time.pass(5 * SECOND - 1);
    assert_eq!(scene.invalid(&beginning).await, Invalid::NotYetValid("nbf"));
    assert_eq!(scene.invalid(&issued).await, Invalid::NotYetValid("iat"));
    scene.time.pass(1);
    scene.good(&beginning).await;
    scene.good(&issued).await;

    let strict = Scene::with(|config| config.leeway = 0).await;
    let token = strict.token_with(&json!({ "exp": START + 1, "nbf": START }));
    strict.good(&token).await;
    strict.time.seconds(1);
    assert_eq!(strict.invalid(&token).await, Invalid::Expired);
}

/// What was remembered a moment ago does not outlive the token.
#[tokio::test]
async fn memory_ends_with_the_token() {
    let scene = Scene::with(|config| config.leeway = 0).await;
    let token = scene.token_with(&json!({ "exp": START + 20 }));
    let first = scene.good(&token).await;
    scene.time.pass(20 * SECOND - 1);
    assert!(std::sync::Arc::ptr_eq(&first, &scene.good(&token).await), "remembered");
    scene.time.pass(1);
    assert_eq!(scene.invalid(&token).await, Invalid::Expired);

    let longer = scene.token_with(&json!({ "exp": START + 600 }));
    let first = scene.good(&longer).await;
    scene.time.seconds(60);
    assert!(!std::sync::Arc::ptr_eq(&first, &scene.good(&longer).await), "looked at again after a minute");
}

#[tokio::test]
async fn refused_headers_and_forms() {
    let scene = Scene::new().await;
    let claims = scene.issuer.claims();
    let sign = |header| scene.signer.sign(&header, &claims);
    let table = [
        (sign(json!({ "alg": "ES256", "kid": "k", "crit": ["exp"] })), Invalid::Critical),
        (sign(json!({ "alg": "ES256", "kid": "k", "typ": "dpop+jwt" })), Invalid::Type("\"dpop+jwt\"".to_owned())),
        (sign(json!({ "alg": "ES384", "kid": "k" })), Invalid::Algorithm("\"ES384\"".to_owned())),
        (sign(json!({ "alg": "RS256", "kid": "k" })), Invalid::KeyMismatch("RS256")),
        (sign(json!({ "alg": "ES256", "kid": "x" })), Invalid::UnknownKey("\"x\"".to_owned())),
        (scene.token() + "A", Invalid::Signature),
        (scene.token().replace("eyJ", "ey."), Invalid::Opaque),
        (format!("{}.", scene.token().rsplit_once('.').unwrap().0), Invalid::Signature),
        (format!("x{}", "y".repeat(17 * 1024)), Invalid::TooLong),
        ("abc".to_owned(), Invalid::Opaque),
    ];
    // Without credentials, other tokens are no good at all.
    let plain = issuers(vec![scene.issuer.config()], &scene.time);
    for (token, expected) in table {
        assert_eq!(invalid(verify(&plain, &token).await), expected, "{expected}");
    }
    for kind in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
        verify(&plain, &sign(json!({ "alg": "ES256", "kid": "k", "typ": kind }))).await.unwrap();
    }
    let padded = scene.token_with(&json!({ "padding": "p".repeat(17 * 1024) }));
    assert_eq!(scene.invalid(&padded).await, Invalid::TooLong);
}

/// Nobody but the holder of an issuer's private key makes tokens, whatever the header says.
#[tokio::test]
async fn forgeries() {
    let (rsa, p256) = (Signer::rsa(), Signer::p256());
    let issuer = Issuer::start(&[rsa.jwk("r"), p256.jwk("e")]).await;
    let issuers = issuers(vec![IssuerConfig { algorithms: ALL.to_vec(), ..issuer.config() }], &Time::new());
    let claims = issuer.claims();
    let modulus = rsa.jwk("r")["n"].as_str().unwrap().to_owned();
    let secrets = [rsa.public_der(), modulus.clone().into_bytes(), rsa.jwk("r").to_string().into_bytes()];
    for secret in secrets {
        for algorithm in ["HS256", "hs256"] {
            let token = Signer::Secret(secret.clone()).sign(&json!({ "alg": algorithm, "kid": "r" }), &claims);
            assert_eq!(invalid(verify(&issuers, &token).await), Invalid::Algorithm(format!("\"{algorithm}\"")));
        }
        // The same under a name that is accepted.
        let token = Signer::Secret(secret).sign(&json!({ "alg": "RS256", "kid": "r" }), &claims);
        assert_eq!(invalid(verify(&issuers, &token).await), Invalid::Signature);
    }
    for algorithm in ["none", "None", "NONE", ""] {
        let token = Signer::Nothing(Vec::new()).sign(&json!({ "alg": algorithm }), &claims);
        assert_eq!(invalid(verify(&issuers, &token).await), Invalid::Algorithm(format!("\"{algorithm}\"")));
    }
    let stranger = Signer::p256();
    let table = [
        // The key in the header is the stranger's own.
        (stranger.sign(&json!({ "alg": "ES256", "kid": "e", "jwk": stranger.jwk("e") }), &claims), Invalid::Signature),
        (stranger.sign(&json!({ "alg": "ES256", "kid": "e" }), &claims), Invalid::Signature),
        (stranger.sign(&json!({ "alg": "ES256" }), &claims), Invalid::Signature),
        (p256.sign(&json!({ "alg": "RS256", "kid": "e" }), &claims), Invalid::KeyMismatch("RS256")),
        (p256.sign(&json!({ "alg": "RS256", "kid": "r" }), &claims), Invalid::Signature),
        (p256.sign(&json!({ "alg": "RS256" }), &claims), Invalid::Signature),
        (p256.sign(&json!({ "alg": "ES384", "kid": "e" }), &claims), Invalid::KeyMismatch("ES384")),
        (rsa.sign(&json!({ "alg": "ES256", "kid": "r" }), &claims), Invalid::KeyMismatch("ES256")),
        (rsa.sign(&json!({ "alg": "EdDSA" }), &claims), Invalid::UnknownKey("for it".to_owned())),
        (Signer::Nothing(Vec::new()).sign(&json!({ "alg": "ES256", "kid": "e" }), &claims), Invalid::Signature),
        (Signer::Nothing(vec![0; 64]).sign(&json!({ "alg": "ES256", "kid": "e" }), &claims), Invalid::Signature),
        (Signer::Nothing(vec![0; 256]).sign(&json!({ "alg": "RS256", "kid": "r" }), &claims), Invalid::Signature),
    ];
    for (index, (token, expected)) in table.into_iter().enumerate() {
        assert_eq!(invalid(verify(&issuers, &token).await), expected, "row {index}");
    }
    // A good token with other claims.
    let good = p256.sign(&json!({ "alg": "ES256", "kid": "e" }), &claims);
    verify(&issuers, &good).await.unwrap();
    let mut parts: Vec<&str> = good.split('.').collect();
    let mut other = claims.clone();
    other["sub"] = "admin".into();
    let other = encode(other.to_string());
    parts[1] = &other;
    assert_eq!(invalid(verify(&issuers, &parts.join(".")).await), Invalid::Signature);
}

#[tokio::test]
async fn the_issuer_is_matched_exactly() {
    let scene = Scene::new().await;
    let url = scene.issuer.url.clone();
    for other in [format!("{url}/"), url.to_uppercase(), format!("{url} "), "https://evil.example".to_owned(), String::new()] {
        let found = scene.invalid(&scene.token_with(&json!({ "iss": other }))).await;
        assert_eq!(found, Invalid::UnknownIssuer(format!("\"{other}\"")));
    }
    assert_eq!(scene.issuer.total(), 0, "strangers' tokens cause no requests");

    // Configured with a slash at the end, as its tokens and its discovery document have it.
    let slashed = Issuer::start(&[scene.signer.jwk("k")]).await;
    let name = format!("{}/", slashed.url);
    let mut discovery = slashed.discovery();
    discovery["issuer"] = name.clone().into();
    slashed.answer(crate::support::DISCOVERY, 200, &discovery);
    let issuers = issuers(vec![IssuerConfig::new(&name, vec!["ostler".to_owned()])], &Time::new());
    let mut claims = slashed.claims();
    assert!(matches!(
        invalid(verify(&issuers, &scene.signer.sign(&json!({ "alg": "ES256", "kid": "k" }), &claims)).await),
        Invalid::UnknownIssuer(_)
    ));
    claims["iss"] = name.into();
    verify(&issuers, &scene.signer.sign(&json!({ "alg": "ES256", "kid": "k" }), &claims)).await.unwrap();
}

/// A key counts for its own issuer only, even if two issuers give their keys the same name.
#[tokio::test]
async fn issuers_do_not_vouch_for_each_other() {
    let (one, two) = (Scene::new().await, Scene::new().await);
    let both = issuers(vec![one.issuer.config(), two.issuer.config()], &Time::new());
    verify(&both, &one.token()).await.unwrap();
    verify(&both, &two.token()).await.unwrap();
    let crossed = two.issuer.token(&one.signer, "k");
    assert_eq!(invalid(verify(&both, &crossed).await), Invalid::Signature);
}

#[tokio::test]
async fn no_issuers_no_tokens() {
    let scene = Scene::new().await;
    let none = issuers(Vec::new(), &Time::new());
    assert!(matches!(invalid(verify(&none, &scene.token()).await), Invalid::UnknownIssuer(_)));
    assert_eq!(invalid(verify(&none, "opaque").await), Invalid::Opaque);
    assert_eq!(scene.unavailable("opaque").await, Problem::Status(404), "the scene's issuer is asked");
}
