//! `ostler cert`.

use super::remote::{Remote, segment};
use super::{or_dash, say, say_json, table};
use crate::api::native::wire::accounts::{Certificate, Certificates, Revocation, Revoked};
use clap::{Args, Subcommand};
use http::Method;
use jiff::Timestamp;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List certificates, the latest first.
    List {
        /// Only those of this user, and of his services.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only those of this service.
        #[arg(long, value_name = "NUMBER")]
        service: Option<i64>,
        /// Also those that were revoked or have ended.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a certificate.
    Show {
        #[command(flatten)]
        one: One,
        /// Print the certificate itself, PEM.
        #[arg(long, conflicts_with = "json")]
        pem: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a certificate for good, from the next request on.
    Revoke {
        #[command(flatten)]
        one: One,
        /// Why: unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation or privilege-withdrawn.
        #[arg(long, value_name = "WORD")]
        reason: Option<String>,
    },
    /// Issue a new certificate for the key of one that is good, and print it, PEM.
    Renew(One),
}

#[derive(Args)]
pub(super) struct One {
    /// The serial number.
    serial: String,
    #[command(flatten)]
    remote: Remote,
}

impl One {
    fn path(&self) -> String {
        format!("/ostler/v1/certificates/{}", segment(&self.serial))
    }
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::List { user, service, all, remote, json } => list(&remote, &query(user.as_deref(), service, all), json),
            Self::Show { one, pem, json } => {
                let certificate: Certificate = one.remote.get(&one.path())?;
                match (pem, json) {
                    (true, _) => say(certificate.pem.trim_end()),
                    (false, true) => say_json(&certificate)?,
                    (false, false) => show(certificate),
                }
                Ok(())
            }
            Self::Revoke { one, reason } => {
                let path = format!("{}/revoke", one.path());
                let revoked: Revoked = one.remote.json(Method::POST, &path, &Revocation { reason })?;
                say(&format!("{} {}", revoked.serial, if revoked.changed { "revoked" } else { "was revoked before" }));
                Ok(())
            }
            Self::Renew(one) => {
                let renewed: Certificate = one.remote.call(Method::POST, &format!("{}/renew", one.path()), None)?;
                say(renewed.pem.trim_end());
                Ok(())
            }
        }
    }
}

fn query(user: Option<&str>, service: Option<i64>, all: bool) -> String {
    let mut query = format!("limit=1000&all={all}");
    if let Some(user) = user {
        query.push_str(&format!("&user={}", segment(user)));
    }
    if let Some(service) = service {
        query.push_str(&format!("&service={service}"));
    }
    query
}

fn list(remote: &Remote, query: &str, json: bool) -> Result<(), String> {
    let mut all = Certificates { certificates: Vec::new(), next: None };
    loop {
        let before = all.next.as_deref().map(|before| format!("&before={}", segment(before))).unwrap_or_default();
        let mut page: Certificates = remote.get(&format!("/ostler/v1/certificates?{query}{before}"))?;
        all.certificates.append(&mut page.certificates);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
    }
    if json {
        return say_json(&all);
    }
    let mut table = table(&["SERIAL", "ROLE", "SUBJECT", "SERVICE", "ISSUED", "GOOD UNTIL", "STATE"]);
    for certificate in all.certificates {
        let state = state(&certificate).to_owned();
        let service = or_dash(certificate.service.map(|service| service.to_string()));
        let Certificate { serial, role, subject, issued_at, not_after, .. } = certificate;
        table.add_row([serial, role, subject, service, issued_at, not_after, state]);
    }
    say(&table.to_string());
    Ok(())
}

fn show(certificate: Certificate) {
    say(&format!("serial   {}", certificate.serial));
    say(&format!("state    {}", state(&certificate)));
    say(&format!("role     {}", certificate.role));
    say(&format!("subject  {}", certificate.subject));
    say(&format!("service  {}", or_dash(certificate.service.map(|service| service.to_string()))));
    say(&format!("good     {} to {}", certificate.not_before, certificate.not_after));
    say(&format!("issued   {} by {}", certificate.issued_at, certificate.issued_by));
    if let Some(at) = certificate.revoked_at {
        say(&format!("revoked  {at} ({})", or_dash(certificate.reason)));
    }
}

/// By this machine's clock.
fn state(certificate: &Certificate) -> &'static str {
    let ended = || certificate.not_after.parse::<Timestamp>().is_ok_and(|end| end <= Timestamp::now());
    match certificate.revoked_at {
        Some(_) => "revoked",
        None if ended() => "ended",
        None => "good",
    }
}
