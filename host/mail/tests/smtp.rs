//! Against a server that speaks SMTP, and one that does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use base64::Engine;
use ostler_mail::{Config, Error, Sender, Tls};
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

const PASSWORD: &str = "canary-5ecret";

/// How a server plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Play {
    /// As it should.
    Well,
    /// Offers no STARTTLS.
    NoTls,
    /// Puts something in behind its answer to STARTTLS, as somebody on the way would.
    Injects,
    /// Refuses the password, and repeats it.
    RefusesPassword,
    /// Refuses the recipient.
    RefusesRecipient,
    /// Speaks HTTP.
    Http,
    /// Hangs up at once.
    HangsUp,
}

struct Server {
    port: u16,
    ca: String,
    heard: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(play: Play, implicit: bool) -> Self {
        let (ca, acceptor) = certificates();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, play, implicit, acceptor.clone(), sender.clone()));
            }
        });
        Self { port, ca, heard }
    }

    fn config(&self, tls: Tls) -> Config {
        Config {
            server: "localhost".into(),
            port: self.port,
            tls,
            credentials: Some(("ostler".into(), PASSWORD.into())),
            from: "Ostler <ostler@example.org>".parse().unwrap(),
            ca_pem: Some(self.ca.clone().into_bytes()),
        }
    }

    /// Everything that was heard so far.
    fn heard(&mut self) -> String {
        let mut all = String::new();
        while let Ok(line) = self.heard.try_recv() {
            all.push_str(&line);
        }
        all
    }
}

fn certificates() -> (String, TlsAcceptor) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    (ca.pem(), TlsAcceptor::from(Arc::new(config)))
}

async fn serve(
    stream: TcpStream,
    play: Play,
    implicit: bool,
    acceptor: TlsAcceptor,
    heard: mpsc::UnboundedSender<String>,
) -> Option<()> {
    if implicit {
        let mut stream = BufReader::new(acceptor.accept(stream).await.ok()?);
        stream.write_all(b"220 mail.example ESMTP\r\n").await.ok()?;
        return talk(&mut stream, play, true, &heard).await.map(drop);
    }
    let mut stream = BufReader::new(stream);
    match play {
        Play::HangsUp => return None,
        Play::Http => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok()?,
        _ => stream.write_all(b"220 mail.example ESMTP\r\n").await.ok()?,
    }
    if talk(&mut stream, play, false, &heard).await? {
        let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await.ok()?);
        talk(&mut stream, play, true, &heard).await?;
    }
    Some(())
}

