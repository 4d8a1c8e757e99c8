//! What somebody with bad intentions tries, and what comes of it: nothing.

use super::{config, credit, csr, manager, nodes, refused, setup, start};
use ostler_tests::director::{Director, Identity};
use ostler_tests::{Server, Setup};
use rcgen::{DnType, DnValue, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

async fn server() -> (Server, Director) {
    let server = setup().start().await;
    let director = Director::of(&server);
    (server, director)
}

/// A certificate signed with the server's own authority's key, as only somebody who has stolen it could, and not on record.
fn forged(server: &Server, subject: &[(&[u64], &str)], ends: SystemTime) -> Identity {
    const EMAIL: [u64; 7] = [1, 2, 840, 113_549, 1, 9, 1];
    let key = KeyPair::from_pem(&std::fs::read_to_string(server.data().join("ca/ca_key.pem")).unwrap()).unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name = rcgen::DistinguishedName::new();
    ca.distinguished_name.push(DnType::CommonName, "CA");
    ca.distinguished_name.push(DnType::OrganizationName, "ConPaaS");
    ca.distinguished_name
        .push(DnType::CustomDnType(EMAIL.to_vec()), DnValue::Ia5String("info@conpaas.eu".to_owned().try_into().unwrap()));
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let issuer = Issuer::new(ca, key);
    let mut leaf = rcgen::CertificateParams::new(Vec::new()).unwrap();
    leaf.not_before = (ends - Duration::from_hours(48)).into();
    leaf.not_after = ends.into();
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    for (oid, value) in subject {
        leaf.distinguished_name.push(DnType::CustomDnType(oid.to_vec()), *value);
    }
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let pair = KeyPair::generate().unwrap();
    Identity { cert: leaf.signed_by(&pair, &issuer).unwrap().pem(), key: pair.serialize_pem() }
}

const UID: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 1];
const LOCATOR: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 48, 1];
const ROLE: [u64; 4] = [2, 5, 4, 72];

#[tokio::test]
async fn certificates_that_are_not_good() {
    let (server, director) = server().await;
    let uid = director.new_user("ann", "5").await["uid"].to_string();
    let ann = director.certificate("ann").await;
    let locator = [LOCATOR.as_slice(), &[7]].concat();
    let subject: [(&[u64], &str); 3] = [(&UID, &uid), (&locator, "0"), (&ROLE, "user")];
    let tomorrow = SystemTime::now() + Duration::from_hours(24);

    // Of another authority, which calls itself as ours does.
    let elsewhere = tempfile::tempdir().unwrap();
    let (other, _) = ostler_ca::Authority::open_or_create(&elsewhere.path().join("ca")).unwrap();
    let profile = ostler_ca::Profile::User { uid: uid.parse().unwrap(), username: "ann".into(), email: None };
    let (issued, key) = other.issue_with_key(&profile, SystemTime::now()).unwrap();
    let foreign = Identity { cert: issued.pem, key: secrecy::ExposeSecret::expose_secret(&key).to_owned() };
    // Of ours, and over.
    let expired = forged(&server, &subject, SystemTime::now() - Duration::from_hours(1));
    for (what, identity) in [("foreign", &foreign), ("expired", &expired)] {
        let mut client = director.client(Some(identity));
        let request = client.request("POST", "/list", &[], "");
        let refused = client.send(request).await;
        assert!(refused.is_err(), "{what}: {refused:?}");
    }

    // Of ours and in time, but none that we know of.
    let unknown = forged(&server, &subject, tomorrow);
    for (what, identity) in [("unknown", Some(&unknown)), ("none", None)] {
        for path in
            ["/list", "/start/php", "/createapp", "/ca/get_cert.php", "/callback/decrementUserCredit.php", "/create_nodes"]
        {
            let reply = director.post(identity, path, &[("sid", "1"), ("decrement", "1"), ("name", "x")]).await;
            assert_eq!((reply.status, reply.header("content-type")), (401, "application/json"), "{what} {path}");
            assert_eq!(reply.json()["error"], true, "{what} {path}");
        }
    }
    // Nobody is who he says he is without a certificate, whatever he sends along.
    let claims = [("username", "ann"), ("password", "right horse"), ("uid", &uid), ("role", "user")];
    assert_eq!(director.post(None, "/list", &claims).await.status, 401);
    assert_eq!(director.get(Some(&ann), "/list").await.text(), "[]", "and the good one is good");
}

