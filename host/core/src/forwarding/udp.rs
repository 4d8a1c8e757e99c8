//! Datagrams. Each peer has a socket of its own towards the instance, so that answers find back to it.

use super::activity::{Activity, with_scratch};
use super::plane::{Slot, Way};
use parking_lot::Mutex;
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Datagrams of a peer that wait until it is known where the instance is; more are lost, as on any network.
const WAITING: usize = 8;
/// How often is looked whether the instance of a peer is still where it was.
const LOOK: Duration = Duration::from_secs(15);
/// The pause when nothing can be received.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes datagrams at an address. No other socket may be bound to it, not even one that is willing to share.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    super::both_families(&SockRef::from(&socket), address)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Somebody who sends datagrams.
struct Peer {
    /// Connected to the instance, once it is known where that is.
    instance: OnceLock<UdpSocket>,
    waiting: mpsc::Sender<Vec<u8>>,
    activity: Activity,
}

type Peers = Arc<Mutex<HashMap<SocketAddr, Arc<Peer>>>>;

/// Takes datagrams until it is told to close. Then nothing has the socket any more.
pub(super) async fn serve(socket: UdpSocket, way: Arc<Way>, close: CancellationToken) {
    let (socket, peers, tasks) = (Arc::new(socket), Peers::default(), TaskTracker::new());
    loop {
        let ready = tokio::select! {
            biased;
            () = close.cancelled() => break,
            ready = socket.readable() => ready,
        };
        consume_budget().await;
        let taken = ready.and_then(|()| with_scratch(|scratch| take(&socket, &peers, &way, scratch)));
        match taken {
            Ok(None) => {}
            Ok(Some((from, peer, waiting, slot))) => {
                let association = Association { from, peer, peers: Arc::clone(&peers), socket: Arc::clone(&socket), _slot: slot };
                let (way, close) = (Arc::clone(&way), close.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        () = close.cancelled() => {}
                        () = association.run(&way, waiting) => {}
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, rule = way.rule, "datagrams cannot be taken at present");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

type New = (SocketAddr, Arc<Peer>, mpsc::Receiver<Vec<u8>>, Slot);

/// Takes a datagram, if there is one, and passes it on. A peer that is new has to be associated.
fn take(socket: &UdpSocket, peers: &Peers, way: &Way, scratch: &mut [u8]) -> io::Result<Option<New>> {
    let (length, from) = match socket.try_recv_from(scratch) {
        Ok(received) => received,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let datagram = scratch.get(..length).unwrap_or_default();
    let mut peers = peers.lock();
    if let Some(peer) = peers.get(&from) {
        match peer.instance.get() {
            Some(instance) => peer.pass(instance, datagram, way),
            None => _ = peer.waiting.try_send(datagram.to_vec()),
        }
        return Ok(None);
    }
    let Some(slot) = way.slot() else { return Ok(None) };
    let (waiting, receiver) = mpsc::channel(WAITING);
    let _ = waiting.try_send(datagram.to_vec());
    let peer = Arc::new(Peer { instance: OnceLock::new(), waiting, activity: Activity::new() });
    peers.insert(from, Arc::clone(&peer));
    Ok(Some((from, peer, receiver, slot)))
}

impl Peer {
    /// Sends the instance a datagram, or loses it: where there is no room, and where the instance said of an earlier one that
    /// nobody listens.
    fn pass(&self, instance: &UdpSocket, datagram: &[u8], way: &Way) {
        self.activity.stir();
        if let Ok(sent) = instance.try_send(datagram) {
            way.plane.meter.to.fetch_add(sent as u64, Ordering::Relaxed);
        }
    }
}

/// A peer and its instance.
struct Association {
    from: SocketAddr,
    peer: Arc<Peer>,
    peers: Peers,
    socket: Arc<UdpSocket>,
    _slot: Slot,
}

impl Drop for Association {
    fn drop(&mut self) {
        self.peers.lock().remove(&self.from);
    }
}

impl Association {
    /// Passes datagrams both ways until nothing comes any more or the instance is elsewhere.
    async fn run(&self, way: &Way, mut waiting: mpsc::Receiver<Vec<u8>>) {
        let place = match way.place().await {
            Ok(place) => place,
            Err(error) => {
                tracing::debug!(%error, rule = way.rule, "a datagram leads nowhere");
                return way.refused();
            }
        };
        let instance = match connect(place).await {
            Ok(instance) => instance,
            Err(error) => {
                tracing::debug!(%error, rule = way.rule, "a datagram leads nowhere");
                return way.refused();
            }
        };
        // The others are sent at once; a new socket has to be waited for.
        while let Ok(datagram) = waiting.try_recv() {
            self.peer.activity.stir();
            if let Ok(sent) = instance.send(&datagram).await {
                way.plane.meter.to.fetch_add(sent as u64, Ordering::Relaxed);
            }
        }
        let instance = self.peer.instance.get_or_init(|| instance);
        while let Ok(datagram) = waiting.try_recv() {
            self.peer.pass(instance, &datagram, way);
        }
        tokio::select! {
            () = self.answers(instance, way) => {}
            () = self.peer.activity.silence(way.plane.tuning.peer_silence) => {}
            () = moved(way, place) => {}
        }
    }

    async fn answers(&self, instance: &UdpSocket, way: &Way) {
        loop {
            if instance.readable().await.is_err() {
                return;
            }
            consume_budget().await;
            with_scratch(|scratch| {
                // An error says that nobody listens for an earlier datagram: the next one may fare better.
                let Ok(length) = instance.try_recv(scratch) else { return };
                self.peer.activity.stir();
                if let Ok(sent) = self.socket.try_send_to(scratch.get(..length).unwrap_or_default(), self.from) {
                    way.plane.meter.from.fetch_add(sent as u64, Ordering::Relaxed);
                }
            });
        }
    }
}

async fn connect(place: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if place.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let instance = UdpSocket::bind(any).await?;
    instance.connect(place).await?;
    Ok(instance)
}

/// Returns when the instance is not there any more.
async fn moved(way: &Way, place: SocketAddr) {
    loop {
        tokio::time::sleep(LOOK).await;
        match way.place().await {
            Ok(now) if now == place => {}
            // Whoever can be reached may go on while it cannot be asked where he is.
            Err(super::plane::Nowhere::Unknown(_)) => {}
            _ => return,
        }
    }
}
