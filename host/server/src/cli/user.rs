//! `ostler user`.

use super::remote::{Remote, segment};
use super::{or_dash, say, say_json, table};
use crate::api::native::wire::accounts::{AddedUser, Link, Links, NewUser, Person, Secret, Unlinked, User, UserChanges, Users};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use std::io::Read;

/// Bytes that are read of a password. The server accepts fewer.
const LARGEST: u64 = 64 << 10;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add a user. Without --password-stdin a password is made, and shown once.
    Add(Add),
    /// List users.
    List {
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a user.
    Show {
        #[command(flatten)]
        named: Named,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set a user's roles: these, and no others.
    Role {
        #[command(flatten)]
        named: Named,
        /// The roles: admin, agent, user, monitor, customer, provider, local_admin, guest.
        #[arg(required = true, value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Have whoever comes with a token of an issuer for a subject be this user, with his account and roles.
    Link {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        person: Whom,
    },
    /// Take such a link away.
    Unlink {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        person: Whom,
    },
    /// List the persons that a user is.
    Links {
        #[command(flatten)]
        named: Named,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keep a user out, from the next request on. His certificates are revoked for good.
    Disable(Named),
    /// Let a user in again.
    Enable(Named),
    /// Change a user's password. Without --stdin one is made, and shown once. His certificates are revoked.
    Password {
        #[command(flatten)]
        named: Named,
        /// Read the password from standard input. One newline at its end does not count.
        #[arg(long)]
        stdin: bool,
    },
}

#[derive(Args)]
pub(super) struct Named {
    /// The user's name.
    name: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct Whom {
    /// The issuer, exactly as its tokens say it in `iss`.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The issuer's name for the person, `sub`.
    #[arg(long, value_name = "TEXT")]
    subject: String,
}

#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    named: Named,
    /// The address for mail. No two users have the same.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// The first name.
    #[arg(long, value_name = "NAME")]
    first_name: Option<String>,
    /// The last name.
    #[arg(long, value_name = "NAME")]
    last_name: Option<String>,
    /// Where he works.
    #[arg(long, value_name = "TEXT")]
    affiliation: Option<String>,
    /// What he is: admin, agent, user, monitor, customer, provider, local_admin or guest. Can be given again. Who has no role may
    /// do nothing.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The credit to begin with.
    #[arg(long, value_name = "N", default_value_t = 0)]
    credit: i64,
    /// Read the password from standard input. One newline at its end does not count.
    #[arg(long)]
    password_stdin: bool,
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::Add(add) => add.run(),
            Self::List { remote, json } => list(&remote, json),
            Self::Show { named, json } => show(&named, json),
            Self::Role { named, roles } => {
                let user = named.change(&UserChanges { roles: Some(roles), ..UserChanges::default() })?;
                say(&format!("{} has the roles {}", user.username, user.roles.join(", ")));
                Ok(())
            }
            Self::Link { named, person } => {
                let body = Person { issuer: person.issuer, subject: person.subject };
                let link: Link = named.remote.json(Method::PUT, &format!("{}/links", path(&named.name)), &body)?;
                say(&format!("{} of {} is {}", link.subject, link.issuer, named.name));
                Ok(())
            }
            Self::Unlink { named, person } => {
                let query = format!("issuer={}&subject={}", segment(&person.issuer), segment(&person.subject));
                let unlinked: Unlinked =
                    named.remote.call(Method::DELETE, &format!("{}/links?{query}", path(&named.name)), None)?;
                let now = if unlinked.changed { "is not" } else { "was not" };
                say(&format!("{} of {} {now} {}", person.subject, person.issuer, named.name));
                Ok(())
            }
            Self::Links { named, json } => links(&named, json),
            Self::Disable(named) => named.activate(false),
            Self::Enable(named) => named.activate(true),
            Self::Password { named, stdin } => named.password(stdin),
        }
    }
}

pub(super) fn path(name: &str) -> String {
    format!("/ostler/v1/users/{}", segment(name))
}

impl Add {
    fn run(self) -> Result<(), String> {
        let password = if self.password_stdin { Some(Secret(read_password()?)) } else { None };
        let new = NewUser {
            username: self.named.name,
            password,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            affiliation: self.affiliation,
            roles: self.roles,
            credit: self.credit,
        };
        let added: AddedUser = self.named.remote.json(Method::POST, "/ostler/v1/users", &new)?;
        say(&format!("{} added", added.user.username));
        if let Some(Secret(password)) = added.password {
            show_once(&password);
        }
        Ok(())
    }
}

impl Named {
    fn change(&self, changes: &UserChanges) -> Result<User, String> {
        self.remote.json(Method::PATCH, &path(&self.name), changes)
    }

    fn activate(&self, active: bool) -> Result<(), String> {
        let user = self.change(&UserChanges { active: Some(active), ..UserChanges::default() })?;
        say(&format!("{} is {}", user.username, if user.active { "enabled" } else { "disabled" }));
        Ok(())
    }

    fn password(&self, stdin: bool) -> Result<(), String> {
        let password: SecretString =
            if stdin { read_password()? } else { URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()).into() };
        let changes = UserChanges { password: Some(Secret(password.clone())), ..UserChanges::default() };
        let user = self.change(&changes)?;
        say(&format!("{} has a new password", user.username));
        if !stdin {
            show_once(&password);
        }
        Ok(())
    }
}

