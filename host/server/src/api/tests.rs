#![allow(clippy::unwrap_used, clippy::panic)]
//! What holds of all dialects, on a core of its own, without a network.

use super::*;
use crate::listen::{PeerInfo, TlsInfo};
use axum::body::Body;
use axum::extract::ConnectInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use ostler_core::identity::{Principal, Registration, Role, Scheme, TokenOrder};
use secrecy::ExposeSecret;
use tower::ServiceExt;

const PASSWORD: &str = "canary of ann";

async fn core(config: &Config, data: &std::path::Path) -> Core {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    crate::app::start(config, &crate::config::Added::default(), data).await.unwrap()
}

fn serve(core: &Core, config: &Config) -> Router {
    let parts =
        Application { core: core.clone(), config: Arc::new(config.clone()), metrics: Metrics::detached(), ready: Arc::default() };
    router(&App::new(parts), false)
}

async fn ann(core: &Core) {
    let host = Principal::new("test", vec![Role::Admin], Scheme::Operator);
    let new = Registration { password: PASSWORD.into(), ..Registration::named("ann") };
    core.identity.add_user(&host, &new, &[Role::Admin], 0).await.unwrap();
}

/// A request that shows a password, or a token in its place.
struct Ask {
    method: &'static str,
    path: &'static str,
    /// Type and text of the body.
    body: (&'static str, String),
    header: Option<String>,
}

impl Ask {
    fn header(method: &'static str, path: &'static str, header: String) -> Self {
        Self { method, path, body: ("", String::new()), header: Some(header) }
    }

    fn form(path: &'static str, form: String) -> Self {
        Self { method: "POST", path, body: ("application/x-www-form-urlencoded", form), header: None }
    }
}

async fn ask(router: &Router, from: &str, tls: bool, headers: &[(&str, &str)], ask: &Ask) -> (u16, String) {
    let tls = tls.then(|| Arc::new(TlsInfo { client_certificates: Vec::new(), server_name: None }));
    let peer = PeerInfo { addr: from.parse().unwrap(), local: "192.0.2.1:5050".parse().unwrap(), tls };
    let mut request = http::Request::builder().method(ask.method).uri(ask.path).header("host", "ostler.example:5050");
    if let Some(header) = &ask.header {
        request = request.header("authorization", header);
    }
    for (name, value) in [("content-type", ask.body.0)].iter().chain(headers).filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(ask.body.1.clone())).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8_lossy(&response.into_body().collect().await.unwrap().to_bytes()).into_owned())
}

/// Who sends one in the clear has shown it to everybody on the way already: he is told so, and is not served.
#[tokio::test]
async fn a_password_is_taken_where_nobody_else_can_read_it() {
    const REFUSED: &str = "a password is taken by HTTPS only";
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::development();
    config.api.crs4.open = false;
    config.api.indigo.open = false;
    config.api.cloudedge.cloud = Some("default".into());
    config.api.conpaas.open_registration = true;
    config.server.trusted_proxies = vec!["10.0.0.1/32".parse().unwrap()];
    let core = core(&config, data.path()).await;
    ann(&core).await;
    let host = Principal::new("test", vec![Role::Admin], Scheme::Operator);
    let order = TokenOrder { label: "t".into(), scopes: vec![], life: None };
    let token = core.identity.create_token(&host, "ann", &order).await.unwrap().secret;
    let token = format!("Bearer {}", token.expose_secret());
    let (strict, lax) = (serve(&core, &config), {
        let mut config = config.clone();
        config.server.plain_passwords = true;
        serve(&core, &config)
    });

    let basic = format!("Basic {}", STANDARD.encode(format!("ann:{PASSWORD}")));
    let form = || format!("username=ann&password={}", PASSWORD.replace(' ', "+"));
    let json = serde_json::json!({ "username": "ann", "password": PASSWORD }).to_string();
    let by_header = ["/api/v1/cloud", "/api/v2/cloud", "/deployments", "/cloudedge/version", "/ostler/v1/users"];
    let mut all: Vec<Ask> = by_header.map(|path| Ask::header("GET", path, basic.clone())).into();
    all.push(Ask { method: "POST", path: "/api/v1/auth", body: ("application/json", json), header: None });
    all.extend(["/login", "/getcerts", "/get_user_certs", "/new_user"].map(|path| Ask::form(path, form())));
    for asked in &all {
        for (way, router, from, tls, headers, taken) in [
            ("plain", &strict, "192.0.2.7:1", false, &[][..], false),
            ("a proxy's word that is not trusted", &strict, "192.0.2.7:1", false, &[("x-forwarded-proto", "https")], false),
            ("a proxy, plain", &strict, "10.0.0.1:1", false, &[("x-forwarded-proto", "http")], false),
            ("a proxy", &strict, "10.0.0.1:1", false, &[("x-forwarded-proto", "https")], true),
            ("TLS", &strict, "192.0.2.7:1", true, &[], true),
            ("this machine", &strict, "127.0.0.1:1", false, &[], true),
            ("plain, as configured", &lax, "192.0.2.7:1", false, &[], true),
        ] {
            let (status, text) = ask(router, from, tls, headers, asked).await;
            let what = format!("{} {} by {way}: {status} {text}", asked.method, asked.path);
            assert_eq!(text.contains(REFUSED), !taken, "{what}");
            assert!(if taken { status < 400 } else { status == 403 }, "{what}");
            assert!(!text.contains("canary"), "{what}");
        }
    }
    // Tokens can be revoked, and are made for such ways.
    for path in by_header {
        let (status, text) = ask(&strict, "192.0.2.7:1", false, &[], &Ask::header("GET", path, token.clone())).await;
        assert_eq!(status, 200, "{path}: {text}");
    }
}
