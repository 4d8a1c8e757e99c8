#![allow(clippy::unwrap_used)]
//! The specification's examples, to the byte but for blanks.

use super::*;
use ostler_core::model::Device;

const LINKS: Links<'_> = Links("https://cloudedge.myhome.net/cloudedge");
const CREATED: i64 = 1_340_630_613_000_000;
const UPDATED: i64 = 1_347_462_998_000_000;

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

fn image(state: ImageState) -> Image {
    Image {
        id: 237,
        cloud: "lab".into(),
        name: "flickr++".into(),
        owner: Some(6789),
        state,
        source: Some("http://www.example.com/images/flick.tar.gz".into()),
        checksum: None,
        size_bytes: None,
        provider_id: None,
        created_at: CREATED,
        updated_at: UPDATED,
    }
}

fn instance() -> Instance {
    Instance {
        id: 237,
        cloud: "lab".into(),
        name: "test-instance-237".into(),
        image: 61,
        image_name: "test".into(),
        owner: 789,
        state: InstanceState::Running,
        detail: None,
        address: Some([10, 0, 3, 2].into()),
        node_id: None,
        token: "t".into(),
        created_at: CREATED,
        updated_at: UPDATED,
    }
}

fn user(roles: &[&str], email: Option<&str>) -> User {
    User {
        id: "u".into(),
        number: 237,
        username: "root".into(),
        password_hash: Some("canary".into()),
        password_expires_at: None,
        email: email.map(str::to_owned),
        first_name: None,
        last_name: None,
        affiliation: None,
        active: true,
        roles: roles.iter().map(|&role| role.to_owned()).collect(),
        created_at: CREATED,
        updated_at: UPDATED,
    }
}