/// Until the client goes, or wants TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    play: Play,
    secured: bool,
    heard: &mpsc::UnboundedSender<String>,
) -> Option<bool> {
    let mut data = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        heard.send(format!("{}{line}", if secured { "" } else { "plain " })).ok()?;
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        let answer = match word.as_str() {
            "." if data => {
                data = false;
                "250 taken\r\n"
            }
            _ if data => continue,
            "EHLO" if secured || play == Play::NoTls => "250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n",
            "EHLO" => "250-mail.example\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n",
            "STARTTLS" if play == Play::Injects => "220 go\r\n250 injected\r\n",
            "STARTTLS" => {
                stream.write_all(b"220 go\r\n").await.ok()?;
                return Some(true);
            }
            "AUTH" if play == Play::RefusesPassword => "535 canary-5ecret is wrong\r\n",
            "AUTH" => "235 welcome\r\n",
            "RCPT" if play == Play::RefusesRecipient => "550 no ann@example.org here\r\n",
            "DATA" => {
                data = true;
                "354 go on\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn send(config: Config, to: &str) -> Result<(), Error> {
    let text = "Grüße.\n.\nThe password is canary-5ecret\n";
    let sender = Sender::new(config)?;
    tokio::time::timeout(Duration::from_secs(30), sender.send(to, "Your new password", text)).await.expect("it ends")
}

#[tokio::test]
async fn a_letter_arrives_and_the_password_is_shown_under_tls_only() {
    for (tls, implicit) in [(Tls::StartTls, false), (Tls::Implicit, true), (Tls::None, false)] {
        let mut server = Server::start(if tls == Tls::None { Play::NoTls } else { Play::Well }, implicit).await;
        send(server.config(tls), "ann@example.org").await.unwrap_or_else(|error| panic!("{tls:?}: {error}"));
        let heard = server.heard();
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("\0ostler\0{PASSWORD}"));
        let prefix = if tls == Tls::None { "plain " } else { "" };
        for line in [
            &format!("{prefix}AUTH PLAIN {auth}"),
            &format!("{prefix}MAIL FROM:<ostler@example.org>"),
            &format!("{prefix}RCPT TO:<ann@example.org>"),
            &format!("{prefix}From: Ostler <ostler@example.org>"),
            &format!("{prefix}Subject: Your new password"),
            &format!("{prefix}Gr=C3=BC=C3=9Fe."),
            // A line of one dot is no end.
            &format!("{prefix}.."),
        ] {
            assert!(
                heard.lines().any(|heard| heard == *line || heard.starts_with(&format!("{line} "))),
                "{tls:?}: `{line}` in\n{heard}"
            );
        }
        let plain: Vec<&str> = heard.lines().filter(|line| line.starts_with("plain ")).collect();
        match tls {
            Tls::StartTls => assert_eq!(plain, ["plain EHLO example.org", "plain STARTTLS"]),
            Tls::Implicit => assert!(plain.is_empty(), "{plain:?}"),
            Tls::None => {}
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_is_told_without_secrets() {
    for (play, tls, to, expected) in [
        (Play::NoTls, Tls::StartTls, "ann@example.org", "the mail server offers no STARTTLS"),
        (Play::Injects, Tls::StartTls, "ann@example.org", "the mail server said more than it was asked before TLS"),
        (
            Play::RefusesPassword,
            Tls::StartTls,
            "ann@example.org",
            "the mail server does not take the user and password (code 535)",
        ),
        (Play::RefusesRecipient, Tls::StartTls, "ann@example.org", "the mail server refused (code 550)"),
        (Play::Http, Tls::StartTls, "ann@example.org", "the mail server does not answer the greeting as mail servers do"),
        (Play::Http, Tls::None, "ann@example.org", "the mail server does not answer as mail servers do"),
        (Play::HangsUp, Tls::StartTls, "ann@example.org", "the mail server hung up"),
        (Play::Well, Tls::StartTls, "ann", "the address is none that mail can be sent to"),
        (
            Play::Well,
            Tls::StartTls,
            "ann@example.org>\r\nRCPT TO:<eve@example.org",
            "the address is none that mail can be sent to",
        ),
    ] {
        let mut server = Server::start(play, false).await;
        let error = send(server.config(tls), to).await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{play:?} {tls:?}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        assert!(!server.heard().contains("The password is"), "{play:?}: nothing of the letter was said");
    }
    let server = Server::start(Play::Well, false).await;
    let stranger = Config { ca_pem: None, ..server.config(Tls::StartTls) };
    let error = send(stranger, "ann@example.org").await.unwrap_err();
    assert!(matches!(&error, Error::Connection(reason) if reason.contains("TLS")), "{error}");
}

#[tokio::test]
async fn without_tls_only_this_machine() {
    let server = Server::start(Play::NoTls, false).await;
    for (name, fine) in [("localhost", true), ("127.0.0.1", true), ("[::1]", true), ("mail.example", false), ("192.0.2.1", false)]
    {
        let made = Sender::new(Config { server: name.into(), ..server.config(Tls::None) });
        assert_eq!(made.is_ok(), fine, "{name}: {made:?}");
        assert!(!format!("{made:?}").contains("canary"), "{made:?}");
    }
    for name in ["", "a b", "x@y"] {
        let made = Sender::new(Config { server: name.into(), ..server.config(Tls::StartTls) });
        assert!(matches!(made, Err(Error::Config(_))), "{name}");
    }
}
