//! Images: lists, registration, deletion.

use ostler_driver::{Driver, ImageSource, ImageSpec, ImageStatus};
use serde_json::json;

use super::fake::{Fault, Manners, Play, driver};
use super::{IMAGE, all_manners};

fn order() -> ImageSpec {
    ImageSpec::from_url("fliker++ 2", "https://images.example/a.qcow2")
}

#[test]
fn each_status_is_shown() {
    let play = Play::open(Manners::of_the_text());
    for (status, progress, expected) in [
        ("ACTIVE", json!(null), ImageStatus::Active),
        ("SAVING", json!(40), ImageStatus::Importing(Some(40))),
        ("SAVING", json!(null), ImageStatus::Importing(None)),
        ("ERROR", json!(null), ImageStatus::Failed("the far side gives no reason".into())),
        ("odd", json!(null), ImageStatus::Other("odd".into())),
    ] {
        play.set(|stage| {
            stage.images[0]["status"] = status.into();
            stage.images[0]["progress"] = progress;
        });
        assert_eq!(driver(&Play::cloud()).get_image(IMAGE).unwrap().status, expected);
    }
}

#[test]
fn images_are_registered_once_by_reference() {
    for manners in all_manners() {
        let play = Play::open(manners);
        let cloud = Play::cloud();
        let spec = ImageSpec { checksum: Some(format!("sha256:{}", "0".repeat(64))), ..order() };
        let image = driver(&cloud).import_image("t-1", spec.clone()).unwrap();
        assert_eq!((image.name.as_str(), image.token.as_deref()), ("fliker++ 2", Some("t-1")));
        assert_eq!(image.status, ImageStatus::Importing(None));
        let body = json!({"image": {"name": "fliker++ 2--ostler-t-1", "imageRef": "https://images.example/a.qcow2",
            "checksum": format!("sha256:{}", "0".repeat(64))}});
        assert_eq!(play.body("POST /images"), body);
        for fault in [Fault::LostAnswer, Fault::Lost] {
            play.fault("POST /images", fault);
            assert_eq!(driver(&cloud).import_image("t-1", spec.clone()).unwrap().id, image.id);
        }
        play.clear_faults();
        play.fault("POST /images", Fault::LostAnswer);
        let second = driver(&cloud).import_image("t-2", order()).unwrap();
        assert_eq!(play.look(|stage| stage.images.len()), 3, "the one that was there, and two");
        let listed = driver(&cloud).list_images(None).unwrap().items;
        let tokens: Vec<_> = listed.iter().map(|image| image.token.as_deref()).collect();
        assert_eq!(tokens, [None, Some("t-1"), Some("t-2")]);
        driver(&cloud).delete_image(&second.id).unwrap();
        assert_eq!(driver(&cloud).delete_image(&second.id).unwrap_err().class(), "not-found");
        assert!(driver(&cloud).find_image("t-2").unwrap().is_none());
        play.fault("DELETE /images", Fault::Answer(409, r#"{"buildInProgress":{"code":409,"message":"in use"}}"#));
        assert_eq!(driver(&cloud).delete_image(&image.id).unwrap_err().to_string(), "conflict: at far:5555: in use");
    }
}

#[test]
fn orders_that_cannot_be_are_refused_unasked() {
    let play = Play::open(Manners::of_the_text());
    let url = |url: &str| ImageSpec::from_url("x", url);
    for (spec, class) in [
        (ImageSpec { source: ImageSource::Staged("x".into()), ..order() }, "unsupported"),
        (url("ftp://images.example/a"), "invalid"),
        (url("/a"), "invalid"),
        (url("https://"), "invalid"),
        (url("https://a b/"), "invalid"),
        (ImageSpec { extra: r#"{"x":1}"#.into(), ..order() }, "invalid"),
    ] {
        assert_eq!(driver(&Play::cloud()).import_image("t-1", spec).unwrap_err().class(), class);
    }
    assert_eq!(driver(&Play::cloud()).import_image("T", order()).unwrap_err().class(), "invalid");
    assert_eq!(play.seen(), [""; 0]);
}
