//! The load generator: prepared requests over connections that stay open, one thread, no library between it and the socket.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Not counted at the beginning of a measurement.
const WARM_UP: Duration = Duration::from_millis(150);

/// A connection that stays open.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

/// An answer: its status and its body.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP connection takes the option");
        Self { stream, buffer: vec![0; 64 << 10], filled: 0 }
    }

    /// One request and its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Answer<'_> {
        self.stream.write_all(request).await.expect("the server reads");
        self.filled = 0;
        loop {
            if self.filled == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 4, 0);
            }
            let read = self.stream.read(&mut self.buffer[self.filled..]).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            self.filled += read;
            let Some((status, head, length)) = head(&self.buffer[..self.filled]) else { continue };
            if self.buffer.len() < head + length {
                self.buffer.resize(head + length, 0);
            }
            while self.filled < head + length {
                let read = self.stream.read(&mut self.buffer[self.filled..head + length]).await.expect("the server answers");
                assert!(read > 0, "the server closed the connection");
                self.filled += read;
            }
            assert_eq!(self.filled, head + length, "more than the answer");
            return Answer { status, body: &self.buffer[head..head + length] };
        }
    }
}

/// Status, length of the head and length of the body, once the head is there.
fn head(bytes: &[u8]) -> Option<(u16, usize, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.trim().parse::<usize>().ok();
    let status = number(lines.next()?.get(9..12)?)?;
    const NAME: &[u8] = b"content-length:";
    let length = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then(|| number(value))?
    });
    // An answer without content has no length either (RFC 9110, section 8.6).
    let length = if status == 204 { 0 } else { length.expect("answers have a length") };
    Some((u16::try_from(status).ok()?, end + 4, length))
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n").into_bytes()
}

/// A request with a JSON body.
pub(crate) fn with_body(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A runtime on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made").block_on(work)
}

/// The body of one answer.
pub(crate) fn fetch(address: SocketAddr, path: &str) -> Vec<u8> {
    block_on(async {
        let mut connection = Connection::open(address).await;
        let answer = connection.exchange(&get(path)).await;
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(answer.body));
        answer.body.to_vec()
    })
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Answers a second.
    pub(crate) rate: f64,
    /// All requests, those of the warm-up included.
    pub(crate) requests: u64,
    /// How long each took, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Measured {
    /// Latencies of answers that came within so much time.
    pub(crate) fn new(mut latencies: Vec<Duration>, requests: u64, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        Self { rate: super::report::count(latencies.len()) / elapsed.as_secs_f64(), requests, latencies }
    }

    /// The latency that this share of requests did not exceed, in microseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let latencies: Vec<f64> = self.latencies.iter().map(|latency| latency.as_secs_f64() * 1e6).collect();
        super::report::quantile(&latencies, share)
    }
}

/// Asks again and again over so many connections, and checks each answer.
pub(crate) fn load(address: SocketAddr, path: &str, expected: &[u8], connections: usize, time: Duration) -> Measured {
    let request = get(path);
    block_on(async {
        let open = (0..connections).map(|_| Connection::open(address));
        let open = futures::future::join_all(open).await;
        let begin = Instant::now() + WARM_UP;
        let end = begin + time;
        let work = open.into_iter().map(|mut connection| {
            let request = &request;
            async move {
                let (mut latencies, mut requests) = (Vec::with_capacity(1 << 16), 0);
                loop {
                    let sent = Instant::now();
                    if sent >= end {
                        return (latencies, requests);
                    }
                    let answer = connection.exchange(request).await;
                    assert!(answer.status == 200 && answer.body == expected, "{path}: another answer, {}", answer.status);
                    requests += 1;
                    if sent >= begin {
                        latencies.push(sent.elapsed());
                    }
                }
            }
        });
        let outcomes = futures::future::join_all(work).await;
        let elapsed = begin.elapsed();
        let requests = outcomes.iter().map(|(_, requests)| requests).sum();
        Measured::new(outcomes.into_iter().flat_map(|(latencies, _)| latencies).collect(), requests, elapsed)
    })
}
