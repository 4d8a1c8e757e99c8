//! Bad input: the documented answer to each, and nothing has changed afterwards.

use crate::v1::{EMULATED, IMAGES, NO_PAGE, NODES, SIZES, START, WRONG_CLOUD, error};
use ostler_tests::client::{parse, raw};
use ostler_tests::{Server, Setup};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const HTML: &str = "text/html; charset=utf-8";
const OK: &str = "{\n  \"status\": \"ok\"\n}";

/// The documented 400 of a body that does not fit.
fn schema(detail: &str) -> (u16, String) {
    envelope(400, &format!("Some key doesn't validate the schema - {detail}"))
}

fn envelope(code: u16, message: &str) -> (u16, String) {
    (code, error(code, message))
}

/// Keeps what is not as expected, so that one run tells of all of it.
#[allow(clippy::needless_pass_by_value, reason = "tuples are made for the call")]
fn note<T: PartialEq + std::fmt::Debug>(wrong: &mut Vec<String>, what: &str, found: T, expected: T) {
    if found != expected {
        wrong.push(format!("{what}\n  found    {found:?}\n  expected {expected:?}"));
    }
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

async fn unchanged(server: &Server, what: &str) {
    for cloud in ["fake_driver", "default"] {
        assert_eq!(server.get(&format!("/api/v1/nodes/{cloud}")).await.text(), NODES, "after {what}");
    }
}

#[tokio::test]
async fn paths_and_methods_of_version_1() {
    let server = Setup::development().start().await;
    let no_page = || (404, NO_PAGE.to_owned());
    let dev = || (200, "Dev".to_owned());
    let not_implemented = || envelope(501, "Not implemented");
    let wrong_cloud = || envelope(500, WRONG_CLOUD);
    let unknown_action = || envelope(400, "Unrecognized action found");
    let plain = |text: &str| (200, text.to_owned());
    let demo = "{\n  \"status\": \"ok\",\n  \"tenants\": [\n    {\n      \"cloud_type\": \"OpenStack\",\n      \
        \"id\": \"f122fd1685b142d6830ee970900b2151\",\n      \"name\": \"demo\",\n      \"provider\": \"openstack\"\n    }\n  ]\n}";
    let nobody = "{\n  \"status\": \"ok\",\n  \"tenants\": [\n    {}\n  ]\n}";
    let clouds = "{\n  \"served_cloud\": [\n    {\n      \"host\": \"127.0.0.1\",\n      \"name\": \"default\",\n      \"type\": \"dummy\"\n    },\n    \
        {\n      \"host\": \"127.0.0.1\",\n      \"name\": \"fake_driver\",\n      \"type\": \"dummy\"\n    }\n  ],\n  \"status\": \"ok\"\n}";
    let long = "a".repeat(5000);
    let table = [
        ("GET", "/", plain(OK)),
        ("PUT", "/", not_implemented()),
        ("DELETE", "/", not_implemented()),
        ("GET", "/nodes", plain(NODES)),
        ("GET", "/nodes?a=b&c", plain(NODES)),
        ("GET", "/images", plain(IMAGES)),
        ("GET", "/sizes", plain(SIZES)),
        ("GET", "/flavors", plain(SIZES)),
        ("GET", "/flavors/fake_driver", plain(SIZES)),
        ("GET", "/flavors/wrong", wrong_cloud()),
        ("GET", "/tenants", plain(demo)),
        ("GET", "/tenants/default", plain(demo)),
        ("GET", "/tenants/fake_driver", plain(nobody)),
        ("GET", "/tenants/wrong", plain(nobody)),
        ("GET", "/cloud", plain(clouds)),
        ("GET", "/nonsense", unknown_action()),
        ("GET", "/nonsense/fake_driver", unknown_action()),
        ("GET", "/NODES", unknown_action()),
        ("GET", "/vm", unknown_action()),
        ("GET", "/vm/start", dev()),
        ("GET", "/vm/stop/fake_driver", dev()),
        ("GET", "/vm/action/assign", dev()),
        ("GET", "/vm/action/assign/fake_driver", dev()),
        ("GET", "/auth", dev()),
        ("GET", "/test/start", dev()),
        ("GET", "/test/7/kill", dev()),
        ("GET", "/vm/status/wrong", plain("{\n  \"nodes\": {},\n  \"status\": \"ok\"\n}")),
        ("POST", "/nodes", not_implemented()),
        ("PUT", "/nodes/fake_driver", not_implemented()),
        ("PATCH", "/images", not_implemented()),
        ("DELETE", "/nodes/fake_driver", not_implemented()),
        ("OPTIONS", "/sizes", not_implemented()),
        ("POST", "/cloud", not_implemented()),
        ("PUT", "/vm/start", not_implemented()),
        ("POST", "/vm/stop", not_implemented()),
        ("DELETE", "/vm/stop/fake_driver", not_implemented()),
        ("POST", "/vm/action/assign", not_implemented()),
        ("PATCH", "/vm/action/assign", not_implemented()),
        ("POST", "/vm/status", not_implemented()),
        ("PUT", "/auth", not_implemented()),
        ("POST", "/test/start", not_implemented()),
        ("GET", "/fw/open", not_implemented()),
        ("POST", "/fw/open", not_implemented()),
        ("PUT", "/fw/close", not_implemented()),
        ("GET", "/nodes/", no_page()),
        ("GET", "/nodes/fake_driver/", no_page()),
        ("GET", "/nodes/fake_driver/1", no_page()),
        ("GET", "/vm/start/", no_page()),
        ("GET", "/vm/start/a/b", no_page()),
        ("POST", "/auth/", no_page()),
        // An empty word is a word that is not known.
        ("GET", "//nodes", unknown_action()),
        ("GET", "/nodes//", no_page()),
        ("GET", "/../v1/nodes", no_page()),
        ("GET", "/nodes/../nodes", no_page()),
        ("GET", "/nodes/%2e%2e", wrong_cloud()),
        ("GET", "/nodes/..", wrong_cloud()),
        ("GET", "/nodes/..%2f..%2fetc%2fpasswd", wrong_cloud()),
        ("GET", "/nodes/%00", wrong_cloud()),
        ("GET", "/nodes/fake_driver%00", wrong_cloud()),
        ("GET", "/nodes/fake_driver%20", wrong_cloud()),
        ("GET", "/nodes/Fake_Driver", wrong_cloud()),
        ("GET", "/nodes/%66ake_driver", plain(NODES)),
        ("GET", "/nodes/%C3%A9", wrong_cloud()),
        // What is no UTF-8 names nothing.
        ("GET", "/nodes/%ff", no_page()),
        ("GET", "/nodes/%zz", wrong_cloud()),
        ("GET", "/%ff", no_page()),
        ("GET", "/nodes/';DROP TABLE nodes;--".replace(' ', "%20").leak(), wrong_cloud()),
        ("GET", format!("/nodes/{long}").leak(), wrong_cloud()),
    ];
    let mut client = server.client();
    let mut wrong = Vec::new();
    for (method, path, (status, body)) in &table {
        let path = format!("/api/v1{path}");
        let reply = client.call(method, &path, &[], "").await;
        let kind = if body == "Dev" { HTML } else { JSON };
        note(
            &mut wrong,
            &format!("{method} {path}"),
            (reply.status, reply.header("content-type"), reply.text()),
            (*status, kind, body),
        );
        note(&mut wrong, &format!("{method} {path}, length"), reply.header("content-length"), &body.len().to_string());
        if *method == "GET" {
            let head = client.call("HEAD", &path, &[], "").await;
            note(&mut wrong, &format!("HEAD {path}"), (head.status, head.text()), (*status, ""));
            for name in ["content-length", "content-type"] {
                note(&mut wrong, &format!("HEAD {path}"), head.header(name), reply.header(name));
            }
        }
    }
    none(&wrong);
    for path in ["/api/v1", "/api/v2"] {
        let moved = client.get(path).await;
        assert_eq!((moved.status, moved.header("location")), (301, format!("{path}/").as_str()));
    }
    unchanged(&server, "the table").await;
}

#[tokio::test]
async fn bodies_of_version_1() {
    let server = Setup::development().start().await;
    let malformed = || envelope(400, "Malformed JSON stream");
    let not_json = || envelope(400, "Content-Type should be application/json");
    let start_failed = |why: &str| envelope(500, &format!("Something went wrong {why}"));
    let no_node = || envelope(400, "no useful node id here");
    let node_not_found = || envelope(400, "Node not found");
    let emulated = || (200, EMULATED.to_owned());
    let missing = "missed keys set(['image', 'name', 'size'])";
    let bomb = "[".repeat(200_000);
    let object_bomb = "{\"metadata\":".repeat(50_000);
    let long_name = format!(r#"{{"name": "{}", "image": "1", "size": "1"}}"#, "n".repeat(2000));
    let table = [
        ("POST", "/", JSON, "{}", (200, OK.to_owned())),
        ("POST", "/", JSON, "[1, 2]", (200, OK.to_owned())),
        ("POST", "/", JSON, "{", malformed()),
        ("POST", "/vm/start/fake_driver", JSON, "", schema(missing)),
        ("POST", "/vm/start/fake_driver", JSON, "{}", schema(missing)),
        ("POST", "/vm/start/fake_driver", JSON, "{", malformed()),
        ("POST", "/vm/start/fake_driver", JSON, "name=cloud_test&image=1&size=1", malformed()),
        ("POST", "/vm/start/fake_driver", JSON, r#"{"name": "a", "image": "1", "size": "1"} x"#, malformed()),
        ("POST", "/vm/start/fake_driver", JSON, r#"{"name": "\ud800", "image": "1", "size": "1"}"#, malformed()),
        ("POST", "/vm/start/fake_driver", JSON, r#"{"name": NaN, "image": "1", "size": "1"}"#, malformed()),
        ("POST", "/vm/start/fake_driver", JSON, bomb.as_str(), malformed()),
        ("POST", "/vm/start/fake_driver", JSON, object_bomb.as_str(), malformed()),
        ("POST", "/vm/start/fake_driver", "", START, not_json()),
        ("POST", "/vm/start/fake_driver", "text/plain", START, not_json()),
        ("POST", "/vm/start/fake_driver", "application/x-www-form-urlencoded", START, not_json()),
        ("POST", "/vm/start/fake_driver", "application/jsonp", START, not_json()),
        ("POST", "/vm/start/fake_driver", JSON, "[]", schema("[] should be instance of <type 'dict'>")),
        ("POST", "/vm/start/fake_driver", JSON, "null", schema("None should be instance of <type 'dict'>")),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "a", "image": 1, "size": "1"}"#,
            schema("1 should be instance of <type 'unicode'>"),
        ),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "", "image": "1", "size": "1"}"#,
            schema("len(u'') should evaluate to True"),
        ),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": null, "image": "1", "size": "1"}"#,
            schema("None should be instance of <type 'unicode'>"),
        ),
        ("POST", "/vm/start/fake_driver", JSON, r#"{"name": "a", "image": "1"}"#, schema("missed keys set(['size'])")),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "a", "image": "1", "size": "1", "extra": true}"#,
            schema("wrong keys u'extra' in {u'extra': True, u'image': u'1', u'name': u'a', u'size': u'1'}"),
        ),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "a", "image": "1", "size": "1", "metadata": "x"}"#,
            schema("u'x' should be instance of <type 'dict'>"),
        ),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "a", "image": "1", "size": "1", "keyname": 1}"#,
            schema("1 should be instance of <type 'unicode'>"),
        ),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "a\u0000b", "image": "1", "size": "1"}"#,
            schema("name should not contain U+0000"),
        ),
        ("POST", "/vm/start/fake_driver", JSON, long_name.as_str(), schema("name should have at most 1024 bytes")),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "a", "image": "9", "size": "1"}"#,
            start_failed("no useful image id here"),
        ),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "a", "image": "1", "size": "9"}"#,
            start_failed("no useful size id here"),
        ),
        (
            "POST",
            "/vm/start/fake_driver",
            JSON,
            r#"{"name": "a", "image": "9", "size": "9"}"#,
            start_failed("no useful image id here"),
        ),
        ("POST", "/vm/start/wrong", JSON, START, start_failed(WRONG_CLOUD)),
        ("POST", "/vm/start/wrong", JSON, "{}", schema(missing)),
        ("POST", "/vm/start/%00", JSON, START, start_failed(WRONG_CLOUD)),
        ("PUT", "/vm/stop/fake_driver", JSON, "", envelope(400, "no valid node id nor hostname here")),
        ("PUT", "/vm/stop/fake_driver", JSON, "{}", envelope(400, "no valid node id nor hostname here")),
        ("PUT", "/vm/stop/fake_driver", JSON, "{]", malformed()),
        ("PUT", "/vm/stop/fake_driver", "", r#"{"node": "1"}"#, not_json()),
        ("PUT", "/vm/stop/fake_driver", JSON, r#"{"node": 1}"#, schema("1 should be instance of <type 'unicode'>")),
        ("PUT", "/vm/stop/fake_driver", JSON, r#"{"node": ""}"#, schema("len(u'') should evaluate to True")),
        (
            "PUT",
            "/vm/stop/fake_driver",
            JSON,
            r#"{"node": "1", "force": "1"}"#,
            schema("wrong keys u'force' in {u'force': u'1', u'node': u'1'}"),
        ),
        ("PUT", "/vm/stop/fake_driver", JSON, r#"{"node": "9"}"#, no_node()),
        ("PUT", "/vm/stop/fake_driver", JSON, r#"{"hostname": "dummy-9"}"#, no_node()),
        ("PUT", "/vm/stop/fake_driver", JSON, r#"{"node": "dummy-1"}"#, no_node()),
        ("PUT", "/vm/stop/fake_driver", JSON, r#"{"node": "1\u0000"}"#, no_node()),
        ("PUT", "/vm/stop/wrong", JSON, r#"{"node": "1"}"#, envelope(500, WRONG_CLOUD)),
        ("PUT", "/vm/action/assign/fake_driver", JSON, "{}", schema("missed keys set(['user', 'vm_type'])")),
        ("PUT", "/vm/action/assign/fake_driver", JSON, r#"{"node": "1", "user": "u"}"#, schema("missed keys set(['vm_type'])")),
        ("PUT", "/vm/action/assign/fake_driver", JSON, r#"{"node": "9", "user": "u", "vm_type": "v"}"#, node_not_found()),
        ("PUT", "/vm/action/assign/fake_driver", JSON, r#"{"user": "u", "vm_type": "v"}"#, node_not_found()),
        (
            "PUT",
            "/vm/action/assign/fake_driver",
            JSON,
            r#"{"node": "9", "user": "u", "vm_type": "v", "emulate": false}"#,
            node_not_found(),
        ),
        ("PUT", "/vm/action/assign/fake_driver", JSON, r#"{"emulate": true}"#, emulated()),
        ("PUT", "/vm/action/assign/fake_driver", JSON, r#"{"emulate": "False", "node": 7, "nonsense": []}"#, emulated()),
        ("PUT", "/vm/action/assign/wrong", JSON, r#"{"emulate": 1}"#, emulated()),
        ("PUT", "/vm/action/assign", JSON, r#"{"emulate": {"a": 1}}"#, emulated()),
        ("PUT", "/vm/action/assign/fake_driver", JSON, "{", malformed()),
        ("PUT", "/vm/action/release/fake_driver", JSON, "{}", node_not_found()),
        ("PUT", "/vm/action/release/fake_driver", JSON, r#"{"node": "9"}"#, node_not_found()),
        ("PUT", "/vm/action/release/fake_driver", JSON, r#"{"hostname": "dummy-9"}"#, node_not_found()),
        ("PUT", "/vm/action/release/fake_driver", JSON, r#"{"node": 1}"#, schema("1 should be instance of <type 'unicode'>")),
        ("PUT", "/vm/action/release/fake_driver", JSON, r#"{"emulate": "True"}"#, emulated()),
        ("PUT", "/vm/action/reboot/fake_driver", JSON, "{}", envelope(501, "Not implemented")),
        ("PUT", "/vm/action/reboot", JSON, "{", malformed()),
        ("POST", "/auth", JSON, "{", malformed()),
        ("POST", "/auth", JSON, "{}", envelope(403, "Forbidden")),
        ("POST", "/auth", JSON, "[]", envelope(403, "Forbidden")),
        ("POST", "/auth", JSON, r#"{"username": 1, "password": 2}"#, envelope(403, "Forbidden")),
        ("PUT", "/test/start", JSON, "{}", envelope(403, "Forbidden")),
        ("PUT", "/test/7/kill", JSON, "", envelope(403, "Forbidden")),
    ];
    let mut client = server.client();
    let mut wrong = Vec::new();
    for (method, path, kind, body, (status, answer)) in &table {
        let path = format!("/api/v1{path}");
        let headers: &[_] = if kind.is_empty() { &[] } else { &[("content-type", *kind)] };
        let reply = client.call(method, &path, headers, (*body).to_owned()).await;
        let what = format!("{method} {path} {kind} {}", body.chars().take(100).collect::<String>());
        note(&mut wrong, &what, (reply.status, reply.header("content-type"), reply.text()), (*status, JSON, answer));
    }
    none(&wrong);
    // What is no UTF-8 is no JSON.
    let reply =
        client.call("POST", "/api/v1/vm/start/fake_driver", &[("content-type", JSON)], &b"{\"name\": \"\xff\"}"[..]).await;
    assert_eq!((reply.status, reply.text()), (400, error(400, "Malformed JSON stream").as_str()));
    // A body with a listing is not looked at.
    let reply = client.call("GET", "/api/v1/nodes/fake_driver", &[("content-type", JSON)], "{").await;
    assert_eq!((reply.status, reply.text()), (200, NODES));
    unchanged(&server, "the table").await;
}

#[tokio::test]
async fn the_same_in_version_2_with_honest_codes() {
    let server = Setup::development().start().await;
    let bomb = "[".repeat(200_000);
    let table = [
        ("GET", "/nodes/wrong", "", "", 404),
        ("GET", "/images/wrong", "", "", 404),
        ("GET", "/sizes/wrong", "", "", 404),
        ("GET", "/vm/status/wrong", "", "", 404),
        ("GET", "/nonsense", "", "", 404),
        ("GET", "/nodes/", "", "", 404),
        ("GET", "/a/b/c/d", "", "", 404),
        ("GET", "/nodes/fake_driver/9", "", "", 404),
        ("GET", "/nodes/wrong/1", "", "", 404),
        ("GET", "/nodes/%00", "", "", 404),
        ("GET", "/nodes/%ff", "", "", 404),
        ("GET", "/nodes/fake_driver/%2e%2e", "", "", 404),
        ("POST", "/nodes", "", "", 405),
        ("DELETE", "/nodes/fake_driver", "", "", 405),
        ("OPTIONS", "/nodes/fake_driver", "", "", 405),
        ("PUT", "/vm/start", "", "", 405),
        ("GET", "/fw/open", "", "", 405),
        ("POST", "/vm/start/fake_driver", JSON, "{", 400),
        ("POST", "/vm/start/fake_driver", JSON, bomb.as_str(), 400),
        ("POST", "/vm/start/fake_driver", "text/plain", START, 415),
        ("POST", "/vm/start/fake_driver", "", START, 415),
        ("POST", "/vm/start/fake_driver", JSON, "{}", 422),
        ("POST", "/vm/start/fake_driver", JSON, "[]", 422),
        ("POST", "/vm/start/fake_driver", JSON, r#"{"name": "a", "image": 1, "size": "1"}"#, 422),
        ("POST", "/vm/start/fake_driver", JSON, r#"{"name": "a", "image": "9", "size": "1"}"#, 422),
        ("POST", "/vm/start/fake_driver", JSON, r#"{"name": "a", "image": "1", "size": "9"}"#, 422),
        ("POST", "/vm/start/fake_driver", JSON, r#"{"name": "a", "image": "1", "size": "1", "b": 1}"#, 422),
        ("POST", "/vm/start/wrong", JSON, START, 404),
        ("PUT", "/vm/stop/fake_driver", JSON, "{}", 422),
        ("PUT", "/vm/stop/fake_driver", JSON, r#"{"node": "9"}"#, 404),
        ("PUT", "/vm/stop/wrong", JSON, r#"{"node": "1"}"#, 404),
        ("PUT", "/vm/action/assign/fake_driver", JSON, r#"{"node": "9", "user": "u", "vm_type": "v"}"#, 404),
        ("PUT", "/vm/action/assign/fake_driver", JSON, r#"{"node": "1"}"#, 422),
        ("PUT", "/vm/action/release/fake_driver", JSON, r#"{"node": "9"}"#, 404),
        ("PUT", "/vm/action/release/fake_driver", JSON, "{}", 404),
        ("POST", "/auth", JSON, r#"{"username": "admin", "password": "wrong"}"#, 401),
        ("PUT", "/test/start", JSON, "{}", 401),
    ];
    let mut client = server.client();
    let mut wrong = Vec::new();
    for (method, path, kind, body, status) in &table {
        let path = format!("/api/v2{path}");
        let headers: &[_] = if kind.is_empty() { &[] } else { &[("content-type", *kind)] };
        let reply = client.call(method, &path, headers, (*body).to_owned()).await;
        let what = format!("{method} {path} {kind} {}", body.chars().take(100).collect::<String>());
        let found = (reply.status, reply.header("content-type"));
        if found != (*status, PROBLEM) {
            note(&mut wrong, &format!("{what}: {}", reply.text()), found, (*status, PROBLEM));
            continue;
        }
        let problem = reply.json();
        assert_eq!(problem["status"], *status, "{what}");
        assert!(
            problem["title"].is_string() && problem["detail"].is_string() && problem["type"].is_string(),
            "{what}: {problem}"
        );
        if *status == 401 {
            assert!(reply.header("www-authenticate").starts_with("Basic "), "{what}");
        }
        assert!(*status != 405 || reply.headers.contains_key("allow"), "{what}: RFC 9110 wants Allow");
    }
    none(&wrong);
    // The data are those of version 1.
    for path in ["nodes/fake_driver", "images/fake_driver", "sizes/fake_driver", "cloud", "tenants"] {
        let [first, second] = [format!("/api/v1/{path}"), format!("/api/v2/{path}")];
        assert_eq!(client.get(&first).await.body, client.get(&second).await.body, "{path}");
    }
    assert_eq!(client.get("/api/v2/").await.text(), "Dev");
    let node = client.get("/api/v2/nodes/fake_driver/2").await.json();
    assert_eq!(node["nodes"]["name"], "dummy-2");
    unchanged(&server, "the table").await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let server = Setup::development().start().await;
    const LIMIT: usize = 1 << 20;
    let head = |version: u8, more: &str| {
        format!(
            "POST /api/v{version}/vm/start/fake_driver HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\r\n\r\n"
        )
    };
    let chunked = {
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        [chunk.repeat(LIMIT / 0x10000 + 1), b"0\r\n\r\n".to_vec()].concat()
    };
    for (version, expected) in [(1, envelope(400, "Request body too large")), (2, (413, String::new()))] {
        let requests = [
            ("announced, never sent", head(version, &format!("Content-Length: {}", 10 * LIMIT)).into_bytes()),
            (
                "announced and sent",
                [head(version, &format!("Content-Length: {}", LIMIT + 1)).as_bytes(), &vec![b' '; LIMIT + 1]].concat(),
            ),
            ("chunked", [head(version, "Transfer-Encoding: chunked").as_bytes(), &chunked].concat()),
        ];
        for (what, request) in requests {
            let (status, body) = parse(&raw(server.address(), &request).await);
            assert_eq!(status, expected.0, "{what}, version {version}: {body}");
            if version == 1 {
                assert_eq!(body, expected.1, "{what}");
            }
        }
    }
    // Exactly as large as permitted.
    let fits = format!("{}{START}", " ".repeat(LIMIT - START.len()));
    let reply = server.json("POST", "/api/v1/vm/start/default", &fits).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = server.json("PUT", "/api/v1/vm/stop/default", r#"{"node": "3"}"#).await;
    assert_eq!(reply.status, 200);
    unchanged(&server, "large bodies").await;
}

#[tokio::test]
async fn requests_that_are_hardly_http() {
    let server = Setup::development().start().await;
    let address = server.address();
    let absolute = format!("GET http://{address}/api/v1/nodes/fake_driver HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let long = format!("GET /api/v1/nodes/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET /api/v1/nodes HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(200));
    let absurd = "POST /api/v1/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let table: [(&str, Vec<u8>, &[u16]); 13] = [
        ("an absurd length", absurd.into(), &[400, 413, 431]),
        ("absolute form", absolute.into_bytes(), &[200]),
        ("HTTP/1.0", b"GET /api/v1/nodes/fake_driver HTTP/1.0\r\n\r\n".to_vec(), &[200]),
        ("a very long path", long.into_bytes(), &[414, 431]),
        ("many header fields", many.into_bytes(), &[431]),
        ("a NUL in the path", b"GET /api/v1/nodes/\0 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), &[400]),
        ("raw bytes in the path", b"GET /api/v1/nodes/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), &[400, 404, 500]),
        ("a fragment", b"GET /api/v1/nodes/fake_driver#x HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), &[200, 400]),
        ("asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), &[400, 404, 405]),
        ("CONNECT", b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), &[400, 404, 405, 501]),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400]),
        (
            "two lengths",
            b"POST /api/v1/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".to_vec(),
            &[400],
        ),
        (
            "length and chunks",
            b"POST /api/v1/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: gzip\r\n\r\n{}".to_vec(),
            &[400, 501],
        ),
    ];
    for (what, request, expected) in table {
        let (status, body) = parse(&raw(address, &request).await);
        assert!(expected.contains(&status), "{what}: {status} {body}");
        assert!(status != 200 || body == NODES, "{what}: {body}");
    }
    unchanged(&server, "that").await;
}

#[tokio::test]
async fn pages_that_belong_to_no_dialect() {
    let server = Setup::development().start().await;
    let mut client = server.client();
    let front = client.get("/").await;
    assert!(front.status == 200 && front.text().contains("/api/v1"), "{}", front.text());
    assert!(front.header("content-type").starts_with("text/plain"), "for programs");
    let page = client.call("GET", "/", &[("accept", "text/html,*/*;q=0.8")], "").await;
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"), "for people");
    for path in ["/nothing", "/api", "/api/v3/nodes", "/apiv1/nodes", "/ostler/v2/drivers"] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.header("content-type")), (404, PROBLEM), "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(client.call(method, "/", &[], "").await.status, 405, "{method} /");
    }
}
