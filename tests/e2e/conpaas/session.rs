//! What the command-line clients and the managers of the original do, in their order.

use super::{config, credit, csr, manager, nodes, refused, setup, start};
use ostler_tests::director::{Director, Identity, form};
use ostler_tests::{Setup, client};
use serde_json::json;

#[tokio::test]
async fn the_clients_session_from_registration_to_stop() {
    let server = setup().start().await;
    let director = Director::of(&server);

    // Credentials: a list of types without any, a user, the log-in, the archive.
    let types = director.get(None, "/available_services").await;
    assert_eq!((types.status, types.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(types.text(), r#"["java", "php"]"#);
    let user = director.new_user("ann", "5").await;
    assert_eq!((&user["uid"].as_i64().is_some(), &user["credit"], &user["password"]), (&true, &json!(5), &json!("")));
    assert!(user["created"].as_str().unwrap().len() == "2013-11-05T10:20:30.000042".len(), "{user}");
    let login = [("username", "ann"), ("password", "right horse"), ("service_id", "0")];
    assert_eq!(director.post(None, "/login", &login).await.json()["username"], "ann");
    refused(&director.post(None, "/login", &[("username", "ann"), ("password", "wrong")]).await);
    refused(&director.post(None, "/getcerts", &[("username", "nobody"), ("password", "right horse")]).await);
    for path in ["/getcerts", "/get_user_certs"] {
        let archive = director.post(None, path, &login).await;
        assert_eq!(archive.header("content-type"), "application/zip");
        assert_eq!(archive.header("content-disposition"), "attachment; filename=certs.zip");
        assert_eq!(archive.header("cache-control"), "no-store");
        let (identity, authority) = Identity::unzip(&archive.body);
        assert!(identity.key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(authority, std::fs::read_to_string(server.data().join("ca/ca_cert.pem")).unwrap());
        assert_eq!(director.post(Some(&identity), "/list", &login).await.text(), "[]");
    }
    // The same by GET, and by multipart, as other clients send it.
    let by_get = director.get(None, &format!("/getcerts?{}", form(&login))).await;
    let (ann, _) = Identity::unzip(&by_get.body);
    assert_eq!(director.upload(None, "/login", &login, &[]).await.json()["username"], "ann");

    // Applications.
    assert_eq!(director.post(Some(&ann), "/listapp", &login).await.json()[0]["name"], "New Application");
    let shop = director.post(Some(&ann), "/createapp", &[("name", "Shop")]).await.json();
    assert_eq!(shop["name"], "Shop");
    let taken = director.post(Some(&ann), "/createapp", &[("name", "Shop")]).await.json();
    assert_eq!(taken, json!({"error": true, "msg": "Application name \"Shop\" already taken"}));

    // Create, list, rename.
    let aid = shop["aid"].to_string();
    let service = start(&director, &ann, &format!("/start/php?appid={aid}")).await;
    assert_eq!(service["type"], "php");
    assert_eq!((&service["state"], &service["subnet"], &service["cloud"]), (&json!("INIT"), &json!(null), &json!("iaas")));
    assert_eq!((&service["name"], &service["application_id"]), (&json!("New php service"), &shop["aid"]));
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (1, 4));
    let sid = service["sid"].to_string();
    let renamed = director.post(Some(&ann), &format!("/rename/{sid}"), &[("name", "Front")]).await;
    assert_eq!(renamed.text(), "true");
    for listed in [
        director.post(Some(&ann), "/list", &login).await.json(),
        director.get(Some(&ann), "/list").await.json(),
        director.post(Some(&ann), &format!("/list/{aid}"), &[]).await.json(),
    ] {
        let mut expected = service.clone();
        expected["name"] = json!("Front");
        assert_eq!(listed, json!([expected]));
    }
    assert_eq!(director.post(Some(&ann), "/list/999999", &[]).await.text(), "[]");

    // Stop: the node is gone, and so is the service.
    assert_eq!(director.post(Some(&ann), &format!("/stop/{sid}"), &[]).await.text(), "true");
    refused(&director.post(Some(&ann), &format!("/stop/{sid}"), &[]).await);
    assert_eq!(director.post(Some(&ann), "/list", &[]).await.text(), "[]");
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (0, 4));
    assert_eq!(director.post(Some(&ann), &format!("/delete/{aid}"), &[]).await.text(), "true");
}

#[tokio::test]
async fn the_managers_session() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "5").await;
    let service = start(&director, &ann, "/start/php").await;
    let sid = service["sid"].to_string();
    let manager = manager(&server, "default", &service).await;

    // An agent's certificate, for a request of which only the key counts.
    let request = csr("Somebody Else");
    let reply = director.upload(Some(&manager), "/ca/get_cert.php", &[], &[("csr", request.as_bytes())]).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/html; charset=utf-8"), "{}", reply.text());
    let claims = ostler_ca::claims(&rustls_der(reply.text())).unwrap();
    assert_eq!(claims.role, Some(ostler_ca::Role::Agent));
    assert_eq!((claims.service.map(|s| s.to_string()), claims.common_name.as_deref()), (Some(sid.clone()), Some("ConPaaS")));
    assert_eq!(claims.uid, service["user_id"].as_i64());

    // Payment: by the hour in advance.
    let decrement = |amount: &'static str| [("sid", sid.clone()), ("decrement", amount.to_owned())];
    let pay = async |amount: &'static str| {
        let fields = decrement(amount);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        director.post(Some(&manager), "/callback/decrementUserCredit.php", &fields).await.text().to_owned()
    };
    assert_eq!(pay("3").await, "{\n  \"error\": false\n}");
    assert_eq!(credit(&director, &ann).await, 1);
    assert_eq!(pay("2").await, "{\n  \"error\": true\n}");
    assert_eq!(credit(&director, &ann).await, 1, "unchanged");
    assert_eq!(director.post(Some(&manager), "/credit", &[]).await.text(), r#"{"credit": 1}"#);

    // The end, by the manager itself. Its certificate ends with it.
    let over = director.post(Some(&manager), "/callback/terminateService.php", &[("sid", &sid)]).await;
    assert_eq!(over.text(), "{\n  \"error\": false\n}");
    assert_eq!((nodes(&server, "default").await, director.get(Some(&ann), "/list").await.text()), (0, "[]"));
    assert_eq!(director.post(Some(&manager), "/credit", &[]).await.status, 401);
}

