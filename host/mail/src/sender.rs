//! From a letter to a server that has taken it.

use crate::opening;
use crate::stream::Stream;
use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use ostler_egress::{AddressPolicy, ClientConfig, Dialer, Timeouts};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// How long connecting may take, and all of it.
const CONNECT: Duration = Duration::from_secs(10);
const ALL: Duration = Duration::from_secs(40);

/// How a connection to a mail server is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// `STARTTLS`, which must succeed. Usually on port 587.
    #[default]
    StartTls,
    /// From the first byte. Usually on port 465.
    Implicit,
    /// Not at all: for a server on this machine, on port 25.
    None,
}

impl Tls {
    /// The usual port.
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// Whom to give mail to, and as who.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server: a name, or a literal address, IPv6 in brackets.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured. [`Tls::None`] is taken for loopback addresses only.
    pub tls: Tls,
    /// User name and password, of whoever needs them. They are shown under TLS, or on this machine.
    pub credentials: Option<(String, SecretString)>,
    /// The sender's address.
    pub from: Mailbox,
    /// Certificate authorities, PEM, besides the system's and Mozilla's.
    pub ca_pem: Option<Vec<u8>>,
}

/// Why a letter was not sent, or a sender not made. Holds neither addresses nor what the letter says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// The recipient's address is none.
    #[error("the address is none that mail can be sent to")]
    Recipient,
    /// There is no connection to the server.
    #[error("{0}")]
    Connection(String),
    /// The server did not take it.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("the mail server does not answer in time")]
    Timeout,
}

/// Gives letters to one server.
#[derive(Debug)]
pub struct Sender {
    config: Config,
    dialer: Dialer,
    hello: ClientId,
}

impl Sender {
    /// To this server.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: Config) -> Result<Self, Error> {
        let loopback = config.tls == Tls::None;
        // Without TLS, whatever the name resolves to must be this machine.
        let addresses = match loopback {
            true => AddressPolicy { loopback: true, private: false, link_local: false },
            false => AddressPolicy::PROVIDER,
        };
        if loopback && !is_loopback(&config.server) {
            return Err(Error::Config("without TLS, mail is given to a server on this machine only".into()));
        }
        let client = ClientConfig {
            addresses,
            ca_pem: config.ca_pem.clone(),
            timeouts: Timeouts { connect: CONNECT, ..Timeouts::default() },
            ..ClientConfig::default()
        };
        let dialer = Dialer::new(&config.server, config.port, &client).map_err(|error| Error::Config(error.to_string()))?;
        let hello = ClientId::Domain(config.from.email.domain().to_owned());
        Ok(Self { config, dialer, hello })
    }

    /// Sends a letter of plain text. The server has taken it when this returns.
    ///
    /// # Errors
    /// [`Error::Recipient`], [`Error::Connection`], [`Error::Refused`], [`Error::Timeout`].
    pub async fn send(&self, to: &str, subject: &str, text: &str) -> Result<(), Error> {
        let to: Mailbox = to.parse().map(|email| Mailbox::new(None, email)).map_err(|_| Error::Recipient)?;
        let body = SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            .header(ContentTransferEncoding::QuotedPrintable)
            .body(text.to_owned());
        let message = Message::builder().from(self.config.from.clone()).to(to).subject(subject).message_id(None).singlepart(body);
        let message = message.map_err(|_| Error::Recipient)?;
        tokio::time::timeout(ALL, self.give(&message)).await.map_err(|_| Error::Timeout)?
    }

    async fn give(&self, message: &Message) -> Result<(), Error> {
        let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(self.open().await?), &self.hello)
            .await
            .map_err(|error| failed(&error))?;
        if let Some((user, password)) = &self.config.credentials {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            let known = [Mechanism::Plain, Mechanism::Login];
            if let Err(error) = connection.auth(&known, &credentials).await {
                connection.abort().await;
                // A server may repeat what it was shown.
                return Err(match error.status() {
                    Some(code) => Error::Refused(format!("the mail server does not take the user and password (code {code})")),
                    None => failed(&error),
                });
            }
        }
        connection.send(message.envelope(), &message.formatted()).await.map_err(|error| failed(&error))?;
        // The letter is taken, whatever becomes of the farewell.
        let _ = connection.quit().await;
        Ok(())
    }

    async fn open(&self) -> Result<Stream, Error> {
        let lost = |error: ostler_egress::Error| Error::Connection(error.to_string());
        let stream = self.dialer.connect().await.map_err(lost)?;
        Ok(match self.config.tls {
            Tls::None => Stream::plain(stream),
            Tls::Implicit => Stream::tls(self.dialer.secure(stream).await.map_err(lost)?),
            Tls::StartTls => {
                let stream = opening::start_tls(stream, &self.hello.to_string()).await?;
                Stream::tls(self.dialer.secure(stream).await.map_err(lost)?).greeting(b"220 TLS\r\n")
            }
        })
    }
}

/// Whether a server's name is one of this machine's by itself.
pub fn is_loopback(server: &str) -> bool {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    server.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What failed, without the server's words: they may repeat an address.
fn failed(error: &lettre::transport::smtp::Error) -> Error {
    match error.status() {
        Some(code) => Error::Refused(format!("the mail server refused (code {code})")),
        None if error.is_client() => Error::Refused("the mail server lacks what is needed: authentication or SMTPUTF8".into()),
        None if error.is_response() => Error::Refused("the mail server does not answer as mail servers do".into()),
        None => Error::Connection("the connection to the mail server broke".into()),
    }
}
