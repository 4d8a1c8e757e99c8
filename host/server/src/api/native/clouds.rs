//! `/ostler/v1/clouds`.

use super::extract::{Asked, Body, Refused, Segment};
use super::wire::clouds::{AddedCloud, Cloud, CloudTest, Clouds, NewCloud, Removal};
use crate::api::App;
use crate::api::problem::Problem;
use crate::app;
use crate::config::{self, SECRET_BYTES, read_cloud, secret_name};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use ostler_core::Error;
use ostler_core::clouds::{self, CloudFiles};
use ostler_core::compute::CloudInfo;
use ostler_core::identity::{Permission, Principal};
use ostler_drivers::Tls;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::path::Path;
use utoipa::IntoParams;

/// Bytes of the largest cloud.
pub(super) const LARGEST: usize = 1 << 20;

/// All clouds of this host.
#[utoipa::path(get, path = "/ostler/v1/clouds", operation_id = "list_clouds", tag = "clouds", responses((status = 200, body = Clouds), (status = 401, body = Problem)))]
pub(super) async fn list(State(app): State<App>, Extension(who): Extension<Principal>) -> Result<Response, Refused> {
    let clouds = app.core.compute.clouds(&who)?.into_iter().map(|info| shown(&app, &who, info)).collect();
    Ok(Json(Clouds { clouds }).into_response())
}

fn shown(app: &App, who: &Principal, info: CloudInfo) -> Cloud {
    let origin = app.core.clouds.origin(&info.name);
    Cloud::new(info, origin, who.require(Permission::ReadDrivers).is_ok())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Show {
    /// Whether to ask the provider.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    check: bool,
}

/// One cloud; with `check=true` its provider is asked first.
#[utoipa::path(get, path = "/ostler/v1/clouds/{name}", operation_id = "show_cloud", tag = "clouds",
    params(("name" = String, Path, description = "The cloud's name"), Show),
    responses((status = 200, body = Cloud), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
    Asked(show): Asked<Show>,
) -> Result<Response, Refused> {
    let info = app.core.compute.cloud_info(&who, &name, show.check).await?;
    Ok(Json(shown(&app, &who, info)).into_response())
}

/// Adds a cloud: it serves when this answers, and after a restart. Its provider is asked first, unless `test` is false; where that
/// does not go well, only `force` adds it. Nothing is left of a cloud that is refused. Other hosts on the same database do not
/// get it.
#[utoipa::path(post, path = "/ostler/v1/clouds", operation_id = "add_cloud", tag = "clouds", request_body = NewCloud,
    responses((status = 201, body = AddedCloud), (status = 409, description = "There is a cloud of this name", body = Problem),
              (status = 422, description = "`detail` names the members that are wrong, or what the provider said", body = Problem)))]
pub(super) async fn add(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Body(new): Body<NewCloud>,
) -> Result<Response, Refused> {
    let (test, force) = (new.test, new.force);
    let (new, warnings) = check(new)?;
    let info = app.core.clouds.add(&who, new, test, force).await?;
    let added = AddedCloud { cloud: shown(&app, &who, info), warnings };
    Ok((StatusCode::CREATED, Json(added)).into_response())
}

/// Removes a cloud that was added this way. What is under way there goes on to its end.
#[utoipa::path(delete, path = "/ostler/v1/clouds/{name}", operation_id = "remove_cloud", tag = "clouds",
    params(("name" = String, Path, description = "The cloud's name"), Removal),
    responses((status = 204), (status = 404, body = Problem),
              (status = 409, description = "It is in use, or stands in the configuration file", body = Problem)))]
pub(super) async fn remove(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
    Asked(how): Asked<Removal>,
) -> Result<Response, Refused> {
    app.core.clouds.remove(&who, &name, clouds::Removal { force: how.force, purge: how.purge }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Asks a cloud's provider whether all is well, even while the cloud rests; if it is, the rest is over.
#[utoipa::path(post, path = "/ostler/v1/clouds/{name}/test", operation_id = "test_cloud", tag = "clouds",
    params(("name" = String, Path, description = "The cloud's name")),
    responses((status = 200, description = "Whatever the test came to", body = CloudTest), (status = 404, body = Problem)))]
pub(super) async fn test(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(name): Segment,
) -> Result<Response, Refused> {
    let tested = app.core.clouds.test(&who, &name).await?;
    Ok(Json(CloudTest::new(name, tested)).into_response())
}

/// What is to be added, checked as the configuration is, and what deserves a look.
fn check(new: NewCloud) -> Result<(clouds::NewCloud, Vec<String>), Error> {
    let invalid = |message: String| Error::Invalid(message);
    config::cloud_name(&new.name).map_err(|message| invalid(format!("name: {message}")))?;
    let document = new.document().map_err(invalid)?;
    let plain = config::write_cloud(&new.name, &new.settings(), &[], &[]).map_err(invalid)?;
    // Secrets and certificates are not in files yet; so are no paths.
    let nowhere = CloudFiles::of(Path::new(""));
    let (cloud, problems) = read_cloud(&new.name, "cloud", &plain, &nowhere, &|_| None);
    let problems: Vec<String> = problems.iter().map(one_line).collect();
    let Some(cloud) = cloud else { return Err(invalid(problems.join("; "))) };
    let failed = |error: app::StartError| invalid(error.to_string());
    let mut settings = app::settings(&new.name, &cloud).map_err(failed)?;
    for (key, value) in new.secrets {
        let path = format!("clouds.{}.secrets.{key}", new.name);
        secret_name(&key).map_err(|message| invalid(format!("clouds.{}.secrets: {message}", new.name)))?;
        let value = secret(&value.0).map_err(|message| invalid(format!("{path}: {message}")))?;
        settings.secrets.insert(key, value);
    }
    if !settings.grants.secrets && !settings.secrets.is_empty() {
        let message = "cannot be read by the driver: grants.secrets is false";
        return Err(invalid(format!("clouds.{}.secrets: {message}", new.name)));
    }
    let identity = match (new.tls.certificate, new.tls.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate.into_bytes(), key.0.expose_secret().as_bytes().to_vec())),
        _ => return Err(invalid(format!("clouds.{}.tls: certificate and key need each other", new.name))),
    };
    settings.tls = Tls { ca_pem: new.tls.ca.map(String::into_bytes), identity };
    Ok((clouds::NewCloud { settings, terms: app::terms_of(&cloud), document }, problems))
}

fn one_line(problem: &config::Problem) -> String {
    let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{}: {}{help}", problem.key, problem.message)
}

/// A secret as its file will give it back: line ends at its end do not count.
fn secret(given: &SecretString) -> Result<SecretString, String> {
    let text = given.expose_secret().trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.len() as u64 > SECRET_BYTES {
        return Err(format!("is larger than {} KiB", SECRET_BYTES >> 10));
    }
    Ok(text.to_owned().into())
}
