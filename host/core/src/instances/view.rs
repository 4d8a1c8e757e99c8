//! How an instance is: what is on record, what the provider says of its machine, and what is being done about it.

use super::{Instance, InstanceState};
use crate::model::{Node, NodeState, Reach};
use ostler_store::{InstanceRecord, InstanceStatus, InstanceTask};
use std::net::IpAddr;

/// What is said of an instance whose machine the provider does not have.
const GONE: &str = "its machine is gone at the provider";

/// The record as it is after a look at the machine.
pub(super) fn seen(record: &InstanceRecord, node: Option<&Node>) -> InstanceRecord {
    let Some(node) = node else {
        let detail = Some(GONE.to_owned());
        return InstanceRecord { state: InstanceStatus::Error, detail, address: None, ..record.clone() };
    };
    let why = || node.state_detail.clone().map(|why| why.replace('\0', ""));
    let (state, detail) = match &node.state {
        NodeState::Running => (InstanceStatus::Running, None),
        NodeState::Stopped => (InstanceStatus::Stopped, None),
        NodeState::Suspended => (InstanceStatus::Frozen, None),
        NodeState::Stopping => (InstanceStatus::Stopping, why()),
        NodeState::Rebooting => (InstanceStatus::Rebooting, why()),
        NodeState::Starting => (InstanceStatus::Starting, why()),
        // It is promised to be stopped until somebody starts it, also while it is being built.
        NodeState::Pending if !record.acted => (InstanceStatus::Stopped, why()),
        NodeState::Pending => (InstanceStatus::Starting, why()),
        NodeState::Terminating => (InstanceStatus::Stopping, Some("its machine is being destroyed at the provider".to_owned())),
        NodeState::Terminated => (InstanceStatus::Error, Some(GONE.to_owned())),
        NodeState::Failed => (InstanceStatus::Error, why().or_else(|| Some("its machine has failed".to_owned()))),
        // What was known last has to do.
        NodeState::Unknown => (record.state, Some("the provider does not say how it is".to_owned())),
        NodeState::Other(name) => (record.state, Some(format!("the provider says `{}`", name.replace('\0', "")))),
    };
    // An address is kept over a stop: most machines have the same one after it.
    let address = address(node).map(|address| address.to_string());
    let keeps = address.is_none() && state != InstanceStatus::Error;
    InstanceRecord {
        state,
        detail,
        address: if keeps { record.address.clone() } else { address },
        node_id: Some(node.id.clone()),
        ..record.clone()
    }
}

/// Whether it is on record that the machine is gone.
pub(super) fn is_gone(record: &InstanceRecord) -> bool {
    record.detail.as_deref() == Some(GONE)
}

