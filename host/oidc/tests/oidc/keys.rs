//! Keys: rotation, refreshing within bounds, and sets that are not acceptable.

use aws_lc_rs::signature::KeyPair;
use futures::future::join_all;
use ostler_egress::{Error as Egress, Part};
use ostler_oidc::{Invalid, Problem};
use serde_json::{Value, json};

use crate::signers::{Signer, encode};
use crate::support::{DISCOVERY, Issuer, KEYS, START, Scene, Time, invalid, issuers, unavailable, verify, within};

#[tokio::test]
async fn documents_are_fetched_once_and_kept() {
    let scene = Scene::new().await;
    assert_eq!(scene.issuer.total(), 0, "nothing before it is needed");
    for index in 0..20 {
        scene.good(&scene.token_with(&json!({ "jti": index }))).await;
    }
    assert_eq!((scene.issuer.count(DISCOVERY), scene.issuer.count(KEYS), scene.issuer.total()), (1, 1, 2));
    let later = scene.token_with(&json!({ "exp": START + 8000 }));
    scene.time.seconds(3599);
    scene.good(&later).await;
    assert_eq!(scene.issuer.total(), 2);
    scene.time.seconds(1);
    scene.good(&scene.token_with(&json!({ "exp": START + 8001 }))).await;
    assert_eq!((scene.issuer.count(DISCOVERY), scene.issuer.count(KEYS)), (2, 2), "anew after an hour");
}

#[tokio::test]
async fn rotation_is_noticed_and_unknown_keys_are_looked_for_within_bounds() {
    let scene = Scene::new().await;
    let next = Signer::p256();
    scene.good(&scene.token()).await;
    scene.time.seconds(1);
    scene.issuer.publish(&[scene.signer.jwk("k"), next.jwk("k2")]);
    scene.good(&scene.issuer.token(&next, "k2")).await;
    assert_eq!(scene.issuer.count(KEYS), 2, "fetched for the new key");
    scene.good(&scene.token_with(&json!({ "jti": 1 }))).await;

    // Names out of thin air do not get through to the issuer.
    for index in 0..50 {
        let name = format!("x{index}");
        assert_eq!(scene.invalid(&scene.issuer.token(&next, &name)).await, Invalid::UnknownKey(format!("\"{name}\"")));
    }
    assert_eq!(scene.issuer.count(KEYS), 2);
    scene.time.seconds(29);
    scene.invalid(&scene.issuer.token(&next, "y")).await;
    assert_eq!(scene.issuer.count(KEYS), 2);
    scene.time.seconds(1);
    scene.invalid(&scene.issuer.token(&next, "y")).await;
    scene.invalid(&scene.issuer.token(&next, "z")).await;
    assert_eq!(scene.issuer.count(KEYS), 3, "once in 30 s");

    // The old key is gone.
    scene.issuer.publish(&[next.jwk("k2")]);
    scene.time.seconds(3600);
    let late = json!({ "exp": START + 9000 });
    assert!(matches!(scene.invalid(&scene.token_with(&late)).await, Invalid::UnknownKey(_)));
}

/// A new key is new to everybody at once: one of them fetches it, and all of them are good.
#[tokio::test]
async fn many_tokens_of_a_new_key() {
    let scene = Scene::new().await;
    scene.good(&scene.token()).await;
    scene.time.seconds(1);
    let next = Signer::p256();
    scene.issuer.publish(&[next.jwk("k2")]);
    let tokens: Vec<String> = (0..20).map(|_| scene.issuer.token(&next, "k2")).collect();
    let results = within(join_all(tokens.iter().map(|token| scene.issuers.verify(token)))).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(scene.issuer.count(KEYS), 2);
}

/// A wrong signature under a name that is known is no reason to ask again.
#[tokio::test]
async fn forgeries_do_not_reach_the_issuer() {
    let scene = Scene::new().await;
    scene.good(&scene.token()).await;
    scene.time.seconds(1);
    assert_eq!(scene.invalid(&scene.issuer.token(&Signer::p256(), "k")).await, Invalid::Signature);
    assert_eq!(scene.issuer.count(KEYS), 1);
}

