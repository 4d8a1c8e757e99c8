//! Lists of several pages, and what they hold.

use std::collections::BTreeSet;

use ostler_driver::{Driver, NodeSpec, NodeState, Page, Result};
use serde_json::json;

use super::stack::{Stack, ids};
use super::wire::sent;
use super::{destroy, driver, order, wait};
use crate::auth::Service;
use crate::driver::OpenStack;

/// All items, and the number of pages.
fn all<T>(list: impl Fn(Option<&str>) -> Result<Page<T>>) -> (Vec<T>, usize) {
    let (mut items, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let page = list(cursor.as_deref()).unwrap();
        items.extend(page.items);
        pages += 1;
        assert!(pages < 100, "the list does not end");
        match page.next {
            None => return (items, pages),
            next => cursor = next,
        }
    }
}

#[test]
fn pages_make_the_list_that_openstacksdk_sees() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud().config("page_size", "2");
    let api = Stack::api(&cloud);
    let spec = order(&cloud, "live-7");
    // The images are empty shells: a list shows them, too.
    let image = |at: usize| json!({"name": format!("shell-{at}"), "disk_format": "raw", "container_format": "bare"});
    for at in 0..4 {
        api.post(Service::Image, "/images").json_body(&image(at)).send().unwrap();
    }
    let made: Vec<_> = (0..5).map(|at| driver(&cloud).create_node(&format!("live-7-{at}"), spec.clone()).unwrap().id).collect();
    for id in &made {
        wait(&cloud, id, &NodeState::Running);
    }
    let seen = stack.report();
    let (nodes, node_pages) = all(|cursor| driver(&cloud).list_nodes(cursor));
    let (images, image_pages) = all(|cursor| driver(&cloud).list_images(cursor));
    let (sizes, size_pages) = all(|cursor| driver(&cloud).list_sizes(cursor));
    assert!(node_pages >= 3 && image_pages >= 3 && size_pages >= 2, "{node_pages} {image_pages} {size_pages}");
    for (what, found, theirs) in [
        ("nodes", nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), &seen["servers"]),
        ("images", images.iter().map(|image| image.id.as_str()).collect(), &seen["images"]),
        ("sizes", sizes.iter().map(|size| size.id.as_str()).collect(), &seen["flavors"]),
    ] {
        let distinct: BTreeSet<_> = found.iter().copied().collect();
        assert_eq!((distinct.len(), distinct), (found.len(), ids(theirs).collect()), "{what}");
    }
    for node in &nodes {
        assert_eq!(*node, driver(&cloud).get_node(&node.id).unwrap());
    }
    for image in &images {
        let theirs = &seen["images"][&image.id];
        assert_eq!((json!(image.name), json!(image.size_bytes)), (theirs["name"].clone(), theirs["size"].clone()));
    }
    for size in &sizes {
        let read = json!({"name": size.name, "ram": size.ram_mb, "vcpus": size.vcpus, "disk": size.disk_gb});
        assert_eq!(read, seen["flavors"][&size.id]);
    }
    // Markers of nothing, of what is gone, and of another kind.
    type List = fn(&OpenStack, Option<&str>) -> Result<()>;
    let lists: [(&str, List); 3] = [
        ("nodes", |driver, cursor| driver.list_nodes(cursor).map(drop)),
        ("images", |driver, cursor| driver.list_images(cursor).map(drop)),
        ("sizes", |driver, cursor| driver.list_sizes(cursor).map(drop)),
    ];
    for (what, list) in lists {
        for cursor in ["11111111-0000-4000-8000-000000000001", "none", "", "a\nb"] {
            let error = list(&driver(&cloud), Some(cursor)).unwrap_err();
            assert_eq!(error.class(), "invalid", "{what} {cursor:?}: {error}");
        }
    }
    // The search by token passes over all pages of Nova's.
    for (at, id) in made.iter().enumerate() {
        assert_eq!(driver(&cloud).find_node(&format!("live-7-{at}")).unwrap().unwrap().id, *id);
    }
    destroy(&cloud, &made);
    for image in images.iter().filter(|image| image.name.starts_with("shell-")) {
        driver(&cloud).delete_image(&image.id).unwrap();
    }
    stack.assert_unchanged();
}

#[test]
fn a_kept_list_hears_of_every_change() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud().config("snapshot_seconds", "3600");
    let mine = || driver(&cloud).list_nodes(None).unwrap().items;
    mine();
    let spec = order(&cloud, "live-8");
    sent();
    let node = driver(&cloud).create_node("live-8", spec).unwrap();
    // An order ends what is kept. From then on the list is only brought up to date.
    assert_eq!(mine()[0].state, NodeState::Pending);
    sent();
    wait(&cloud, &node.id, &NodeState::Running);
    assert_eq!(mine(), [driver(&cloud).get_node(&node.id).unwrap()]);
    // Somebody else makes one, changes one, deletes one.
    let api = Stack::api(&cloud);
    let other = stack.admins_cloud().config("networks", r#"["private"]"#);
    let second = driver(&other).create_node("live-8-1", NodeSpec { name: "other".into(), ..order(&other, "x") }).unwrap();
    wait(&other, &second.id, &NodeState::Running);
    api.call("PUT", Service::Compute, format!("/servers/{}", node.id))
        .json_body(&json!({"server": {"name": "renamed"}}))
        .send()
        .unwrap();
    api.post(Service::Compute, format!("/servers/{}/metadata", node.id))
        .json_body(&json!({"metadata": {"a": "b"}}))
        .send()
        .unwrap();
    let listed = mine();
    assert_eq!(listed.len(), 2);
    for node in &listed {
        assert_eq!(*node, driver(&cloud).get_node(&node.id).unwrap());
    }
    assert!(listed.iter().any(|node| node.name == "renamed"), "{listed:?}");
    destroy(&other, &[second.id]);
    assert_eq!(mine().len(), 1);
    let whole = sent().into_iter().filter(|request| request.contains("/servers/detail") && !request.contains("changes-since"));
    assert_eq!(whole.filter(|request| !request.contains("tags=")).count(), 0, "nothing was read anew");
    destroy(&cloud, &[node.id]);
    assert_eq!(mine(), []);
    stack.assert_unchanged();
}
