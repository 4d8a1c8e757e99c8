#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use http::Request;
use serde_json::json;

async fn read(kind: Option<&str>, body: &'static str) -> Result<Option<Value>, Fault> {
    let mut request = Request::post("/cloudedge/images");
    if let Some(kind) = kind {
        request = request.header(CONTENT_TYPE, kind);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    json(&parts, Body::from(body), 100).await
}

#[tokio::test]
async fn bodies_are_json_and_say_so() {
    for (kind, body, expected) in [
        (Some("application/json"), r#"{"a":1}"#, Ok(Some(json!({"a": 1})))),
        (Some("Application/JSON; charset=utf-8"), "[]", Ok(Some(json!([])))),
        (None, "", Ok(None)),
        (Some("text/plain"), "", Ok(None)),
        (None, "{}", Err((Name::BadMediaType, "application/json"))),
        (Some("application/x-www-form-urlencoded"), "a=1", Err((Name::BadMediaType, "application/json"))),
        (Some("application/jsonx"), "{}", Err((Name::BadMediaType, "application/json"))),
        (Some("application/json"), "{\n \"a\": 1,\n}", Err((Name::BadRequest, "line 3 column 1"))),
        (Some("application/json"), "{\u{201c}start\u{201d}: null}", Err((Name::BadRequest, "line 1 column 2"))),
        (Some("application/json"), "{} {}", Err((Name::BadRequest, "line 1 column 4"))),
        (Some("application/json"), "{\"a\":NaN}", Err((Name::BadRequest, "line 1 column 6"))),
    ] {
        match (read(kind, body).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{kind:?} {body}"),
            (Err(fault), Err((name, part))) => {
                assert_eq!(fault.name, name, "{kind:?} {body}");
                assert!(fault.message.contains(part), "{}", fault.message);
            }
            (found, expected) => panic!("{kind:?} {body}: {found:?}, not {expected:?}"),
        }
    }
    let long: &'static str = Box::leak("x".repeat(101).into_boxed_str());
    assert_eq!(read(Some("application/json"), long).await.unwrap_err().name, Name::OverLimit);
    let deep: &'static str = Box::leak("[".repeat(99).into_boxed_str());
    assert_eq!(read(Some("application/json"), deep).await.unwrap_err().name, Name::BadRequest);
}

#[test]
fn wrappers_are_objects() {
    assert!(wrapped(Some(json!({"image": {"x": 1}, "other": 2})), "image").is_ok());
    for body in
        [None, Some(json!([])), Some(json!(1)), Some(json!({})), Some(json!({"image": null})), Some(json!({"image": "x"}))]
    {
        assert_eq!(wrapped(body.clone(), "image").err().unwrap().name, Name::BadRequest, "{body:?}");
    }
}

#[test]
fn references_are_numbers_texts_and_links_of_ours() {
    let reference = |value: &Value, cloud: &str, default: Option<&str>| {
        let members = Members::new(json!({ "imageRef": value }).as_object().unwrap().clone(), "instance");
        let place = Place { prefixes: &["", "/edge/v1"], cloud, default, collection: "images" };
        members.reference("imageRef", &place).ok()
    };
    for (value, expected) in [
        (json!(62), Some(62)),
        (json!("62"), Some(62)),
        (json!("062"), Some(62)),
        (json!("https://cloudedge.example/cloudedge/images/62"), Some(62)),
        (json!("http://[::1]:5050/cloudedge/images/62/"), Some(62)),
        (json!("/cloudedge/images/62"), Some(62)),
        (json!("https://x/lab/cloudedge/images/62"), Some(62)),
        (json!("https://x/edge/v1/cloudedge/images/62"), Some(62)),
        (json!("https://x/edge/v1/lab/cloudedge/images/62"), Some(62)),
        (json!("https://x/other/cloudedge/images/62"), None),
        (json!("https://x/edge/v2/cloudedge/images/62"), None),
        (json!("https://x/cloudedge/instances/62"), None),
        (json!("https://x/cloudedge/images/62/x"), None),
        (json!("https://x/cloudedge/images/"), None),
        (json!("https://x/cloudedge/images/6?a=1"), None),
        (json!("https://x/cloudedge/images/-6"), None),
        (json!("ftp://x/cloudedge/images/62"), None),
        (json!("flickr++"), None),
        (json!("99999999999999999999"), None),
        (json!(6.5), None),
        (json!(1e300), None),
        (json!(true), None),
        (json!([62]), None),
        (Value::Null, None),
    ] {
        assert_eq!(reference(&value, "lab", Some("lab")), expected, "{value}");
    }
    let link = json!("https://x/cloudedge/images/62");
    assert_eq!(reference(&link, "other", Some("lab")), None, "it is in another cloud");
    assert_eq!(reference(&link, "other", None), None);
    assert_eq!(reference(&json!("https://x/other/cloudedge/images/62"), "other", None), Some(62));
}

#[test]
fn an_action_is_one_known_member() {
    for (body, expected) in [
        (json!({"start": null}), Ok(Action::Start)),
        (json!({"start": {}}), Ok(Action::Start)),
        (json!({"stop": null}), Ok(Action::Stop(Force::Soft))),
        (json!({"stop": {}}), Ok(Action::Stop(Force::Soft))),
        (json!({"stop": {"type": null}}), Ok(Action::Stop(Force::Soft))),
        (json!({"stop": {"type": "SOFT"}}), Ok(Action::Stop(Force::Soft))),
        (json!({"stop": {"type": "hard", "other": 1}}), Ok(Action::Stop(Force::Hard))),
        (json!({"reboot": {"type": "HARD"}}), Ok(Action::Reboot(Force::Hard))),
        (json!({"freeze": null}), Ok(Action::Suspend)),
        (json!({"resume": {}}), Ok(Action::Resume)),
        (json!({}), Err("exactly one member")),
        (json!({"start": null, "stop": null}), Err("exactly one member")),
        (json!({"explode": null}), Err("no action `explode`")),
        (json!({"stop": {"type": "MEDIUM"}}), Err("\"SOFT\" or \"HARD\"")),
        (json!({"stop": {"type": 1}}), Err("\"SOFT\" or \"HARD\"")),
        (json!({"start": {"type": "HARD"}}), Err("only stop and reboot")),
        (json!({"stop": "HARD"}), Err("null or an object")),
        (json!({"stop": true}), Err("null or an object")),
        (json!(["start"]), Err("must be an object")),
    ] {
        match (action(Some(body.clone())), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{body}"),
            (Err(fault), Err(part)) => {
                assert!(fault.name == Name::BadRequest && fault.message.contains(part), "{body}: {}", fault.message);
            }
            (found, _) => panic!("{body}: {found:?}"),
        }
    }
    assert_eq!(action(None).unwrap_err().name, Name::BadRequest);
}

#[test]
fn members_have_types() {
    let members = Members::new(
        json!({"text": "x", "number": 7, "null": null, "port": 22, "large": 65536, "zero": 0, "half": 1.5})
            .as_object()
            .unwrap()
            .clone(),
        "fwrule",
    );
    assert_eq!(members.required_text("text").unwrap(), "x");
    assert_eq!(members.text("null").unwrap(), None);
    assert_eq!(members.word("number").unwrap().as_deref(), Some("7"));
    assert_eq!((members.required_port("port").unwrap(), members.port("null").unwrap()), (22, None));
    for name in ["large", "zero", "half", "text"] {
        assert!(members.port(name).is_err(), "{name}");
    }
    assert_eq!(members.required_text("number").unwrap_err().message, "`fwrule.number` must be a string, found a number");
    assert_eq!(members.required_port("absent").unwrap_err().message, "`fwrule.absent` is missing");
    assert!(members.word("half").is_err());
}

#[test]
fn times_are_read_in_all_the_forms_of_the_specification() {
    const SEVEN: i64 = 1_348_038_000_000_000;
    for (text, expected) in [
        ("2012-09-19T07:00:00Z", Some(SEVEN)),
        ("2012-09-19 07:00:00Z", Some(SEVEN)),
        (" 2012-09-19T07:00:00z ", Some(SEVEN)),
        ("2012-09-19T09:00:00+02:00", Some(SEVEN)),
        ("2012-09-19T09:00:00 02:00", Some(SEVEN)),
        ("2012-09-19T07:00:00.5Z", Some(SEVEN + 500_000)),
        ("2012-09-19T07:00:00", None),
        ("2012-09-19 07:00:00", None),
        ("2012-09-19", None),
        ("yesterday", None),
        ("", None),
        ("2012-13-19T07:00:00Z", None),
    ] {
        assert_eq!(time(text), expected, "{text}");
    }
}

#[test]
fn parameters() {
    let query = Query::new(Some("image=62&force=TRUE&bad=x&empty=&image=63&no=0"));
    assert_eq!((query.number("image").unwrap(), query.number("absent").unwrap()), (Some(62), None));
    assert!(query.number("bad").is_err() && query.number("empty").is_err());
    assert!(query.flag("force").unwrap() && !query.flag("no").unwrap() && !query.flag("absent").unwrap());
    assert!(query.flag("bad").is_err() && query.flag("empty").is_err());
}
