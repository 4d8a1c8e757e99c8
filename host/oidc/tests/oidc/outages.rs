//! Issuers that cannot be had are told apart from tokens that are no good, and are left alone for a while.

use futures::future::join_all;
use ostler_egress::Error as Egress;
use ostler_oidc::{Document, Error, Invalid, IssuerConfig, Problem};
use serde_json::{Value, json};

use crate::signers::Signer;
use crate::support::{DISCOVERY, Issuer, KEYS, START, Scene, Time, issuers, unavailable, verify, within};

#[tokio::test]
async fn an_issuer_that_is_not_there() {
    let scene = Scene::new().await;
    let token = scene.token();
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let gone = format!("http://127.0.0.1:{port}");
    let other = issuers(vec![IssuerConfig::new(&gone, vec!["ostler".to_owned()])], &Time::new());
    let mut claims = scene.issuer.claims();
    claims["iss"] = gone.clone().into();
    let theirs = scene.signer.sign(&json!({ "alg": "ES256", "kid": "k" }), &claims);
    let Err(Error::Unavailable(found)) = verify(&other, &theirs).await else { panic!("unavailable") };
    assert_eq!((found.issuer.as_str(), found.document), (gone.as_str(), Document::Discovery));
    assert!(matches!(found.problem, Problem::Egress(Egress::Connect { .. })), "{found}");
    // Other issuers are not affected, and neither are tokens of nobody.
    scene.good(&token).await;
    assert!(matches!(verify(&other, &token).await, Err(Error::Invalid(Invalid::UnknownIssuer(_)))));
}

/// 5 s of rest after the first failure, then 10, 20, 40, 60, 60 …; afterwards all is well again.
#[tokio::test]
async fn failures_are_remembered_for_a_growing_while() {
    for path in [DISCOVERY, KEYS] {
        let scene = Scene::new().await;
        let token = scene.token_with(&json!({ "exp": START + 9000 }));
        scene.issuer.answer(path, 500, &json!({}));
        let mut requests = 0;
        for rest in [5, 10, 20, 40, 60, 60] {
            requests += 1;
            for _ in 0..10 {
                assert_eq!(scene.unavailable(&token).await, Problem::Status(500));
            }
            assert_eq!(scene.issuer.count(path), requests);
            scene.time.pass(rest * 1_000_000 - 1);
            assert_eq!(scene.unavailable(&token).await, Problem::Status(500));
            assert_eq!(scene.issuer.count(path), requests, "{rest} s are not over");
            scene.time.pass(1);
        }
        scene.issuer.answer(DISCOVERY, 200, &scene.issuer.discovery());
        scene.issuer.publish(&[scene.signer.jwk("k")]);
        scene.good(&token).await;
        assert_eq!(scene.issuer.count(path), requests + 1);

        // That outage is over and forgotten: the next one begins with a short rest again. (Without a new discovery document the
        // keys are fetched from where they were: nothing is missing then.)
        scene.time.seconds(3600);
        scene.issuer.answer(path, 500, &json!({}));
        scene.good(&scene.token_with(&json!({ "exp": START + 9001 }))).await;
        assert_eq!(scene.issuer.count(path), requests + 2);
        scene.time.seconds(5);
        scene.good(&scene.token_with(&json!({ "exp": START + 9002 }))).await;
        assert_eq!(scene.issuer.count(path), if path == KEYS { requests + 3 } else { requests + 2 });
    }
}

/// Fifty requests at once are one request to the issuer, and fifty answers.
#[tokio::test]
async fn one_request_at_a_time() {
    let scene = Scene::new().await;
    let gate = scene.issuer.gate();
    let tokens: Vec<String> = (0..50).map(|index| scene.token_with(&json!({ "jti": index }))).collect();
    let all = join_all(tokens.iter().map(|token| scene.issuers.verify(token)));
    // The server is on this thread, too: it cannot answer before every one of them waits.
    let (results, ()) = within(futures::future::join(all, async { gate.add_permits(1000) })).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((scene.issuer.count(DISCOVERY), scene.issuer.count(KEYS)), (1, 1));

    let failing = Scene::new().await;
    failing.issuer.answer(KEYS, 503, &json!({}));
    let tokens: Vec<String> = (0..50).map(|index| failing.token_with(&json!({ "jti": index }))).collect();
    let results = within(join_all(tokens.iter().map(|token| failing.issuers.verify(token)))).await;
    assert!(results.iter().all(|result| matches!(result, Err(Error::Unavailable(_)))));
    assert_eq!(failing.issuer.count(KEYS), 1);
}