#[tokio::test]
async fn a_certificate_that_is_revoked_ends_during_a_connection() {
    let (server, director) = server().await;
    director.new_user("ann", "5").await;
    let (first, second) = (director.certificate("ann").await, director.certificate("ann").await);
    let (mut one, mut two) = (director.client(Some(&first)), director.client(Some(&second)));
    assert_eq!((one.get("/list").await.status, two.get("/list").await.status), (200, 200));
    let listed = server.as_operator("GET", "/ostler/v1/certificates?user=ann", "").await.json();
    let serials: Vec<_> =
        listed["certificates"].as_array().unwrap().iter().map(|c| c["serial"].as_str().unwrap().to_owned()).collect();
    assert_eq!(serials.len(), 2, "{listed}");
    // The latest comes first.
    let revoked = server.as_operator("POST", &format!("/ostler/v1/certificates/{}/revoke", serials[0]), "{}").await;
    assert!(revoked.status < 300, "{}", revoked.text());
    assert_eq!((one.get("/list").await.status, two.get("/list").await.status), (200, 401));
    // And new connections.
    assert_eq!(director.get(Some(&second), "/list").await.status, 401);
    let crl = server.get("/ostler/crl").await;
    assert!(crl.status == 200 && crl.header("content-type") == "application/pkix-crl");
    // Whoever is disabled loses what is left.
    let disabled = server.as_operator("PATCH", "/ostler/v1/users/ann", r#"{"active": false}"#).await;
    assert_eq!(disabled.status, 200, "{}", disabled.text());
    assert_eq!(one.get("/list").await.status, 401);
    refused(&director.post(None, "/login", &[("username", "ann"), ("password", "right horse")]).await);
}

#[tokio::test]
async fn certificates_of_the_wrong_kind() {
    let (server, director) = server().await;
    let ann = director.user("ann", "9").await;
    let service = start(&director, &ann, "/start/php").await;
    let sid = service["sid"].to_string();
    let manager = manager(&server, "default", &service).await;
    let request = csr("x");
    // A user's on the managers' routes.
    for path in
        ["/callback/decrementUserCredit.php", "/callback/terminateService.php", "/credit", "/create_nodes", "/remove_nodes"]
    {
        let reply = director.post(Some(&ann), path, &[("sid", &sid), ("decrement", "1")]).await;
        assert_eq!((reply.status, &reply.json()["error"]), (403, &json!(true)), "{path}");
    }
    let reply = director.upload(Some(&ann), "/ca/get_cert.php", &[], &[("csr", request.as_bytes())]).await;
    assert_eq!(reply.status, 403);
    // A manager's, and an agent's, on the users' routes.
    let pem = director.upload(Some(&manager), "/ca/get_cert.php", &[], &[("csr", request.as_bytes())]).await;
    assert_eq!(pem.status, 200);
    for path in ["/list", "/start/php", "/createapp", "/listapp", "/upload_manifest", "/list_resources"] {
        let reply = director.post(Some(&manager), path, &[("name", "x")]).await;
        assert_eq!(reply.status, 403, "{path}");
    }
    assert_eq!(director.post(Some(&manager), &format!("/stop/{sid}"), &[]).await.status, 403);
    // What belongs to the server's operator is neither's.
    for identity in [&ann, &manager] {
        for path in ["/ostler/v1/users", "/ostler/v1/drivers", "/metrics"] {
            assert_eq!(director.get(Some(identity), path).await.status, 403, "{path}");
        }
    }
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (1, 8));
}