/// The instance of a record that is as the provider says.
pub(super) fn instance(record: &InstanceRecord) -> Instance {
    let known = known(record.state);
    let up_yet = !matches!(known, InstanceState::Stopped | InstanceState::Frozen);
    let (state, detail) = match record.task {
        None => (known, record.detail.clone()),
        Some(InstanceTask::Create) => (InstanceState::Stopped, Some("it is being made".to_owned())),
        Some(InstanceTask::Delete) => (InstanceState::Stopping, Some("it is being deleted".to_owned())),
        Some(_) if known == InstanceState::Error => (known, record.detail.clone()),
        Some(InstanceTask::Start | InstanceTask::Resume) => {
            (if up_yet { known } else { InstanceState::Starting }, record.detail.clone())
        }
        Some(InstanceTask::Stop) => {
            (if known == InstanceState::Stopped { known } else { InstanceState::Stopping }, record.detail.clone())
        }
        Some(InstanceTask::Reboot) => (InstanceState::Rebooting, record.detail.clone()),
        Some(InstanceTask::Suspend) => (known, record.detail.clone()),
    };
    let reachable = !matches!(state, InstanceState::Stopped | InstanceState::Error);
    Instance {
        id: record.id,
        cloud: record.cloud.clone(),
        name: record.name.clone(),
        image: record.image_id,
        image_name: record.image_name.clone(),
        owner: record.owner,
        state,
        detail,
        address: record.address.as_deref().filter(|_| reachable).and_then(|address| address.parse().ok()),
        node_id: record.node_id.clone(),
        token: record.token.clone(),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

/// The instance of a record whose provider does not answer.
pub(super) fn unknown(record: &InstanceRecord, error: &ostler_drivers::Error) -> Instance {
    tracing::debug!(instance = record.id, cloud = record.cloud, %error, "an instance cannot be looked at");
    let detail = Some("the provider does not answer: this is what was known last".to_owned());
    Instance { detail, ..instance(record) }
}

fn known(state: InstanceStatus) -> InstanceState {
    match state {
        InstanceStatus::Running => InstanceState::Running,
        InstanceStatus::Stopped => InstanceState::Stopped,
        InstanceStatus::Frozen => InstanceState::Frozen,
        InstanceStatus::Starting => InstanceState::Starting,
        InstanceStatus::Stopping => InstanceState::Stopping,
        InstanceStatus::Rebooting => InstanceState::Rebooting,
        InstanceStatus::Error => InstanceState::Error,
    }
}

/// Where a machine can be reached: the first public address, else the first private one, else any.
pub(super) fn address(node: &Node) -> Option<IpAddr> {
    let first = |wanted: fn(&Reach) -> bool| {
        let mut fitting = node.addresses.iter().filter(|address| wanted(&address.reach));
        fitting.find_map(|address| address.ip.parse::<IpAddr>().ok())
    };
    first(|reach| *reach == Reach::Public).or_else(|| first(|reach| *reach == Reach::Private)).or_else(|| first(|_| true))
}

/// In a word, for people.
pub(super) fn word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Running => "running",
        InstanceState::Stopped => "stopped",
        InstanceState::Frozen => "frozen",
        InstanceState::Starting => "starting",
        InstanceState::Stopping => "stopping",
        InstanceState::Rebooting => "rebooting",
        InstanceState::Error => "in error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Address;

    fn record(state: InstanceStatus, acted: bool, task: Option<InstanceTask>) -> InstanceRecord {
        InstanceRecord {
            id: 1,
            cloud: "c".into(),
            name: "n".into(),
            image_id: 1,
            image_name: "i".into(),
            owner: 1,
            size: "s".into(),
            token: "t".into(),
            state,
            detail: None,
            address: None,
            node_id: Some("m".into()),
            acted,
            operation: task.map(|_| "o".into()),
            task,
            created_at: 0,
            updated_at: 0,
        }
    }

    fn node(state: NodeState, addresses: &[(&str, Reach)]) -> Node {
        let address = |(ip, reach): &(&str, Reach)| Address { ip: (*ip).into(), reach: reach.clone(), network: None, mac: None };
        Node {
            id: "m".into(),
            name: "n".into(),
            token: Some("t".into()),
            state,
            state_detail: None,
            image_id: None,
            size_id: None,
            addresses: addresses.iter().map(address).collect(),
            created_at: None,
            extra: String::new(),
        }
    }

    #[test]
    fn states_follow_the_machine_and_what_is_being_done() {
        use InstanceState as Is;
        use InstanceTask as Task;
        // (state on record, whether it was acted on, task, the machine's state, what is shown)
        for (state, acted, task, machine, shown) in [
            (InstanceStatus::Stopped, false, None, Some(NodeState::Pending), Is::Stopped),
            (InstanceStatus::Stopped, true, None, Some(NodeState::Pending), Is::Starting),
            (InstanceStatus::Stopped, false, None, Some(NodeState::Starting), Is::Starting),
            (InstanceStatus::Stopped, false, Some(Task::Create), Some(NodeState::Running), Is::Stopped),
            (InstanceStatus::Stopped, true, None, Some(NodeState::Running), Is::Running),
            (InstanceStatus::Running, true, None, Some(NodeState::Suspended), Is::Frozen),
            (InstanceStatus::Running, true, None, Some(NodeState::Failed), Is::Error),
            (InstanceStatus::Running, true, None, Some(NodeState::Terminated), Is::Error),
            (InstanceStatus::Running, true, None, None, Is::Error),
            (InstanceStatus::Running, true, None, Some(NodeState::Unknown), Is::Running),
            (InstanceStatus::Frozen, true, None, Some(NodeState::Other("x".into())), Is::Frozen),
            (InstanceStatus::Stopped, true, Some(Task::Start), Some(NodeState::Stopped), Is::Starting),
            (InstanceStatus::Stopped, true, Some(Task::Start), Some(NodeState::Running), Is::Running),
            (InstanceStatus::Stopped, false, Some(Task::Start), Some(NodeState::Pending), Is::Starting),
            (InstanceStatus::Frozen, true, Some(Task::Resume), Some(NodeState::Suspended), Is::Starting),
            (InstanceStatus::Running, true, Some(Task::Stop), Some(NodeState::Running), Is::Stopping),
            (InstanceStatus::Running, true, Some(Task::Stop), Some(NodeState::Stopped), Is::Stopped),
            (InstanceStatus::Running, true, Some(Task::Reboot), Some(NodeState::Running), Is::Rebooting),
            (InstanceStatus::Running, true, Some(Task::Reboot), None, Is::Error),
            (InstanceStatus::Running, true, Some(Task::Suspend), Some(NodeState::Running), Is::Running),
            (InstanceStatus::Running, true, Some(Task::Delete), None, Is::Stopping),
        ] {
            let node = machine.clone().map(|state| node(state, &[]));
            let now = instance(&seen(&record(state, acted, task), node.as_ref()));
            assert_eq!(now.state, shown, "{state:?} {acted} {task:?} {machine:?}");
            assert_eq!(
                now.detail.is_some(),
                now.state == Is::Error
                    || matches!(machine, Some(NodeState::Unknown | NodeState::Other(_)))
                    || matches!(task, Some(Task::Create | Task::Delete)),
                "{now:?}"
            );
        }
    }

    #[test]
    fn addresses_are_chosen_by_their_reach() {
        let own = || Reach::Other("vpn".into());
        for (addresses, chosen) in [
            (vec![], None),
            (vec![("10.0.0.1", Reach::Private), ("192.0.2.1", Reach::Public), ("192.0.2.2", Reach::Public)], Some("192.0.2.1")),
            (vec![("fd00::1", Reach::Private), ("10.0.0.1", Reach::Private)], Some("fd00::1")),
            (vec![("no address", Reach::Public), ("10.0.0.1", Reach::Private)], Some("10.0.0.1")),
            (vec![("10.9.0.1", own())], Some("10.9.0.1")),
        ] {
            let found = address(&node(NodeState::Running, &addresses));
            assert_eq!(found.map(|found| found.to_string()).as_deref(), chosen, "{addresses:?}");
        }
        // Kept while the provider shows none, and not shown where nothing answers.
        let known = InstanceRecord { address: Some("10.0.0.1".into()), ..record(InstanceStatus::Running, true, None) };
        let off = seen(&known, Some(&node(NodeState::Stopped, &[])));
        assert_eq!((off.address.as_deref(), instance(&off).address), (Some("10.0.0.1"), None));
        let up = seen(&known, Some(&node(NodeState::Running, &[("10.0.0.2", Reach::Private)])));
        assert_eq!(instance(&up).address.map(|address| address.to_string()).as_deref(), Some("10.0.0.2"));
        assert_eq!(seen(&known, None).address, None);
    }
}
