//! Connections.

use super::activity::{Activity, with_scratch};
use super::plane::Way;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that wait for their acceptance, at most.
const BACKLOG: u32 = 1024;
/// The first pause when nothing can be accepted, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// When a silent connection is probed, how often, and how many probes may be lost.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// Listens at an address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A host that starts again finds connections of the run before that have not quite ended.
    socket.set_reuseaddr(true)?;
    super::both_families(&SockRef::from(&socket), address)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until it is told to close. Each ends by itself, or when it is cut.
pub(super) async fn serve(
    listener: TcpListener,
    way: Arc<Way>,
    connections: TaskTracker,
    close: CancellationToken,
    cut: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = close.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let client = match accepted {
            Ok((client, _)) => client,
            // It has gone while it waited.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, rule = way.rule, "connections cannot be accepted at present");
                }
                tokio::select! {
                    () = close.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        let Some(slot) = way.slot() else {
            reset(&client);
            continue;
        };
        let (way, cut) = (Arc::clone(&way), cut.clone());
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = carry(&client, &way, &cut).await {
                tracing::debug!(%error, rule = way.rule, "a connection was not brought to its end");
                reset(&client);
            }
        });
    }
}

/// Carries one connection to its end, or until it is cut.
async fn carry(client: &TcpStream, way: &Way, cut: &CancellationToken) -> io::Result<()> {
    let tuning = &way.plane.tuning;
    let connected = async {
        let place = way.place().await.map_err(|error| io::Error::other(error.to_string()))?;
        timeout(tuning.connect, TcpStream::connect(place)).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    };
    let connected = tokio::select! {
        () = cut.cancelled() => Err(ErrorKind::ConnectionAborted.into()),
        connected = connected => connected,
    };
    let instance = connected.inspect_err(|_| way.refused())?;
    tune(client)?;
    tune(&instance)?;
    let (activity, meter) = (Activity::new(), &way.plane.meter);
    let moved = tokio::select! {
        moved = futures::future::try_join(
            pump(client, &instance, &meter.to, &activity),
            pump(&instance, client, &meter.from, &activity),
        ) => moved.map(|_| ()),
        () = cut.cancelled() => Err(ErrorKind::ConnectionAborted.into()),
        () = activity.silence(tuning.silence) => Err(ErrorKind::TimedOut.into()),
    };
    if moved.is_err() {
        reset(&instance);
    }
    moved
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// What is closed after this is reset: the other side does not take it for a proper end.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// What a turn came to.
enum Turn {
    /// Nothing was there after all.
    Idle,
    /// So much was read, of which this much could not be written.
    Moved(usize, Vec<u8>),
    /// There will be no more.
    End,
}

/// Moves bytes one way until there are no more, and then says so to the receiver.
async fn pump(from: &TcpStream, to: &TcpStream, count: &AtomicU64, activity: &Activity) -> io::Result<()> {
    loop {
        from.readable().await?;
        // What the receiver does not take is left with the sender.
        to.writable().await?;
        consume_budget().await;
        match with_scratch(|scratch| turn(from, to, scratch))? {
            Turn::Idle => {}
            Turn::Moved(read, rest) => {
                write_all(to, &rest).await?;
                count.fetch_add(read as u64, Ordering::Relaxed);
                activity.stir();
            }
            Turn::End => {
                activity.stir();
                return match SockRef::from(to).shutdown(Shutdown::Write) {
                    Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
                    _ => Ok(()),
                };
            }
        }
    }
}

fn turn(from: &TcpStream, to: &TcpStream, scratch: &mut [u8]) -> io::Result<Turn> {
    let read = match from.try_read(scratch) {
        Ok(0) => return Ok(Turn::End),
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Idle),
        Err(error) => return Err(error),
    };
    let data = scratch.get(..read).unwrap_or_default();
    let written = match to.try_write(data) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    Ok(Turn::Moved(read, data.get(written..).unwrap_or_default().to_vec()))
}

async fn write_all(to: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
