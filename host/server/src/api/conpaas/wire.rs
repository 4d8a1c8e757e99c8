//! The dictionaries of the original. The fields of each stand in the order of their names, as all that is pretty shows them.
//!
//! Two generations of clients want two shapes: those up to 1.5 think of services, those from 2.0 on of applications.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

pub(super) use crate::api::json::{pretty, raw};

/// What the original calls most of its JSON, and all of its text.
pub(super) const RAW: &str = "text/html; charset=utf-8";
/// What it calls the JSON that is pretty.
pub(super) const PRETTY: &str = "application/json";

/// A user, as `new_user`, `login` and `user_config` show one.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct User<'a> {
    pub(super) affiliation: &'a str,
    /// Microseconds UTC since 1970.
    #[serde(serialize_with = "iso")]
    pub(super) created: i64,
    pub(super) credit: i64,
    pub(super) email: &'a str,
    pub(super) fname: &'a str,
    pub(super) lname: &'a str,
    pub(super) openid: Option<&'a str>,
    #[serde(skip_serializing_if = "Password::is_absent")]
    pub(super) password: Password,
    pub(super) uid: i64,
    pub(super) username: &'a str,
    pub(super) uuid: Option<&'a str>,
}

/// What stands for a user's password. The original sent its hash; nothing can do that here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Password {
    /// The key with an empty text: clients may look for the key.
    Empty,
    /// No key, as in `user_config`.
    Absent,
}

impl Password {
    fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("")
    }
}

/// A service, up to 1.5.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Service<'a> {
    pub(super) application_id: i64,
    /// `iaas` is the default cloud.
    pub(super) cloud: Option<&'a str>,
    /// Microseconds UTC since 1970.
    #[serde(serialize_with = "iso")]
    pub(super) created: i64,
    /// The manager's address.
    pub(super) manager: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) sid: i64,
    /// Always `INIT`: clients ask the manager how the service does.
    pub(super) state: &'a str,
    /// The service's part of the private network, if there is one.
    pub(super) subnet: Option<&'a str>,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) user_id: i64,
    pub(super) vmid: Option<&'a str>,
}

/// An application, up to 1.5.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Application<'a> {
    pub(super) aid: i64,
    pub(super) name: &'a str,
}

/// An application from 2.0 on, which has the manager that a service had before. A superset of what it was.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct StartedApplication<'a> {
    pub(super) aid: i64,
    /// `iaas` is the default cloud; nothing while there is no manager.
    pub(super) cloud: Option<&'a str>,
    /// The manager's address; nothing while there is no manager.
    pub(super) manager: Option<&'a str>,
    pub(super) name: &'a str,
    /// `INIT`, `PROLOGUE`, `RUNNING`, `ADAPTING`, `EPILOGUE`, `STOPPED` or `ERROR`.
    pub(super) status: &'a str,
    pub(super) uid: i64,
    pub(super) vmid: Option<&'a str>,
}

/// A service from 2.0 on: its `sid` counts within its application, `rec_id` everywhere.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ManagedService<'a> {
    pub(super) application_id: i64,
    /// Never known to the original.
    pub(super) cloud: Option<&'a str>,
    /// Microseconds UTC since 1970.
    #[serde(serialize_with = "iso")]
    pub(super) created: i64,
    pub(super) name: &'a str,
    pub(super) rec_id: i64,
    pub(super) sid: i64,
    pub(super) state: &'a str,
    pub(super) subnet: Option<&'a str>,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
}

/// A service with its application, from 2.0 on.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Membership<'a> {
    pub(super) application: StartedApplication<'a>,
    pub(super) service: ManagedService<'a>,
}

/// A row of `list_resources`: one virtual machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Resource<'a> {
    pub(super) app_id: i64,
    pub(super) app_name: &'a str,
    /// Credits taken for it so far.
    pub(super) charged: i64,
    /// Here the default cloud is `default`.
    pub(super) cloud: &'a str,
    /// Microseconds UTC since 1970. Written with a space, alone among the times.
    #[serde(serialize_with = "spaced")]
    pub(super) created: i64,
    pub(super) ip: &'a str,
    pub(super) rid: i64,
    /// `manager` or `agent`.
    pub(super) role: &'a str,
    /// 0 for a manager.
    pub(super) service_id: i64,
    pub(super) vmid: &'a str,
}

/// A virtual machine in the answer to `create_nodes`. Managers look at all but `id`, which they make themselves.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Node<'a> {
    pub(super) cloud_name: &'a str,
    /// `cloud_name` and `vmid` in one.
    pub(super) id: &'a str,
    pub(super) ip: &'a str,
    /// Managers and agents talk over this one; the public one where there is no other.
    pub(super) private_ip: &'a str,
    /// What the manager asked for.
    pub(super) role: &'a str,
    pub(super) vmid: &'a str,
    pub(super) volumes: &'a [Volume<'a>],
    /// 100.
    pub(super) weight_backend: i64,
}

