//! What the userinfo endpoint adds.

use futures::future::join_all;
use ostler_oidc::{Invalid, Problem};
use serde_json::json;

use crate::support::{INTROSPECTION, START, Scene, USERINFO, within};

async fn scene() -> Scene {
    let scene = Scene::with(|config| config.userinfo = true).await;
    scene.issuer.answer(
        USERINFO,
        200,
        &json!({ "sub": "user-1", "groups": ["b"], "organisation_name": "indigo", "name": "Ada" }),
    );
    scene
}

#[tokio::test]
async fn facts_are_merged() {
    let scene = scene().await;
    let token = scene.token_with(&json!({ "groups": ["a"], "name": "A.", "email": "a@issuer.example" }));
    let identity = scene.good(&token).await;
    assert_eq!(identity.groups.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((identity.name.as_deref(), identity.email.as_deref()), (Some("Ada"), Some("a@issuer.example")));
    assert_eq!(identity.organisation.as_deref(), Some("indigo"));
    let [request] = scene.issuer.seen(USERINFO).try_into().ok().unwrap();
    assert_eq!(request.authorization, format!("Bearer {token}"));

    scene.time.seconds(59);
    scene.good(&token).await;
    assert_eq!(scene.issuer.count(USERINFO), 1, "remembered");
    scene.time.seconds(1);
    scene.good(&token).await;
    assert_eq!(scene.issuer.count(USERINFO), 2);
}

#[tokio::test]
async fn only_tokens_for_openid_are_shown() {
    let scene = scene().await;
    for scope in [json!("profile"), json!(null), json!("openid2 OPENID")] {
        assert_eq!(scene.good(&scene.token_with(&json!({ "scope": scope }))).await.organisation, None);
    }
    assert_eq!(scene.issuer.count(USERINFO), 0);
    // And only good ones.
    scene.invalid(&scene.token_with(&json!({ "exp": START - 100 }))).await;
    scene.invalid(&format!("{}A", scene.token())).await;
    assert_eq!(scene.issuer.count(USERINFO), 0);
}

#[tokio::test]
async fn opaque_tokens_have_facts_too() {
    let scene = scene().await;
    let answer = json!({ "active": true, "sub": "user-1", "aud": "ostler", "scope": "openid", "token_type": "Bearer" });
    scene.issuer.answer(INTROSPECTION, 200, &answer);
    assert_eq!(scene.good("opaque").await.organisation.as_deref(), Some("indigo"));
    assert_eq!(scene.issuer.seen(USERINFO)[0].authorization, "Bearer opaque");
}

#[tokio::test]
async fn facts_about_somebody_else() {
    for body in [json!({ "sub": "user-2" }), json!({ "sub": 1 }), json!({ "groups": ["admins"] })] {
        let scene = scene().await;
        scene.issuer.answer(USERINFO, 200, &body);
        assert_eq!(scene.invalid(&scene.token()).await, Invalid::Other("subject"), "{body}");
    }
}

#[tokio::test]
async fn refusals_and_outages() {
    for status in [401, 403] {
        let scene = scene().await;
        scene.issuer.answer(USERINFO, status, &json!({}));
        let token = scene.token();
        assert_eq!(scene.invalid(&token).await, Invalid::Userinfo);
        scene.invalid(&token).await;
        assert_eq!(scene.issuer.count(USERINFO), 1, "remembered");
        scene.time.seconds(5);
        scene.invalid(&token).await;
        assert_eq!(scene.issuer.count(USERINFO), 2);
    }
    for (status, body) in [(500, "{}"), (404, "{}"), (302, "{}"), (200, "a.jwt.perhaps"), (200, "[]")] {
        let scene = scene().await;
        scene.issuer.answer_text(USERINFO, status, body);
        let problem = scene.unavailable(&scene.token()).await;
        let expected = if status == 200 { Problem::Answer("not a JSON object") } else { Problem::Status(status) };
        assert_eq!(problem, expected);
    }
    let scene = scene().await;
    scene.issuer.answer(USERINFO, 503, &json!({}));
    for index in 0..20 {
        assert_eq!(scene.unavailable(&scene.token_with(&json!({ "jti": index }))).await, Problem::Status(503));
    }
    assert_eq!(scene.issuer.count(USERINFO), 1, "left alone for a while");
}

#[tokio::test]
async fn one_token_at_many_doors_is_one_question() {
    let scene = scene().await;
    let gate = scene.issuer.gate();
    let token = scene.token();
    let all = join_all((0..50).map(|_| scene.issuers.verify(&token)));
    let (results, ()) = within(futures::future::join(all, async { gate.add_permits(1000) })).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(scene.issuer.count(USERINFO), 1);
}
