//! Applications: as 1.x has them, to keep services in, and as 2.x has them, with one manager for the whole.

use super::answers::{self, failure, no, pretty, raw, refusal, same_origin};
use super::services::{STATE, cloud_name, done};
use super::{Call, wire};
use axum::response::Response;
use ostler_core::Error;
use ostler_core::compute::Key;
use ostler_core::services::Order;
use ostler_store::{Application, NodeRole, Service, ServiceKind, ServiceState};
use serde_json::Value;

/// Services of the largest manifest.
const LARGEST: usize = 64;

/// As 2.x shows one.
pub(super) fn started<'a>(
    call: &Call<'_>,
    application: &'a Application,
    manager: Option<&'a Service>,
) -> wire::StartedApplication<'a> {
    let status = match manager.map(|manager| manager.state) {
        None => "INIT",
        Some(ServiceState::Starting) => "PROLOGUE",
        Some(ServiceState::Running) => "RUNNING",
        Some(ServiceState::Stopping) => "EPILOGUE",
    };
    wire::StartedApplication {
        aid: application.id,
        cloud: manager.map(|manager| cloud_name(call, &manager.cloud)),
        manager: manager.and_then(|manager| manager.address.as_deref()),
        name: &application.name,
        status,
        uid: call.who.account.as_ref().map_or(0, |account| account.number),
        vmid: manager.and_then(|manager| manager.node_id.as_deref()),
    }
}

pub(super) fn membership<'a>(
    call: &Call<'_>,
    application: &'a Application,
    manager: Option<&'a Service>,
    service: &'a Service,
) -> wire::Membership<'a> {
    let service = wire::ManagedService {
        application_id: service.application_id,
        cloud: None,
        created: service.created_at,
        name: &service.name,
        rec_id: service.id,
        sid: service.number.unwrap_or_default(),
        state: STATE,
        subnet: None,
        kind: &service.type_name,
    };
    wire::Membership { application: started(call, application, manager), service }
}

pub(super) async fn create(call: &Call<'_>) -> Result<Response, Error> {
    let Some(name) = call.form.filled("name") else { return Ok(no(&"name is missing")) };
    let key = call.key("conpaas/createapp")?.map(|key| (key, name));
    match call.app.core.services.create_application(&call.who, name, key).await {
        Ok(application) => Ok(pretty(&wire::Application { aid: application.id, name: &application.name })),
        Err(Error::Taken(_)) => Ok(failure(&format!("Application name \"{name}\" already taken"))),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(failure(&error.to_string())),
    }
}

/// 1.x asks by `POST` and 2.x by `GET`.
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let services = &call.app.core.services;
    let applications = services.applications(&call.who).await?;
    if !call.get {
        let rows: Vec<_> = applications.iter().map(|a| wire::Application { aid: a.id, name: &a.name }).collect();
        return Ok(raw(&rows));
    }
    let managers = services.managers(&call.who).await?;
    let manager = |application: &Application| managers.iter().find(|manager| manager.application_id == application.id);
    Ok(raw(&applications.iter().map(|application| started(call, application, manager(application))).collect::<Vec<_>>()))
}

