//! Who may do what: the table of the four roles, on objects that exist.

use super::{Edge, SOURCE, fault};
use serde_json::{Value, json};

const ROLES: [&str; 4] = ["admin", "provider", "local_admin", "guest"];

#[tokio::test]
async fn each_role_on_everything() {
    let edge = Edge::start("").await;
    for role in &ROLES[1..] {
        edge.user(role, role).await;
    }
    let other = edge.user("other", "guest").await;
    let image = edge.image("/cloudedge", "CirrOS 0.6").await;
    let own = edge.instance("guest", image).await;
    let foreign = edge.instance("other", image).await;
    let rule = async |user: &str, instance: i64| {
        edge.post(user, "/cloudedge/fwrules", json!({"fwrule": {"instanceRef": instance, "port_to": 22}})).await
    };
    let (own_rule, foreign_rule) = (rule("guest", own).await, rule("other", foreign).await);
    let (own_rule, foreign_rule) = (own_rule.json()["fwrule"]["id"].clone(), foreign_rule.json()["fwrule"]["id"].clone());

    let start = json!({"start": null});
    let new_rule = |instance: i64| json!({"fwrule": {"instanceRef": instance, "port_to": 8080}});
    let email = json!({"email": null});
    let none = Value::Null;
    // Expected of admin, provider, local_admin, guest. What changes something comes last, and what is refused first.
    for (method, path, body, expected) in [
        ("GET", "/cloudedge/platform/version".to_owned(), &none, [200, 200, 200, 200]),
        ("GET", "/cloudedge/platform/resources".into(), &none, [200, 200, 200, 200]),
        ("GET", "/cloudedge/images".into(), &none, [200, 200, 200, 200]),
        ("GET", format!("/cloudedge/images/{image}"), &none, [200, 200, 200, 200]),
        ("POST", "/cloudedge/images".into(), &json!({"image": {"name": "a", "imageRef": SOURCE}}), [202, 202, 202, 403]),
        ("DELETE", "/cloudedge/images/999999".into(), &none, [404, 404, 404, 403]),
        ("POST", "/cloudedge/instances".into(), &json!({"instance": {"imageRef": image}}), [202, 403, 202, 202]),
        ("GET", format!("/cloudedge/instances/{foreign}"), &none, [200, 200, 200, 404]),
        ("GET", format!("/cloudedge/instances/{own}"), &none, [200, 200, 200, 200]),
        ("GET", format!("/cloudedge/instances/{foreign}/metrics"), &none, [200, 200, 200, 404]),
        ("GET", format!("/cloudedge/instance/{own}/metrics"), &none, [200, 200, 200, 200]),
        ("GET", format!("/cloudedge/fwrules/{foreign_rule}"), &none, [200, 200, 200, 404]),
        ("GET", format!("/cloudedge/fwrules/{own_rule}"), &none, [200, 200, 200, 200]),
        ("GET", format!("/cloudedge/users/{other}"), &none, [200, 404, 200, 404]),
        ("POST", format!("/cloudedge/users/{other}/action"), &email, [202, 404, 202, 404]),
        ("POST", "/cloudedge/fwrules".into(), &new_rule(foreign), [202, 403, 202, 404]),
        ("POST", "/cloudedge/fwrules".into(), &new_rule(own), [202, 403, 202, 202]),
    ] {
        for (user, expected) in ROLES.into_iter().zip(expected) {
            let reply = edge.call(user, method, &path, body).await;
            assert_eq!(reply.status, expected, "{user} {method} {path}: {}", reply.text());
        }
    }
    // Each is done once: whoever may not comes first.
    for (users, path) in [
        ([("provider", 403), ("guest", 404), ("local_admin", 202)], format!("/cloudedge/instances/{foreign}/action")),
        ([("provider", 403), ("other", 404), ("guest", 202)], format!("/cloudedge/instances/{own}/action")),
    ] {
        for (user, expected) in users {
            let reply = edge.post(user, &path, start.clone()).await;
            assert_eq!(reply.status, expected, "{user} {path}: {}", reply.text());
        }
    }
    for (users, path) in [
        ([("provider", 403), ("guest", 404), ("other", 204)], format!("/cloudedge/fwrules/{foreign_rule}")),
        ([("provider", 403), ("other", 404), ("local_admin", 204)], format!("/cloudedge/fwrules/{own_rule}")),
        ([("provider", 403), ("guest", 404), ("admin", 204)], format!("/cloudedge/instances/{foreign}")),
        ([("provider", 403), ("other", 404), ("guest", 204)], format!("/cloudedge/instances/{own}")),
        ([("provider", 403), ("guest", 403), ("local_admin", 204)], format!("/cloudedge/users/{other}")),
    ] {
        for (user, expected) in users {
            let reply = edge.delete(user, &path).await;
            assert_eq!(reply.status, expected, "{user} {path}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn lists_hold_what_one_may_see() {
    let edge = Edge::start("").await;
    for (name, role) in [("provider", "provider"), ("local_admin", "local_admin"), ("guest", "guest"), ("other", "guest")] {
        edge.user(name, role).await;
    }
    let image = edge.image("/cloudedge", "CirrOS 0.6").await;
    for user in ["admin", "guest", "other"] {
        let instance = edge.instance(user, image).await;
        let rule = json!({"fwrule": {"instanceRef": instance, "port_to": 22}});
        assert_eq!(edge.post(user, "/cloudedge/fwrules", rule).await.status, 202);
    }
    for (user, count) in [("admin", 3), ("provider", 3), ("local_admin", 3), ("guest", 1), ("other", 1)] {
        for collection in ["instances", "fwrules"] {
            let listed = edge.get(user, &format!("/cloudedge/{collection}")).await.json();
            assert_eq!(listed[collection].as_array().unwrap().len(), count, "{user}: {listed}");
        }
    }
    // A customer of another API has nothing to look for here.
    let made = edge
        .server
        .as_operator(
            "POST",
            "/ostler/v1/users",
            json!({"username": "c", "password": super::PASSWORD, "roles": ["customer"]}).to_string(),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    fault(&edge.get("c", "/cloudedge/images").await, 403, "forbidden");
}