#[tokio::test]
async fn what_is_anothers() {
    let (server, director) = server().await;
    let (ann, bob) = (director.user("ann", "9").await, director.user("bob", "9").await);
    let of_ann = start(&director, &ann, "/start/php").await;
    let of_bob = start(&director, &bob, "/start/php").await;
    let manager_of_bob = manager(&server, "default", &of_bob).await;
    let (sid, aid) = (of_ann["sid"].to_string(), of_ann["application_id"].to_string());
    // Paths of another user's service and application.
    refused(&director.post(Some(&bob), &format!("/stop/{sid}"), &[]).await);
    refused(&director.post(Some(&bob), &format!("/rename/{sid}"), &[("name", "mine")]).await);
    refused(&director.post(Some(&bob), &format!("/delete/{aid}"), &[]).await);
    refused(&director.post(Some(&bob), &format!("/renameapp/{aid}"), &[("name", "mine")]).await);
    refused(&director.post(Some(&bob), &format!("/download_manifest/{aid}"), &[]).await);
    assert_eq!(director.post(Some(&bob), &format!("/list/{aid}"), &[]).await.text(), "[]");
    let into = director.post(Some(&bob), &format!("/start/php?appid={aid}"), &[]).await;
    assert_eq!(into.json()["msg"], "Application not found");
    // The manager of one service charges another.
    refused(
        &director.post(Some(&manager_of_bob), "/callback/decrementUserCredit.php", &[("sid", &sid), ("decrement", "1")]).await,
    );
    refused(&director.post(Some(&manager_of_bob), "/callback/terminateService.php", &[("sid", &sid)]).await);
    // And takes another's nodes.
    let theirs = json!([{"vmid": of_ann["vmid"], "cloud_name": "iaas"}]).to_string();
    let taken = director.post(Some(&manager_of_bob), "/remove_nodes", &[("nodes", &theirs)]).await.json();
    assert!(taken["error"].is_string(), "{taken}");
    assert_eq!((credit(&director, &ann).await, credit(&director, &bob).await, nodes(&server, "default").await), (8, 8, 2));
    assert_eq!(director.get(Some(&ann), "/list").await.json()[0]["name"], "New php service");

    // The same of 2.x.
    super::applications::application(&director, &ann).await;
    let before = director.get(Some(&ann), "/listapp").await.json();
    let not_found = format!("Application {aid} not found.");
    let member = [("app_id", aid.as_str()), ("service_id", "1")];
    for (path, fields, message) in [
        (format!("/startapp/{aid}"), vec![], "Application not found"),
        (format!("/startapp/{aid}/slow"), vec![], "Application not found"),
        (format!("/stopapp/{aid}"), vec![], "Application not found"),
        (format!("/deleteapp/{aid}"), vec![], "Application not found"),
        ("/add/php".to_owned(), vec![("appid", aid.as_str())], not_found.as_str()),
        ("/rename".to_owned(), [&member[..], &[("name", "mine")]].concat(), "Invalid service_id"),
        ("/remove".to_owned(), member.to_vec(), "Invalid service_id"),
    ] {
        let reply = director.post(Some(&bob), &path, &fields).await;
        assert_eq!((reply.status, reply.json()), (200, json!({ "error": message })), "{path}");
    }
    assert_eq!(director.get(Some(&ann), "/listapp").await.json(), before);
    let shown = director.get(Some(&bob), "/list_resources").await.json();
    assert!(shown.as_array().unwrap().iter().all(|row| row["app_id"] == of_bob["application_id"]), "{shown}");
}

/// What agents and the server itself hold proves who they are to others, and opens nothing here.
#[tokio::test]
async fn certificates_that_are_no_clients() {
    let (server, director) = server().await;
    let ann = director.user("ann", "9").await;
    let service = start(&director, &ann, "/start/php").await;
    let sid = service["sid"].to_string();
    let manager = manager(&server, "default", &service).await;
    let key = KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap();
    let cert = director.upload(Some(&manager), "/ca/get_cert.php", &[], &[("csr", request.as_bytes())]).await.text().to_owned();
    let agent = Identity { cert, key: key.serialize_pem() };
    let file = |name: &str| std::fs::read_to_string(server.data().join("tls").join(name)).unwrap();
    let frontend = Identity { cert: file("cert.pem"), key: file("key.pem") };
    for (what, identity, status) in [("agent", &agent, 403), ("frontend", &frontend, 401)] {
        for path in [
            "/list",
            "/start/php",
            "/createapp",
            "/upload_manifest",
            "/list_resources",
            "/startapp/1",
            "/credit",
            "/create_nodes",
            "/remove_nodes",
            "/callback/decrementUserCredit.php",
            "/callback/terminateService.php",
        ] {
            let reply = director.post(Some(identity), path, &[("sid", &sid), ("decrement", "1"), ("name", "x")]).await;
            assert_eq!((reply.status, &reply.json()["error"]), (status, &json!(true)), "{what} {path}");
        }
        let enrolled = director.upload(Some(identity), "/ca/get_cert.php", &[], &[("csr", request.as_bytes())]).await;
        assert_eq!(enrolled.status, status, "{what}");
        assert_eq!(director.get(Some(identity), "/ostler/v1/users").await.status, status, "{what}");
    }
    assert_eq!((nodes(&server, "default").await, credit(&director, &ann).await), (1, 8));
}

