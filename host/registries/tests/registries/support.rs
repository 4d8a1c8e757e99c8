//! What the tests share.

use std::time::Duration;

use ostler_registries::played::Played;
use ostler_registries::{Config, Registries};
use secrecy::SecretString;
use serde_json::{Value, json};

/// A token that must not be seen anywhere.
pub(crate) const TOKEN: &str = "eyJhbGciOi.canary-token.c2lnbmF0dXJl";

pub(crate) fn token() -> SecretString {
    TOKEN.into()
}

/// Fails a test that hangs; no test depends on how much sooner it ends.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("took more than 60 s")
}

pub(crate) async fn played() -> Played {
    Played::start().await.unwrap()
}

pub(crate) fn registries(played: &Played) -> Registries {
    Registries::new(&played.config()).unwrap()
}

pub(crate) fn with(played: &Played, change: impl FnOnce(&mut Config)) -> Registries {
    let mut config = played.config();
    change(&mut config);
    Registries::new(&config).unwrap()
}

pub(crate) const PREFERENCES: &str = "/slam/preferences/demo";
pub(crate) const PROVIDER: &str = "/cmdb/provider/id/provider-NORTH?include_docs=true";
pub(crate) const SERVICES: &str = "/cmdb/provider/id/provider-NORTH/has_many/services?include_docs=true";
pub(crate) const TENANTS: &str = "/cmdb/service/id/nova-north/has_many/tenants?include_docs=true";
pub(crate) const IMAGES: &str = "/cmdb/tenant/id/tenant-north/has_many/images?include_docs=true";
pub(crate) const FLAVORS: &str = "/cmdb/tenant/id/tenant-north/has_many/flavors?include_docs=true";
pub(crate) const METRICS: &str = "/monitoring/monitoring/adapters/zabbix/zones/indigo/types/infrastructure/groups/provider-NORTH";
pub(crate) const RANK: &str = "/cpr/rank";

/// Two agreements with two providers, in the form of SLAM.
pub(crate) fn agreements() -> Value {
    json!({
        "preferences": [{
            "customer": "demo",
            "preferences": [{
                "service_type": "compute",
                "priority": [
                    { "sla_id": "sla-north", "service_id": "nova-north", "weight": 0.75 },
                    { "sla_id": "sla-south", "service_id": "nova-south", "weight": 0.25 }
                ]
            }],
            "id": "pref-1"
        }],
        "sla": [
            {
                "customer": "demo", "provider": "provider-NORTH",
                "start_date": "11.01.2026+15:50:00", "end_date": "11.02.2036+15:50:00",
                "services": [{
                    "type": "compute", "service_id": "nova-north",
                    "targets": [{
                        "type": "public_ip", "unit": "none",
                        "restrictions": { "total_limit": 100, "total_guaranteed": 10 }
                    }]
                }],
                "id": "sla-north"
            },
            {
                "customer": "demo", "provider": "provider-SOUTH",
                "start_date": "11.01.2026+15:50:00", "end_date": "11.02.2036+15:50:00",
                "services": [{
                    "type": "compute", "service_id": "nova-south",
                    "targets": [{ "type": "computing_time", "unit": "h", "restrictions": { "total_guaranteed": 200 } }]
                }],
                "id": "sla-south"
            }
        ]
    })
}

/// A provider in the form of the CMDB, whose `data.id` is not its identifier.
pub(crate) fn provider() -> Value {
    json!({
        "_id": "provider-NORTH", "_rev": "1-aa",
        "data": {
            "id": "476", "primary_key": "83757G0", "name": "NORTH", "country": "Italy", "country_code": "IT",
            "roc": "NGI_IT", "subgrid": "", "giis_url": "ldap://bdii.example:2170/o=glue"
        },
        "type": "provider"
    })
}

