//! Each member of each answer removed, or of another type: a typed error or the documented default, never a panic, never a
//! wider permission.

use std::collections::BTreeMap;

use ostler_registries::{Agreements, Error, Problem, RankRequest, Registries, Said, Wish, facts};
use serde_json::{Value, json};

use crate::support::*;

/// A member or item of a document.
type Path = Vec<Step>;

#[derive(Clone, Debug)]
enum Step {
    Member(String),
    Item(usize),
}

fn paths(value: &Value) -> Vec<Path> {
    let mut found = vec![Vec::new()];
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(name, value)| (Step::Member(name.clone()), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (Step::Item(index), value)).collect(),
        _ => Vec::new(),
    };
    for (step, value) in children {
        found.extend(paths(value).into_iter().map(|path| [vec![step.clone()], path].concat()));
    }
    found
}

/// The document with something else at the path; nothing at all if there is no replacement.
fn changed(document: &Value, path: &[Step], replacement: Option<&Value>) -> Value {
    let Some((step, rest)) = path.split_first() else {
        return replacement.cloned().unwrap_or(Value::Null);
    };
    let mut document = document.clone();
    match (&mut document, step) {
        (Value::Object(map), Step::Member(name)) if rest.is_empty() && replacement.is_none() => {
            map.remove(name);
        }
        (Value::Array(items), Step::Item(index)) if rest.is_empty() && replacement.is_none() => {
            items.remove(*index);
        }
        (Value::Object(map), Step::Member(name)) => {
            let inner = changed(&map[name], rest, replacement);
            map.insert(name.clone(), inner);
        }
        (Value::Array(items), Step::Item(index)) => items[*index] = changed(&items[*index], rest, replacement),
        _ => panic!("{path:?} is not in {document}"),
    }
    document
}

fn replacements() -> Vec<Option<Value>> {
    let mut all = vec![None];
    let values = [
        json!(null),
        json!(true),
        json!(1e308),
        json!("zz canary \u{0}\n"),
        json!(""),
        json!([]),
        json!([[[{}]]]),
        json!({ "_id": { "a": [] }, "canary": "canary" }),
    ];
    all.extend(values.into_iter().map(Some));
    all
}

async fn ask(registries: &Registries, path: &str) -> Result<(), Error> {
    match path {
        PREFERENCES => registries.agreements("demo", None).await.map(drop),
        PROVIDER => registries.provider("provider-NORTH").await.map(drop),
        SERVICES => registries.services("provider-NORTH").await.map(drop),
        TENANTS => registries.tenants("nova-north").await.map(drop),
        IMAGES => registries.images("tenant-north").await.map(drop),
        FLAVORS => registries.flavors("tenant-north").await.map(drop),
        METRICS => registries.machines("provider-NORTH").await.map(drop),
        RANK => registries.ranks(&RankRequest::default()).await.map(drop),
        other => panic!("nobody asks {other}"),
    }
}

#[tokio::test]
async fn every_member_of_every_answer() {
    let played = played().await;
    let registries = registries(&played);
    let (mut good, mut malformed) = (0, 0);
    for (at, document) in all() {
        for path in paths(&document) {
            for replacement in replacements() {
                played.json(at, changed(&document, &path, replacement.as_ref()));
                match within(ask(&registries, at)).await {
                    Ok(()) => good += 1,
                    Err(error) => {
                        assert!(matches!(error.problem, Problem::Malformed(_)), "{at} {path:?} {replacement:?}: {error:?}");
                        assert!(!error.to_string().contains("canary"), "{error}");
                        malformed += 1;
                    }
                }
            }
        }
    }
    assert!(good > 1_000 && malformed > 50, "{good} and {malformed}: both happen");
}

/// What is left of the agreements when something of them is damaged.
fn left(said: &Result<Agreements, Error>) -> String {
    match said {
        Err(error) => error.problem.to_string(),
        Ok(said) => {
            let machines = BTreeMap::new();
            let said = Said { agreements: Some(said), offers: None, machines: &machines, ranks: None };
            // 2030-01-01
            let wish = Wish { at: Some(1_893_456_000_000_000), ..Wish::default() };
            let found = facts(&said, &wish);
            let usable = found.iter().filter(|fact| fact.is_in());
            usable.map(|fact| format!("{}:{:.2}", fact.service_id, fact.priority)).collect::<Vec<_>>().join(" ")
        }
    }
}