#[tokio::test]
async fn decrements_that_are_none() {
    let (server, director) = server().await;
    let ann = director.user("ann", "9").await;
    let service = start(&director, &ann, "/start/php").await;
    let (sid, manager) = (service["sid"].to_string(), manager(&server, "default", &service).await);
    for amount in [
        "0",
        "-1",
        "-9223372036854775808",
        "1000001",
        "9223372036854775807",
        "99999999999999999999",
        "1.5",
        "1e3",
        "x",
        "",
        "0x1",
        "9",
    ] {
        let fields = [("sid", sid.as_str()), ("decrement", amount)];
        let reply = director.post(Some(&manager), "/callback/decrementUserCredit.php", &fields).await;
        assert_eq!((reply.status, reply.text()), (200, "{\n  \"error\": true\n}"), "{amount:?}");
    }
    assert_eq!(credit(&director, &ann).await, 8);
    // Many at once: as many as there is credit for.
    let fields = [("sid", sid.as_str()), ("decrement", "1")];
    let paid =
        futures::future::join_all((0..16).map(|_| director.post(Some(&manager), "/callback/decrementUserCredit.php", &fields)))
            .await;
    assert_eq!(paid.iter().filter(|reply| reply.json()["error"] == false).count(), 8);
    assert_eq!(credit(&director, &ann).await, 0);
}

