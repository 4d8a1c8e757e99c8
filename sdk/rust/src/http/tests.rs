#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::testing::Cloud;
use serde_json::{Value, json};

#[test]
fn requests_go_out_as_written_and_answers_come_back() {
    let cloud = Cloud::new("lab");
    cloud.expect_http("POST", "http://a/b?x=1%202").header("x-token", "t").json(json!({"a": 1})).answer(201, "{\"ok\":true}");
    let ctx = cloud.context();
    let response = ctx.http().post("http://a/b").query("x", "1 2").header("X-Token", "t").send_json(&json!({"a": 1})).unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.success().unwrap().json::<Value>().unwrap(), json!({"ok": true}));
    cloud.assert_http_done();
}

#[test]
fn a_status_is_an_error_class() {
    for (status, class) in [
        (302, "failed"),
        (400, "invalid"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not-found"),
        (408, "transient"),
        (409, "conflict"),
        (422, "invalid"),
        (429, "throttled"),
        (500, "transient"),
        (501, "unsupported"),
        (503, "transient"),
    ] {
        let cloud = Cloud::new("lab");
        cloud.expect_http("GET", "http://a/b?token=secret").answer(status, " so \n sorry ");
        let error = cloud.context().http().get("http://a/b?token=secret").json::<Value>().unwrap_err();
        assert_eq!(error.class(), class, "{status}");
        assert_eq!(error.message(), format!("GET http://a/b answered {status}: so sorry"));
    }
}

#[test]
fn the_wait_is_passed_on() {
    let cloud = Cloud::new("lab");
    cloud.expect_http("GET", "http://a/").answer_with(429, &[("Retry-After", "7")], "");
    let error = cloud.context().http().get("http://a/").send().unwrap().success().unwrap_err();
    let expected = Error::Throttled { message: "GET http://a/ answered 429".into(), retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(error, expected);
}

#[test]
fn a_body_beyond_the_limit_is_no_answer() {
    for (limit, fits) in [(9, false), (10, true), (11, true)] {
        let cloud = Cloud::new("lab");
        cloud.expect_http("GET", "http://a/").answer(200, "0123456789");
        let answer = cloud.context().http().get("http://a/").limit(limit).send().unwrap().bytes();
        match answer {
            Ok(bytes) => assert!(fits && bytes == b"0123456789"),
            Err(error) => assert!(!fits && error.class() == "failed", "{error}"),
        }
    }
}

#[test]
fn nothing_shows_credentials() {
    let cloud = Cloud::new("lab");
    let ctx = cloud.context();
    let request = ctx.http().get("http://a/?key=hidden").header("authorization", "hidden").body("text/plain", "hidden");
    assert!(!format!("{:?}", request.parts).contains("hidden"));
}

#[test]
fn a_failing_connection_keeps_its_class() {
    let cloud = Cloud::new("lab");
    cloud.expect_http("GET", "http://a/").fail(Error::Transient("refused".into()));
    let error = cloud.context().http().get("http://a/").send().unwrap_err();
    assert_eq!(error, Error::Transient("GET http://a/: refused".into()));
}

#[test]
fn a_provider_is_played() {
    let cloud = Cloud::new("lab").answer_http(|cloud, request| {
        assert_eq!((request.header("X-TOKEN"), request.timeout), (Some("hidden"), Duration::from_secs(1)));
        match request.url.as_str() {
            "http://a/lost" => Err(Error::Transient("reset".into())),
            // A play may look at the clock, and may ask on: it is not locked meanwhile.
            "http://a/again" => {
                cloud.context().http().post("http://a/").timeout(request.timeout).header("x-token", "hidden").answer()
            }
            _ => Ok(Answer::new(409, request.method.clone()).with_header("Retry-After", "7").with_header("x-token", "hidden")),
        }
    });
    let ctx = cloud.context();
    let get = |path: &str| ctx.http().get(format!("http://a/{path}")).timeout(Duration::from_secs(1)).header("x-token", "hidden");
    let answer = get("").answer().unwrap();
    assert_eq!((answer.status, answer.is_success(), answer.body.as_slice()), (409, false, b"GET".as_slice()));
    assert_eq!((answer.header("retry-after"), answer.retry_after()), (Some("7"), Some(Duration::from_secs(7))));
    assert_eq!(format!("{answer:?}"), r#"409 ["Retry-After", "x-token"] (3 bytes)"#);
    assert_eq!(get("again").answer().unwrap().body, b"POST");
    assert_eq!(get("lost").send().unwrap_err(), Error::Transient("GET http://a/lost: reset".into()));
    assert_eq!(get("").limit(2).answer().unwrap_err().class(), "failed");
    // What is expected comes first.
    cloud.expect_http("GET", "http://a/").answer(204, "");
    assert_eq!(get("").send().unwrap().status(), 204);
    assert_eq!(get("").send().unwrap().status(), 409);
}

#[test]
fn an_answer_is_read_as_json() {
    assert_eq!(Answer::new(200, r#"{"a":1}"#).json::<Value>(), Ok(json!({"a": 1})));
    assert_eq!(Answer::new(200, "<html>").json::<Value>().unwrap_err().class(), "failed");
}
