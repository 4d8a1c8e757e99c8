//! Users.

use super::errors::Fault;
use super::input::{Members, object, shown, wrapped};
use super::wire::{CreatedUser, Named, UserItem, UserView};
use super::{Call, empty, json};
use axum::response::Response;
use http::StatusCode;
use ostler_core::identity::{AccountChange, NewAccount, PLATFORM_ROLES, Role};
use secrecy::ExposeSecret;
use serde_json::Value;

/// The password that is none: it asks for another one.
const RESET: &str = "reset";

/// The role of this name. The specification's examples have blanks around some, and `user` for guests.
fn role(name: &str) -> Result<Role, Fault> {
    let name = name.trim();
    let known = PLATFORM_ROLES.into_iter().find(|role| role.as_str() == name);
    known.or((name == "user").then_some(Role::Guest)).ok_or_else(|| {
        let names = PLATFORM_ROLES.map(Role::as_str).join(", ");
        Fault::bad(format!("there is no role `{}`: it is one of {names}", shown(name)))
    })
}

/// Under the names that the specification's examples have, with a capital.
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let role = call.query.first("role").map(role).transpose()?;
    let users = call.app.core.identity.accounts(&call.who, role).await?;
    let items: Vec<_> = users.iter().map(|user| UserItem::new(user, call.links())).collect();
    Ok(json(StatusCode::OK, &Named("Users", items)))
}

pub(super) async fn show(call: &Call<'_>) -> Result<Response, Fault> {
    let user = call.app.core.identity.account(&call.who, call.id).await?;
    Ok(json(StatusCode::OK, &Named("User", UserView::new(&user, call.links()))))
}

pub(super) async fn create(call: &Call<'_>, body: Option<Value>) -> Result<Response, Fault> {
    let members = wrapped(body, "User")?;
    let new = NewAccount {
        username: members.required_text("username")?.trim().to_owned(),
        role: role(members.required_text("role")?)?,
        email: members.text("email")?.map(|email| email.trim().to_owned()),
        password: members.text("password")?.map(Into::into),
    };
    let made = call.app.core.identity.add_account(&call.who, &new, call.key("cloudedge:users")?).await?;
    let password = made.password.as_ref().map(ExposeSecret::expose_secret);
    Ok(json(StatusCode::ACCEPTED, &Named("User", CreatedUser::new(&made.user, password, call.links()))))
}

pub(super) async fn change(call: &Call<'_>, body: Option<Value>) -> Result<Response, Fault> {
    const KNOWN: [&str; 3] = ["email", "password", "role"];
    let mut object = object(body)?;
    // Null takes an address away, and nothing else.
    let removes = object.get("email").is_some_and(Value::is_null);
    object.retain(|name, _| KNOWN.contains(&name.as_str()));
    if object.len() != 1 {
        return Err(Fault::bad("the request body must have exactly one of email, password and role"));
    }
    let members = Members::new(object, "User");
    let change = if removes {
        AccountChange::Email(None)
    } else if let Some(email) = members.text("email")? {
        AccountChange::Email(Some(email.trim().to_owned()))
    } else if let Some(name) = members.text("role")? {
        AccountChange::Role(role(name)?)
    } else {
        match members.required_text("password")? {
            RESET => AccountChange::Reset,
            password => AccountChange::Password(password.into()),
        }
    };
    call.app.core.identity.change_account(&call.who, call.id, &change).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

pub(super) async fn delete(call: &Call<'_>) -> Result<Response, Fault> {
    let force = call.query.flag("force")?;
    let core = &call.app.core;
    core.identity.delete_account(&call.who, call.id, &core.instances, force).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