#[tokio::test]
async fn signing_requests_that_are_none() {
    let (server, director) = server().await;
    let ann = director.user("ann", "9").await;
    let service = start(&director, &ann, "/start/php").await;
    let manager = manager(&server, "default", &service).await;
    let good = csr("x");
    let mut lines: Vec<&str> = good.lines().collect();
    let last = lines.len() - 2;
    let reversed: String = lines[last].chars().rev().collect();
    lines[last] = &reversed;
    let broken = lines.join("\n");
    let authority = {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    };
    let enrol = async |request: &[u8]| director.upload(Some(&manager), "/ca/get_cert.php", &[], &[("csr", request)]).await;
    for (what, request) in [
        ("empty", String::new()),
        ("no PEM", "hello".to_owned()),
        ("signature", broken),
        ("a weak key", include_str!("../../../host/ca/tests/requests/rsa1024-sha256.pem").to_owned()),
        ("large", format!("{good}{}", "\n".repeat(60 << 10))),
    ] {
        let reply = enrol(request.as_bytes()).await;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
    }
    for (what, request) in [("extensions", authority), ("a long name", csr(&"x".repeat(10_000)))] {
        let reply = enrol(request.as_bytes()).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        assert!(reply.body.len() < 2048, "{what}: nothing of it was taken over");
    }
    // What managers of the time sign with: RSA and SHA-1.
    let legacy = enrol(include_bytes!("../../../host/ca/tests/requests/manager-sha1.pem")).await;
    assert_eq!(legacy.status, 200, "{}", legacy.text());
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(legacy.text().as_bytes()).unwrap();
    let claims = ostler_ca::claims(&certificate).unwrap();
    assert_eq!((claims.role, claims.service), (Some(ostler_ca::Role::Agent), service["sid"].as_i64()));
    let as_field = director.upload(Some(&manager), "/ca/get_cert.php", &[("csr", &good)], &[]).await;
    assert_eq!(as_field.status, 400, "it is no file");
    assert_eq!(enrol(good.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn tricks_in_every_field() {
    let (server, director) = server().await;
    let ann = director.user("ann", "9").await;
    let service = start(&director, &ann, "/start/php").await;
    let sid = service["sid"].to_string();
    let evil = [
        "'; DROP TABLE users; --",
        "\" OR \"\"=\"",
        "a\r\nX-Injected: yes",
        "a\r\n\r\n<script>",
        "${jndi:ldap://x}",
        "../../../etc/passwd",
        "%00",
        "\u{202e}\u{0}",
        "<img src=x onerror=alert(1)>",
        "\u{1f600}é",
    ];
    for text in evil {
        for reply in [
            director.post(None, "/login", &[("username", text), ("password", text)]).await,
            director.post(None, "/getcerts", &[("username", text), ("password", text)]).await,
            director.post(Some(&ann), &format!("/rename/{sid}"), &[("name", text)]).await,
            director.post(Some(&ann), "/createapp", &[("name", text)]).await,
            director.post(Some(&ann), "/start/php", &[("appid", text)]).await,
            director.post(Some(&ann), "/upload_manifest", &[("manifest", text)]).await,
            director
                .post(
                    None,
                    "/new_user",
                    &[
                        ("username", text),
                        ("fname", text),
                        ("lname", text),
                        ("email", text),
                        ("affiliation", text),
                        ("password", text),
                        ("credit", text),
                    ],
                )
                .await,
        ] {
            assert!(reply.status < 500, "{text:?}: {} {}", reply.status, reply.text());
            assert_eq!(reply.header("x-injected"), "", "{text:?}");
        }
    }
    let path = "/start/%2e%2e%2f%2e%2e%2fetc%2fpasswd";
    assert!(director.post(Some(&ann), path, &[]).await.json()["error"] == true);
    for (headers, body) in [
        (("content-type", "multipart/form-data"), "x"),
        (("content-type", "multipart/form-data; boundary=b"), "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx"),
        (("content-type", "application/x-www-form-urlencoded"), "a=%ff%fe"),
        (("content-type", "application/x-www-form-urlencoded"), "a=%00"),
    ] {
        let reply = director.client(Some(&ann)).call("POST", "/createapp", &[headers], body).await;
        assert_eq!(reply.status, 400, "{body:?}: {}", reply.text());
    }
    let long = "x".repeat(2 << 20);
    assert_eq!(director.post(Some(&ann), "/createapp", &[("name", &long)]).await.status, 413);
    // All is as it was.
    assert_eq!(nodes(&server, "default").await, 1);
    assert!(director.get(Some(&ann), "/list").await.json().as_array().unwrap().len() == 1);
    assert!(!server.log().contains("right horse"), "no password in the log");
}

#[tokio::test]
async fn a_thousand_wrong_passwords_lock_nobody_out() {
    let (_server, director) = server().await;
    director.new_user("ann", "5").await;
    let thief = Ipv4Addr::new(127, 0, 0, 66);
    let fields = ostler_tests::director::form(&[("username", "ann"), ("password", "guess")]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let mut client = director.client(None).from(thief);
    let mut slowed = 0;
    for _ in 0..1000 {
        let reply = client.call("POST", "/login", &headers, fields.clone()).await;
        match reply.status {
            200 => refused(&reply),
            429 => {
                slowed += 1;
                assert!(!reply.header("retry-after").is_empty());
            }
            status => panic!("{status}"),
        }
    }
    assert!(slowed > 900, "guessing is slowed down: {slowed}");
    // The right one from the same place has to wait as well; from elsewhere it does not.
    let right = [("username", "ann"), ("password", "right horse")];
    assert_eq!(director.post(None, "/login", &right).await.json()["username"], "ann");
}

/// A page of another origin sends a browser here that has a certificate.
#[tokio::test]
async fn a_browser_that_is_sent_here() {
    let (_server, director) = server().await;
    let ann = director.user("ann", "5").await;
    let host = format!("localhost:{}", director.address().port());
    for (headers, status) in [
        (vec![("origin", "https://evil.example")], 401),
        (vec![("origin", "null")], 401),
        (vec![("sec-fetch-site", "cross-site")], 401),
        (vec![("sec-fetch-site", "same-site")], 401),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![("sec-fetch-site", "none")], 200),
    ] {
        let mut all = headers.clone();
        all.push(("host", &host));
        let reply = director.client(Some(&ann)).call("POST", "/createapp", &all, "").await;
        assert_eq!(reply.status, status, "{headers:?}");
    }
    let own = format!("https://{host}");
    let reply = director.client(Some(&ann)).call("POST", "/list", &[("host", &host), ("origin", &own)], "").await;
    assert_eq!(reply.status, 200);
}

/// Secrets of the configuration and of requests are in no log, answer or metric.
#[tokio::test]
async fn canaries_stay_where_they_are() {
    let server = Setup::configured(format!(
        "{}\n[clouds.slow.secrets]\npassword = {{ env = \"CANARY\" }}\n[log]\nfilter = \"debug,cranelift=off\"\n",
        config()
    ))
    .env("CANARY", "canary-of-the-provider")
    .arg("--listen-tls")
    .arg("127.0.0.1:0")
    .start()
    .await;
    let director = Director::of(&server);
    let ann = director.user("ann", "5").await;
    director.post(None, "/login", &[("username", "ann"), ("password", "canary-of-ann")]).await;
    director.get(None, "/getcerts?username=ann&password=canary-in-a-query").await;
    start(&director, &ann, "/start/php/slow").await;
    let metrics = server.as_operator("GET", "/metrics", "").await;
    for place in [server.log(), server.output(), metrics.text().to_owned()] {
        for canary in ["canary", "PRIVATE KEY", "right horse"] {
            assert!(!place.contains(canary), "{canary} in {place}");
        }
    }
}
