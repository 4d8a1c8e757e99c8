//! Users: registration, log-in, certificates.

use super::answers::{self, failure, pretty, raw, same_origin, secret};
use super::archive::{self, Certificates};
use super::wire::{self, Password};
use super::{Call, Form};
use crate::api::auth;
use axum::response::Response;
use http::header::CONTENT_DISPOSITION;
use http::{HeaderValue, StatusCode};
use ostler_core::Error;
use ostler_core::identity::Registration;
use ostler_store::User;
use secrecy::ExposeSecret;

/// What is asked of somebody who registers, in the order in which it is missed.
const FIELDS: [&str; 7] = ["username", "fname", "lname", "email", "affiliation", "password", "credit"];

fn view(user: &User, credit: i64, password: Password) -> wire::User<'_> {
    wire::User {
        affiliation: user.affiliation.as_deref().unwrap_or_default(),
        created: user.created_at,
        credit,
        email: user.email.as_deref().unwrap_or_default(),
        fname: user.first_name.as_deref().unwrap_or_default(),
        lname: user.last_name.as_deref().unwrap_or_default(),
        openid: None,
        password,
        uid: user.number,
        username: &user.username,
        uuid: None,
    }
}

pub(super) async fn new_user(call: &Call<'_>) -> Result<Response, Error> {
    let form = &call.form;
    auth::takes_passwords(call.app, call.peer, &call.headers)?;
    if let Some(missing) = FIELDS.into_iter().find(|field| form.filled(field).is_none()) {
        return Ok(failure(&format!("{missing} is a required field")));
    }
    let text = |field: &str| form.filled(field).unwrap_or_default().to_owned();
    let new = Registration {
        username: text("username"),
        password: text("password").into(),
        email: Some(text("email")),
        first_name: Some(text("fname")),
        last_name: Some(text("lname")),
        affiliation: Some(text("affiliation")),
    };
    let services = &call.app.core.services;
    let taken = |what: &str| match what {
        "the user" => failure(&format!("Username \"{}\" already taken", new.username)),
        _ => failure(&format!("E-mail \"{}\" already registered", text("email"))),
    };
    let key = call.key("conpaas/new_user")?;
    match services.check_free(&new).await {
        Ok(()) => {}
        // Whether it is the same request's, the key says.
        Err(Error::Taken(_)) if key.is_some() => {}
        Err(Error::Taken(what)) => return Ok(taken(what)),
        Err(error) if answers::is_ours(&error) => return Err(error),
        Err(error) => return Ok(failure(&error.to_string())),
    }
    let asked = text("credit");
    let Ok(credit) = asked.trim().parse::<i64>() else {
        return Ok(failure(&format!("Required credit \"{asked}\" is not a valid integer.")));
    };
    let most = services.settings().max_initial_credit;
    if credit < 0 {
        return Ok(failure(&format!("Required credit \"{credit}\" cannot be a negative integer.")));
    }
    if credit > most {
        return Ok(failure(&format!("Cannot allocate {credit} credit for a new user (max credit {most}).")));
    }
    match services.register(&new, credit, key, call.peer.addr.ip()).await {
        Ok(user) => Ok(raw(&view(&user, credit, Password::Empty))),
        Err(Error::Taken(what)) => Ok(taken(what)),
        Err(error) if answers::is_ours(&error) => Err(error),
        Err(error) => Ok(failure(&format!("Error upon user creation: {error}"))),
    }
}

/// The user whose name and password a request holds; none for whoever else.
async fn by_password(call: &Call<'_>, form: &Form) -> Result<Option<User>, Error> {
    let (Some(name), Some(password)) = (form.filled("username"), form.filled("password")) else { return Ok(None) };
    auth::takes_passwords(call.app, call.peer, &call.headers)?;
    match call.app.core.identity.check_password(name, &password.into(), call.peer.addr.ip()).await {
        Ok(user) => Ok(Some(user)),
        Err(Error::Unauthenticated) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn log_in(call: &Call<'_>) -> Result<Response, Error> {
    let Some(user) = by_password(call, &call.form).await? else { return Ok(answers::no(&"wrong user name or password")) };
    let credit = call.app.core.billing.balance_of(&user).await?;
    Ok(secret(raw(&view(&user, credit, Password::Empty))))
}

pub(super) async fn certificates(call: &Call<'_>) -> Result<Response, Error> {
    let Some(user) = by_password(call, &call.form).await? else { return Ok(answers::no(&"wrong user name or password")) };
    let bundle = call.app.core.authority.issue_user(&user, &user.username).await?;
    let files = Certificates { cert: &bundle.certificate, key: bundle.key.expose_secret(), ca_cert: &bundle.authority };
    let zip = archive::zip(files).map_err(|_| Error::Invalid("the archive could not be made".into()))?;
    let mut response = secret(answers::bytes(StatusCode::OK, archive::MEDIA_TYPE, zip));
    response.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static(archive::DISPOSITION));
    Ok(response)
}

pub(super) async fn user_config(call: &Call<'_>) -> Result<Response, Error> {
    let user = call.app.core.services.myself(&call.who).await?;
    let credit = call.app.core.billing.balance_of(&user).await?;
    Ok(pretty(&view(&user, credit, Password::Absent)))
}

pub(super) async fn user_credit(call: &Call<'_>) -> Result<Response, Error> {
    Ok(same_origin(raw(&call.app.core.billing.own_balance(&call.who).await?)))
}
