//! Services that an application's manager keeps, and their nodes.

use super::*;
use ostler_store::{NewService, NodeRole};

#[tokio::test]
async fn nodes_are_shown_by_the_numbers_of_their_services() {
    let house = house(&[], 20).await;
    let whole = Order { kind: ServiceKind::Manager, ..order("php") };
    let manager = house.services.start(&house.ann, whole, None).await.unwrap();
    let alone = house.services.start(&house.ann, order("mysql"), None).await.unwrap();
    let member = NewService {
        application_id: manager.application_id,
        user_id: manager.user_id.clone(),
        kind: ServiceKind::Member,
        type_name: "php".into(),
        name: "New php service".into(),
        cloud: CLOUD.into(),
        number: Some(7),
    };
    let member = house.store.service_member_add(&member, &event("x", "", CLOUD, "ann")).await.unwrap();
    assert_ne!(member.id, 7, "the number is the manager's, not the record's");
    for (service, member) in [(manager.id, Some(7)), (manager.id, None), (alone.id, None)] {
        house.services.add_nodes(&house.manager(service), NodeOrder { member, ..nodes(1) }, None).await.unwrap();
    }
    let mut shown = house.services.resources(&house.ann).await.unwrap();
    shown.sort_by_key(|(node, ..)| node.id);
    let shown: Vec<_> = shown.into_iter().map(|(node, service, number)| (node.role, service.id, number)).collect();
    let expected = [
        (NodeRole::Manager, manager.id, 0),
        (NodeRole::Manager, alone.id, alone.id),
        (NodeRole::Agent, manager.id, 7),
        (NodeRole::Agent, manager.id, 0),
        (NodeRole::Agent, alone.id, alone.id),
    ];
    assert_eq!(shown, expected);
}
