//! Images: fetched by Glance, uploaded by the driver, and what goes wrong.

use std::time::Instant;

use ostler_driver::testing::Cloud;
use ostler_driver::{Driver, Image, ImageSpec, ImageStatus, NodeState};

use super::stack::Stack;
use super::wire::{origin, replace};
use super::{DEADLINE, destroy, driver, nap, wait};

const CONTENT: &[u8] = &[7; 4096];

/// Polls an image until nothing more comes.
fn settled(cloud: &Cloud, id: &str) -> Image {
    let end = Instant::now() + DEADLINE;
    loop {
        let image = driver(cloud).get_image(id).unwrap();
        if !matches!(image.status, ImageStatus::Pending | ImageStatus::Importing(_)) {
            return image;
        }
        assert!(Instant::now() < end, "{image:?}");
        nap();
    }
}

fn spec(url: &str) -> ImageSpec {
    ImageSpec {
        format: Some("raw".into()),
        properties: vec![("distribution".into(), "debian".into()), ("team".into(), "a".into())],
        extra: r#"{"min_disk_gb": 1, "min_ram_mb": 32}"#.into(),
        ..ImageSpec::from_url("mine", url)
    }
}

#[test]
fn an_image_is_imported_and_deleted_by_either_way() {
    let Some(stack) = Stack::open() else { return };
    let url = origin(CONTENT);
    for way in ["web-download", "upload"] {
        let mut cloud = stack.cloud();
        if way == "upload" {
            // As of a Glance that does not fetch.
            replace("/info/import", r#"{"import-methods":{"value":["glance-direct"]}}"#);
            assert_eq!(driver(&cloud).import_image("img-1", spec(&url)).unwrap_err().class(), "unsupported");
            cloud = cloud.config("image_upload_mb", "1");
        }
        let image = driver(&cloud).import_image("img-1", spec(&url)).unwrap();
        assert_eq!(image.token.as_deref(), Some("img-1"), "{way}");
        assert_eq!(driver(&cloud).import_image("img-1", spec(&url)).unwrap().id, image.id, "{way}");
        assert_eq!(driver(&cloud).find_image("img-1").unwrap().unwrap().id, image.id, "{way}");
        let done = settled(&cloud, &image.id);
        assert_eq!((&done.status, done.size_bytes), (&ImageStatus::Active, Some(4096)), "{way}: {done:?}");
        assert_eq!((done.min_disk_gb, done.min_ram_mb), (Some(1), Some(32)));
        let property = |key: &str| done.properties.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!((property("distribution"), property("team")), (Some("debian"), Some("a")));
        assert_eq!(stack.report()["images"][&image.id]["size"], 4096);
        // It boots, and can be deleted while a server uses it.
        let node = driver(&cloud).create_node("img-1", ostler_driver::NodeSpec::new("mine", &image.id, "42")).unwrap();
        wait(&cloud, &node.id, &NodeState::Running);
        driver(&cloud).delete_image(&image.id).unwrap();
        for result in [driver(&cloud).delete_image(&image.id), driver(&cloud).get_image(&image.id).map(drop)] {
            assert_eq!(result.unwrap_err().class(), "not-found", "{way}");
        }
        assert_eq!(driver(&cloud).find_image("img-1").unwrap(), None);
        assert_eq!(driver(&cloud).get_node(&node.id).unwrap().image_id.as_deref(), Some(image.id.as_str()));
        destroy(&cloud, &[node.id]);
    }
    stack.assert_unchanged();
}

#[test]
fn an_import_that_fails_says_so() {
    let Some(stack) = Stack::open() else { return };
    let cloud = stack.cloud();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Nobody there; and content of another format than was said.
    let wrong = ImageSpec { format: Some("qcow2".into()), ..spec(&origin(CONTENT)) };
    for (token, spec) in [("img-2", spec(&format!("http://{nobody}/image"))), ("img-3", wrong)] {
        match driver(&cloud).import_image(token, spec) {
            Ok(image) => {
                let image = settled(&cloud, &image.id);
                assert!(matches!(image.status, ImageStatus::Failed(_)), "{token}: {image:?}");
                driver(&cloud).delete_image(&image.id).unwrap();
            }
            Err(error) => assert!(["invalid", "failed"].contains(&error.class()), "{token}: {error}"),
        }
        assert_eq!(driver(&cloud).find_image(token).unwrap(), None, "{token}");
    }
    // The image of everybody is not this project's to delete, and is not changed by the try.
    let image = driver(&cloud).list_images(None).unwrap().items.into_iter().find(|image| image.name == "cirros-fake").unwrap();
    assert_eq!(driver(&cloud).delete_image(&image.id).unwrap_err().class(), "forbidden");
    let public = ImageSpec { extra: r#"{"visibility": "public"}"#.into(), ..spec(&origin(CONTENT)) };
    assert_eq!(driver(&cloud).import_image("img-4", public).unwrap_err().class(), "forbidden");
    let checksum = ImageSpec { checksum: Some(format!("sha256:{}", "a".repeat(64))), ..spec(&origin(CONTENT)) };
    assert_eq!(driver(&cloud).import_image("img-5", checksum).unwrap_err().class(), "unsupported");
    stack.assert_unchanged();
}
