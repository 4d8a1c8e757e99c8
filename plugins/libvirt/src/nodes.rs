//! Nodes: domains with their addresses.

use ostler_driver::hypervisor_types::{Domain, DomainState, Power};
use ostler_driver::{Action, Address, Error, Extra, Node, NodeState, Reach, Result, is_token};
use serde_json::{Map, Value, json};

use crate::driver::Libvirt;
use crate::identity;
use crate::orders::{IMAGE, METADATA, SIZE};

/// What the capability calls a domain that is to be started and was not, because the host ended in between.
const TO_START: &str = "to-start";
/// What it calls one that is being deleted.
const DELETING: &str = "deleting";

impl Libvirt {
    /// One node.
    pub(crate) fn node(&self, id: &str) -> Result<Node> {
        let domain = self.hypervisor().get_domain(id).map_err(|error| match error {
            Error::NotFound(_) => Error::not_found("node", &id.chars().take(100).collect::<String>()),
            error => error,
        })?;
        self.node_of(&domain)
    }

    /// The node of a token. Where there is no domain, disks may be left of an order that broke off.
    pub(crate) fn by_token(&self, token: &str) -> Result<Option<Node>> {
        if !is_token(token) {
            return Ok(None);
        }
        let uuid = identity::node(&self.cloud(), token);
        match self.hypervisor().get_domain(&uuid) {
            Ok(domain) => self.node_of(&domain).map(Some),
            Err(Error::NotFound(_)) => self.sweep(&uuid).map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// The node of a domain; one whose start is outstanding is started: whoever ordered it waits for that.
    pub(crate) fn node_of(&self, domain: &Domain) -> Result<Node> {
        if domain.state != DomainState::Other(TO_START.to_owned()) {
            return self.show(domain);
        }
        match self.hypervisor().set_power(&domain.uuid, &Power::Start) {
            Ok(()) | Err(Error::Conflict(_)) => self.show(&self.hypervisor().get_domain(&domain.uuid)?),
            Err(error @ (Error::Transient(_) | Error::NotFound(_))) => Err(error),
            Err(error) => {
                let mut node = self.show(domain)?;
                node.state = NodeState::Failed;
                node.state_detail = Some(format!("it cannot be started: {}", error.message()));
                Ok(node)
            }
        }
    }

    /// What is known of a domain, and its addresses where it has any.
    pub(crate) fn show(&self, domain: &Domain) -> Result<Node> {
        let label = |wanted: &str| domain.labels.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone());
        let mut node = Node::new(&domain.uuid, &domain.name).with_state(state(&domain.state));
        node.token.clone_from(&domain.token);
        node.state_detail.clone_from(&domain.state_detail);
        (node.image_id, node.size_id) = (label(IMAGE), label(SIZE));
        node.created_at = domain.created_at;
        if !matches!(node.state, NodeState::Stopped | NodeState::Pending | NodeState::Failed | NodeState::Terminating) {
            node.addresses = self.addresses(&domain.uuid)?;
        }
        let metadata: Map<String, Value> = domain
            .labels
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(METADATA)?.to_owned(), value.as_str().into())))
            .collect();
        let nics: Vec<_> = domain.nics.iter().map(|nic| json!({"network": nic.network, "mac": nic.mac})).collect();
        Ok(node.with_extra(json!({
            "vcpus": domain.vcpus, "ram_mb": domain.ram_mb, "nics": nics, "metadata": metadata,
        })))
    }

    /// A card's newest address of each family.
    fn addresses(&self, uuid: &str) -> Result<Vec<Address>> {
        let leases = match self.hypervisor().leases(uuid) {
            Ok(leases) => leases,
            // It is gone meanwhile, or its network is.
            Err(Error::NotFound(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut addresses: Vec<Address> = Vec::new();
        for lease in leases {
            let same =
                |known: &Address| known.mac.as_ref() == Some(&lease.mac) && known.ip.contains(':') == lease.ip.contains(':');
            if addresses.iter().any(same) {
                continue;
            }
            let public = self.settings().public_networks.contains(&lease.network);
            let reach = if public { Reach::Public } else { Reach::Private };
            addresses.push(Address { ip: lease.ip, reach, network: Some(lease.network), mac: Some(lease.mac) });
        }
        Ok(addresses)
    }

    /// Starts an action.
    pub(crate) fn power(&self, id: &str, action: Action) -> Result<()> {
        let power = match action {
            Action::Start => Power::Start,
            Action::Stop(force) => Power::Stop(force),
            Action::Reboot(force) => Power::Reboot(force),
            Action::Suspend => Power::Suspend,
            Action::Resume => Power::Resume,
            Action::Other(name) => return Err(Error::unsupported(&format!("the action `{name}`"))),
        };
        self.hypervisor().set_power(id, &power)
    }
}

fn state(state: &DomainState) -> NodeState {
    match state {
        DomainState::ShutOff => NodeState::Stopped,
        DomainState::Running => NodeState::Running,
        DomainState::Paused | DomainState::PmSuspended => NodeState::Suspended,
        DomainState::ShuttingDown => NodeState::Stopping,
        DomainState::Crashed => NodeState::Failed,
        DomainState::Other(name) => match name.as_str() {
            TO_START => NodeState::Pending,
            DELETING => NodeState::Terminating,
            _ => NodeState::Other(name.clone()),
        },
    }
}
