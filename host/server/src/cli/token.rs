//! `ostler token`.

use super::remote::{Remote, segment};
use super::user;
use super::{or_dash, say, say_json, table};
use crate::api::native::wire::accounts::{MadeToken, NewToken, Tokens};
use clap::Subcommand;
use http::Method;
use secrecy::ExposeSecret;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a token for a user. It is shown once, on the last line.
    Create {
        /// The user's name.
        user: String,
        /// What to call it.
        #[arg(long, value_name = "TEXT")]
        label: String,
        /// A permission that it is to be good for: compute.read, compute.change, drivers.read, drivers.change, clouds.change,
        /// metrics.read, services.use, services.manage, deployments.use, work.read, work.change, data-events.submit, users.read,
        /// users.change, catalogue.use, images.manage, instances.use, instances.see, instances.manage or guests.manage. Can be given
        /// again; without it, whatever the user may do.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// How long it is to be good, such as 12h, 30d or 8w; without it, until it is revoked.
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        expires: Option<u64>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List a user's tokens, those that ended included.
    List {
        /// The user's name.
        user: String,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token for good.
    Revoke {
        /// The token's identifier, as `list` shows it.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::Create { user, label, scopes, expires, remote } => {
                let scopes = Some(scopes).filter(|scopes| !scopes.is_empty());
                let new = NewToken { label, scopes, expires_in_seconds: expires };
                let made: MadeToken = remote.json(Method::POST, &format!("{}/tokens", user::path(&user)), &new)?;
                let end = made.expires_at.unwrap_or_else(|| "it is revoked".into());
                say(&format!("token {} of {user}, good until {end}; shown once:", made.id));
                say(made.token.0.expose_secret());
                Ok(())
            }
            Self::List { user, remote, json } => list(&user, &remote, json),
            Self::Revoke { id, remote } => {
                remote.bytes(Method::DELETE, &format!("/ostler/v1/tokens/{}", segment(&id)), None)?;
                say(&format!("{id} revoked"));
                Ok(())
            }
        }
    }
}

fn list(user: &str, remote: &Remote, json: bool) -> Result<(), String> {
    let tokens: Tokens = remote.get(&format!("{}/tokens", user::path(user)))?;
    if json {
        return say_json(&tokens);
    }
    let mut table = table(&["ID", "LABEL", "SCOPES", "MADE", "LAST USED", "GOOD UNTIL"]);
    for token in tokens.tokens {
        let end = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {at}"),
            (None, at) => or_dash(at),
        };
        let scopes = if token.scopes.is_empty() { "all".to_owned() } else { token.scopes.join(", ") };
        table.add_row([token.id, token.label, scopes, token.created_at, or_dash(token.last_used_at), end]);
    }
    say(&table.to_string());
    Ok(())
}

/// A number and a unit, as seconds.
fn seconds(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(letter, seconds)| text.strip_suffix(*letter).map(|number| (number, seconds)))
        .ok_or("a time ends with its unit: s, m, h, d or w")?;
    let number: u64 = number.trim().parse().map_err(|_| "a time is a whole number and a unit: 12h, 30d, 8w")?;
    number.checked_mul(*unit).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("12h", Some(43_200)),
            ("30d", Some(2_592_000)),
            ("8w", Some(4_838_400)),
            ("30", None),
            ("d", None),
            ("-1d", None),
            ("1.5d", None),
            ("", None),
            ("18446744073709551615w", None),
            ("1é", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }
}
