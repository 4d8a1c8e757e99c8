//! Users who own something, and users who come at once.

use super::{Edge, fault, number};
use serde_json::json;

#[tokio::test]
async fn whoever_owns_instances_is_deleted_by_force() {
    let edge = Edge::start("").await;
    let (home, ann) = (edge.user("home", "local_admin").await, edge.user("ann", "guest").await);
    let image = edge.image("/cloudedge", "CirrOS 0.6").await;
    let instance = edge.instance("ann", image).await;
    let path = format!("/cloudedge/users/{ann}");
    let refused = edge.delete("home", &path).await;
    fault(&refused, 409, "buildInProgress");
    assert!(refused.text().contains("force=true"), "{}", refused.text());
    assert_eq!(edge.get("ann", "/cloudedge/version").await.status, 200, "nothing has changed");
    let forced = edge.delete("home", &format!("{path}?force=true")).await;
    assert_eq!((forced.status, forced.text()), (204, ""));
    assert_eq!(edge.get("ann", "/cloudedge/version").await.status, 401);
    let shown = edge.get("home", &format!("/cloudedge/instances/{instance}")).await.json();
    assert_eq!(shown["instances"]["created_by"], home, "it is the caller's now");
    // The name is free again, the number is not.
    assert!(edge.user("ann", "guest").await > ann);
    fault(&edge.get("home", &path).await, 404, "itemNotFound");
}

#[tokio::test]
async fn one_of_many_gets_a_name() {
    let edge = Edge::start("").await;
    let body = json!({"User": {"username": "wanted", "role": "guest"}});
    let replies = futures::future::join_all((0..8).map(|_| edge.post("admin", "/cloudedge/users", body.clone()))).await;
    let made: Vec<_> = replies.iter().filter(|reply| reply.status == 202).collect();
    assert_eq!(made.len(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 202) {
        fault(reply, 409, "buildInProgress");
    }
    let user = &made[0].json()["User"];
    assert!(user["password"].as_str().is_some_and(|password| password.len() > 20), "{user}");
    let listed = edge.get("admin", "/cloudedge/users?role=guest").await.json();
    assert_eq!(listed["Users"][0]["id"], number(&user["id"]));
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    let mut edge = Edge::start("").await;
    let root = edge.user("root", "admin").await;
    assert_eq!(edge.delete("root", "/cloudedge/users/1").await.status, 204);
    fault(&edge.delete("root", &format!("/cloudedge/users/{root}")).await, 409, "buildInProgress");
    let demoted = edge.post("root", &format!("/cloudedge/users/{root}/action"), json!({"role": "guest"})).await;
    fault(&demoted, 409, "buildInProgress");
    edge.server.kill();
    edge.server.start().await;
    assert_eq!(edge.get("admin", "/cloudedge/version").await.status, 401, "the first one does not come back");
    assert_eq!(edge.get("root", "/cloudedge/version").await.status, 200);
}