/// Its services: one of two interfaces for machines, and one that keeps data.
pub(crate) fn services() -> Value {
    json!({
        "total_rows": 60, "offset": 49,
        "rows": [
            {
                "id": "occi-north", "key": ["provider-NORTH", "services"],
                "value": { "sitename": "NORTH", "provider_id": "provider-NORTH", "hostname": "cloud.example", "type": "compute" },
                "doc": {
                    "_id": "occi-north", "_rev": "2-65",
                    "data": {
                        "primary_key": "8015G0", "hostname": "cloud.example", "beta": "N",
                        "service_type": "eu.egi.cloud.vm-management.occi", "core": null, "in_production": "Y",
                        "node_monitored": "Y", "scopes": { "scope": ["EGI", "wlcg"] }, "extensions": null,
                        "type": "compute", "provider_id": "provider-NORTH", "endpoint": "http://cloud.example:8787/occi"
                    },
                    "type": "service"
                }
            },
            {
                "id": "nova-north", "key": ["provider-NORTH", "services"],
                "value": { "provider_id": "provider-NORTH", "type": "compute" },
                "doc": {
                    "_id": "nova-north", "_rev": "1-25",
                    "data": {
                        "service_type": "org.openstack.nova", "endpoint": "https://cloud.example:5000/v3",
                        "provider_id": "provider-NORTH", "type": "compute", "region": "north-1", "hostname": "cloud.example",
                        "service_parent_id": "keystone-north", "iam_enabled": true, "is_public_service": false,
                        "public_ip_assignable": "true", "in_production": "Y",
                        "supported_idps": [{ "name": "iam", "issuer": "https://iam.example/" }],
                        "volume_types": [{ "name": "ssd", "qos": "fast" }]
                    },
                    "type": "service"
                }
            },
            {
                "id": "disk-north", "key": ["provider-NORTH", "services"], "value": { "type": "storage" },
                "doc": {
                    "_id": "disk-north", "_rev": "4-6e",
                    "data": {
                        "service_type": "eu.egi.cloud.storage-management.oneprovider", "endpoint": "E1u8A4FgR6",
                        "provider_id": "provider-NORTH", "type": "storage"
                    },
                    "type": "service"
                }
            }
        ]
    })
}

fn one(id: &str, data: &Value) -> Value {
    json!({
        "total_rows": 264, "offset": 231,
        "rows": [{ "id": id, "key": [id, "of"], "value": {}, "doc": { "_id": id, "_rev": "1-0", "data": data } }]
    })
}

pub(crate) fn tenants() -> Value {
    one(
        "tenant-north",
        &json!({
            "iam_organisation": "demo", "tenant_id": "78d9ec", "service": "nova-north", "tenant_name": "DEMO",
            "public_network_name": "public", "private_network_name": "private", "private_network_cidr": "10.0.0.0/24"
        }),
    )
}

pub(crate) fn images() -> Value {
    one(
        "image-north",
        &json!({
            "image_id": "303d8324", "image_name": "ubuntu:22.04", "architecture": "x86_64", "type": "linux",
            "distribution": "ubuntu", "version": 22.04, "service": "nova-north", "user_name": "ubuntu", "gpu_driver": false,
            "gpu_driver_version": "470", "cuda_support": "false", "cuda_version": "11", "cuDNN_version": "8",
            "tenant_id": "tenant-north"
        }),
    )
}

pub(crate) fn flavors() -> Value {
    one(
        "flavor-north",
        &json!({
            "flavor_id": "2", "flavor_name": "medium", "ram": 4096, "num_vcpus": "2", "disk": 20.0, "num_gpus": 0,
            "gpu_vendor": "none", "gpu_model": "none", "tenant_id": "tenant-north"
        }),
    )
}

pub(crate) fn metrics() -> Value {
    json!({
        "meta": { "status": 200, "additionalProperties": {} },
        "result": { "groups": [{
            "groupName": "Cloud_Providers",
            "paasMachines": [{
                "machineName": "nova-north", "ip": "127.0.0.1", "serviceCategory": "org.openstack.nova", "serviceId": "ID",
                "services": [{
                    "serviceName": "",
                    "paasMetrics": [
                        {
                            "metricName": "OCCI Create VM availability",
                            "metricKey": "Cloud_Providers.provider-NORTH..OCCI Create VM availability",
                            "metricValue": 0.0,
                            "metricTime": "Instant null because no metrics were returned in the last 24hs",
                            "metricUnit": "bit", "paasThresholds": [], "historyClocks": [], "historyValues": []
                        },
                        {
                            "metricName": "General OCCI API Availability", "metricKey": "k", "metricValue": 1.0,
                            "metricTime": "01-02-2026 10:00:00", "metricUnit": "bit", "paasThresholds": [],
                            "historyClocks": [], "historyValues": []
                        }
                    ]
                }]
            }]
        }] }
    })
}

pub(crate) fn ranks() -> Value {
    json!([
        { "provider": "provider-SOUTH", "service_id": "nova-south", "rank": 2, "ranked": true, "total_score": 0.5, "error_reason": "" },
        { "provider": "provider-NORTH", "service_id": "nova-north", "rank": 1, "ranked": true, "total_score": 0.9, "error_reason": null }
    ])
}

/// All of the above, at their places.
pub(crate) fn all() -> Vec<(&'static str, Value)> {
    vec![
        (PREFERENCES, agreements()),
        (PROVIDER, provider()),
        (SERVICES, services()),
        (TENANTS, tenants()),
        (IMAGES, images()),
        (FLAVORS, flavors()),
        (METRICS, metrics()),
        (RANK, ranks()),
    ]
}

pub(crate) fn play_all(played: &Played) {
    for (path, body) in all() {
        played.json(path, body);
    }
}
