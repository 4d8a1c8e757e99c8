//! Images: lists, imports, uploads, the end.

use ostler_driver::{Driver, Extra, ImageSource, ImageSpec, ImageStatus};
use serde_json::json;

use super::fake::{Fault, Play, driver};

const IMAGES: &str = "POST :9292/v2/images";

fn order() -> ImageSpec {
    ImageSpec::from_url("mine", "http://images/a.qcow2")
}

#[test]
fn an_image_is_read_with_its_properties() {
    Play::open();
    let cloud = Play::cloud();
    let image = &driver(&cloud).list_images(None).unwrap().items[0];
    assert_eq!((image.id.as_str(), image.name.as_str(), image.size_bytes), ("image-1", "cirros-fake", Some(65536)));
    assert_eq!((&image.status, &image.checksum, image.min_disk_gb), (&ImageStatus::Active, &None, None));
    let properties = [("distribution".to_owned(), "cirros".to_owned()), ("version".to_owned(), "0.6".to_owned())];
    assert_eq!(image.properties, properties);
    assert_eq!(image.extra().unwrap()["visibility"], "public");
    for id in ["none", "../x", ""] {
        assert_eq!(driver(&cloud).get_image(id).unwrap_err().class(), "not-found", "{id:?}");
    }
}

#[test]
fn statuses_are_told_apart() {
    let play = Play::open();
    let cloud = Play::cloud();
    for (changes, status) in [
        (json!({"status": "queued"}), ImageStatus::Pending),
        (json!({"status": "queued", "os_glance_importing_to_stores": "file"}), ImageStatus::Importing(None)),
        (json!({"status": "queued", "os_glance_failed_import": "file"}), ImageStatus::Failed("the import failed".into())),
        (json!({"status": "saving"}), ImageStatus::Importing(None)),
        (json!({"status": "importing"}), ImageStatus::Importing(None)),
        (json!({"status": "active"}), ImageStatus::Active),
        (json!({"status": "killed"}), ImageStatus::Failed("the upload failed".into())),
        (json!({"status": "pending_delete"}), ImageStatus::Deleting),
        (json!({"status": "deactivated"}), ImageStatus::Other("deactivated".into())),
        (
            json!({"status": "active", "ostler_checksum": "sha256:a", "os_hash_algo": "sha256", "os_hash_value": "a"}),
            ImageStatus::Active,
        ),
        (
            json!({"status": "active", "ostler_checksum": "sha256:a", "os_hash_algo": "sha256", "os_hash_value": "b"}),
            ImageStatus::Failed("the content has not the checksum that was demanded".into()),
        ),
        (
            json!({"status": "active", "ostler_checksum": "sha256:a", "os_hash_algo": "sha512", "os_hash_value": "a"}),
            ImageStatus::Failed("the checksum that was demanded cannot be compared".into()),
        ),
    ] {
        play.set(|stage| {
            stage.images[0] = super::services::image("image-1", "x", "active");
            for (key, value) in changes.as_object().unwrap() {
                stage.images[0][key] = value.clone();
            }
        });
        assert_eq!(driver(&cloud).get_image("image-1").unwrap().status, status, "{changes}");
    }
}

#[test]
fn glance_fetches_an_image_if_it_can() {
    let play = Play::open();
    let cloud = Play::cloud();
    let spec = ImageSpec {
        format: Some("raw".into()),
        properties: vec![("distribution".into(), "debian".into()), ("team".into(), "a".into()), ("type".into(), "linux".into())],
        extra: r#"{"min_disk_gb": 2}"#.into(),
        ..order()
    };
    let image = driver(&cloud).import_image("i-1", spec.clone()).unwrap();
    assert_eq!((image.status, image.token.as_deref()), (ImageStatus::Importing(None), Some("i-1")));
    let expected = json!({"name": "mine", "disk_format": "raw", "container_format": "bare", "tags": ["ostler:i-1"], "visibility": "private",
        "min_disk": 2, "min_ram": 0, "os_distro": "debian", "team": "a"});
    assert_eq!(play.look(|stage| stage.bodies.iter().find(|(seen, _)| seen == IMAGES).unwrap().1.clone()), expected);
    let asked = json!({"method": {"name": "web-download", "uri": "http://images/a.qcow2"}});
    assert_eq!(play.body("POST :9292/v2/images/"), asked);
    // A second order returns the first image and asks for nothing.
    play.seen();
    assert_eq!(driver(&cloud).import_image("i-1", spec).unwrap().id, image.id);
    assert_eq!(play.count("POST"), 0);
    assert_eq!(driver(&cloud).find_image("i-1").unwrap().unwrap().id, image.id);
    assert_eq!(driver(&cloud).find_image("i-2").unwrap(), None);
    driver(&cloud).delete_image(&image.id).unwrap();
    assert_eq!(driver(&cloud).delete_image(&image.id).unwrap_err().class(), "not-found");
}