fn rustls_der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// What a manager's node gets, and what it must not get.
#[tokio::test]
async fn the_first_boot_of_a_manager() {
    let server = Setup::configured(format!("{}\n[clouds.default.secrets]\npassword = {{ env = \"CANARY\" }}\n", config()))
        .env("CANARY", "canary-of-the-provider")
        .arg("--listen-tls")
        .arg("127.0.0.1:0")
        .start()
        .await;
    let director = Director::of(&server);
    let ann = director.user("ann", "5").await;
    let service = start(&director, &ann, "/start/php").await;
    let nodes = server.get("/api/v1/nodes/default").await.json();
    let user_data = nodes["nodes"][0]["extra"]["user_data"].as_str().unwrap();
    for expected in [
        "#!/bin/bash\n",
        "/download/ConPaaS.tar.gz",
        "--cacert",
        "TYPE = php\n",
        &format!("SERVICE_ID = {}\n", service["sid"]),
        &format!("USER_ID = {}\n", service["user_id"]),
        "/callback/decrementUserCredit.php\n",
        "/callback/terminateService.php\n",
        "/ca/get_cert.php\n",
    ] {
        assert!(user_data.contains(expected), "{expected} is missing in {user_data}");
    }
    assert!(!user_data.contains("canary"), "no credential of the provider");
    let syntax = std::process::Command::new("bash").arg("-n").arg("-c").arg(user_data).output().unwrap();
    assert!(syntax.status.success(), "{}", String::from_utf8_lossy(&syntax.stderr));
    assert!(!server.log().contains("PRIVATE KEY"));
    assert!(nodes["nodes"][0]["name"].as_str().unwrap().starts_with("conpaas-u"), "{nodes}");
}

#[tokio::test]
async fn a_request_with_the_whole_address_as_its_target() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "5").await;
    let target = format!("https://{}/list?username=ann&service_id=0", director.address());
    let reply = director.client(Some(&ann)).call("GET", &target, &[("connection", "close")], "").await;
    assert_eq!((reply.status, reply.text()), (200, "[]"));
    // And on the plain listener, where nobody can show a certificate.
    let bytes = format!("POST http://{}/list HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", server.address());
    let (status, body) = client::parse(&client::raw(server.address(), bytes.as_bytes()).await);
    assert_eq!(status, 401, "{body}");
}