/// A volume of a [`Node`].
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Volume<'a> {
    pub(super) cloud: Option<&'a str>,
    pub(super) dev_name: Option<&'a str>,
    pub(super) vm_id: Option<&'a str>,
    pub(super) vol_id: Option<&'a str>,
    pub(super) vol_name: &'a str,
    /// Mebibytes.
    pub(super) vol_size: i64,
}

/// What `download_manifest` makes of an application.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Manifest<'a> {
    #[serde(rename = "Application")]
    pub(super) application: &'a str,
    #[serde(rename = "Services")]
    pub(super) services: Vec<ManifestService<'a>>,
}

/// A service in a [`Manifest`]. What is not known is left out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManifestService<'a> {
    /// Where its code can be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) archive: Option<&'a str>,
    pub(super) cloud: Option<&'a str>,
    pub(super) service_name: &'a str,
    /// 1 if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<u8>,
    /// How many nodes of each role it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) startup_instances: Option<&'a serde_json::Value>,
    /// Where its startup script can be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) startup_script: Option<&'a str>,
    #[serde(rename = "Type")]
    pub(super) kind: &'a str,
}

/// A failure, up to 1.5. Its clients look whether `error` is `true`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Failure<'a> {
    error: bool,
    msg: &'a str,
}

impl<'a> Failure<'a> {
    /// A failure with this message.
    pub(super) fn new(msg: &'a str) -> Self {
        Self { error: true, msg }
    }
}

/// A failure from 2.0 on. Its clients show what `error` says; they take any answer with that key for a failure.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Refusal<'a> {
    pub(super) error: &'a str,
}

/// What the callbacks of managers answer, up to 1.5.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) error: bool,
}

/// Success from 2.0 on where there is nothing to say.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Done {}

/// The answer to `credit`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Credit {
    pub(super) credit: i64,
}

/// A time as `isoformat` writes it, without a zone. Always with microseconds: the original left them out when there were none.
fn iso<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time(*micros).strftime("%Y-%m-%dT%H:%M:%S%.6f"))
}

/// A time as `str` writes it.
fn spaced<S: Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time(*micros).strftime("%Y-%m-%d %H:%M:%S%.6f"))
}

