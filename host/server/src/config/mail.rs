//! `[mail]`.

use super::clouds;
use super::problem::Place;
use super::reader::Section;
use super::types::Mail;
use ostler_egress::{HostPattern, Origin};
use ostler_mail::{Mailbox, Tls, is_loopback};

pub(super) fn mail(root: &Section<'_, '_>) -> Option<Mail> {
    let section = root.section("mail");
    if section.place == Place::Default {
        return None;
    }
    let reader = section.reader;
    let server = section.required_text("server", "the SMTP server, such as \"mail.example\"");
    let words = [("starttls", Tls::StartTls), ("tls", Tls::Implicit), ("none", Tls::None)];
    let tls = section.choice("tls", &words).unwrap_or_default();
    let port = section.integer("port", tls.port().into(), 1..=65_535, "");
    let from = match section.required_text("from", "the sender, such as \"Ostler <ostler@example.org>\"") {
        None => None,
        Some(text) => match text.value.parse::<Mailbox>() {
            Ok(from) => Some(from),
            Err(_) => {
                let wanted = "must be a mail address with or without a name, such as \"Ostler <ostler@example.org>\"";
                reader.error(&text.place, &text.key, wanted);
                None
            }
        },
    };
    let user = section.text("user");
    let password = clouds::one_secret(&section, "password");
    match (&user, &password) {
        (Some(user), None) => reader.error(&user.place, &user.key, "needs password = { env = \"NAME\" } or { file = \"PATH\" }"),
        (None, Some(_)) => reader.error(&section.place, &section.key("password"), "needs user"),
        _ => {}
    }
    let ca = section.file("ca");
    let server = server?;
    if tls == Tls::None && !is_loopback(&server.value) {
        reader.error(
            &section.place,
            &section.key("tls"),
            "\"none\" is for a server on this machine only: localhost, 127.0.0.1, [::1]",
        );
    }
    if !is_host(&server.value) {
        let wanted = "must be a host name or an IP address, IPv6 in brackets, and nothing else";
        reader.error(&server.place, &server.key, format!("{wanted}, found {:?}", server.value));
    }
    let user = user.map(|text| text.value);
    Some(Mail { server: server.value, tls, port: u16::try_from(port).unwrap_or(tls.port()), user, password, from: from?, ca })
}

/// Whether a text is one host, as far as its looks say, without a port.
fn is_host(text: &str) -> bool {
    format!("https://{text}:1").parse::<Origin>().is_ok_and(|origin| !matches!(origin.host(), HostPattern::Below(_)))
}
