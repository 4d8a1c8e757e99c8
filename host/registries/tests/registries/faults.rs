//! Registries that fail: each call, each fault.

use std::time::Duration;

use ostler_registries::played::{Answer, Played};
use ostler_registries::{Error, Problem, RankRequest, Registries};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::*;

/// Every call once, by the path it asks.
async fn calls(registries: &Registries) -> Vec<(&'static str, Result<(), Error>)> {
    let token = token();
    within(async {
        vec![
            (PREFERENCES, registries.agreements("demo", Some(&token)).await.map(drop)),
            (PROVIDER, registries.provider("provider-NORTH").await.map(drop)),
            (SERVICES, registries.services("provider-NORTH").await.map(drop)),
            (TENANTS, registries.tenants("nova-north").await.map(drop)),
            (IMAGES, registries.images("tenant-north").await.map(drop)),
            (FLAVORS, registries.flavors("tenant-north").await.map(drop)),
            (METRICS, registries.machines("provider-NORTH").await.map(drop)),
            (RANK, registries.ranks(&RankRequest::default()).await.map(drop)),
        ]
    })
    .await
}

fn shows_nothing(error: &Error) {
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

/// All calls fail alike, and no error shows the token or what the registry said.
async fn all_fail(registries: &Registries, what: &str, expected: impl Fn(&Problem) -> bool, transient: bool) {
    for (path, result) in calls(registries).await {
        let error = result.expect_err(path);
        assert!(expected(&error.problem), "{what}, {path}: {error:?}");
        assert_eq!(error.is_transient(), transient, "{what}, {path}: {error:?}");
        shows_nothing(&error);
    }
}

fn answer_all(played: &Played, answer: &Answer) {
    for (path, _) in all() {
        played.answer(path, answer.clone());
    }
}

#[tokio::test]
async fn without_a_fault_all_calls_succeed() {
    let played = played().await;
    play_all(&played);
    for (path, result) in calls(&registries(&played)).await {
        assert_eq!(result, Ok(()), "{path}");
        assert_eq!(played.count(path), 1, "{path}");
    }
}

#[tokio::test]
async fn statuses() {
    let played = played().await;
    let registries = registries(&played);
    for (status, transient) in [
        (204, false),
        (300, false),
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (408, true),
        (429, true),
        (500, true),
    ] {
        answer_all(&played, &Answer::Text(status, "{\"canary\": true}".to_owned()));
        if status == 204 {
            // A success that says nothing.
            all_fail(&registries, "204", |problem| matches!(problem, Problem::Malformed(_)), false).await;
        } else {
            all_fail(&registries, "status", |problem| *problem == Problem::Refused(status), transient).await;
        }
    }
    answer_all(&played, &Answer::Text(401, String::new()));
    assert!(within(registries.agreements("demo", None)).await.unwrap_err().wants_new_token());
}

#[tokio::test]
async fn answers_that_are_none() {
    let played = played().await;
    let registries = registries(&played);
    let good: Vec<_> = all().into_iter().map(|(path, body)| (path, body.to_string())).collect();
    for text in ["", "<html><body>canary</body></html>", "\u{feff}{}", "null", "5", "\"canary\"", "[5, {\"canary\": 1}]", "NaN"] {
        answer_all(&played, &Answer::Text(200, text.to_owned()));
        for (path, result) in calls(&registries).await {
            match result {
                // A list is what the ranker answers with; its items are left out.
                Ok(()) => assert_eq!((path, text.starts_with('[')), (RANK, true), "{text}"),
                Err(error) => {
                    assert!(matches!(error.problem, Problem::Malformed(_)), "{path} {text}: {error:?}");
                    shows_nothing(&error);
                }
            }
        }
    }
    for (path, text) in &good {
        played.answer(path, Answer::Text(200, text[..text.len() - 1].to_owned()));
    }
    all_fail(&registries, "truncated JSON", |problem| matches!(problem, Problem::Malformed(_)), false).await;
    // An error in JSON with a good status is no empty list.
    answer_all(&played, &Answer::Json(json!({ "error": "canary", "reason": "missing" })));
    all_fail(&registries, "an error", |problem| matches!(problem, Problem::Malformed(_)), false).await;
}

#[tokio::test]
async fn connections_that_break() {
    let played = played().await;
    let registries = registries(&played);
    answer_all(&played, &Answer::Cut("{\"canary\": [".to_owned()));
    all_fail(&registries, "cut", |problem| matches!(problem, Problem::Unreachable(_)), true).await;
}

#[tokio::test]
async fn silence() {
    let played = played().await;
    let registries = with(&played, |config| config.deadline = Duration::from_millis(50));
    answer_all(&played, &Answer::Silence);
    all_fail(&registries, "silence", |problem| *problem == Problem::Late(50), true).await;
}

#[tokio::test]
async fn nobody_is_there() {
    let played = played().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let registries = with(&played, |config| {
        let at = || Some(url.parse().unwrap());
        (config.slam, config.cmdb, config.cpr, config.monitoring) = (at(), at(), at(), at());
    });
    all_fail(&registries, "refused", |problem| matches!(problem, Problem::Unreachable(_)), true).await;
}

#[tokio::test]
async fn answers_without_an_end_and_lists_that_are_too_long() {
    let played = played().await;
    let registries = with(&played, |config| config.max_answer_bytes = 4096);
    answer_all(&played, &Answer::Endless);
    all_fail(&registries, "endless", |problem| *problem == Problem::TooLarge(4096), false).await;
    answer_all(&played, &Answer::Text(200, " ".repeat(4097)));
    all_fail(&registries, "too large", |problem| *problem == Problem::TooLarge(4096), false).await;
    // One byte less is read.
    answer_all(&played, &Answer::Text(200, " ".repeat(4096)));
    all_fail(&registries, "blank", |problem| matches!(problem, Problem::Malformed(_)), false).await;

    // Few bytes that would become many.
    let small = with(&played, |config| config.max_items = 1);
    answer_all(&played, &Answer::Text(200, format!("[{}]", vec!["{\"a\":0}"; 10_000].join(","))));
    let too_many = |problem: &Problem| matches!(problem, Problem::TooMany { list, .. } if list == "values");
    all_fail(&small, "many values", too_many, false).await;

    let few = with(&played, |config| config.max_items = 1);
    play_all(&played);
    let expected = [
        (PREFERENCES, Some("sla")),
        (PROVIDER, None),
        (SERVICES, Some("rows")),
        (TENANTS, None),
        (IMAGES, None),
        (FLAVORS, None),
        (METRICS, Some("paasMetrics")),
        (RANK, Some("ranks")),
    ];
    for ((path, result), (at, list)) in calls(&few).await.into_iter().zip(expected) {
        assert_eq!(path, at);
        let problem = list.map(|list| Problem::TooMany { list: list.to_owned(), limit: 1 });
        assert_eq!(result.err().map(|error| error.problem), problem, "{path}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (first, second) = (played().await, played().await);
    play_all(&second);
    let registries = registries(&first);
    // To elsewhere, and to another path of the same registry.
    for to in [format!("{}{PREFERENCES}", second.url), format!("{}/slam/preferences/other", first.url)] {
        answer_all(&first, &Answer::Redirect(to));
        all_fail(&registries, "redirect", |problem| *problem == Problem::Refused(302), false).await;
    }
    assert!(second.seen().is_empty(), "no token and no request went elsewhere");
    assert_eq!(first.count("/slam/preferences/other"), 0);
}

#[tokio::test]
async fn loopback_is_reached_only_if_a_base_url_names_it() {
    let played = played().await;
    play_all(&played);
    // A name is not an address: what it resolves to must pass the policy, and this one resolves to loopback by definition.
    let port = played.url.rsplit(':').next().unwrap();
    let registries = with(&played, |config| {
        config.cmdb = Some(format!("http://cmdb.localhost:{port}/cmdb").parse().unwrap());
    });
    let error = within(registries.provider("provider-NORTH")).await.unwrap_err();
    assert!(matches!(error.problem, Problem::Unreachable(_)), "{error:?}");
    assert!(played.seen().is_empty());
}

#[tokio::test]
async fn debug_output_shows_no_token() {
    let played = played().await;
    play_all(&played);
    let registries = registries(&played);
    within(registries.agreements("demo", Some(&token()))).await.unwrap();
    let shown = format!("{registries:?} {:?}", played.config());
    assert!(shown.contains("/slam") && !shown.contains("canary"), "{shown}");
}