/// The time, or the nearest one that the calendar has.
fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    /// 2013-11-05T10:20:30.000042Z.
    const CREATED: i64 = 1_383_646_830_000_042;

    const USER: User<'_> = User {
        affiliation: "Vrije Universiteit",
        created: CREATED,
        credit: 50,
        email: "ann@example.org",
        fname: "Änn",
        lname: "Other",
        openid: None,
        password: Password::Empty,
        uid: 1,
        username: "ann",
        uuid: None,
    };
    const SERVICE: Service<'_> = Service {
        application_id: 1,
        cloud: Some("iaas"),
        created: CREATED,
        manager: Some("127.0.0.3"),
        name: "New php service",
        sid: 7,
        state: "INIT",
        subnet: None,
        kind: "php",
        user_id: 1,
        vmid: Some("3"),
    };
    const APPLICATION: StartedApplication<'_> =
        StartedApplication { aid: 1, cloud: None, manager: None, name: "New Application", status: "INIT", uid: 1, vmid: None };
    const MANAGED: ManagedService<'_> = ManagedService {
        application_id: 1,
        cloud: None,
        created: CREATED,
        name: "New php service",
        rec_id: 3,
        sid: 1,
        state: "INIT",
        subnet: None,
        kind: "php",
    };
    const RESOURCE: Resource<'_> = Resource {
        app_id: 1,
        app_name: "New Application",
        charged: 2,
        cloud: "default",
        created: CREATED,
        ip: "192.0.2.1",
        rid: 1,
        role: "manager",
        service_id: 0,
        vmid: "3",
    };
    const VOLUME: Volume<'_> = Volume {
        cloud: Some("iaas"),
        dev_name: Some("sdb"),
        vm_id: Some("3"),
        vol_id: Some("v"),
        vol_name: "data",
        vol_size: 1024,
    };
    const NODE: Node<'_> = Node {
        cloud_name: "iaas",
        id: "iaas3",
        ip: "192.0.2.1",
        private_ip: "10.0.0.1",
        role: "node",
        vmid: "3",
        volumes: &[VOLUME],
        weight_backend: 100,
    };

    fn manifest(instances: &Value) -> Manifest<'_> {
        let full = ManifestService {
            archive: Some("https://h/a"),
            cloud: Some("iaas"),
            service_name: "web",
            start: Some(1),
            startup_instances: Some(instances),
            startup_script: Some("https://h/s"),
            kind: "php",
        };
        let bare = ManifestService {
            archive: None,
            start: None,
            startup_instances: None,
            startup_script: None,
            cloud: None,
            ..full.clone()
        };
        Manifest { application: "Shop", services: vec![full, bare] }
    }

    #[test]
    fn the_shapes_are_the_originals() {
        let created = "2013-11-05T10:20:30.000042";
        let app = json!({
            "aid": 1, "name": "New Application", "uid": 1, "status": "INIT", "manager": null, "vmid": null, "cloud": null,
        });
        let instances = json!({"web": 2});
        for (written, expected) in [
            (
                raw(&USER),
                json!({
                    "uid": 1, "username": "ann", "fname": "Änn", "lname": "Other", "email": "ann@example.org",
                    "affiliation": "Vrije Universiteit", "password": "", "credit": 50, "created": created, "uuid": null,
                    "openid": null,
                }),
            ),
            (
                raw(&User { password: Password::Absent, uuid: Some("u"), ..USER }),
                json!({
                    "uid": 1, "username": "ann", "fname": "Änn", "lname": "Other", "email": "ann@example.org",
                    "affiliation": "Vrije Universiteit", "credit": 50, "created": created, "uuid": "u", "openid": null,
                }),
            ),
            (
                pretty(&SERVICE),
                json!({
                    "sid": 7, "name": "New php service", "type": "php", "state": "INIT", "created": created,
                    "manager": "127.0.0.3", "vmid": "3", "cloud": "iaas", "subnet": null, "user_id": 1, "application_id": 1,
                }),
            ),
            (raw(&[Application { aid: 1, name: "New Application" }]), json!([{"aid": 1, "name": "New Application"}])),
            (raw(&APPLICATION), app.clone()),
            (
                raw(&Membership { application: APPLICATION, service: MANAGED }),
                json!({
                    "service": {
                        "rec_id": 3, "sid": 1, "name": "New php service", "type": "php", "state": "INIT", "created": created,
                        "cloud": null, "subnet": null, "application_id": 1,
                    },
                    "application": app,
                }),
            ),
            (
                raw(&RESOURCE),
                json!({
                    "rid": 1, "vmid": "3", "app_id": 1, "service_id": 0, "charged": 2, "ip": "192.0.2.1", "role": "manager",
                    "cloud": "default", "created": "2013-11-05 10:20:30.000042", "app_name": "New Application",
                }),
            ),
            (
                raw(&[NODE]),
                json!([{
                    "id": "iaas3", "vmid": "3", "ip": "192.0.2.1", "private_ip": "10.0.0.1", "cloud_name": "iaas",
                    "weight_backend": 100, "role": "node", "volumes": [{
                        "vol_name": "data", "vol_size": 1024, "vol_id": "v", "vm_id": "3", "dev_name": "sdb", "cloud": "iaas",
                    }],
                }]),
            ),
            (
                raw(&manifest(&instances)),
                json!({"Application": "Shop", "Services": [
                    {
                        "Type": "php", "ServiceName": "web", "Cloud": "iaas", "Start": 1, "StartupInstances": {"web": 2},
                        "StartupScript": "https://h/s", "Archive": "https://h/a",
                    },
                    {"Type": "php", "ServiceName": "web", "Cloud": null},
                ]}),
            ),
            (pretty(&Failure::new("no")), json!({"error": true, "msg": "no"})),
            (pretty(&Refusal { error: "no" }), json!({"error": "no"})),
            (pretty(&Outcome { error: false }), json!({"error": false})),
            (raw(&Done {}), json!({})),
            (raw(&Credit { credit: -1 }), json!({"credit": -1})),
        ] {
            assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), expected);
        }
        assert_eq!(raw(&false), b"false");
        assert_eq!(raw(&["default", "lab"]), br#"["default", "lab"]"#);
    }

    #[test]
    fn keys_are_sorted() {
        // A `Value` sorts its keys, so whatever differs from it is not sorted.
        fn check<T: Serialize>(shape: &T) {
            let sorted = pretty(&serde_json::to_value(shape).unwrap());
            assert_eq!(String::from_utf8(pretty(shape)).unwrap(), String::from_utf8(sorted).unwrap());
        }
        check(&USER);
        check(&SERVICE);
        check(&Application { aid: 1, name: "a" });
        check(&Membership { application: APPLICATION, service: MANAGED });
        check(&RESOURCE);
        check(&NODE);
        check(&manifest(&json!({"web": 1, "proxy": 1})));
        check(&Failure::new("no"));
    }

    #[test]
    fn times_are_naive_and_have_microseconds() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000"),
            (CREATED, "2013-11-05T10:20:30.000042"),
            (1_383_646_830_500_000, "2013-11-05T10:20:30.500000"),
            (-1, "1969-12-31T23:59:59.999999"),
            (i64::MAX, "9999-12-30T22:00:00.999999"),
            (i64::MIN, "-9999-01-02T01:59:59.000000"),
        ] {
            let written = serde_json::to_value(User { created: micros, ..USER }).unwrap();
            assert_eq!(written["created"], expected);
        }
    }
}
