//! What a driver gets beyond its capabilities: nothing. What becomes of its secrets: nobody sees them.

use crate::components::{intruder, probe};
use crate::support::{Adjust, TestHost, capture_log, logged, probing, provider};
use axum::Router;
use ostler_drivers::{CloudSettings, ErrorKind};
use serde_json::Value;

#[tokio::test]
async fn files_sockets_and_the_environment_are_out_of_reach() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert!(std::env::vars_os().count() > 0, "there is something to see");
    for fresh in [false, true] {
        // Even the allow-list of HTTP opens no socket.
        let settings = CloudSettings::new("c", "intruder").set("address", &address);
        let settings = settings.grant(|grants| grants.http = vec![format!("http://{address}").parse().unwrap()]);
        let cloud = TestHost::new().serve(if fresh { settings.fresh() } else { settings }, &intruder()).await;
        let loot: Value = serde_json::from_str(&cloud.check().await.unwrap().extra).unwrap();
        let expected = serde_json::json!({
            "directories": 0, "read": 0, "write": 0, "environment": 0, "arguments": 0, "input": 0,
            "connect": false, "listen": false, "datagram": false, "resolve": 0,
        });
        assert_eq!(loot, expected);
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody has knocked");
}

/// A secret that appears nowhere else.
const CANARY: &str = "canary-7d1f0c5e94";

#[tokio::test]
async fn secrets_do_not_get_out_by_the_log() {
    capture_log();
    let host = TestHost::new();
    let intruder = host.serve(CloudSettings::new("intruded", "intruder").secret("password", CANARY), &intruder()).await;
    intruder.list_images().await.unwrap();
    let address = provider(Router::new()).await;
    let settings = probing(&format!("http://{address}/"), &[&address]).secret("password", CANARY);
    let cloud = host.serve(settings, &probe()).await;
    // The driver did get it.
    assert!(cloud.list_images().await.unwrap()[0].extra.contains(CANARY));
    let log = logged();
    for expected in ["the password is [redacted]", "password=[redacted]", "printed:", "cloud=\"intruded\""] {
        assert!(log.contains(expected), "`{expected}` is not in the log");
    }
    // Not even a part, where a long line was cut in the middle of it.
    let part = &CANARY[..CANARY.len() / 2];
    assert!(!log.contains(part), "{:?}", log.find(part).map(|at| &log[at.saturating_sub(60)..at + 20]));
}

#[tokio::test]
async fn secrets_do_not_get_out_by_errors_or_debugging() {
    capture_log();
    let host = TestHost::new();
    // The provider repeats what was asked for, as many do.
    let repeat = |uri: axum::http::Uri| async move { (axum::http::StatusCode::CONFLICT, format!("no {uri} here")) };
    let address = provider(Router::new().fallback(repeat)).await;
    let settings = probing(&format!("http://{address}/{CANARY}"), &[&address]).secret("password", CANARY);
    let cloud = host.serve(settings, &probe()).await;
    let error = cloud.list_nodes().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(error.message.matches("[redacted]").count(), 2, "{error}");
    let mut settings = cloud.settings().clone();
    settings.config.clear();
    let texts = [format!("{error} {error:?}"), format!("{:?}", cloud.status()), format!("{settings:?} {cloud:?}"), logged()];
    for text in texts {
        assert!(!text.contains(CANARY), "{text}");
    }
    // A failed load tells what the driver said, without the secret.
    let settings = CloudSettings::new("d", "dummy").set("form", CANARY).secret("password", CANARY);
    host.host.add_cloud(settings).unwrap();
    let error = host.prepare("dummy", &crate::components::dummy()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
}
