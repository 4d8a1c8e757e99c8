//! What callbacks are signed with.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_drivers::write_atomically;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Where they are, in the data directory.
pub const FILE: &str = "callback.secret";
/// How each begins, as the specification has it.
const PREFIX: &str = "whsec_";
/// How many bytes one has: those that we make, and those that the specification permits.
const BYTES: usize = 32;
const PERMITTED: std::ops::RangeInclusive<usize> = 24..=64;
/// How many there may be: one, and the one before while receivers change over.
const MOST: usize = 4;
/// Bytes of the file.
const LARGEST: u64 = 4096;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error("{path}: others can read it (mode {mode:o}); chmod 600, and replace the secret if they may have done so", path = .0.display(), mode = .1)]
    Exposed(PathBuf, u32),
    /// What is in the file. Says nothing of the secret.
    #[error("{path}: each of its lines must be `{PREFIX}` and base64 of {least} to {most} bytes, and there are 1 to {MOST}", path = .0.display(), least = PERMITTED.start(), most = PERMITTED.end())]
    Malformed(PathBuf),
}

/// The secrets: receivers know one of them. The first is the one to tell new receivers.
pub struct Secrets {
    keys: Vec<hmac::Key>,
    first: SecretString,
}

impl Secrets {
    /// Reads the file in a data directory, and makes it first where there is none.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn open_or_create(data: &Path) -> Result<Self, SecretError> {
        match Self::open(data) {
            Err(SecretError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        let path = data.join(FILE);
        let mut key = [0; BYTES];
        rand::rng().fill_bytes(&mut key);
        let text = format!("{PREFIX}{}\n", STANDARD.encode(key));
        write_atomically(&path, text.as_bytes()).map_err(|source| SecretError::File { path, source })?;
        Self::open(data)
    }

    /// Reads the file in a data directory.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn open(data: &Path) -> Result<Self, SecretError> {
        let path = data.join(FILE);
        let failed = |source| SecretError::File { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().map_err(failed)?) & 0o777;
            if mode & 0o077 != 0 {
                return Err(SecretError::Exposed(path, mode));
            }
        }
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        let text = String::from_utf8(bytes).map(SecretString::from).map_err(|_| SecretError::Malformed(path.clone()))?;
        Self::parse(text.expose_secret()).ok_or(SecretError::Malformed(path))
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let key = |line: &&str| {
            let bytes = STANDARD.decode(line.strip_prefix(PREFIX)?).ok()?;
            PERMITTED.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        let keys = lines.iter().map(key).collect::<Option<Vec<_>>>()?;
        let small = text.len() as u64 <= LARGEST && keys.len() <= MOST;
        let first = lines.first().filter(|_| small)?;
        Some(Self { first: SecretString::from((*first).to_owned()), keys })
    }

    /// The first one, as receivers want it.
    pub fn first(&self) -> &SecretString {
        &self.first
    }

    /// The value of `webhook-signature`: one signature for each secret, so that receivers can change over.
    pub fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let sign = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.keys.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}
