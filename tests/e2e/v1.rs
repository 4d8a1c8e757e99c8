//! The bodies of the Orchestrator API V.1, as its documentation shows them.

/// `GET nodes` of a dummy cloud that nobody has touched: 683 bytes.
pub(crate) const NODES: &str = r#"{
  "nodes": [
    {
      "cloud_type": "Dummy Node Provider",
      "extra": {
        "foo": "bar"
      },
      "id": "1",
      "name": "dummy-1",
      "private_ips": [],
      "provider": "dummy",
      "public_ips": [
        "127.0.0.1"
      ],
      "state": 0,
      "uuid": "2c183c20f71eb5732512d6cfe1f75ebc9d9bb4dd"
    },
    {
      "cloud_type": "Dummy Node Provider",
      "extra": {
        "foo": "bar"
      },
      "id": "2",
      "name": "dummy-2",
      "private_ips": [],
      "provider": "dummy",
      "public_ips": [
        "127.0.0.1"
      ],
      "state": 0,
      "uuid": "46ff62f5eafc7837de6ec1450b8e0e608db06d7a"
    }
  ],
  "status": "ok"
}"#;

/// `GET images`: 422 bytes.
pub(crate) const IMAGES: &str = r#"{
  "images": [
    {
      "cloud_type": "Dummy Node Provider",
      "id": "1",
      "name": "Ubuntu 9.10",
      "provider": "dummy"
    },
    {
      "cloud_type": "Dummy Node Provider",
      "id": "2",
      "name": "Ubuntu 9.04",
      "provider": "dummy"
    },
    {
      "cloud_type": "Dummy Node Provider",
      "id": "3",
      "name": "Slackware 4",
      "provider": "dummy"
    }
  ],
  "status": "ok"
}"#;

/// `GET sizes`: 738 bytes.
pub(crate) const SIZES: &str = r#"{
  "flavors": [
    {
      "cloud_type": "Dummy Node Provider",
      "cpu": 0,
      "disk": 4,
      "id": "1",
      "name": "Small",
      "provider": "dummy",
      "ram": 128
    },
    {
      "cloud_type": "Dummy Node Provider",
      "cpu": 0,
      "disk": 16,
      "id": "2",
      "name": "Medium",
      "provider": "dummy",
      "ram": 512
    },
    {
      "cloud_type": "Dummy Node Provider",
      "cpu": 0,
      "disk": 32,
      "id": "3",
      "name": "Big",
      "provider": "dummy",
      "ram": 4096
    },
    {
      "cloud_type": "Dummy Node Provider",
      "cpu": 0,
      "disk": 128,
      "id": "4",
      "name": "XXL Big",
      "provider": "dummy",
      "ram": 8192
    }
  ],
  "status": "ok"
}"#;

/// `POST vm/start` of the third node: 322 bytes.
pub(crate) const STARTED_3: &str = r#"{
  "nodes": {
    "cloud_type": "Dummy Node Provider",
    "extra": {
      "foo": "bar"
    },
    "id": "3",
    "name": "dummy-3",
    "private_ips": [],
    "provider": "dummy",
    "public_ips": [
      "127.0.0.3"
    ],
    "state": 0,
    "uuid": "aef321fde331680846014b121ff377dcb8477731"
  },
  "status": "ok"
}"#;

/// `POST vm/start` of the fourth node: 322 bytes.
pub(crate) const STARTED_4: &str = r#"{
  "nodes": {
    "cloud_type": "Dummy Node Provider",
    "extra": {
      "foo": "bar"
    },
    "id": "4",
    "name": "dummy-4",
    "private_ips": [],
    "provider": "dummy",
    "public_ips": [
      "127.0.0.4"
    ],
    "state": 0,
    "uuid": "f0f0f81f0a63ccd2c5e0c5244beebeafd0f2429c"
  },
  "status": "ok"
}"#;

/// `PUT vm/action/…` with `emulate`: 95 bytes.
pub(crate) const EMULATED: &str = r#"{
  "id": 42,
  "id_vm": "-fake_id-",
  "result": "Node -fake_id- assigned",
  "status": "ok"
}"#;

/// What is no page: 54 bytes.
pub(crate) const NO_PAGE: &str = "{\n  \"message\": \"Page not found\",\n  \"status\": \"error\"\n}";

/// For a cloud that is not configured.
pub(crate) const WRONG_CLOUD: &str = "Cloud not valid or wrong path";

/// A request body that starts a node.
pub(crate) const START: &str = r#"{"name": "cloud_test", "image": "1", "size": "1"}"#;

/// The error envelope.
pub(crate) fn error(code: u16, message: &str) -> String {
    let (short, long) = match code {
        400 => ("Bad Request", "Bad request syntax or unsupported method"),
        403 => ("Forbidden", "Request forbidden -- authorization will not help"),
        500 => ("Internal Server Error", "Server got itself in trouble"),
        501 => ("Not Implemented", "Server does not support this operation"),
        503 => ("Service Unavailable", "The server cannot process the request due to a high load"),
        _ => panic!("no envelope for {code}"),
    };
    // Quotes and backslashes are all that messages hold and JSON escapes.
    let message = message.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "{{\n  \"message\": \"{message}\",\n  \"status\": \"error\",\n  \"status_code\": {code},\n  \
         \"status_long_message\": \"{long}\",\n  \"status_short_message\": \"{short}\"\n}}"
    )
}