#[tokio::test]
async fn a_start_that_fails_costs_nothing_and_leaves_nothing() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "1").await;
    for (path, message) in [
        ("/start/nonsense", "Unknown service type: nonsense"),
        ("/start/php?appid=999", "Application not found"),
        ("/start/php?appid=x", "Application not found"),
        (
            "/start/php/nowhere",
            "Error upon service creation: There is no cloud named nowhere. Please check your Director configuration.",
        ),
        ("/start/php/full", "Error upon service creation: "),
        ("/start/php/dead", "Error upon service creation: "),
    ] {
        let reply = director.post(Some(&ann), path, &[]).await;
        let answer = reply.json();
        assert_eq!((reply.status, &answer["error"]), (200, &json!(true)), "{path}: {answer}");
        assert!(answer["msg"].as_str().unwrap().starts_with(message), "{path}: {answer}");
        assert_eq!((credit(&director, &ann).await, director.get(Some(&ann), "/list").await.text()), (1, "[]"), "{path}");
    }
    for cloud in ["default", "full", "dead"] {
        assert_eq!(nodes(&server, cloud).await, 0, "{cloud}");
    }
    start(&director, &ann, "/start/php/slow").await;
    let broke = director.post(Some(&ann), "/start/php", &[]).await.json();
    assert_eq!(broke["msg"], "Error upon service creation: Could not add nodes. Not enough credits.");
    assert_eq!((nodes(&server, "default").await, nodes(&server, "slow").await), (0, 1));
}

#[tokio::test]
async fn a_key_stands_for_one_service() {
    let server = setup().start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "5").await;
    let with_key =
        async |path: &str, key: &str| director.client(Some(&ann)).call("POST", path, &[("idempotency-key", key)], "").await;
    let first = with_key("/start/php", "k").await;
    let again = with_key("/start/php", "k").await;
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(with_key("/start/java", "k").await.json()["error"], true, "another request");
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (1, 4));
    let racing = futures::future::join_all((0..8).map(|_| with_key("/start/php", "race"))).await;
    let made: std::collections::BTreeSet<_> = racing.iter().filter_map(|reply| reply.json()["sid"].as_i64()).collect();
    assert_eq!(made.len(), 1, "one service for one key");
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (2, 3));
}

#[tokio::test]
async fn the_small_routes() {
    let archive = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(archive.path(), "not really a tar").unwrap();
    let with_archive = config().replace("[services]\n", &format!("[services]\narchive = \"{}\"\n", archive.path().display()));
    let server = Setup::configured(with_archive).arg("--listen-tls").arg("127.0.0.1:0").start().await;
    let director = Director::of(&server);
    let ann = director.user("ann", "5").await;
    for (path, expected) in [
        ("/version", env!("CARGO_PKG_VERSION")),
        ("/support_external_idp", "False"),
        ("/support_openid", "False"),
        ("/debug_level/x", "0"),
        ("/download_data/whatever", ""),
        ("/available_clouds", r#"["default", "dead", "full", "slow"]"#),
    ] {
        let reply = director.get(None, path).await;
        assert_eq!((reply.status, reply.text()), (200, expected), "{path}");
    }
    let file = director.get(None, "/download/ConPaaS.tar.gz").await;
    assert_eq!((file.text(), file.header("content-type")), ("not really a tar", "application/x-tar"));
    let tag = file.header("etag").to_owned();
    let unchanged = director.client(None).call("GET", "/download/ConPaaS.tar.gz", &[("if-none-match", &tag)], "").await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let about = director.get(Some(&ann), "/user_config").await.json();
    assert_eq!((&about["username"], about.get("password")), (&json!("ann"), None));
    for (method, path, status) in [
        ("GET", "/start/php", 405),
        ("PUT", "/list", 405),
        ("POST", "/available_services", 405),
        ("POST", "/stop/x", 404),
        ("POST", "/stop/-1", 404),
        ("POST", "/stop/99999999999999999999", 404),
        ("GET", "/get_user_cert", 404),
    ] {
        let reply = director.client(Some(&ann)).call(method, path, &[], "").await;
        assert_eq!(reply.status, status, "{method} {path}");
    }
}
