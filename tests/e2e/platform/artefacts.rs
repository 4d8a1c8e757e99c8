//! A server of images on loopback: good ones, and such as nobody should be given.

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The server, which ends with it.
pub(super) struct Artefacts {
    pub(super) address: SocketAddr,
    directory: TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Artefacts {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Artefacts {
    /// Serves this image as `tiny.qcow2`, and besides: `tiny.tar.gz` with the same in it, `empty.qcow2`, and the bad ones of [`BAD`].
    pub(super) async fn serve(image: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::copy(image, at("tiny.qcow2")).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(directory.path()).output().unwrap();
            assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run("tar", &["-czf", "tiny.tar.gz", "tiny.qcow2"]);
        run("qemu-img", &["create", "-q", "-f", "qcow2", "empty.qcow2", "1M"]);
        run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", "backed.qcow2", "1M"]);
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", "data_file=/tmp/ostler-test-data,data_file_raw=on", "data.qcow2", "1M"],
        );
        let _ = std::fs::remove_file("/tmp/ostler-test-data");
        std::fs::create_dir(at("inner")).unwrap();
        std::fs::copy(image, at("inner/x.qcow2")).unwrap();
        run("tar", &["-czf", "escape.tar.gz", "--transform", "s,^,../../,", "-P", "tiny.qcow2"]);
        std::os::unix::fs::symlink("/etc/shadow", at("shadow.raw")).unwrap();
        run("tar", &["-czf", "link.tar.gz", "shadow.raw"]);
        std::fs::write(at("page.qcow2"), "<!DOCTYPE html><title>404</title>".repeat(100)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let redirect = |to: &'static str| get(move || async move { Redirect::temporary(to) });
        let router = Router::new()
            .route("/{name}", get(file))
            .route("/to/metadata", redirect("http://169.254.169.254/latest/meta-data/"))
            .route("/to/loopback", redirect("http://127.0.0.2:9/tiny.qcow2"))
            .route("/to/file", redirect("file:///etc/shadow"))
            .with_state(directory.path().to_owned());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, directory, serving }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(super) fn sha256(&self, name: &str) -> String {
        use sha2::{Digest, Sha256};
        let bytes = std::fs::read(self.directory.path().join(name)).unwrap();
        let digest = Sha256::digest(bytes);
        digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }
}

async fn file(State(directory): State<PathBuf>, UrlPath(name): UrlPath<String>) -> Response {
    match tokio::fs::read(directory.join(&name)).await {
        Ok(bytes) => bytes.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What must not become an image.
pub(super) const BAD: [&str; 9] = [
    "backed.qcow2",
    "data.qcow2",
    "escape.tar.gz",
    "link.tar.gz",
    "page.qcow2",
    "missing.qcow2",
    "to/metadata",
    "to/loopback",
    "to/file",
];
