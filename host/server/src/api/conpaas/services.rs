//! Services as 1.x has them: each with a manager of its own.

use super::answers::{self, failure, no, pretty, raw, same_origin};
use super::{Call, applications, wire};
use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderValue, StatusCode};
use ostler_core::Error;
use ostler_core::services::Order;
use ostler_store::{Service, ServiceKind};
use std::time::UNIX_EPOCH;

/// What managers are asked for: the state here is none that they tell.
pub(super) const STATE: &str = "INIT";
/// What the default cloud is called where a service is shown.
const DEFAULT_CLOUD: &str = "iaas";

/// The original's name of a cloud.
pub(super) fn cloud_name<'c>(call: &Call<'_>, cloud: &'c str) -> &'c str {
    if cloud == call.app.core.services.settings().cloud { DEFAULT_CLOUD } else { cloud }
}

pub(super) fn view<'s>(call: &Call<'_>, service: &'s Service) -> wire::Service<'s> {
    wire::Service {
        application_id: service.application_id,
        cloud: Some(cloud_name(call, &service.cloud)),
        created: service.created_at,
        manager: service.address.as_deref(),
        name: &service.name,
        sid: service.id,
        state: STATE,
        subnet: None,
        kind: &service.type_name,
        user_id: call.who.account.as_ref().map_or(0, |account| account.number),
        vmid: service.node_id.as_deref(),
    }
}

/// The clouds, the default one first and by the name that clients know it by.
pub(super) fn clouds(call: &Call<'_>) -> Vec<String> {
    let mut clouds = call.app.core.services.clouds();
    if clouds.first().is_some_and(|first| *first == call.app.core.services.settings().cloud) {
        clouds.remove(0);
    }
    clouds.insert(0, "default".to_owned());
    clouds
}

pub(super) async fn start(call: &Call<'_>) -> Result<Response, Error> {
    let services = &call.app.core.services;
    let type_name = call.part("type").unwrap_or_default().to_owned();
    if !services.types().contains(&type_name.as_str()) {
        return Ok(failure(&format!("Unknown service type: {type_name}")));
    }
    let application = match call.form.filled("appid").map(str::parse::<i64>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Ok(failure("Application not found")),
    };
    let cloud = call.cloud(call.part("cloud"));
    let order = Order { kind: ServiceKind::Service, type_name, application, cloud: cloud.clone() };
    match services.start(&call.who, order, call.key("conpaas/start")?).await {
        Ok(service) => Ok(pretty(&view(call, &service))),
        Err(Error::NoApplication) if application.is_none() => Ok(failure("No existing applications")),
        Err(Error::NoApplication) => Ok(failure("Application not found")),
        Err(Error::NoCredit { .. }) => Ok(failure("Error upon service creation: Could not add nodes. Not enough credits.")),
        Err(error) if answers::is_unknown_cloud(&error) => {
            let cloud = cloud.unwrap_or_default();
            let message = format!(
                "Error upon service creation: There is no cloud named {cloud}. Please check your Director configuration."
            );
            Ok(failure(&message))
        }
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(failure(&format!("Error upon service creation: {error}"))),
    }
}

pub(super) async fn stop(call: &Call<'_>) -> Result<Response, Error> {
    done(call.app.core.services.stop(&call.who, call.id()).await)
}

pub(super) async fn rename(call: &Call<'_>) -> Result<Response, Error> {
    let Some(name) = call.form.filled("name") else { return Ok(no(&"name is missing")) };
    Ok(same_origin(done(call.app.core.services.rename(&call.who, call.id(), name).await)?))
}

/// `true`, or `false` and why.
pub(super) fn done(result: Result<(), Error>) -> Result<Response, Error> {
    match result {
        Ok(()) => Ok(raw(&true)),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(no(&error)),
    }
}

/// One of 1.x as 1.x shows it, one of an application's manager as 2.x does.
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let services = &call.app.core.services;
    let application = call.part("id").map(|_| call.id());
    let mut rows = Vec::new();
    let all = services.list(&call.who, application).await?;
    let known = services.applications(&call.who).await?;
    for service in &all {
        let row = match service.kind {
            ServiceKind::Service => serde_json::to_value(view(call, service)),
            ServiceKind::Member => {
                let Some(application) = known.iter().find(|known| known.id == service.application_id) else { continue };
                let manager = all.iter().find(|s| s.kind == ServiceKind::Manager && s.application_id == application.id);
                serde_json::to_value(applications::membership(call, application, manager, service))
            }
            ServiceKind::Manager => continue,
        };
        rows.push(row.map_err(|error| Error::Invalid(error.to_string()))?);
    }
    Ok(raw(&rows))
}

/// The archive that managers fetch.
pub(super) async fn download(call: &Call<'_>) -> Result<Response, Error> {
    let missing = || answers::page(StatusCode::NOT_FOUND, "The server was not given this file (services.archive).");
    let Some(path) = &call.app.core.services.settings().archive else { return Ok(missing()) };
    let Ok(file) = tokio::fs::File::open(path).await else { return Ok(missing()) };
    // Of the file that is open, whatever has taken its place meanwhile.
    let Some(about) = file.metadata().await.ok().filter(std::fs::Metadata::is_file) else { return Ok(missing()) };
    let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let tag = format!("\"{:x}-{:x}\"", changed.as_micros(), about.len());
    let seconds = i64::try_from(changed.as_secs()).unwrap_or_default();
    let modified = jiff::Timestamp::from_second(seconds).unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let header = |name| call.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let unchanged = match header(IF_NONE_MATCH) {
        Some(tags) => tags.split(',').any(|known| known.trim() == tag || known.trim() == "*"),
        None => header(IF_MODIFIED_SINCE).is_some_and(|since| since == modified),
    };
    let mut response = Response::new(Body::empty());
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from_stream(tokio_util::io::ReaderStream::with_capacity(file, 64 << 10));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
        response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(about.len()));
    }
    for (name, value) in [(ETAG, tag), (LAST_MODIFIED, modified)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}
