//! What is said before TLS (RFC 3207): greeting, `EHLO`, `STARTTLS`. Nothing of it is trusted or kept.

use crate::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Bytes of the longest answer.
const LONGEST: u64 = 8192;

/// Asks for TLS on a new connection. The handshake is next when this returns.
pub(crate) async fn start_tls(stream: TcpStream, hello: &str) -> Result<TcpStream, Error> {
    let mut stream = BufReader::new(stream);
    answer(&mut stream, "220", "the greeting").await?;
    say(&mut stream, &format!("EHLO {hello}\r\n")).await?;
    let offered = answer(&mut stream, "250", "EHLO").await?;
    if !offered.iter().any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
        return Err(Error::Refused("the mail server offers no STARTTLS".into()));
    }
    say(&mut stream, "STARTTLS\r\n").await?;
    answer(&mut stream, "220", "STARTTLS").await?;
    // What somebody on the way has put in behind the answer would count as said under TLS.
    if !stream.buffer().is_empty() {
        return Err(Error::Refused("the mail server said more than it was asked before TLS".into()));
    }
    Ok(stream.into_inner())
}

async fn say(stream: &mut BufReader<TcpStream>, line: &str) -> Result<(), Error> {
    stream.get_mut().write_all(line.as_bytes()).await.map_err(|error| Error::Connection(error.to_string()))
}

/// The lines of an answer without their code, which must be this one.
async fn answer(stream: &mut BufReader<TcpStream>, code: &str, to: &str) -> Result<Vec<String>, Error> {
    let strange = || Error::Refused(format!("the mail server does not answer {to} as mail servers do"));
    let mut left = LONGEST;
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let read = (&mut *stream).take(left).read_until(b'\n', &mut line).await;
        let read = read.map_err(|error| Error::Connection(error.to_string()))?;
        left -= read as u64;
        if !line.ends_with(b"\n") {
            return Err(if left == 0 { strange() } else { Error::Connection("the mail server hung up".into()) });
        }
        let line = String::from_utf8_lossy(&line);
        if !line.starts_with(code) {
            return Err(strange());
        }
        let rest = line.get(code.len()..).unwrap_or_default();
        let last = !rest.starts_with('-');
        lines.push(rest.trim_start_matches(['-', ' ']).trim_end().to_owned());
        if last {
            return Ok(lines);
        }
    }
}