/// Whoever asked first may hang up: the answer counts for the others.
#[tokio::test]
async fn an_abandoned_request_is_not_repeated() {
    let scene = Scene::new().await;
    let gate = scene.issuer.gate();
    let (issuers, token) = (scene.issuers.clone(), scene.token());
    let impatient = tokio::spawn(async move { issuers.verify(&token).await });
    within(async {
        while scene.issuer.total() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    gate.add_permits(1000);
    scene.good(&scene.token()).await;
    assert_eq!((scene.issuer.count(DISCOVERY), scene.issuer.count(KEYS)), (1, 1));
}

#[tokio::test]
async fn old_keys_are_used_for_a_day_if_there_are_no_others() {
    let scene = Scene::new().await;
    let token = |index: u32| scene.token_with(&json!({ "exp": START + 200_000, "jti": index }));
    scene.good(&token(0)).await;
    scene.issuer.answer(KEYS, 500, &json!({}));
    scene.issuer.answer(DISCOVERY, 500, &json!({}));
    scene.time.seconds(3600);
    for index in 1..10 {
        scene.good(&token(index)).await;
    }
    assert_eq!((scene.issuer.count(DISCOVERY), scene.issuer.count(KEYS)), (2, 2), "tried once");
    scene.time.seconds(23 * 3600 - 1);
    scene.good(&token(10)).await;
    scene.time.seconds(1);
    assert_eq!(scene.unavailable(&token(11)).await, Problem::Status(500));
}

/// While an issuer is away, a new key may be good: that is not the token's fault. Known keys go on.
#[tokio::test]
async fn an_unknown_key_during_an_outage() {
    let scene = Scene::new().await;
    scene.good(&scene.token()).await;
    scene.issuer.answer(KEYS, 502, &json!({}));
    scene.time.seconds(1);
    let unknown = scene.issuer.token(&scene.signer, "new");
    for _ in 0..10 {
        assert_eq!(scene.unavailable(&unknown).await, Problem::Status(502));
    }
    assert_eq!(scene.issuer.count(KEYS), 2);
    scene.good(&scene.token_with(&json!({ "jti": 1 }))).await;
    scene.issuer.publish(&[scene.signer.jwk("k"), scene.signer.jwk("new")]);
    scene.time.seconds(29);
    assert!(matches!(scene.invalid(&unknown).await, Invalid::UnknownKey(_)), "it is not asked more often than that");
    scene.time.seconds(1);
    scene.good(&unknown).await;
}

#[tokio::test]
async fn discovery_documents_that_are_not_acceptable() {
    let signer = Signer::p256();
    let elsewhere = Issuer::start(&[signer.jwk("k")]).await;
    let keys_at = |url: String| move |document: &mut Value| document["jwks_uri"] = url.into();
    let elsewhere_origin = elsewhere.url.clone();
    type Change = Box<dyn FnOnce(&mut Value)>;
    let table: Vec<(Change, Problem)> = vec![
        (Box::new(|d| d["issuer"] = "https://evil.example".into()), Problem::OtherIssuer("\"https://evil.example\"".to_owned())),
        (Box::new(|d| d["issuer"] = format!("{}/", d["issuer"].as_str().unwrap()).into()), Problem::OtherIssuer(String::new())),
        (Box::new(|d| d["issuer"] = Value::Null), Problem::Answer("not a discovery document")),
        (Box::new(|d| *d = json!([])), Problem::Answer("not a discovery document")),
        (Box::new(|d| d["jwks_uri"] = json!(7)), Problem::Answer("not a discovery document")),
        (Box::new(|d| d["jwks_uri"] = Value::Null), Problem::NotOffered),
        (Box::new(keys_at(format!("{}{KEYS}", elsewhere.url))), Problem::Origin { origin: elsewhere_origin.clone() }),
        (
            Box::new(keys_at("https://keys.example:8443/x?y".to_owned())),
            Problem::Origin { origin: "https://keys.example:8443".to_owned() },
        ),
        (Box::new(keys_at("http://keys.example/".to_owned())), Problem::Insecure),
        (Box::new(keys_at("http://169.254.169.254/latest".to_owned())), Problem::Insecure),
        (Box::new(keys_at("https://me:pw@keys.example/".to_owned())), Problem::Insecure),
        (Box::new(keys_at("file:///etc/passwd".to_owned())), Problem::Insecure),
        (Box::new(keys_at("/keys".to_owned())), Problem::Insecure),
        (Box::new(keys_at("not a url".to_owned())), Problem::Insecure),
    ];
    for (index, (change, expected)) in table.into_iter().enumerate() {
        let issuer = Issuer::start(&[signer.jwk("k")]).await;
        let mut document = issuer.discovery();
        change(&mut document);
        issuer.answer(DISCOVERY, 200, &document);
        let found = unavailable(verify(&issuers(vec![issuer.config()], &Time::new()), &issuer.token(&signer, "k")).await);
        match expected {
            Problem::OtherIssuer(name) if name.is_empty() => assert!(matches!(found, Problem::OtherIssuer(_)), "row {index}"),
            expected => assert_eq!(found, expected, "row {index}"),
        }
        assert_eq!(issuer.count(KEYS), 0, "row {index}");
    }
    assert_eq!(elsewhere.total(), 0);

    // What the operator permits is used.
    let issuer = Issuer::start(&[]).await;
    let mut document = issuer.discovery();
    document["jwks_uri"] = format!("{}{KEYS}", elsewhere.url).into();
    issuer.answer(DISCOVERY, 200, &document);
    let config = IssuerConfig { endpoints: vec![elsewhere_origin.parse().unwrap()], ..issuer.config() };
    verify(&issuers(vec![config], &Time::new()), &issuer.token(&signer, "k")).await.unwrap();
    assert_eq!((issuer.count(KEYS), elsewhere.count(KEYS)), (0, 1));
}

/// Redirects are not followed, wherever they lead.
#[tokio::test]
async fn redirects_and_sizes() {
    let scene = Scene::new().await;
    scene.issuer.answer(DISCOVERY, 302, &json!({}));
    assert_eq!(scene.unavailable(&scene.token()).await, Problem::Status(302));

    let scene = Scene::new().await;
    let mut document = scene.issuer.discovery();
    document["padding"] = "p".repeat(256 << 10).into();
    scene.issuer.answer(DISCOVERY, 200, &document);
    assert!(matches!(scene.unavailable(&scene.token()).await, Problem::Egress(Egress::TooLarge { .. })));
}