#[tokio::test]
async fn damaged_agreements_allow_no_more() {
    let played = played().await;
    let registries = registries(&played);
    let member = |pointer: &str| -> Path {
        let step = |part: &str| part.parse().map_or_else(|_| Step::Member(part.to_owned()), Step::Item);
        pointer.split('/').skip(1).map(step).collect()
    };
    let both = "nova-north:0.75 nova-south:0.25";
    let south = "nova-south:0.25";
    let unpreferred = "nova-north:0.00 nova-south:0.00";
    let cases = [
        ("/sla/0/customer", None, both),
        ("/sla/0/id", None, south),
        ("/sla/0/id", Some(json!("")), south),
        ("/sla/0/id", Some(json!([])), south),
        ("/sla/0/provider", None, south),
        ("/sla/0/provider", Some(json!({})), south),
        ("/sla/0/start_date", Some(json!([])), south),
        ("/sla/0/end_date", Some(json!({})), south),
        ("/sla/0/end_date", Some(json!("2029-12-31")), south),
        ("/sla/0/end_date", Some(json!("2030-01-01")), both),
        ("/sla/0/services", None, south),
        ("/sla/0/services", Some(json!("all")), south),
        ("/sla/0/services/0/service_id", None, south),
        ("/sla/0/services/0/service_id", Some(json!(["nova-north"])), south),
        ("/sla/0/services/0/targets", None, both),
        ("/sla/0/services/0/targets", Some(json!("none")), south),
        ("/sla/0/services/0/targets/0", Some(json!("none")), south),
        ("/sla/0/services/0/targets/0/restrictions", Some(json!("none")), south),
        ("/sla/0/services/0/targets/0/restrictions/total_limit", Some(json!("many")), south),
        ("/sla/0/services/0/targets/0/restrictions/total_limit", Some(json!("100")), both),
        ("/sla/0", Some(json!(5)), south),
        ("/sla", None, ""),
        ("/sla", Some(json!("none")), "malformed answer: sla: expected a list, found a text"),
        ("/preferences", None, unpreferred),
        ("/preferences", Some(json!({})), "malformed answer: preferences: expected a list, found an object"),
        ("/preferences/0/preferences/0/priority/0/weight", Some(json!({})), unpreferred),
        ("/preferences/0/preferences/0/priority/0/weight", None, "nova-north:1.00 nova-south:0.25"),
        ("/preferences/0/preferences/0/priority/0/sla_id", Some(json!("sla-south")), "nova-north:0.00 nova-south:0.25"),
    ];
    for (pointer, replacement, expected) in cases {
        played.json(PREFERENCES, changed(&agreements(), &member(pointer), replacement.as_ref()));
        let said = within(registries.agreements("demo", None)).await;
        assert_eq!(left(&said), expected, "{pointer} {replacement:?}");
    }
}

#[tokio::test]
async fn what_is_left_out_is_told() {
    let played = played().await;
    let registries = registries(&played);
    let mut document = services();
    document["rows"][1]["doc"]["data"]["iam_enabled"] = json!("perhaps canary");
    document["rows"][2]["doc"]["data"] = json!([]);
    played.json(SERVICES, document);
    let services = within(registries.services("provider-NORTH")).await.unwrap();
    assert_eq!(services.items.len(), 1);
    let expected = ["rows[1].doc.data.iam_enabled: expected true or false", "rows[2].doc.data: expected an object, found a list"];
    assert_eq!(services.left_out, expected);

    let mut document = ranks();
    document[0]["service_id"] = json!(null);
    document[1].as_object_mut().unwrap().retain(|name, _| matches!(name.as_str(), "provider" | "service_id"));
    played.json(RANK, document);
    let ranks = within(registries.ranks(&RankRequest::default())).await.unwrap();
    assert_eq!(ranks.left_out, ["ranks[0].service_id: missing"]);
    let rank = &ranks.items[0];
    assert_eq!((rank.rank, rank.ranked, rank.error_reason.as_deref()), (0, false, None), "the documented defaults");
}