#[tokio::test]
async fn the_first_token_with_an_unknown_key_fetches_once() {
    let scene = Scene::new().await;
    assert!(matches!(scene.invalid(&scene.issuer.token(&scene.signer, "x")).await, Invalid::UnknownKey(_)));
    assert_eq!(scene.issuer.count(KEYS), 1);
}

/// Keys without names can be exchanged, too.
#[tokio::test]
async fn rotation_without_names() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let issuer = Issuer::start(&[old.jwk("")]).await;
    let time = Time::new();
    let issuers = issuers(vec![issuer.config()], &time);
    let token = |signer: &Signer| signer.sign(&json!({ "alg": "ES256" }), &issuer.claims());
    verify(&issuers, &token(&old)).await.unwrap();
    issuer.publish(&[new.jwk("")]);
    time.seconds(1);
    verify(&issuers, &token(&new)).await.unwrap();
    assert_eq!(issuer.count(KEYS), 2);
    time.seconds(1);
    assert_eq!(invalid(verify(&issuers, &token(&Signer::p256())).await), Invalid::Signature);
    assert_eq!(issuer.count(KEYS), 2);
    // A token that names a key is for a key of that name.
    let named = new.sign(&json!({ "alg": "ES256", "kid": "k" }), &issuer.claims());
    assert!(matches!(invalid(verify(&issuers, &named).await), Invalid::UnknownKey(_)));
}

#[tokio::test]
async fn only_a_few_keys_are_tried() {
    let signers: Vec<Signer> = (0..5).map(|_| Signer::p256()).collect();
    let keys: Vec<Value> = signers.iter().enumerate().map(|(index, signer)| signer.jwk(&index.to_string())).collect();
    let issuer = Issuer::start(&keys).await;
    let issuers = issuers(vec![issuer.config()], &Time::new());
    for (index, signer) in signers.iter().enumerate() {
        let result = verify(&issuers, &signer.sign(&json!({ "alg": "ES256" }), &issuer.claims())).await;
        if index < 4 {
            result.unwrap();
        } else {
            assert_eq!(invalid(result), Invalid::Signature);
        }
        verify(&issuers, &issuer.token(signer, &index.to_string())).await.unwrap();
    }
}

