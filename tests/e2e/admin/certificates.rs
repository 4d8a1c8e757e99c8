//! Certificates; and how the command line finds and trusts a server.

use super::{ANN, api, complained, said, start};
use ostler_tests::server::program;
use ostler_tests::{PATIENCE, Server, Setup, eventually};
use serde_json::{Value, json};
use std::path::Path;

/// As ConPaaS's clients fetch them: an archive whose members are not compressed.
async fn fetch_certificate(server: &Server) {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let archive = server.call("POST", "/getcerts", &form, format!("username=ann&password={ANN}")).await;
    assert_eq!((archive.status, archive.header("content-type")), (200, "application/zip"), "{}", archive.text());
}

/// Serial numbers of the listed certificates, the latest first.
fn serials(server: &Server, arguments: &[&str]) -> Vec<String> {
    let list = said(server, &[&["cert", "list", "--json", "--user", "ann"][..], arguments].concat(), "");
    let list: Value = serde_json::from_str(&list).unwrap();
    list["certificates"].as_array().unwrap().iter().map(|one| one["serial"].as_str().unwrap().to_owned()).collect()
}

/// Whether the published list has this serial number.
async fn is_published(server: &Server, serial: &str) -> bool {
    let list = server.get("/ostler/crl").await;
    assert_eq!((list.status, list.header("content-type")), (200, "application/pkix-crl"));
    let bytes: Vec<u8> = (0..serial.len()).step_by(2).map(|at| u8::from_str_radix(&serial[at..at + 2], 16).unwrap()).collect();
    list.body.windows(bytes.len()).any(|window| window == bytes)
}

#[tokio::test]
async fn certificates_are_listed_renewed_and_revoked() {
    let server = Setup::development().start().await;
    said(&server, &["user", "add", "ann", "--role", "customer", "--email", "ann@example.org", "--password-stdin"], ANN);
    assert_eq!(serials(&server, &[]), [""; 0]);
    fetch_certificate(&server).await;
    let first = serials(&server, &[]).pop().unwrap();
    let shown = said(&server, &["cert", "show", &first], "");
    assert!(["good", "user", "ann"].iter().all(|part| shown.contains(part)), "{shown}");
    let pem = said(&server, &["cert", "show", &first.to_uppercase(), "--pem"], "");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{pem}");

    let renewed = said(&server, &["cert", "renew", &first], "");
    assert!(renewed.starts_with("-----BEGIN CERTIFICATE-----\n") && renewed != pem, "{renewed}");
    let second = serials(&server, &[])[0].clone();
    assert_eq!(serials(&server, &[]), [second.clone(), first.clone()]);
    assert_eq!(said(&server, &["cert", "show", &second, "--pem"], ""), renewed);
    let page = api(&server, "GET", "/certificates?user=ann&limit=1", &Value::Null).await.json();
    assert_eq!(page["certificates"][0]["serial"], second.as_str());
    let next = page["next"].as_str().unwrap();
    let page = api(&server, "GET", &format!("/certificates?user=ann&limit=1&before={next}"), &Value::Null).await.json();
    assert_eq!((&page["certificates"][0]["serial"], &page["next"]), (&json!(first), &Value::Null));

    assert!(said(&server, &["cert", "revoke", &first, "--reason", "superseded"], "").contains("revoked"));
    assert!(said(&server, &["cert", "revoke", &first], "").contains("was revoked before"));
    let shown = said(&server, &["cert", "show", &first], "");
    assert!(shown.contains("superseded"), "the first reason stays: {shown}");
    assert!(complained(&server, &["cert", "renew", &first]).contains("revoked"));
    assert_eq!(
        (serials(&server, &[]), serials(&server, &["--all"])),
        (vec![second.clone()], vec![second.clone(), first.clone()])
    );
    assert!(said(&server, &["cert", "list", "--all"], "").contains("revoked"));
    assert!(is_published(&server, &first).await && !is_published(&server, &second).await);

    // Whoever is disabled has none any more, nor when he is enabled.
    said(&server, &["user", "disable", "ann"], "");
    said(&server, &["user", "enable", "ann"], "");
    assert_eq!(serials(&server, &[]), [""; 0]);
    // A list that was made is handed out for some seconds.
    eventually("the list has it", PATIENCE, async || is_published(&server, &second).await.then_some(())).await;

    let authority = server.get("/ostler/ca.pem").await;
    let file = std::fs::read_to_string(server.data().join("ca/ca_cert.pem")).unwrap();
    let expected = (200, "application/x-pem-file", file.as_str());
    assert_eq!((authority.status, authority.header("content-type"), authority.text()), expected);
    assert_eq!(server.call("POST", "/ostler/ca.pem", &[], "").await.status, 405);
}

/// The command line without the help of [`Server::cli`].
fn bare(arguments: &[&str], data: &Path) -> (bool, String) {
    let output = program().args(arguments).arg("--data").arg(data).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn the_command_line_finds_its_server_or_says_what_to_do() {
    let nowhere = tempfile::tempdir().unwrap();
    let server = start().await;
    let (well, text) = bare(&["user", "list"], &server.data());
    assert!(well && text.contains("admin"), "{text}");
    let token = server.operator();
    for (arguments, hints) in [
        (&["user", "list"][..], &["operator.token is missing", "--data", "--token"][..]),
        (&["user", "list", "--server", "http://192.0.2.7"], &["--token", "not on this machine"]),
        (&["user", "list", "--server", "http://127.0.0.1:1", "--token", "x"], &["does the server run", "--server"]),
        (&["user", "list", "--server", "http://127.0.0.1:1", "--token", "x\ny"], &["the token is malformed"]),
        (&["user", "list", "--cacert", "/none.pem", "--token", "x"], &["--cacert: /none.pem"]),
    ] {
        let (well, text) = bare(arguments, nowhere.path());
        assert!(!well && hints.iter().all(|hint| text.contains(hint)), "{arguments:?}: {text}");
    }
    // The file that says where the server is counts as long as nothing else is said.
    std::fs::write(nowhere.path().join("operator.url"), format!("http://{}\n", server.address())).unwrap();
    let (well, text) = bare(&["user", "list", "--token", &token], nowhere.path());
    assert!(well && text.contains("admin"), "{text}");
}

#[tokio::test]
async fn the_command_line_trusts_the_authority_of_the_data_directory() {
    let server = Setup::development().arg("--listen-tls").arg("127.0.0.1:0").start().await;
    let address = format!("https://localhost:{}", server.tls_address().port());
    let (well, text) = bare(&["user", "list", "--server", &address], &server.data());
    assert!(well && text.contains("admin"), "{text}");
    let nowhere = tempfile::tempdir().unwrap();
    let elsewhere = ["user", "list", "--server", &address, "--token", &server.operator()];
    let (well, text) = bare(&elsewhere, nowhere.path());
    assert!(!well && text.contains("--cacert"), "{text}");
    let authority = server.data().join("ca/ca_cert.pem");
    let (well, text) = bare(&[&elsewhere[..], &["--cacert", authority.to_str().unwrap()]].concat(), nowhere.path());
    assert!(well && text.contains("admin"), "{text}");
}