#[test]
fn the_driver_uploads_where_it_may() {
    let play = Play::open();
    play.set(|stage| stage.import_methods = vec!["glance-direct"]);
    assert_eq!(driver(&Play::cloud()).import_image("i-1", order()).unwrap_err().class(), "unsupported");
    assert_eq!(play.count(IMAGES), 0);
    let cloud = Play::cloud().config("image_upload_mb", "1");
    let image = driver(&cloud).import_image("i-1", order()).unwrap();
    assert_eq!(image.status, ImageStatus::Active);
    assert_eq!((play.count("GET http://images/a.qcow2"), play.count("PUT :9292")), (1, 1));
}

#[test]
fn an_import_that_broke_off_goes_on_when_it_is_repeated() {
    for (request, fault) in [("POST :9292/v2/images/3", Fault::Lost), ("POST :9292/v2/images/3", Fault::LostAnswer)] {
        let play = Play::open();
        let cloud = Play::cloud();
        play.fault(request, fault);
        assert_eq!(driver(&cloud).import_image("i-1", order()).unwrap_err().class(), "transient");
        let image = driver(&cloud).import_image("i-1", order()).unwrap();
        assert_eq!(image.status, ImageStatus::Importing(None));
        assert_eq!(play.look(|stage| stage.images.len()), 2);
    }
    // The image was made and the answer is lost.
    let play = Play::open();
    let cloud = Play::cloud();
    play.fault(IMAGES, Fault::LostAnswer);
    driver(&cloud).import_image("i-1", order()).unwrap_err();
    assert_eq!(driver(&cloud).import_image("i-1", order()).unwrap().status, ImageStatus::Importing(None));
    assert_eq!(play.look(|stage| stage.images.len()), 2);
}

#[test]
fn an_import_that_glance_refuses_leaves_nothing() {
    let play = Play::open();
    let cloud = Play::cloud();
    play.fault(
        "POST :9292/v2/images/3",
        Fault::Answer(
            400,
            r#"{"message":"URI for web-download does not pass filtering","code":"400 Bad Request","title":"Bad Request"}"#,
        ),
    );
    assert_eq!(driver(&cloud).import_image("i-1", order()).unwrap_err().class(), "invalid");
    assert_eq!(play.look(|stage| stage.images.len()), 1);
}

#[test]
fn orders_that_cannot_be_are_refused() {
    let checksum = |text: &str| Some(text.to_owned());
    for (what, spec, class) in [
        ("staged", ImageSpec { source: ImageSource::Staged("x".into()), ..order() }, "unsupported"),
        ("format", ImageSpec { format: Some("tar".into()), ..order() }, "invalid"),
        ("property", ImageSpec { properties: vec![("owner".into(), "x".into())], ..order() }, "invalid"),
        ("extra", ImageSpec { extra: r#"{"colour": 1}"#.into(), ..order() }, "invalid"),
        ("checksum", ImageSpec { checksum: checksum("md5:1"), ..order() }, "invalid"),
        ("sha512 here", ImageSpec { checksum: checksum(&format!("sha256:{}", "a".repeat(64))), ..order() }, "unsupported"),
    ] {
        let play = Play::open();
        let error = driver(&Play::cloud()).import_image("i-1", spec).unwrap_err();
        assert_eq!(error.class(), class, "{what}: {error}");
        assert_eq!(play.look(|stage| stage.images.len()), 1, "{what}");
    }
}
