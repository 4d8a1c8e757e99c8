//! The reference: the same answers from a plain axum handler in a process of its own.

use crate::client::fetch;
use crate::process::{Listening, Scratch, Server, THREADS};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// The server's clouds, and how many nodes each has.
const CLOUDS: [(&str, usize); 3] = [("fake_driver", 2), ("hundred", 100), ("large", 10_000)];

#[derive(Serialize, Deserialize)]
struct Listing {
    nodes: Vec<Node>,
    status: String,
}

#[derive(Serialize, Deserialize)]
struct Node {
    cloud_type: String,
    extra: Value,
    id: String,
    name: String,
    private_ips: Vec<String>,
    provider: String,
    public_ips: Vec<String>,
    state: u8,
    uuid: String,
}

/// The process.
pub(crate) struct Reference(Listening);

impl std::ops::Deref for Reference {
    type Target = Listening;

    fn deref(&self) -> &Listening {
        &self.0
    }
}

impl Reference {
    /// Starts it with what the server answers, and checks that it answers the same bytes.
    pub(crate) fn spawn(scratch: &Scratch, server: &Server) -> Self {
        let answers = CLOUDS.map(|(cloud, nodes)| (nodes, fetch(server.address, &format!("/api/v1/nodes/{cloud}"))));
        let [(_, first), ..] = &answers;
        assert_eq!(first.len(), 683, "the documented length of the answer with two nodes");
        let mut directory = None;
        for (nodes, answer) in &answers {
            directory = scratch.file(&format!("{nodes}.json"), answer).parent().map(Path::to_owned);
        }
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg("--native").arg(directory.expect("a file lies in a directory")).env("TOKIO_WORKER_THREADS", THREADS);
        let reference = Self(Listening::spawn(&mut command));
        for (nodes, answer) in &answers {
            assert!(fetch(reference.address, &format!("/nodes/{nodes}")) == *answer, "the reference answers something else");
        }
        reference
    }
}

/// Serves until the standard input ends, which it does with the parent.
pub(crate) fn serve(directory: &Path) {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let mut router = Router::new().route("/healthz", get(|| async { "ok\n" }));
    for (_, nodes) in CLOUDS {
        let text = std::fs::read(directory.join(format!("{nodes}.json"))).expect("the parent wrote it");
        let listing: Listing = serde_json::from_slice(&text).expect("the server answers JSON");
        router = router.route(&format!("/nodes/{nodes}"), get(list).with_state(Arc::new(listing)));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        println!("listening on http://{}", listener.local_addr().expect("it is bound"));
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await.expect("it serves until it is killed");
    });
}

async fn list(State(listing): State<Arc<Listing>>) -> Response {
    let body = serde_json::to_vec_pretty(&*listing).expect("it came from JSON");
    Response::builder().header(CONTENT_TYPE, "application/json").body(body.into()).expect("the parts are valid")
}
