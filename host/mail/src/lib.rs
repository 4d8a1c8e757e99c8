//! Mail by SMTP (RFC 5321), over connections that [`ostler_egress`] makes: the server's name is resolved once, its address is
//! checked, and TLS is with that name or not at all.
//!
//! A [`Sender`] keeps no connection: mail is rare here, and each letter has one of its own.

mod opening;
mod sender;
mod stream;

pub use sender::{Config, Error, Sender, Tls, is_loopback};

/// An address with or without a name: `Ostler <ostler@example.org>`.
pub use lettre::message::Mailbox;