pub(super) async fn rename(call: &Call<'_>) -> Result<Response, Error> {
    let Some(name) = call.form.filled("name") else { return Ok(no(&"name is missing")) };
    Ok(same_origin(done(call.app.core.services.rename_application(&call.who, call.id(), name).await)?))
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Response, Error> {
    done(call.app.core.services.delete_application(&call.who, call.id()).await)
}

/// The 2.x routes answer with an empty object, or with the reason why not.
fn nothing(result: Result<(), Error>, unknown: &str) -> Result<Response, Error> {
    match result {
        Ok(()) => Ok(raw(&wire::Done {})),
        Err(Error::NoApplication | Error::NoService) => Ok(refusal(unknown)),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(refusal(&error.to_string())),
    }
}

pub(super) async fn start(call: &Call<'_>) -> Result<Response, Error> {
    let services = std::sync::Arc::clone(&call.app.core.services);
    let (who, id, cloud, key) = (call.who.clone(), call.id(), call.cloud(call.part("cloud")), call.key("conpaas/startapp")?);
    // What can be refused at once is; for the rest clients look at the application's status.
    match services.application_manager(&who, id).await {
        // Whether a key stands for the start of this very manager, the start itself finds out.
        Ok(Some(_)) if key.is_none() => return Ok(refusal("Application already started")),
        Ok(_) => {}
        Err(Error::NoApplication) => return Ok(refusal("Application not found")),
        Err(error) => return Err(error),
    }
    match services.begin_application(&who, id, cloud.as_deref(), key).await {
        Ok(()) => Ok(raw(&wire::Done {})),
        Err(Error::NoCredit { .. }) => Ok(refusal("Insufficient credits")),
        Err(Error::Taken(_)) => Ok(refusal("Application already started")),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(refusal(&error.to_string())),
    }
}

pub(super) async fn stop(call: &Call<'_>) -> Result<Response, Error> {
    nothing(call.app.core.services.stop_application(&call.who, call.id()).await, "Application not found")
}

pub(super) async fn remove(call: &Call<'_>) -> Result<Response, Error> {
    nothing(call.app.core.services.delete_application(&call.who, call.id()).await, "Application not found")
}

pub(super) async fn add_member(call: &Call<'_>) -> Result<Response, Error> {
    let services = &call.app.core.services;
    let type_name = call.part("type").unwrap_or_default();
    if !services.types().contains(&type_name) {
        return Ok(refusal(&format!("Unknown service type '{type_name}'")));
    }
    let application = match call.form.filled("appid").map(str::parse::<i64>) {
        None => services.application(&call.who, None).await,
        Some(Ok(id)) => services.application(&call.who, Some(id)).await,
        Some(Err(_)) => Err(Error::NoApplication),
    };
    let application = match application {
        Ok(application) => application,
        Err(Error::NoApplication) if call.form.filled("appid").is_none() => return Ok(refusal("No existing applications")),
        Err(Error::NoApplication) => {
            let meant = call.form.filled("appid").unwrap_or_default();
            return Ok(refusal(&format!("Application {meant} not found.")));
        }
        Err(error) => return Err(error),
    };
    match services.add_member(&call.who, application.id, type_name).await {
        Ok(service) => {
            let manager = services.application_manager(&call.who, application.id).await?;
            Ok(pretty(&membership(call, &application, manager.as_ref(), &service)))
        }
        Err(Error::NoService) => Ok(refusal(&format!("Application {} has not started. Try to start it first.", application.id))),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(refusal(&error.to_string())),
    }
}

/// Application and service of a request of 2.x.
fn both(call: &Call<'_>) -> Option<(i64, i64)> {
    let number = |name| call.form.filled(name).and_then(|text| text.parse::<i64>().ok());
    number("app_id").zip(number("service_id"))
}

const BAD_IDS: &str = "Bad specification of application or service IDs";

pub(super) async fn rename_member(call: &Call<'_>) -> Result<Response, Error> {
    let Some((application, number)) = both(call) else { return Ok(refusal(BAD_IDS)) };
    let Some(name) = call.form.filled("name") else { return Ok(refusal("\"name\" is a required argument")) };
    nothing(call.app.core.services.rename_member(&call.who, application, number, name).await, "Invalid service_id")
}

pub(super) async fn remove_member(call: &Call<'_>) -> Result<Response, Error> {
    let Some((application, number)) = both(call) else { return Ok(refusal(BAD_IDS)) };
    nothing(call.app.core.services.remove_member(&call.who, application, number).await, "Invalid service_id")
}

pub(super) async fn resources(call: &Call<'_>) -> Result<Response, Error> {
    let services = &call.app.core.services;
    let applications = services.applications(&call.who).await?;
    let nodes = services.resources(&call.who).await?;
    let rows: Vec<_> = nodes
        .iter()
        .map(|(node, service, number)| wire::Resource {
            app_id: service.application_id,
            app_name: applications.iter().find(|a| a.id == service.application_id).map_or("", |a| a.name.as_str()),
            charged: services.charged(node),
            cloud: if node.cloud == services.settings().cloud { "default" } else { &node.cloud },
            created: node.created_at,
            ip: node.address.as_deref().unwrap_or_default(),
            rid: node.id,
            role: if node.role == NodeRole::Manager { "manager" } else { "agent" },
            service_id: if node.role == NodeRole::Manager { 0 } else { *number },
            vmid: node.node_id.as_deref().unwrap_or_default(),
        })
        .collect();
    Ok(raw(&rows))
}

/// What a manifest may ask for that this server does not do: it fetches nothing from addresses that a user names.
const FETCHED: [&str; 4] = ["StartupScript", "Archive", "Dump", "VolumeStartup"];

/// What else it may ask for that only the managers of the services could do, and are not asked for.
const BEGUN: [&str; 2] = ["Start", "StartupInstances"];

/// As the original's language sees it.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Starts the services of a manifest in a new application: all of them, or none.
pub(super) async fn upload_manifest(call: &Call<'_>) -> Result<Response, Error> {
    let services = &call.app.core.services;
    let parsed = call.form.filled("manifest").map(serde_json::from_str::<Value>);
    let Some(Ok(manifest)) = parsed else { return Ok(no(&"manifest is missing, or no JSON")) };
    let Some(wanted) = manifest["Services"].as_array().filter(|wanted| wanted.len() <= LARGEST) else {
        return Ok(no(&"the manifest has no list of services, or too many"));
    };
    if wanted.iter().any(|service| service["Type"].as_str().is_none_or(str::is_empty)) {
        return Ok(no(&"a service of the manifest has no type"));
    }
    let Some(name) = manifest["Application"].as_str().filter(|name| !name.is_empty()) else {
        return Ok(failure("Application is not defined"));
    };
    for service in wanted {
        let kind = service["Type"].as_str().unwrap_or_default();
        if !services.types().contains(&kind) {
            return Ok(failure(&format!("Service {kind} does not exists")));
        }
        if let Some(key) = FETCHED.iter().find(|key| service.get(**key).is_some_and(|value| !value.is_null())) {
            return Ok(failure(&format!("{key} of a service cannot be used: upload it to the service's manager")));
        }
        if let Some(key) = BEGUN.iter().find(|key| service.get(**key).is_some_and(is_true)) {
            return Ok(failure(&format!("{key} of a service cannot be used: ask the service's manager for it")));
        }
    }
    let key = call.key("conpaas/upload_manifest")?;
    let application = match free_application(call, name, key.as_ref()).await {
        Ok(application) => application,
        Err(error) if answers::is_ours(&error) => return Err(error),
        Err(error) => return Ok(failure(&error.to_string())),
    };
    let orders: Vec<_> = wanted
        .iter()
        .map(|service| {
            let order = Order {
                kind: ServiceKind::Service,
                type_name: service["Type"].as_str().unwrap_or_default().to_owned(),
                application: Some(application.id),
                cloud: call.cloud(service["Cloud"].as_str()),
            };
            (order, service["ServiceName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned))
        })
        .collect();
    let task = services.start_all(call.who.clone(), application.id, orders, key);
    if call.form.filled("thread").is_some() {
        return Ok(raw(&true));
    }
    match task.await {
        Ok(Ok(())) => Ok(same_origin(raw(&true))),
        Ok(Err(error)) if answers::is_ours(&error) => Err(error),
        Ok(Err(error)) => Ok(failure(&error.to_string())),
        Err(error) => Ok(failure(&error.to_string())),
    }
}

/// An application of this name, or of the name with the first number that makes it another.
/// With a key, the one that it stands for.
async fn free_application(call: &Call<'_>, name: &str, key: Option<&Key>) -> Result<Application, Error> {
    let manifest = call.form.filled("manifest").unwrap_or_default();
    for number in 1..100 {
        let name = if number == 1 { name.to_owned() } else { format!("{name} ({number})") };
        let key = key.map(|key| (key.clone(), manifest));
        match call.app.core.services.create_application(&call.who, &name, key).await {
            Err(Error::Taken(_)) => {}
            other => return other,
        }
    }
    Err(Error::Taken("an application with this name"))
}

pub(super) async fn download_manifest(call: &Call<'_>) -> Result<Response, Error> {
    let services = &call.app.core.services;
    let application = match services.application(&call.who, Some(call.id())).await {
        Ok(application) => application,
        Err(Error::NoApplication) => return Ok(no(&"there is no such application")),
        Err(error) => return Err(error),
    };
    let all = services.list(&call.who, Some(application.id)).await?;
    let rows = all
        .iter()
        .filter(|service| service.kind != ServiceKind::Manager)
        .map(|service| wire::ManifestService {
            archive: None,
            cloud: Some(cloud_name(call, &service.cloud)),
            service_name: &service.name,
            start: None,
            startup_instances: None,
            startup_script: None,
            kind: &service.type_name,
        })
        .collect();
    Ok(same_origin(raw(&wire::Manifest { application: &application.name, services: rows })))
}
