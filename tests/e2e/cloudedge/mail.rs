//! New passwords by mail.

use super::{Edge, fault};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A mail server on this machine that takes one letter a connection.
async fn mailbox() -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, letters) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream, sender.clone()));
        }
    });
    (port, letters)
}

async fn take(stream: TcpStream, letters: mpsc::UnboundedSender<String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.example ESMTP\r\n").await?;
    let (mut letter, mut data) = (String::new(), false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.trim_end() {
            "." if data => {
                data = false;
                let _ = letters.send(std::mem::take(&mut letter));
                "250 taken\r\n"
            }
            _ if data => {
                letter.push_str(&line);
                continue;
            }
            "DATA" => {
                data = true;
                "354 go on\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

#[tokio::test]
async fn a_reset_is_sent_and_its_password_is_good() {
    let (port, mut letters) = mailbox().await;
    let mail = format!("[mail]\nserver = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"Ostler <ostler@example.org>\"\n");
    let edge = Edge::start(&mail).await;
    let ann = edge.user("ann", "guest").await;
    let path = format!("/cloudedge/users/{ann}/action");
    let reset = json!({"password": "reset"});
    fault(&edge.post("ann", &path, reset.clone()).await, 400, "badRequest");
    assert_eq!(edge.post("ann", &path, json!({"email": "ann@example.org"})).await.status, 202);
    let sent = edge.post("ann", &path, reset.clone()).await;
    assert_eq!((sent.status, sent.text()), (202, ""));
    let letter = letters.recv().await.unwrap();
    assert!(letter.contains("To: ann@example.org") && letter.contains("From: Ostler <ostler@example.org>"), "{letter}");
    let password = letter.lines().find_map(|line| line.strip_prefix("    ")).unwrap().trim();
    assert_eq!(edge.get("ann", "/cloudedge/version").await.status, 401, "the old password is over");
    let authorization = format!("Basic {}", STANDARD.encode(format!("ann:{password}")));
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    fault(&edge.server.call("POST", &path, &headers, reset.to_string()).await, 409, "buildInProgress");
    let set = edge.server.call("POST", &path, &headers, json!({"password": super::PASSWORD}).to_string()).await;
    assert_eq!(set.status, 202, "{}", set.text());
    assert_eq!(edge.get("ann", "/cloudedge/version").await.status, 200);
    assert!(!edge.server.log().contains(password), "it stands in no log");
}

#[tokio::test]
async fn without_a_mail_server_nothing_changes() {
    let edge = Edge::start("").await;
    let ann = edge.user("ann", "guest").await;
    let reset = edge.post("ann", &format!("/cloudedge/users/{ann}/action"), json!({"password": "reset"})).await;
    fault(&reset, 503, "serviceUnavailable");
    assert!(reset.text().contains("no mail server is configured"), "{}", reset.text());
    // One that does not answer.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mail = format!("[mail]\nserver = \"127.0.0.1\"\nport = {gone}\ntls = \"none\"\nfrom = \"ostler@example.org\"\n");
    let edge = Edge::start(&mail).await;
    let ann = edge.user("ann", "guest").await;
    let path = format!("/cloudedge/users/{ann}/action");
    assert_eq!(edge.post("ann", &path, json!({"email": "ann@example.org"})).await.status, 202);
    fault(&edge.post("ann", &path, json!({"password": "reset"})).await, 503, "serviceUnavailable");
    assert_eq!(edge.get("ann", "/cloudedge/version").await.status, 200);
}