fn show_once(password: &SecretString) {
    say(&format!("password `{}` (shown once)", password.expose_secret()));
}

/// Never from the command line, which others on the machine can read.
fn read_password() -> Result<SecretString, String> {
    let mut text = String::new();
    let read = std::io::stdin().take(LARGEST).read_to_string(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err("there is no password on standard input".into());
    }
    Ok(password.into())
}

fn list(remote: &Remote, json: bool) -> Result<(), String> {
    let mut all = Users { users: Vec::new(), next: None };
    loop {
        let after = all.next.as_deref().map(|after| format!("&after={}", segment(after))).unwrap_or_default();
        let mut page: Users = remote.get(&format!("/ostler/v1/users?limit=1000{after}"))?;
        all.users.append(&mut page.users);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
    }
    if json {
        return say_json(&all);
    }
    let mut table = table(&["USER", "NUMBER", "ROLES", "ACTIVE", "E-MAIL", "NAME", "SINCE"]);
    for user in all.users {
        let (roles, active, name) = (user.roles.join(", "), yes_no(user.active), name(&user));
        table.add_row([
            user.username,
            user.number.to_string(),
            or_dash(Some(roles)),
            active.to_owned(),
            or_dash(user.email),
            or_dash(Some(name)),
            user.created_at,
        ]);
    }
    say(&table.to_string());
    Ok(())
}

fn links(named: &Named, json: bool) -> Result<(), String> {
    let links: Links = named.remote.get(&format!("{}/links", path(&named.name)))?;
    if json {
        return say_json(&links);
    }
    let mut table = table(&["ISSUER", "SUBJECT", "SINCE"]);
    for link in links.links {
        table.add_row([link.issuer, link.subject, link.created_at]);
    }
    say(&table.to_string());
    Ok(())
}

fn show(named: &Named, json: bool) -> Result<(), String> {
    let user: User = named.remote.get(&path(&named.name))?;
    if json {
        return say_json(&user);
    }
    say(&format!("user        {} (number {})", user.username, user.number));
    say(&format!("name        {}", or_dash(Some(name(&user)))));
    say(&format!("e-mail      {}", or_dash(user.email)));
    say(&format!("affiliation {}", or_dash(user.affiliation)));
    say(&format!("roles       {}", or_dash(Some(user.roles.join(", ")))));
    say(&format!("active      {}", yes_no(user.active)));
    say(&format!("added       {}", user.created_at));
    say(&format!("changed     {}", user.updated_at));
    Ok(())
}

fn name(user: &User) -> String {
    let parts = [&user.first_name, &user.last_name];
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