#[tokio::test]
async fn keys_for_other_purposes_are_not_used() {
    let signer = Signer::p256();
    let with = |changes: Value| {
        let mut jwk = signer.jwk("k");
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let usable = [
        json!({ "use": "sig" }),
        json!({ "key_ops": ["verify"] }),
        json!({ "alg": "ES256" }),
        json!({ "use": "sig", "key_ops": ["verify", "other"], "alg": "ES256", "x5c": ["MII"], "more": 1 }),
    ];
    let unusable = [
        json!({ "use": "enc" }),
        json!({ "use": 1 }),
        json!({ "key_ops": ["encrypt"] }),
        json!({ "key_ops": [] }),
        json!({ "key_ops": "verify" }),
        json!({ "alg": "ECDH-ES" }),
        json!({ "alg": "ES512" }),
        json!({ "alg": 7 }),
        json!({ "kty": "oct" }),
        json!({ "kty": "RSA" }),
        json!({ "crv": "P-521" }),
        json!({ "crv": "P-384" }),
        json!({ "x": "AAAA" }),
        json!({ "x": "not base64!" }),
        json!({ "d": "AAAA" }),
    ];
    for (changes, works) in usable.iter().map(|c| (c, true)).chain(unusable.iter().map(|c| (c, false))) {
        let issuer = Issuer::start(&[json!("nonsense"), with(changes.clone())]).await;
        let result = verify(&issuers(vec![issuer.config()], &Time::new()), &issuer.token(&signer, "k")).await;
        if works {
            result.unwrap_or_else(|error| panic!("{changes}: {error}"));
        } else {
            assert_eq!(invalid(result), Invalid::UnknownKey("\"k\"".to_owned()), "{changes}");
        }
    }
    // A key that says what it is for is not used for anything else.
    let rsa = Signer::rsa();
    let mut jwk = rsa.jwk("k");
    jwk["alg"] = "RS512".into();
    let issuer = Issuer::start(&[jwk]).await;
    let token = rsa.sign(&json!({ "alg": "RS256", "kid": "k" }), &issuer.claims());
    let result = verify(&issuers(vec![issuer.config()], &Time::new()), &token).await;
    assert_eq!(invalid(result), Invalid::KeyMismatch("RS256"));
}

/// A key that is too short to be safe, and one whose signatures anybody can make.
#[tokio::test]
async fn weak_keys_are_not_used() {
    let Signer::Rsa(good) = Signer::rsa() else { unreachable!() };
    let modulus = good.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let jwk = |modulus: &[u8], exponent: &[u8]| json!({ "kty": "RSA", "kid": "k", "n": encode(modulus), "e": encode(exponent) });
    let padded = [&[0, 0], modulus.as_slice()].concat();
    let table = [
        (jwk(&modulus, &[1, 0, 1]), true),
        (jwk(&padded, &[0, 1, 0, 1]), true),
        (jwk(&modulus[..255], &[1, 0, 1]), false),
        (jwk(&[&[0], &modulus[..255]].concat(), &[1, 0, 1]), false),
        (jwk(&[0x7f; 256], &[1, 0, 1]), false),
        (jwk(&[0xff; 1025], &[1, 0, 1]), false),
        (jwk(&modulus, &[1]), false),
        (jwk(&modulus, &[0, 1]), false),
        (jwk(&modulus, &[2]), false),
        (jwk(&modulus, &[]), false),
        (jwk(&[], &[1, 0, 1]), false),
        (jwk(&[0; 256], &[1, 0, 1]), false),
    ];
    for (index, (jwk, usable)) in table.into_iter().enumerate() {
        let issuer = Issuer::start(&[jwk]).await;
        let token = Signer::rsa().sign(&json!({ "alg": "RS256", "kid": "k" }), &issuer.claims());
        let result = verify(&issuers(vec![issuer.config()], &Time::new()), &token).await;
        if usable {
            result.unwrap_or_else(|error| panic!("row {index}: {error}"));
        } else {
            assert_eq!(invalid(result), Invalid::UnknownKey("\"k\"".to_owned()), "row {index}");
        }
    }
}

#[tokio::test]
async fn sets_that_are_not_acceptable() {
    let signer = Signer::p256();
    let key = signer.jwk("k");
    let many = |count| json!({ "keys": vec![key.clone(); count] }).to_string();
    let table = [
        ("nonsense".to_owned(), "not a JSON object"),
        ("[]".to_owned(), "not a JSON object"),
        ("{}".to_owned(), "not a set of keys"),
        (r#"{"keys":{}}"#.to_owned(), "not a set of keys"),
        (many(101), "more than 100 keys"),
        (format!(r#"{{"keys":{}1{}}}"#, "[".repeat(200), "]".repeat(200)), "not a JSON object"),
    ];
    for (body, why) in table {
        let issuer = Issuer::start(&[]).await;
        issuer.answer_text(KEYS, 200, &body);
        let found = unavailable(verify(&issuers(vec![issuer.config()], &Time::new()), &issuer.token(&signer, "k")).await);
        assert_eq!(found, Problem::Answer(why));
    }
    let issuer = Issuer::start(&[]).await;
    issuer.answer_text(KEYS, 200, &many(100));
    verify(&issuers(vec![issuer.config()], &Time::new()), &issuer.token(&signer, "k")).await.unwrap();

    let issuer = Issuer::start(&[]).await;
    let huge = json!({ "keys": [key], "padding": "p".repeat(256 << 10) });
    issuer.answer(KEYS, 200, &huge);
    let found = unavailable(verify(&issuers(vec![issuer.config()], &Time::new()), &issuer.token(&signer, "k")).await);
    assert_eq!(found, Problem::Egress(Egress::TooLarge { what: Part::ResponseBody, limit: 256 << 10 }));
}
