//! The command line, the configuration, and the pages for operators.

use ostler_tests::server::program;
use ostler_tests::{Client, Setup};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn check(toml: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ostler.toml");
    std::fs::write(&file, toml).unwrap();
    let output = program().args(["config", "check"]).arg(&file).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn each_mistake_is_shown_with_file_line_and_column() {
    for (toml, places) in [
        ("[server]\nlistn = \"127.0.0.1:1\"\n", &[":2:1", "listn", "did you mean `listen`"][..]),
        ("[server]\nlisten = \"nowhere\"\n", &[":2:10", "server.listen"]),
        ("[clouds.a]\n[clouds.b]\ndriver = 7\n", &[":1:", "clouds.a", "driver", ":3:10"]),
        ("[clouds.a]\ndriver = \"dummy\"\nlimits = { call_seconds = 0 }\n", &[":3:", "call_seconds"]),
        ("[clouds.nodes]\ndriver = \"dummy\"\n", &[":1:", "nodes"]),
        ("[clouds.a]\ndriver = \"dummy\"\nsecrets = { p = \"hunter2\" }\n", &[":3:", "secrets"]),
        ("[api.crs4]\ncloud = \"none\"\n", &[":2:9", "none"]),
        ("[server]\nlisten = \"0.0.0.0:1\"\n[api.crs4]\nopen = true\n", &["open", "loopback"]),
        ("[server\n", &[":1:"]),
        ("[drivers]\ntrusted_keys = [\"ed25519:AAAA\"]\n", &[":2:", "trusted_keys"]),
    ] {
        let (fine, text) = check(toml);
        assert!(!fine, "{toml}\n{text}");
        assert!(text.contains("ostler.toml:"), "{toml}\n{text}");
        for place in places {
            assert!(text.contains(place), "`{place}` is not in the complaint about\n{toml}\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn a_good_configuration_is_summed_up() {
    let (fine, text) = check(
        "[server]\nlisten = \"127.0.0.1:5050\"\n[store]\nurl = \"postgres://ann:hunter2@db.example/ostler\"\n[clouds.lab]\ndriver = \"dummy\"\n\
         grants = { http = [\"https://cloud.example:5000\"] }\nconfig = { region = \"one\" }\n",
    );
    assert!(fine, "{text}");
    for part in ["127.0.0.1:5050", "db.example", "clouds.lab", "https://cloud.example:5000", "region"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_server_does_not_start_on_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ostler.toml");
    std::fs::write(&file, "[server]\nlisten = 7\n").unwrap();
    let data = directory.path().join("data");
    for arguments in
        [vec!["--config", file.to_str().unwrap()], vec!["--config", "/nowhere/ostler.toml"], vec!["--listen", "0.0.0.0:0"]]
    {
        let output = program().arg("serve").arg("--data").arg(&data).args(&arguments).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(complaint.contains(arguments[1]) || complaint.contains("loopback"), "{arguments:?}: {complaint}");
        assert!(!data.exists(), "{arguments:?}: nothing was begun");
    }
}

#[tokio::test]
async fn health_readiness_and_metrics() {
    let server = Setup::development().start().await;
    let mut client = server.client();
    for path in ["/healthz", "/readyz"] {
        let reply = client.get(path).await;
        assert!(reply.status == 200 && reply.header("content-type").starts_with("text/plain"), "{path}");
    }
    for path in ["nodes/fake_driver", "sizes/default", "nodes/default"] {
        assert_eq!(client.get(&format!("/api/v1/{path}")).await.status, 200);
    }
    let reply = client.get("/metrics").await;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for (cloud, operation) in [("fake_driver", "list-nodes"), ("default", "list-sizes"), ("default", "list-nodes")] {
        for (name, outcome) in [("ostler_driver_calls_total", "ok"), ("ostler_driver_call_seconds_count", "")] {
            let found = reply.text().lines().find(|line| {
                line.starts_with(name)
                    && [("cloud", cloud), ("operation", operation), ("outcome", outcome)]
                        .iter()
                        .all(|(label, value)| value.is_empty() || line.contains(&format!("{label}=\"{value}\"")))
            });
            assert!(found.is_some_and(|line| line.ends_with(" 1")), "{name} of {cloud} {operation}: {found:?}");
        }
    }
    for name in [
        "process_resident_memory_bytes",
        "ostler_http_requests_total",
        "ostler_connections",
        "ostler_build_info",
        "ostler_driver_breaker_open",
        "ostler_forwarding_connections_total",
        "ostler_forwarding_bytes_total",
    ] {
        assert!(reply.text().lines().any(|line| line.starts_with(name)), "{name} in\n{}", reply.text());
    }
    // Nobody makes series by asking for what is not there.
    for path in ["/api/v1/nodes/cloud", "/path"] {
        client.get(path).await;
    }
    let before = client.get("/metrics").await.text().lines().count();
    for number in 0..50 {
        client.get(&format!("/api/v1/nodes/cloud{number}")).await;
        client.get(&format!("/path{number}")).await;
    }
    let after = client.get("/metrics").await.text().lines().count();
    assert_eq!(after, before, "lines");
}

#[tokio::test]
async fn requests_have_identifiers() {
    let server = Setup::development().env("OSTLER_LOG", "debug,cranelift=off").start().await;
    let mut client = server.client();
    let own = client.get("/healthz").await.header("x-request-id").to_owned();
    let next = client.get("/healthz").await.header("x-request-id").to_owned();
    assert!(!own.is_empty() && own != next, "{own} {next}");
    let given = client.call("GET", "/api/v1/nodes/fake_driver", &[("x-request-id", "my-own.id_7")], "").await;
    assert_eq!(given.header("x-request-id"), "my-own.id_7");
    let forged = client.call("GET", "/healthz", &[("x-request-id", "a b\tinjected")], "").await;
    assert!(!forged.header("x-request-id").contains("injected"));
    ostler_tests::eventually("the log names the request", ostler_tests::PATIENCE, async || {
        server.log().lines().any(|line| line.contains("my-own.id_7")).then_some(())
    })
    .await;
    assert!(!server.log().contains("injected"));
}

#[tokio::test]
async fn our_own_api_is_documented() {
    let server = Setup::development().start().await;
    let mut client = server.client();
    let reply = client.get("/ostler/openapi.json").await;
    let document = reply.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for (path, methods) in [
        ("/ostler/v1/drivers", &["get"][..]),
        ("/ostler/v1/drivers/{name}", &["get", "put", "delete"]),
        ("/ostler/v1/drivers/{name}/rollback", &["post"]),
        ("/ostler/v1/clouds", &["get"]),
        ("/ostler/v1/clouds/{name}", &["get"]),
    ] {
        for method in methods {
            assert!(document["paths"][path][method]["responses"].is_object(), "{method} {path}");
        }
    }
    let printed = program().arg("openapi").output().unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&printed.stdout).unwrap(), document);
    let moved = client.get("/ostler/docs").await;
    assert!(moved.status == 200 || moved.header("location") == "/ostler/docs/", "{} {:?}", moved.status, moved.headers);
    let page = client.get("/ostler/docs/").await;
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"), "{} {:?}", page.status, page.headers);
    // Everything that the page loads comes from here.
    for quote in ["src=\"", "href=\""] {
        for link in page.text().split(quote).skip(1).filter_map(|rest| rest.split_once('"')).map(|(link, _)| link) {
            assert!(!link.contains("//"), "{link}");
            let path = format!("/ostler/docs/{}", link.trim_start_matches("./"));
            assert_eq!(client.get(&path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn https_with_a_certificate_of_its_own() {
    let server = Setup::development().arg("--listen-tls").arg("127.0.0.1:0").start().await;
    let pem = std::fs::read(server.data().join("ca/ca_cert.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(server.tls_address()).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(b"GET /api/v1/nodes/fake_driver HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let (status, body) = ostler_tests::client::parse(&answer);
    assert_eq!((status, body.as_str()), (200, crate::v1::NODES));
    // Plain HTTP on that address is told so, and HTTP stays where it is.
    let mut plain = Client::new(server.tls_address());
    assert_eq!(plain.get("/healthz").await.status, 400);
    assert_eq!(server.get("/healthz").await.status, 200);
    let key = std::fs::metadata(server.data().join("tls/key.pem")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o077, 0, "the key is its owner's alone");
}

#[tokio::test]
async fn a_dialect_can_be_switched_off_and_mounted_elsewhere() {
    let config = "[clouds.fake_driver]\ndriver = \"dummy\"\n[api.crs4]\nopen = true\nprefix = \"/orchestrator\"\ncloud = \"fake_driver\"\n";
    let server = Setup::configured(config).start().await;
    for path in ["/api/v1/nodes", "/orchestrator/api/v1/nodes", "/orchestrator/api/v1/nodes/fake_driver"] {
        assert_eq!(server.get(path).await.text(), crate::v1::NODES, "{path}");
    }
    assert_eq!(server.get("/orchestrator/api/v1/nodes/").await.text(), crate::v1::NO_PAGE);
    let off = Setup::configured("[clouds.fake_driver]\ndriver = \"dummy\"\n[api.crs4]\nenabled = false\n").start().await;
    assert_eq!(off.get("/api/v1/nodes/fake_driver").await.status, 404);
}
