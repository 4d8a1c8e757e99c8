//! Requests to the real services, and a proxy that loses answers.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use ostler_driver::http::{Answer, Outgoing};
use ostler_driver::testing::Cloud;
use ostler_driver::{Error, Result};

use super::DEADLINE;

thread_local! {
    /// Where requests to an authority go instead.
    static ROUTES: RefCell<BTreeMap<String, String>> = RefCell::default();
    /// What is answered to requests that end with a path, without asking.
    static REPLACED: RefCell<BTreeMap<String, &'static str>> = RefCell::default();
    /// Method and address of what was sent.
    static SENT: RefCell<Vec<String>> = RefCell::default();
}

/// Sends requests of this thread to another place; `None` ends it.
pub(super) fn route(authority: &str, to: Option<&str>) {
    ROUTES.with_borrow_mut(|routes| match to {
        Some(to) => drop(routes.insert(authority.to_owned(), to.to_owned())),
        None => drop(routes.remove(authority)),
    });
}

/// Answers requests of this thread whose address ends like this with a JSON text.
pub(super) fn replace(end: &str, with: &'static str) {
    REPLACED.with_borrow_mut(|replaced| {
        replaced.insert(end.to_owned(), with);
    });
}

/// What this thread has sent since the last time.
pub(super) fn sent() -> Vec<String> {
    SENT.take()
}

/// A cloud whose requests go out.
pub(super) fn cloud() -> Cloud {
    Cloud::new("live").answer_http(|_, request| send(request))
}

/// Plain HTTP/1.0 over a new connection: an answer ends with it.
fn send(request: &Outgoing) -> Result<Answer> {
    SENT.with_borrow_mut(|sent| sent.push(format!("{} {}", request.method, request.url)));
    let found = REPLACED.with_borrow(|all| all.iter().find(|(end, _)| request.url.ends_with(*end)).map(|(_, with)| *with));
    if let Some(with) = found {
        return Ok(Answer::new(200, with));
    }
    let (authority, path) = request.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let length = request.body.len();
    let mut head = format!("{} /{path} HTTP/1.0\r\nhost: {authority}\r\ncontent-length: {length}\r\n", request.method);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let to = ROUTES.with_borrow(|routes| routes.get(authority).cloned()).unwrap_or_else(|| authority.to_owned());
    let mut stream = TcpStream::connect(to)?;
    // Longer than the driver would wait: a busy machine is no fault.
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&request.body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| Error::Transient("the answer broke off".to_owned()))
}

/// An answer, if it is whole.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let answer = Answer { status, headers: head.lines().skip(1).filter_map(header).collect(), body: bytes[end + 4..].to_vec() };
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    (length.is_none_or(|length: usize| answer.body.len() == length)).then_some(answer)
}

/// Where an exchange breaks off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cut {
    /// After this part of the request: the service never has the whole of it.
    Request(f64),
    /// When the service has the request and no answer has come yet.
    Working,
    /// After this part of the answer.
    Answer(f64),
}

/// Between the driver and a service: passes exchanges on, and breaks off the orders that it is told to.
pub(super) struct Proxy {
    pub(super) authority: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cuts: Mutex<VecDeque<Cut>>,
    /// Exchanges that the service has not finished.
    open: Mutex<usize>,
    closed: Condvar,
}

impl Proxy {
    /// Before the service at `to`; exchanges whose request begins with `orders` can be cut.
    pub(super) fn before(to: &str, orders: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let (kept, to) = (Arc::clone(&shared), to.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (shared, to) = (Arc::clone(&kept), to.clone());
                *shared.open.lock().unwrap() += 1;
                std::thread::spawn(move || {
                    // What fails is an exchange that breaks off, and that is what is being tried.
                    let _ = client.and_then(|client| shared.pass(client, &to, orders));
                    *shared.open.lock().unwrap() -= 1;
                    shared.closed.notify_all();
                });
            }
        });
        Self { authority, shared }
    }

    /// The next order breaks off here.
    pub(super) fn cut(&self, cut: Cut) {
        self.shared.cuts.lock().unwrap().push_back(cut);
    }

    /// Cuts that are still to come.
    pub(super) fn pending(&self) -> usize {
        self.shared.cuts.lock().unwrap().len()
    }

    /// Nothing more breaks off.
    pub(super) fn clear(&self) {
        self.shared.cuts.lock().unwrap().clear();
    }

    /// Waits until the service has done all that it was sent.
    pub(super) fn settle(&self) {
        let open = self.shared.open.lock().unwrap();
        let (_open, waited) = self.shared.closed.wait_timeout_while(open, DEADLINE, |open| *open > 0).unwrap();
        assert!(!waited.timed_out(), "the service is still at it");
    }
}

impl Shared {
    fn pass(&self, mut client: TcpStream, to: &str, orders: &str) -> std::io::Result<()> {
        client.set_read_timeout(Some(DEADLINE))?;
        let request = read_request(&mut client)?;
        let cut = if request.starts_with(orders.as_bytes()) { self.cuts.lock().unwrap().pop_front() } else { None };
        let mut service = TcpStream::connect(to)?;
        service.set_read_timeout(Some(DEADLINE))?;
        match cut {
            Some(Cut::Request(part)) => {
                service.write_all(&request[..part_of(request.len(), part)])?;
                service.shutdown(Shutdown::Both)?;
                return client.shutdown(Shutdown::Both);
            }
            _ => service.write_all(&request)?,
        }
        if cut == Some(Cut::Working) {
            client.shutdown(Shutdown::Both)?;
        }
        let mut answer = Vec::new();
        service.read_to_end(&mut answer)?;
        match cut {
            Some(Cut::Working) => return Ok(()),
            Some(Cut::Answer(part)) => client.write_all(&answer[..part_of(answer.len(), part)])?,
            _ => client.write_all(&answer)?,
        }
        client.shutdown(Shutdown::Both)
    }
}

/// So much of the whole, and never all of it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn part_of(whole: usize, part: f64) -> usize {
    ((whole as f64 * part) as usize).min(whole - 1)
}

fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = client.read(&mut buffer)?;
        request.extend_from_slice(&buffer[..read]);
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
        if request.len() >= end + 4 + length || read == 0 {
            return Ok(request);
        }
    }
}

/// Serves one content to whoever asks, as an image's origin; the address.
pub(super) fn origin(content: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = read_request(&mut client).and_then(|_| {
                let head = format!(
                    "HTTP/1.0 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
                    content.len()
                );
                client.write_all(head.as_bytes())?;
                client.write_all(content)
            });
        }
    });
    format!("http://{authority}/image")
}

/// Numbers that look random and repeat with their seed: xorshift.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// From 0 to 1.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn part(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        part_of(end, self.part())
    }
}
