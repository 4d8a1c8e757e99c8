//! Software on machines: which operations are carried out where and in which order, what a machine is told, and what it reports.

use super::blueprint::Blueprint;
use super::build::{subject, text};
use super::records::RunningAttributes;
use super::{DeploymentChange, Deployments, Inner, Resource, ResourceState};
use crate::Error;
use crate::scheduler::Try;
use ostler_cloudinit::{
    Component, Kind, Lifecycle, Limits, Machine, Message, MessageError, Operation, OperationReport, Options, Report, Source,
    user_data,
};
use ostler_drivers::ErrorKind;
use ostler_store::{MachineReport, ReportState, ResourceChange, Step, Work};
use ostler_tosca::{Attributes, Topology};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The interface whose operations set software up.
const INTERFACE: &str = "Standard";
/// How long one operation may take.
const OPERATION: Duration = Duration::from_secs(30 * 60);
/// Addresses of a node in the stand-in for many.
const MANY: usize = 256;
/// Bytes of the longest report: [`Limits`] of the usual options.
pub const LONGEST_REPORT: usize = 128 << 10;

/// A secret with which a machine reports.
pub(super) fn secret() -> String {
    crate::identity::random_secret().expose_secret().to_owned()
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// Finds the software of each machine, and after how many others it can be set up.
pub(super) fn plan(topology: &Topology, blueprint: &mut Blueprint) -> Result<(), String> {
    let template = topology.template();
    let mut needs: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for node in blueprint.order.clone() {
        // As far as it can be told before there are machines.
        match topology.operations(node, INTERFACE, None) {
            Ok(operations) if operations.is_empty() => continue,
            Ok(_) | Err(ostler_tosca::Failure::Unknown) => {}
            Err(ostler_tosca::Failure::Failed(why)) => {
                return Err(format!("node `{}`: its operations cannot be computed{why}", template.nodes[node].name));
            }
        }
        let mut asked = BTreeSet::new();
        // Functions over what is not known may need it to be one, or the last of many: what they ask for is found by either.
        for many in [1, MANY] {
            let stand_in = Asked { names: RefCell::default(), value: vec![""; many].into() };
            if let Ok(operations) = topology.operations(node, INTERFACE, Some(&stand_in)) {
                check(topology, node, &operations)?;
            }
            asked.extend(stand_in.names.into_inner());
        }
        let Some(machine) = host(topology, blueprint, node) else { continue };
        blueprint.nodes[machine].software.push(node);
        let others = asked.into_iter().filter_map(|name| template.find(&name));
        for other in others.filter_map(|other| host(topology, blueprint, other)) {
            if other == machine {
                return Err(format!(
                    "an operation of node `{}` asks for what is known of its own machine once that runs, and it is told what to do before",
                    template.nodes[node].name
                ));
            }
            needs.entry(machine).or_default().insert(other);
        }
    }
    let machines: Vec<usize> = needs.keys().copied().collect();
    for machine in machines {
        blueprint.nodes[machine].level = level(&needs, machine, 0)
            .ok_or_else(|| format!("the software of node `{}` needs to be set up before itself", template.nodes[machine].name))?;
    }
    Ok(())
}

/// Names of nodes whose attributes are asked for. All of them have the same value, for what is computed with it.
struct Asked {
    names: RefCell<BTreeSet<String>>,
    value: Value,
}

impl Attributes for Asked {
    fn get(&self, node: &str, _capability: Option<&str>, _name: &str) -> Option<Value> {
        self.names.borrow_mut().insert(node.to_owned());
        Some(self.value.clone())
    }
}

fn level(needs: &BTreeMap<usize, BTreeSet<usize>>, machine: usize, depth: usize) -> Option<u32> {
    if depth > needs.len() {
        return None;
    }
    let Some(others) = needs.get(&machine) else { return Some(0) };
    let mut highest = 0;
    for other in others {
        highest = highest.max(level(needs, *other, depth + 1)?.saturating_add(1));
    }
    Some(highest)
}

/// The machine on which a node is, by its requirements of a host.
fn host(topology: &Topology, blueprint: &Blueprint, node: usize) -> Option<usize> {
    let nodes = &topology.template().nodes;
    let mut at = node;
    // Templates with circles are refused.
    for _ in 0..=nodes.len() {
        if blueprint.nodes.get(at).is_some_and(|plan| plan.machine.is_some()) {
            return Some(at);
        }
        at = nodes.get(at)?.requirements.iter().find(|requirement| requirement.name == "host")?.target;
    }
    None
}

/// Whether machines can carry these operations out, as far as that is known before there are any.
fn check(topology: &Topology, node: usize, operations: &[ostler_tosca::Operation]) -> Result<(), String> {
    operations.iter().try_for_each(|operation| translate(topology, node, operation).map(drop))
}

/// An operation as a machine is told. Those that end a life are none of them.
fn translate(topology: &Topology, node: usize, operation: &ostler_tosca::Operation) -> Result<Option<Operation>, String> {
    let name = &topology.template().nodes[node].name;
    let Ok(lifecycle) = operation.name.parse::<Lifecycle>() else { return Ok(None) };
    let named = topology.artifact(node, &operation.implementation).map_err(|failure| failure.to_string())?;
    let implementation = named.unwrap_or_else(|| operation.implementation.clone());
    let path = implementation.split(['?', '#']).next().unwrap_or_default();
    let kind = if path.ends_with(".yml") || path.ends_with(".yaml") { Kind::Ansible } else { Kind::Shell };
    let source = if implementation.starts_with("https://") || implementation.starts_with("http://") {
        Source::Url(implementation)
    } else if implementation.starts_with("#!") || implementation.contains('\n') {
        Source::Inline(implementation)
    } else {
        return Err(format!(
            "the operation `{}` of node `{name}` is `{}`: a machine can fetch an address, or run a text that begins with `#!`",
            operation.name,
            implementation.chars().take(100).collect::<String>()
        ));
    };
    let inputs = operation.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(Some(Operation { inputs, ..Operation::new(lifecycle, kind, source) }))
}

/// What a machine has to do.
fn machine(
    topology: &Topology,
    blueprint: &Blueprint,
    resource: &Resource,
    attributes: &dyn Attributes,
) -> Result<Machine, String> {
    let plan = blueprint.nodes.iter().find(|plan| plan.name == resource.node);
    let plan = plan.ok_or_else(|| format!("the template has no node `{}`", resource.node))?;
    let label: String =
        resource.node.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let label: String = label.trim_matches('-').chars().take(40).collect();
    let hostname = format!("{}-{}", if label.is_empty() { "node" } else { &label }, resource.position);
    let mut machine = Machine::new(resource.id.clone(), hostname, OPERATION);
    for node in &plan.software {
        let name = topology.template().nodes[*node].name.clone();
        let operations = topology.operations(*node, INTERFACE, Some(attributes));
        let operations = operations.map_err(|failure| format!("node `{name}`: {failure}"))?;
        let mut component = Component { name, operations: Vec::new() };
        for operation in &operations {
            component.operations.extend(translate(topology, *node, operation)?);
        }
        component.operations.sort_by_key(|operation| operation.name);
        if !component.operations.is_empty() {
            machine.components.push(component);
        }
    }
    Ok(machine)
}

impl Inner {
    /// The user data of a machine, whose reports are expected from now on.
    pub(super) async fn user_data(&self, work: &Work, resource: &str, secret: &str) -> Result<Vec<u8>, Error> {
        let gone = || Error::Invalid("the deployment is gone".into());
        let deployment = self.store.deployment_get(subject(work)).await?.ok_or_else(gone)?;
        let input = &work.operation.input;
        // An update has a template of its own, until it has succeeded.
        let template = input["template"].as_str().unwrap_or(&deployment.template);
        let parameters = input["parameters"].as_object().or(deployment.parameters.as_object()).cloned().unwrap_or_default();
        let reading = self.read(template, &parameters)?;
        let (topology, blueprint) = (&reading.topology, &reading.blueprint);
        let resources = self.store.resources(&deployment.id).await?;
        let own = resources.iter().find(|one| one.id == resource).ok_or_else(gone)?;
        let mut machine = machine(topology, blueprint, own, &RunningAttributes(&resources)).map_err(Error::Invalid)?;
        let mut report = Report::new(self.settings.reports.clone(), SecretString::from(secret));
        report.ca_pem.clone_from(&self.settings.authority);
        machine.report = Some(report);
        // Plain text is for a host that has nothing else, as on a developer's machine.
        let options = Options { plain_http: self.settings.reports.starts_with("http:"), ..Options::default() };
        let data = user_data(&machine, &options).map_err(|error| Error::Invalid(error.to_string()))?;
        match self.store.report_await(&hash(secret), &deployment.id, resource).await {
            Err(ostler_store::Error::NotFound(_)) => Err(gone()),
            other => Ok(other.map(|()| data.into_string().into_bytes())?),
        }
    }

    /// Waits until a machine has said that its software is set up.
    pub(super) async fn configure(&self, work: &Work, step: &Step) -> Try {
        let (resource, secret) = (text(&step.input, "resource"), text(&step.input, "report"));
        let failed = |message: &str| {
            let message = format!("the software could not be set up: {message}");
            Try::failed(&Error::Cloud(ostler_drivers::Error::new(ErrorKind::Failed, message)))
        };
        let report = match self.store.report_get(&hash(secret)).await {
            Ok(Some(report)) => report,
            Ok(None) => return failed("no report is expected of the machine"),
            Err(error) => return Try::again(&error.into()),
        };
        match report.state {
            ReportState::Done => return Try::done(json!({})),
            ReportState::Failed => return failed(report.message.as_deref().unwrap_or("it gave no reason")),
            ReportState::Awaited => {}
        }
        match self.instead(work, step, resource).await {
            Some(Ok(())) => {
                return match self.store.report_end(&hash(secret), None).await {
                    Ok(()) => Try::done(json!({})),
                    Err(error) => Try::again(&error.into()),
                };
            }
            Some(Err(message)) => return failed(&message),
            None => {}
        }
        let limit = i64::try_from(self.settings.reports_within.as_micros()).unwrap_or(i64::MAX);
        if step.begun_at.is_some_and(|begun| ostler_store::now() >= begun.saturating_add(limit)) {
            return failed(&format!("the machine did not report within {} s", self.settings.reports_within.as_secs()));
        }
        Try::wait(self.settings.poll)
    }

    /// What a driver whose machines do not run says in their place.
    async fn instead(&self, work: &Work, step: &Step, resource: &str) -> Option<Result<(), String>> {
        let cloud = self.compute.cloud(step.cloud.as_deref()?).ok()?;
        let id = self.store.resource_get(subject(work), resource).await.ok()??.physical_id?;
        let node = cloud.get_node(&id).await.ok()?;
        let extra: Value = serde_json::from_str(&node.extra).ok()?;
        let report = extra.get("report")?;
        match report["state"].as_str()? {
            "done" => Some(Ok(())),
            "failed" => Some(Err(report["message"].as_str().unwrap_or("it gave no reason").chars().take(500).collect())),
            _ => None,
        }
    }
}

impl Deployments {
    /// What a machine reports. [`Error::Unauthenticated`] where its token is none that is expected.
    pub async fn report(&self, token: &SecretString, body: &[u8]) -> Result<(), Error> {
        let hash = hash(token.expose_secret());
        let store = &self.0.store;
        let report = store.report_get(&hash).await?.ok_or(Error::Unauthenticated)?;
        if report.state == ReportState::Done {
            // An answer of ours was lost.
            return Ok(());
        }
        let message = match Message::parse(body, &Limits::default()) {
            Ok(message) => message,
            Err(error) => {
                if let MessageError::Outputs { component, operation, .. } = &error {
                    store.report_end(&hash, Some(&format!("{component}: {operation}: {error}"))).await?;
                }
                return Err(Error::Invalid(error.to_string()));
            }
        };
        match message {
            Message::Done => {
                self.0.note(&report, "all operations have succeeded").await?;
                store.report_end(&hash, None).await?;
            }
            Message::Failed(reason) => {
                self.0.note(&report, &format!("it gave up: {reason}")).await?;
                store.report_end(&hash, Some(&reason.to_string())).await?;
            }
            Message::Operation(operation) => self.0.operation_ended(&report, &hash, operation).await?,
            // A kind that this version does not know has nothing to say to it.
            _ => {}
        }
        Ok(())
    }
}

impl Inner {
    async fn note(&self, report: &MachineReport, line: &str) -> Result<(), Error> {
        let resource = self.store.resource_get(&report.deployment, &report.resource).await?;
        let name = resource.map_or_else(|| report.resource.clone(), |resource| format!("{} ({})", resource.node, resource.id));
        let change = DeploymentChange { log_line: Some(format!("{name}: {line}")), ..DeploymentChange::default() };
        self.store.deployment_change(&report.deployment, &change, None).await?;
        Ok(())
    }

    async fn operation_ended(&self, report: &MachineReport, hash: &[u8], ended: OperationReport) -> Result<(), Error> {
        let resources = self.store.resources(&report.deployment).await?;
        let components: Vec<&Resource> = resources.iter().filter(|resource| resource.node == ended.component).collect();
        if components.is_empty() {
            return Err(Error::Invalid("the deployment has no such component".into()));
        }
        let state = match (ended.status.is_success(), ended.operation) {
            (false, _) => ResourceState::Error,
            (true, Lifecycle::Create) => ResourceState::Created,
            (true, Lifecycle::Configure) => ResourceState::Configured,
            (true, Lifecycle::Start) => ResourceState::Started,
        };
        for component in components {
            let mut attributes = component.attributes.as_object().cloned().unwrap_or_default();
            attributes.extend(ended.outputs.clone().into_iter().collect::<Map<_, _>>());
            // A machine's own state is the cloud's matter, and so are the facts of it.
            let change = if component.physical_id.is_some() {
                attributes.retain(|name, _| !matches!(name.as_str(), "id" | "name" | "public_address" | "private_address"));
                let facts = component.attributes.as_object().cloned().unwrap_or_default();
                attributes.extend(facts);
                ResourceChange { attributes: Some(attributes.into()), ..ResourceChange::default() }
            } else {
                ResourceChange { state: Some(state), attributes: Some(attributes.into()), ..ResourceChange::default() }
            };
            self.store.resource_change(&component.id, &change).await?;
        }
        let said = format!("{}: {} {}", ended.component, ended.operation, ended.status);
        let output = ended.output.trim_end();
        self.note(report, &if output.is_empty() { said.clone() } else { format!("{said}\n{output}") }).await?;
        if !ended.status.is_success() {
            self.store.report_end(hash, Some(&said)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
