//! `log`: a driver's lines in the host's log, and what its runtime prints.

use crate::guest::Guest;
use crate::redact::Redactor;
use crate::v0_1::imports::log::{Host, Level};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes of a line that are kept.
const LINE: usize = 4 << 10;
/// Lines of one call that are kept.
const LINES: u32 = 200;
/// Fields of a line that are kept.
const FIELDS: usize = 32;

impl Host for Guest {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        self.lines += 1;
        if self.lines > LINES {
            if self.lines == LINES + 1 {
                tracing::warn!(target: "driver", cloud = %self.cloud.settings.name, "further lines of this call are dropped");
            }
            return Ok(());
        }
        // Cleaned before it is cut: half a secret would not be recognised.
        let redactor = &self.cloud.redactor;
        let mut text = String::new();
        for (key, value) in fields.iter().take(FIELDS) {
            text.push_str(cut(&redactor.clean(key)));
            text.push('=');
            text.push_str(cut(&redactor.clean(value)));
            text.push(' ');
        }
        let message = redactor.clean(&message);
        let (message, fields) = (cut(&message), cut(text.trim_end()));
        let cloud = self.cloud.settings.name.as_str();
        match level {
            Level::Trace => tracing::trace!(target: "driver", cloud, %fields, "{message}"),
            Level::Debug => tracing::debug!(target: "driver", cloud, %fields, "{message}"),
            Level::Info => tracing::info!(target: "driver", cloud, %fields, "{message}"),
            Level::Warn => tracing::warn!(target: "driver", cloud, %fields, "{message}"),
            Level::Error => tracing::error!(target: "driver", cloud, %fields, "{message}"),
        }
        Ok(())
    }
}

/// The part of a text that is kept.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LINE)]
}

/// Standard output or standard error of a driver: debug lines.
#[derive(Clone)]
pub(crate) struct Output {
    cloud: Arc<str>,
    redactor: Arc<Redactor>,
    name: &'static str,
}

impl Output {
    pub(crate) fn new(cloud: Arc<str>, redactor: Arc<Redactor>, name: &'static str) -> Self {
        Self { cloud, redactor, name }
    }

    fn print(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LINE)]);
        let text = text.trim_end();
        if !text.is_empty() {
            tracing::debug!(target: "driver", cloud = &*self.cloud, output = self.name, "{}", self.redactor.clean(text));
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LINE)
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
