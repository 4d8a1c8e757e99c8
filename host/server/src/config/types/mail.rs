//! `[mail]`.

use std::path::PathBuf;

use super::Secret;

/// `[mail]`: an SMTP server, for new passwords that users ask for.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The server: a name, or an IP address, IPv6 in brackets. Required.
    pub server: String,
    /// How the connection is secured: `starttls`, `tls` (from the first byte), or `none`, for a server on this machine only.
    /// Default `starttls`.
    pub tls: ostler_mail::Tls,
    /// The port. Default 587 for `starttls`, 465 for `tls`, 25 for `none`.
    pub port: u16,
    /// The user name. Default: none, nobody logs in.
    pub user: Option<String>,
    /// The password of that.
    pub password: Option<Secret>,
    /// The sender, such as `Ostler <ostler@example.org>`. Required.
    pub from: ostler_mail::Mailbox,
    /// Certificate authorities for the server, PEM, besides the system's. Relative to the configuration file. Default: none.
    pub ca: Option<PathBuf>,
}

impl Mail {
    /// In a line, for people.
    pub(in super::super) fn described(&self) -> String {
        let tls = match self.tls {
            ostler_mail::Tls::StartTls => "STARTTLS",
            ostler_mail::Tls::Implicit => "TLS",
            ostler_mail::Tls::None => "no TLS",
        };
        format!("{} by {}:{} ({tls})", self.from.email, self.server, self.port)
    }
}
