#![allow(clippy::unwrap_used)]
use super::certificates::Place;
use super::extract::Limit;
use super::wire::accounts::{NewUser, Secret};
use super::wire::data_events::Messages;
use super::*;
use crate::api::root;
use secrecy::ExposeSecret;
use std::collections::BTreeSet;

/// The document and the table of permissions name the same routes: neither an undocumented nor an unguarded one.
#[test]
fn the_document_and_the_table_are_in_step() {
    let document = serde_json::to_value(document()).unwrap();
    let (mut documented, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "delete", "patch"].iter().filter(|m| item.get(**m).is_some()) {
            documented.insert((path.clone(), method.to_uppercase()));
            // Programs are generated from them.
            let name = item[*method]["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(name.clone()), "two operations are called {name}");
        }
    }
    let table: BTreeSet<_> =
        ROWS.iter().flat_map(|row| row.methods.iter().map(|(method, _)| (row.path.to_owned(), method.to_string()))).collect();
    assert_eq!(documented, table);
    let public = |row: &&Row| row.methods.iter().any(|(_, access)| *access == Access::Public);
    let public: Vec<_> = ROWS.iter().filter(public).map(|row| row.path).collect();
    assert_eq!(public, [REPORTS, AUTHORITY, REVOCATIONS]);
    assert!(root::ROWS.iter().any(|row| row.path == "/metrics" && row.methods.iter().all(|(_, a)| *a != Access::Public)));
}

#[test]
fn a_page_tells_whether_there_is_another() {
    for (limit, items, page, next) in [
        (2_u32, vec![], vec![], None),
        (2, vec![1, 2], vec![1, 2], None),
        (2, vec![1, 2, 3], vec![1, 2], Some(2)),
        (1, vec![7, 8], vec![7], Some(7)),
    ] {
        let limit = Limit::try_from(limit).unwrap();
        let mut cut = items.clone();
        assert_eq!((limit.cut(&mut cut, |last| *last), cut), (next, page), "{items:?}");
    }
    for limit in [0, 1001, u32::MAX] {
        assert!(Limit::try_from(limit).is_err(), "{limit}");
    }
    assert_eq!((Limit::default().and_one(), Limit::try_from(1000_u32).unwrap().and_one()), (101, 1001));
}

#[test]
fn a_place_is_what_a_page_gave() {
    for (text, good) in [
        ("1700000000000000-0a1f", true),
        ("-1-0a", false),
        ("1700000000000000-", true),
        ("1700000000000000", false),
        ("x-0a", false),
        ("1-0g", false),
        ("1-0a\0", false),
        ("99999999999999999999-0a", false),
        ("", false),
    ] {
        assert_eq!(Place::try_from(text.to_owned()).is_ok(), good, "{text:?}");
    }
}

/// Whoever mistakes the type of a password must not find it in the answer, or in a log of answers.
#[test]
fn a_secret_of_the_wrong_type_is_not_repeated() {
    let read =
        |password: &str| serde_json::from_str::<NewUser>(&format!(r#"{{"username": "a", "roles": [], "password": {password}}}"#));
    for password in ["4711", "[\"4711\"]", "{\"4711\": 1}", "4711.5"] {
        let error = read(password).unwrap_err().to_string();
        assert!(!error.contains("4711") && error.contains("a secret is a text"), "{error}");
    }
    let Some(Secret(secret)) = read("\"4711\"").unwrap().password else { unreachable!() };
    assert_eq!(secret.expose_secret(), "4711");
    assert!(!format!("{:?}", read("\"4711\"").unwrap()).contains("4711"));
    assert!(read("null").unwrap().password.is_none());
}

#[test]
fn messages_come_alone_or_together() {
    let read = |body: &str| {
        let messages = serde_json::from_str::<Messages>(body).map_err(|error| error.to_string())?.0;
        Ok(messages.into_iter().map(|m| format!("{} {:?} {:?}", m.event_type, m.scope, m.name)).collect::<Vec<_>>())
    };
    let registered = r#"did_registered Some("S") Some("N")"#;
    for (body, expected) in [
        (r#"{"event_type":"did_registered","scope":"S","name":"N"}"#, Ok(vec![registered])),
        (r#"{"event_type":"did_registered","scope":"S","name":"N","account":"x"}"#, Ok(vec![registered])),
        (r#"{"event_type":"rule_ok","created_at":"x","payload":{"scope":"S"}}"#, Ok(vec!["rule_ok None None"])),
        (r#"{"messages":[]}"#, Ok(vec![])),
        (
            r#"{"messages":[{"event_type":"did_registered","scope":"S","name":"N"},{"event_type":"x","name":null}]}"#,
            Ok(vec![registered, "x None None"]),
        ),
        ("{}", Err("missing field `event_type`")),
        (r#"{"event_type":"did_registered","scope":1}"#, Err("invalid type: integer `1`, expected a string")),
        (r#"{"messages":{}}"#, Err("invalid type: map, expected a sequence")),
        (r#"{"messages":[{}]}"#, Err("missing field `event_type`")),
        (r#"{"messages":[],"event_type":"x"}"#, Err("unknown field `event_type`, expected `messages`")),
    ] {
        let read: Result<Vec<String>, String> = read(body);
        match expected {
            Ok(expected) => assert_eq!(read.unwrap(), expected, "{body}"),
            Err(expected) => assert!(read.as_ref().is_err_and(|error| error.contains(expected)), "{body}: {read:?}"),
        }
    }
}
