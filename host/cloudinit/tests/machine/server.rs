//! A server that takes reports and gives scripts away.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ostler_cloudinit::{Limits, Message};

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `POST /reports`
    pub(crate) line: String,
    /// By their names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    /// For the reports to come; afterwards 204.
    answers: VecDeque<u16>,
    files: HashMap<String, (u16, String)>,
}

pub(crate) struct Server {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &shared);
            }
        });
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Answers reports with these codes first.
    pub(crate) fn answers(&self, codes: &[u16]) {
        self.state().answers.extend(codes);
    }

    /// Answers GET of a path with a code and a text, which for 3xx is where to.
    pub(crate) fn file(&self, path: &str, code: u16, text: &str) -> String {
        self.state().files.insert(path.into(), (code, text.into()));
        format!("{}{path}", self.address)
    }

    /// All that came since it was asked last.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().requests)
    }

    /// The reports that came since it was asked last.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let posts = self.requests().into_iter().filter(|request| request.line.starts_with("POST"));
        posts
            .map(|request| {
                let text = String::from_utf8_lossy(&request.body);
                Message::parse(&request.body, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {text}"))
            })
            .collect()
    }
}

fn answer(stream: &TcpStream, state: &Mutex<State>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    let line = first.trim_end().trim_end_matches(" HTTP/1.1").trim_end_matches(" HTTP/1.0").to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        let Some((name, value)) = text.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut state = state.lock().unwrap();
    let (code, text) = match line.strip_prefix("GET ") {
        Some(path) => state.files.get(path).cloned().unwrap_or((404, String::new())),
        None => (state.answers.pop_front().unwrap_or(204), String::new()),
    };
    state.requests.push(Request { line, headers, body });
    drop(state);
    let location = if (300..400).contains(&code) { format!("Location: {text}\r\n") } else { String::new() };
    let _ = write!(
        &mut &*stream,
        "HTTP/1.1 {code} Something\r\n{location}Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
}
