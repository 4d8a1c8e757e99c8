//! `/ostler/v1/certificates`; and what everybody needs who is to believe them.

use super::extract::{Asked, Body, Limit, Refused, Segment};
use super::wire::accounts::{Certificate, Certificates, Revocation, Revoked};
use crate::api::App;
use crate::api::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use ostler_core::Error;
use ostler_core::authority::RevocationReason;
use ostler_core::identity::Principal;
use ostler_store::CertificateFilter;
use serde::Deserialize;
use utoipa::IntoParams;

/// Where a page begins: after the certificate of this time and serial number. Clients take it as it comes.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Place {
    issued_at: i64,
    serial: String,
}

impl TryFrom<String> for Place {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parse = |(at, serial): (&str, &str)| Some(Self { issued_at: at.parse().ok()?, serial: serial.to_owned() });
        let plain = |place: &Self| place.serial.bytes().all(|b| b.is_ascii_hexdigit());
        text.split_once('-').and_then(parse).filter(plain).ok_or("`before` is the `next` of another page")
    }
}

fn after(last: &ostler_store::Certificate) -> String {
    format!("{}-{}", last.issued_at, last.serial)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Only those of the user of this name, and of his services.
    user: Option<String>,
    /// Only those of this service.
    service: Option<i64>,
    /// Also those that were revoked or have ended.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    all: bool,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    before: Option<Place>,
    /// How many at most; 100 unless said otherwise.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

/// Certificates that were issued, the latest first.
#[utoipa::path(get, path = "/ostler/v1/certificates", operation_id = "list_certificates", tag = "certificates", params(Page),
    responses((status = 200, body = Certificates), (status = 400, body = Problem), (status = 404, description = "No such user", body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Asked(page): Asked<Page>,
) -> Result<Response, Refused> {
    let user_id = match &page.user {
        Some(name) => Some(app.core.identity.user(&who, name).await?.id),
        None => None,
    };
    let filter = CertificateFilter { user_id, service_id: page.service, include_ended: page.all };
    let before = page.before.as_ref().map(|place| (place.issued_at, place.serial.as_str()));
    let mut certificates = app.core.authority.list(&who, &filter, before, page.limit.and_one()).await?;
    let next = page.limit.cut(&mut certificates, after);
    Ok(Json(Certificates { certificates: certificates.into_iter().map(Certificate::from).collect(), next }).into_response())
}

/// One certificate.
#[utoipa::path(get, path = "/ostler/v1/certificates/{serial}", operation_id = "show_certificate", tag = "certificates",
    params(("serial" = String, Path, description = "The serial number, hexadecimal")),
    responses((status = 200, body = Certificate), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(serial): Segment,
) -> Result<Response, Refused> {
    Ok(Json(Certificate::from(app.core.authority.show(&who, &serial).await?)).into_response())
}

/// Revokes a certificate for good: it opens nothing any more. Revoking it again changes nothing, not even the reason.
#[utoipa::path(post, path = "/ostler/v1/certificates/{serial}/revoke", operation_id = "revoke_certificate", tag = "certificates",
    params(("serial" = String, Path, description = "The serial number, hexadecimal")),
    request_body(content = Option<Revocation>, content_type = "application/json"),
    responses((status = 200, body = Revoked), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(serial): Segment,
    Body(revocation): Body<Revocation>,
) -> Result<Response, Refused> {
    let reason = match revocation.reason {
        None => RevocationReason::Unspecified,
        Some(word) => {
            RevocationReason::parse(&word).ok_or_else(|| Error::Invalid(format!("`{word}` is no reason for a revocation")))?
        }
    };
    let changed = app.core.authority.revoke(&who, &serial, reason).await?;
    Ok(Json(Revoked { serial: serial.to_ascii_lowercase(), changed }).into_response())
}

/// A new certificate for the key of one that was not revoked, which stays good until its end.
#[utoipa::path(post, path = "/ostler/v1/certificates/{serial}/renew", operation_id = "renew_certificate", tag = "certificates",
    params(("serial" = String, Path, description = "The serial number, hexadecimal")),
    responses((status = 201, body = Certificate), (status = 404, body = Problem), (status = 409, description = "It was revoked", body = Problem)))]
pub(super) async fn renew(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Segment(serial): Segment,
) -> Result<Response, Refused> {
    let renewed = app.core.authority.renew(&who, &serial).await?;
    Ok((StatusCode::CREATED, Json(Certificate::from(renewed))).into_response())
}

/// The certificate of our authority. Public.
#[utoipa::path(get, path = "/ostler/ca.pem", operation_id = "authority_certificate", tag = "certificates",
    responses((status = 200, content_type = "application/x-pem-file", body = String)))]
pub(super) async fn authority(State(app): State<App>) -> Response {
    ([(CONTENT_TYPE, "application/x-pem-file")], app.core.authority.certificate_pem().to_owned()).into_response()
}

/// The list of the certificates that were revoked and have not ended (RFC 5280), DER. Public.
#[utoipa::path(get, path = "/ostler/crl", operation_id = "revocation_list", tag = "certificates",
    responses((status = 200, content_type = "application/pkix-crl", body = Vec<u8>)))]
pub(super) async fn revocations(State(app): State<App>) -> Result<Response, Refused> {
    Ok(([(CONTENT_TYPE, "application/pkix-crl")], app.core.authority.crl().await?).into_response())
}