#[test]
fn version() {
    assert_eq!(text(&Named("version", Version { major: 1, minor: 3 })), r#"{"version":{"major":1,"minor":3}}"#);
}

#[test]
fn images() {
    assert_eq!(
        text(&Named("images", [Reference::image(&image(ImageState::Active), LINKS)])),
        r#"{"images":[{"id":237,"name":"flickr++","link":"https://cloudedge.myhome.net/cloudedge/images/237"}]}"#
    );
    let head = r#"{"image":{"id":237,"name":"flickr++","owner_id":6789,"status":""#;
    let tail = r#"","created_by":6789,"created_at":"2012-06-25T13:23:33+00:00","updated_at":"2012-09-12T15:16:38+00:00","link":"https://cloudedge.myhome.net/cloudedge/images/237""#;
    for (state, status, more) in [
        (ImageState::Active, "ACTIVE", ""),
        (ImageState::Saving(None), "SAVING", ""),
        (ImageState::Saving(Some(42)), "SAVING", r#","progress":42"#),
        (ImageState::Failed("no such host".into()), "ERROR", r#","message":"no such host""#),
    ] {
        let image = image(state);
        assert_eq!(text(&Named("image", ImageView::new(&image, LINKS))), format!("{head}{status}{tail}{more}}}}}"));
    }
    let sum = Image { checksum: Some("sha256:00".into()), owner: None, ..image(ImageState::Active) };
    let shown = text(&ImageView::new(&sum, LINKS));
    assert!(shown.contains(r#""owner_id":null"#) && shown.ends_with(r#","checksum":"sha256:00"}"#), "{shown}");
    assert_eq!(
        text(&Named("image", RegisteredImage::new(&image(ImageState::Saving(None)), LINKS))),
        r#"{"image":{"id":237,"name":"flickr++","status":"SAVING","created_at":"2012-06-25T13:23:33+00:00","link":"https://cloudedge.myhome.net/cloudedge/images/237"}}"#
    );
}

#[test]
fn instances() {
    assert_eq!(
        text(&Named("instances", [Reference::instance(&instance(), LINKS)])),
        r#"{"instances":[{"id":237,"name":"test-instance-237","link":"https://cloudedge.myhome.net/cloudedge/instances/237"}]}"#
    );
    assert_eq!(
        text(&Named("instances", InstanceView::new(&instance(), LINKS))),
        r#"{"instances":{"id":237,"name":"test-instance-237","status":"running","image":{"id":61,"name":"test","link":"https://cloudedge.myhome.net/cloudedge/images/61"},"created_by":789,"ip":"10.0.3.2","created_at":"2012-06-25T13:23:33+00:00","updated_at":"2012-09-12T15:16:38+00:00","link":"https://cloudedge.myhome.net/cloudedge/instances/237"}}"#
    );
    let made = Instance { state: InstanceState::Stopped, address: None, ..instance() };
    assert_eq!(
        text(&Named("instance", InstanceView::created(&made, LINKS))),
        r#"{"instance":{"id":237,"name":"test-instance-237","status":"stopped","image":{"id":61,"name":"test","link":"https://cloudedge.myhome.net/cloudedge/images/61"},"ip":null,"created_at":"2012-06-25T13:23:33+00:00","link":"https://cloudedge.myhome.net/cloudedge/instances/237"}}"#
    );
    for (state, expected) in [
        (InstanceState::Frozen, "frozen"),
        (InstanceState::Starting, "starting"),
        (InstanceState::Stopping, "stopping"),
        (InstanceState::Rebooting, "rebooting"),
        (InstanceState::Error, "error"),
    ] {
        assert_eq!(status_of_instance(state), expected);
    }
}

#[test]
fn rules() {
    let rule = Rule {
        id: 237,
        cloud: "lab".into(),
        instance: 61,
        instance_name: "test".into(),
        protocol: Protocol::Tcp,
        port_from: 7022,
        port_to: 22,
        created_at: CREATED,
        updated_at: UPDATED,
    };
    assert_eq!(
        text(&Named("fwrules", [RuleItem::new(&rule, LINKS)])),
        r#"{"fwrules":[{"id":237,"instance_id":61,"link":"https://cloudedge.myhome.net/cloudedge/fwrules/237"}]}"#
    );
    assert_eq!(
        text(&Named("fwrule", RuleView::new(&rule, LINKS))),
        r#"{"fwrule":{"id":237,"port_to":22,"port_from":7022,"instance":{"id":61,"name":"test","link":"https://cloudedge.myhome.net/cloudedge/instances/61"},"created_at":"2012-06-25T13:23:33+00:00","updated_at":"2012-09-12T15:16:38+00:00","link":"https://cloudedge.myhome.net/cloudedge/fwrules/237","protocol":"tcp"}}"#
    );
    let made = CreatedRule { id: 77, port_to: 22, port_from: 7020 };
    assert_eq!(text(&Named("fwrule", made)), r#"{"fwrule":{"id":77,"port_to":22,"port_from":7020}}"#);
}

#[test]
fn users() {
    let root = user(&["admin"], Some("jsmith@www.example.com"));
    assert_eq!(
        text(&Named("Users", [UserItem::new(&root, LINKS)])),
        r#"{"Users":[{"id":237,"name":"root","role":"admin","link":"https://cloudedge.myhome.net/cloudedge/users/237"}]}"#
    );
    assert_eq!(
        text(&Named("User", UserView::new(&root, LINKS))),
        r#"{"User":{"id":237,"name":"root","role":"admin","email":"jsmith@www.example.com","created_at":"2012-06-25T13:23:33+00:00","updated_at":"2012-09-12T15:16:38+00:00","link":"https://cloudedge.myhome.net/cloudedge/users/237"}}"#
    );
    for (password, more) in [(None, ""), (Some("p"), r#","password":"p""#)] {
        let expected = format!(r#"{{"User":{{"id":237,"link":"https://cloudedge.myhome.net/cloudedge/users/237"{more}}}}}"#);
        assert_eq!(text(&Named("User", CreatedUser::new(&root, password, LINKS))), expected);
    }
    for (roles, expected) in [
        (&["admin", "guest"][..], "admin"),
        (&["guest", "local_admin"], "local_admin"),
        (&["guest", "provider"], "provider"),
        (&["agent", "guest"], "guest"),
        (&["customer"], "customer"),
        (&[], "none"),
    ] {
        assert_eq!(role(&user(roles, None)), expected);
    }
    assert!(text(&UserView::new(&user(&[], None), LINKS)).contains(r#""email":null"#));
}

#[test]
fn resources() {
    let device = |kind: &str, product: &str| Device {
        kind: kind.into(),
        class: "unknown".into(),
        vendor: "0x10c4".into(),
        product: product.into(),
        extra: "{\"id\":1}".into(),
    };
    let gauge = |total, used| Gauge { total, used };
    let mut capacity = Capacity {
        cpu_model: Some("i386".into()),
        vcpus: gauge(Some(2), Some(1)),
        ram_mb: gauge(Some(2048), Some(1024)),
        disk_gb: gauge(Some(5), None),
        nodes: gauge(None, None),
        quotas: Vec::new(),
        devices: vec![device("usb", "0xea60")],
        extra: String::new(),
    };
    assert_eq!(
        text(&Resources(&capacity)),
        r#"{"cpu":{"type":"i386","vcpu":2},"ram":1024,"disk":5000,"usb":{"class":"unknown","vendor":"0x10c4","product":"0xea60"}}"#
    );
    capacity.devices = vec![device("usb", "1"), device("pci", "2"), device("usb", "3"), device("disk", "4")];
    capacity.cpu_model = None;
    capacity.ram_mb = gauge(Some(1), Some(2));
    capacity.disk_gb = gauge(None, Some(2));
    let one = |product: &str| format!(r#"{{"class":"unknown","vendor":"0x10c4","product":"{product}"}}"#);
    assert_eq!(
        text(&Resources(&capacity)),
        format!(
            r#"{{"cpu":{{"type":"unknown","vcpu":2}},"ram":0,"disk":null,"usb":[{},{}],"pci":{},"disk_device":{}}}"#,
            one("1"),
            one("3"),
            one("2"),
            one("4")
        )
    );
}
