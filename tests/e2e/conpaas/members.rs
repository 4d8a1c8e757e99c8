//! The services that an application's manager keeps: it is asked over TLS, with certificates on both sides.

use super::applications::application;
use ostler_ca::{Authority, Profile};
use ostler_tests::director::Director;
use ostler_tests::provider::{Answer, Provider};
use ostler_tests::{Server, Setup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;

/// A server with a certificate of the director's authority, which asks its clients for one.
fn tls(server: &Server, profile: &Profile) -> ServerConfig {
    let (authority, made) = Authority::open_or_create(&server.data().join("ca")).unwrap();
    assert!(!made);
    let (issued, key) = authority.issue_with_key(profile, SystemTime::now()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.certificate_der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap()
}

/// What a manager answers.
fn manage(body: &str) -> Value {
    let request: Value = serde_json::from_str(body).unwrap();
    match (request["method"].as_str().unwrap(), request["params"]["service_type"].as_str()) {
        ("add_service", Some("php")) => json!({"result": {"service_id": 7}, "error": null, "id": 1}),
        ("add_service", _) => json!({"result": null, "error": "no room", "id": 1}),
        ("remove_service", _) => json!({"result": {}, "error": null, "id": 1}),
        (other, _) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_manager_is_asked_for_its_services() {
    // Nodes of the dummy's original form have addresses of this machine.
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = format!(
        "[clouds.default]\ndriver = \"dummy\"\n[api.conpaas]\nregistration = \"open\"\n[services]\nmanager_port = {port}\n\
         [services.types.php]\nimage = \"1\"\nsize = \"1\"\n[services.types.java]\nimage = \"1\"\nsize = \"1\"\n"
    );
    let server = Setup::configured(config).arg("--listen-tls").arg("127.0.0.1:0").start().await;
    let director = Director::of(&server);
    let uid = director.new_user("ann", "10").await["uid"].as_i64().unwrap();
    let ann = director.certificate("ann").await;
    let manager = Provider::on(listener, |seen| Answer::Json(200, manage(&seen.body).to_string()));
    let app = application(&director, &ann).await;
    let aid = app["aid"].as_i64().unwrap();
    assert_eq!(app["manager"], "127.0.0.3");

    // Whoever is at the manager's address and is not this manager is told nothing.
    let silent = "the manager of the service does not answer";
    for profile in [
        Profile::Manager { uid, service: aid + 1 },
        Profile::Manager { uid: uid + 1, service: aid },
        Profile::Agent { uid, service: aid },
        Profile::Director { names: vec!["127.0.0.3".into()] },
    ] {
        manager.show(tls(&server, &profile));
        let answer = director.post(Some(&ann), "/add/php", &[]).await.json();
        assert!(answer["error"].as_str().unwrap().starts_with(silent), "{profile:?}: {answer}");
        assert_eq!(manager.take(), [], "{profile:?}");
    }

    manager.show(tls(&server, &Profile::Manager { uid, service: aid }));
    let added = director.post(Some(&ann), "/add/php", &[]).await.json();
    let (service, name) = (&added["service"], "New php service");
    assert_eq!((&service["sid"], &service["type"], &service["name"]), (&json!(7), &json!("php"), &json!(name)), "{added}");
    let seen = manager.take();
    assert_eq!((seen.len(), seen[0].method.as_str(), seen[0].path.as_str()), (1, "POST", "/"));
    let asked: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(asked, json!({"method": "add_service", "params": {"service_type": "php"}, "id": 1}));

    // What it refuses is not noted, and its reason is handed on.
    let refused = director.post(Some(&ann), "/add/java", &[]).await.json();
    assert!(refused["error"].as_str().unwrap().ends_with("no room"), "{refused}");
    let list = async || director.post(Some(&ann), "/list", &[]).await.json();
    assert_eq!(list().await.as_array().map(Vec::len), Some(1));

    let aid = aid.to_string();
    let both = [("app_id", aid.as_str()), ("service_id", "7")];
    let renamed = director.post(Some(&ann), "/rename", &[&both[..], &[("name", "shop")]].concat()).await;
    assert_eq!(renamed.text(), "{}");
    assert_eq!(list().await[0]["service"]["name"], "shop");
    manager.take();
    assert_eq!(director.post(Some(&ann), "/remove", &both).await.text(), "{}");
    let asked: Value = serde_json::from_str(&manager.take()[0].body).unwrap();
    assert_eq!(asked, json!({"method": "remove_service", "params": {"service_id": 7}, "id": 1}));
    assert_eq!(list().await, json!([]));
    let gone = director.post(Some(&ann), "/remove", &both).await.json();
    assert_eq!(gone, json!({"error": "Invalid service_id"}));
    assert_eq!(manager.take(), [], "what is not there is not asked for");
}
