//! What a forwarded port costs, against a direct connection to the same program.

use crate::report::{Bar, Report, median, quantile};
use ostler_core::forwarding::{NewRule, Protocol, Settings, played};
use ostler_core::identity::{Principal, Role, Scheme};
use ostler_store::{Options, Store};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_millis(200);
/// Bytes of one transfer, and of one write.
const BYTES: usize = 128 << 20;
const PIECE: usize = 256 << 10;

/// Figures of one turn.
struct Turn {
    megabytes: f64,
    /// In microseconds, sorted.
    trips: Vec<f64>,
    connections: Vec<f64>,
}

/// Runs the section.
pub(crate) fn run(report: &mut Report) {
    report.section("Forwarding, on the loopback, in this process");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    let (direct, forwarded) = runtime.block_on(async {
        let programs = [serve(echo).await, serve(sink).await];
        let store = Store::open("sqlite::memory:", &Options::default()).await.expect("a store opens in memory");
        let settings = Settings { listen: Ipv4Addr::LOCALHOST.into(), ports: 20_000..=29_999, ..Settings::default() };
        let forwarding = played::forwarding(Ipv4Addr::LOCALHOST.into(), store, settings);
        let who = Principal::new("bench", vec![Role::Admin], Scheme::Operator);
        let mut ports = Vec::new();
        for program in &programs {
            let port_to = program.port();
            let new = NewRule { cloud: "lab".into(), instance: 1, protocol: Protocol::Tcp, port_to, port_from: None };
            let rule = forwarding.create(&who, new, None).await.expect("a rule can be made");
            ports.push(SocketAddr::from((Ipv4Addr::LOCALHOST, rule.port_from)));
        }
        let (mut direct, mut forwarded) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            direct.push(turn(&programs).await);
            forwarded.push(turn(&ports).await);
        }
        (direct, forwarded)
    });
    let (near, far) = (line(report, "direct", &direct), line(report, "forwarded", &forwarded));
    report.goal("forwarded bytes over direct ones", far.0 / near.0, Bar::AtLeast(0.4), Bar::AtLeast(0.15));
    report.goal("a forwarded round trip over a direct one, times", far.1 / near.1, Bar::AtMost(2.5), Bar::AtMost(6.0));
}

/// Reports; the throughput and the middle round trip.
fn line(report: &mut Report, name: &str, turns: &[Turn]) -> (f64, f64) {
    let of = |share, figures: fn(&Turn) -> &[f64]| median(turns.iter().map(|turn| quantile(figures(turn), share)));
    let megabytes = median(turns.iter().map(|turn| turn.megabytes));
    let trip = of(0.5, |turn| &turn.trips);
    let figures = [
        ("MB/s", megabytes),
        ("round trip p50 µs", trip),
        ("p99 µs", of(0.99, |turn| &turn.trips)),
        ("connection p50 µs", of(0.5, |turn| &turn.connections)),
        ("p99 µs of it", of(0.99, |turn| &turn.connections)),
    ];
    report.line(&format!("forwarding: {name}"), &figures);
    (megabytes, trip)
}

/// A program on the loopback.
async fn serve<F>(handle: fn(TcpStream) -> F) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(handle(stream));
        }
    });
    address
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await.map(|_| ())
}

/// Takes all, and then says so.
async fn sink(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE];
    while stream.read(&mut buffer).await? > 0 {}
    stream.write_all(b"x").await
}

/// One turn with the two programs.
async fn turn(addresses: &[SocketAddr]) -> Turn {
    let [echo, sink] = addresses else { panic!("two programs") };
    let piece = vec![7; PIECE];
    let mut stream = connect(*sink).await;
    let began = Instant::now();
    for _ in 0..BYTES / PIECE {
        stream.write_all(&piece).await.expect("it is taken");
    }
    stream.shutdown().await.expect("the end can be told");
    stream.read_exact(&mut [0]).await.expect("all has arrived");
    let megabytes = f64::from(u32::try_from(BYTES / 1_000_000).unwrap_or(0)) / began.elapsed().as_secs_f64();

    let mut stream = connect(*echo).await;
    let mut trips = Vec::new();
    let began = Instant::now();
    while began.elapsed() < TURN {
        trips.push(trip(&mut stream).await);
    }
    let mut connections = Vec::new();
    let began = Instant::now();
    while began.elapsed() < TURN {
        let opened = Instant::now();
        let mut stream = connect(*echo).await;
        trip(&mut stream).await;
        connections.push(opened.elapsed().as_secs_f64() * 1e6);
    }
    trips.sort_by(f64::total_cmp);
    connections.sort_by(f64::total_cmp);
    Turn { megabytes, trips, connections }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.set_nodelay(true).expect("it is a connection");
    stream
}

/// There and back, in microseconds.
async fn trip(stream: &mut TcpStream) -> f64 {
    let mut buffer = [7; 64];
    let sent = Instant::now();
    stream.write_all(&buffer).await.expect("it is taken");
    stream.read_exact(&mut buffer).await.expect("it comes back");
    sent.elapsed().as_secs_f64() * 1e6
}
