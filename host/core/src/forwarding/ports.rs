//! The ports that this host has open.

use super::plane::{Plane, Way};
use super::{Protocol, Settings, tcp, udp};
use ostler_store::{Forward, ForwardProtocol};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A port that is bound; what comes waits until it is opened, or is turned away when this is dropped.
pub(super) enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// A port that is open.
struct Opened {
    instance: i64,
    close: CancellationToken,
    cut: CancellationToken,
    serving: JoinHandle<()>,
    connections: TaskTracker,
}

/// The ports that this host has open, by rule.
pub(super) struct Ports {
    plane: Arc<Plane>,
    settings: Settings,
    stop: CancellationToken,
    open: HashMap<i64, Opened>,
    /// Rules whose port could not be opened, of which was told.
    failing: BTreeSet<i64>,
}

impl Ports {
    /// None. All that will be opened end with the token.
    pub(super) fn new(plane: Arc<Plane>, settings: Settings, stop: CancellationToken) -> Self {
        Self { plane, settings, stop, open: HashMap::new(), failing: BTreeSet::new() }
    }

    /// Binds a port.
    pub(super) fn bind(&self, protocol: Protocol, port: u16) -> io::Result<Bound> {
        let address = SocketAddr::new(self.settings.listen, port);
        Ok(match protocol {
            Protocol::Tcp => Bound::Tcp(tcp::bind(address)?),
            Protocol::Udp => Bound::Udp(udp::bind(address)?),
        })
    }

    /// Opens a bound port.
    pub(super) fn open(&mut self, forward: &Forward, bound: Bound) {
        let way = Way::new(&self.plane, forward.id, forward.instance, forward.port_to, self.settings.connections);
        let (way, close, cut, connections) =
            (Arc::new(way), self.stop.child_token(), self.stop.child_token(), TaskTracker::new());
        let serving = match bound {
            Bound::Tcp(listener) => tokio::spawn(tcp::serve(listener, way, connections.clone(), close.clone(), cut.clone())),
            Bound::Udp(socket) => tokio::spawn(udp::serve(socket, way, close.clone())),
        };
        self.failing.remove(&forward.id);
        self.open.insert(forward.id, Opened { instance: forward.instance, close, cut, serving, connections });
    }

    /// Opens the port of a rule, if it is not open. That it does not succeed is told once.
    pub(super) fn ensure(&mut self, forward: &Forward) {
        if self.open.contains_key(&forward.id) {
            return;
        }
        let protocol = forward.protocol.into();
        match self.bind(protocol, forward.port_from) {
            Ok(bound) => {
                if self.failing.contains(&forward.id) {
                    tracing::info!(rule = forward.id, port = forward.port_from, "the port of a forwarding rule is open now");
                }
                self.open(forward, bound);
            }
            Err(error) => {
                if self.failing.insert(forward.id) {
                    let port = forward.port_from;
                    tracing::error!(%error, rule = forward.id, port, "the port of a forwarding rule cannot be opened; this is tried again");
                }
            }
        }
    }

    /// Closes the port of a rule, if it is open. Nobody listens any more when this returns; connections are given their time.
    pub(super) async fn close(&mut self, rule: i64) {
        self.failing.remove(&rule);
        let Some(Opened { close, cut, serving, connections, .. }) = self.open.remove(&rule) else { return };
        close.cancel();
        if serving.await.is_err() {
            tracing::error!(rule, "a port was not served properly");
        }
        connections.close();
        let time = self.plane.tuning.drain;
        tokio::spawn(async move {
            let _ = tokio::time::timeout(time, connections.wait()).await;
            cut.cancel();
        });
    }

    /// The rules whose port is open and whose instance is this one.
    pub(super) fn of(&self, instance: i64) -> Vec<i64> {
        self.open.iter().filter(|(_, opened)| opened.instance == instance).map(|(rule, _)| *rule).collect()
    }

    /// Makes it so that the ports of these rules are open, as far as they can be, and no others.
    pub(super) async fn keep(&mut self, forwards: &[Forward]) {
        let wanted: BTreeSet<i64> = forwards.iter().map(|forward| forward.id).collect();
        // First, since a port may have another rule now.
        let gone: Vec<i64> = self.open.keys().copied().filter(|rule| !wanted.contains(rule)).collect();
        for rule in gone {
            self.close(rule).await;
        }
        self.failing.retain(|rule| wanted.contains(rule));
        for forward in forwards {
            self.ensure(forward);
        }
    }
}

impl From<ForwardProtocol> for Protocol {
    fn from(protocol: ForwardProtocol) -> Self {
        match protocol {
            ForwardProtocol::Tcp => Self::Tcp,
            ForwardProtocol::Udp => Self::Udp,
        }
    }
}

impl From<Protocol> for ForwardProtocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}
