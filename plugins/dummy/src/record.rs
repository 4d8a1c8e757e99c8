//! A node as it is kept: compact, quick to read, and with the times from which its state follows.

use ostler_driver::{Action, Address, Error, Node, NodeState, Reach, Result};
use serde::{Deserialize, Serialize};

/// The first byte of a kept node.
const FORMAT: u8 = 1;

/// What a node is when it is not on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    Running,
    Stopped,
    Suspended,
}

/// How it gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Via {
    Pending,
    Starting,
    Rebooting,
}

/// An address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Net {
    pub(crate) ip: String,
    pub(crate) public: bool,
    pub(crate) network: Option<String>,
    pub(crate) mac: Option<String>,
}

impl Net {
    pub(crate) fn public(ip: String) -> Self {
        Self { ip, public: true, network: None, mac: None }
    }
}

/// A node. Times are microseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) token: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) size: Option<String>,
    pub(crate) nets: Vec<Net>,
    pub(crate) created_at: Option<u64>,
    pub(crate) phase: Phase,
    pub(crate) via: Option<Via>,
    /// When it set out.
    pub(crate) since: u64,
    pub(crate) extra: String,
}

/// Where one of the first nodes was, and is no more.
pub(crate) const TOMBSTONE: [u8; 1] = [0];

impl Record {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_extend(self, vec![FORMAT]).map_err(|error| Error::Failed(format!("a node cannot be kept: {error}")))
    }

    /// None for a tombstone.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        match bytes.split_first() {
            Some((&FORMAT, record)) => match postcard::from_bytes(record) {
                Ok(record) => Ok(Some(record)),
                Err(error) => Err(Error::Failed(format!("a kept node cannot be read: {error}"))),
            },
            _ if bytes == TOMBSTONE => Ok(None),
            _ => Err(Error::Failed("a kept node has an unknown format".to_owned())),
        }
    }

    /// The node, as it is when nothing moves any more; see [`Record::moving`].
    pub(crate) fn settled(self) -> Node {
        let address = |net: Net| Address {
            ip: net.ip,
            reach: if net.public { Reach::Public } else { Reach::Private },
            network: net.network,
            mac: net.mac,
        };
        Node {
            id: self.id,
            name: self.name,
            token: self.token,
            state: match self.phase {
                Phase::Running => NodeState::Running,
                Phase::Stopped => NodeState::Stopped,
                Phase::Suspended => NodeState::Suspended,
            },
            state_detail: None,
            image_id: self.image,
            size_id: self.size,
            addresses: self.nets.into_iter().map(address).collect(),
            created_at: self.created_at,
            extra: self.extra,
        }
    }

    /// Until when it is on its way, and what it is until then.
    pub(crate) fn moving(&self, boot_us: u64) -> Option<(u64, NodeState)> {
        let state = match self.via? {
            Via::Pending => NodeState::Pending,
            Via::Starting => NodeState::Starting,
            Via::Rebooting => NodeState::Rebooting,
        };
        Some((self.since.saturating_add(boot_us), state))
    }

    /// The node as it is now.
    pub(crate) fn node(self, now: u64, boot_us: u64) -> Node {
        let moving = self.moving(boot_us).filter(|(end, _)| now < *end);
        let node = self.settled();
        match moving {
            Some((_, state)) => Node { state, ..node },
            None => node,
        }
    }

    /// Starts an action.
    pub(crate) fn act(&mut self, action: &Action, now: u64, boot_us: u64) -> Result<()> {
        let (from, to, via) = match action {
            Action::Start => (Phase::Stopped, Phase::Running, Some(Via::Starting)),
            Action::Stop(_) => (Phase::Running, Phase::Stopped, None),
            Action::Reboot(_) => (Phase::Running, Phase::Running, Some(Via::Rebooting)),
            Action::Suspend => (Phase::Running, Phase::Suspended, None),
            Action::Resume => (Phase::Suspended, Phase::Running, None),
            Action::Other(name) => return Err(Error::unsupported(&format!("action:{name}"))),
        };
        if let Some((_, state)) = self.moving(boot_us).filter(|(end, _)| now < *end) {
            return Err(Error::Conflict(format!("node `{}` is {state:?} still", self.id)));
        }
        if self.phase != from {
            return Err(Error::Conflict(format!("node `{}` is {:?}, not {from:?}", self.id, self.phase)));
        }
        (self.phase, self.via, self.since) = (to, via, now);
        Ok(())
    }
}
