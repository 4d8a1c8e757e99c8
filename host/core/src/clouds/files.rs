//! Where clouds are kept that were added while the host ran: `NAME.toml` with the keys of a `[clouds.NAME]` table, and beside it,
//! never in it, what is secret. The file makes the cloud: it is written last and removed first.

use ostler_drivers::{CloudSettings, Tls, private_directory, write_atomically};
use secrecy::ExposeSecret;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// What a cloud's file is called after its name.
const ENDING: &str = ".toml";

/// Where a cloud's file finds a secret: beside itself.
pub fn secret_path(cloud: &str, key: &str) -> String {
    format!("{cloud}.secrets/{key}")
}

/// Where a cloud's file finds a certificate or key: beside itself. `part` is `ca`, `certificate` or `key`.
pub fn tls_path(cloud: &str, part: &str) -> String {
    format!("{cloud}.tls/{part}.pem")
}

/// The directory of added clouds.
#[derive(Clone, Debug)]
pub struct CloudFiles(PathBuf);

impl CloudFiles {
    /// Those of a data directory. They need not exist.
    pub fn of(data: &Path) -> Self {
        Self(data.join("clouds"))
    }

    /// The directory itself, from which paths in the files start.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// The file of a cloud.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}{ENDING}"))
    }

    /// The names of all clouds that have a file, sorted.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(ENDING).filter(|name| !name.starts_with('.')).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Keeps a cloud: its secrets and certificates, and then its file.
    pub(super) fn write(&self, settings: &CloudSettings, document: &str) -> Result<()> {
        let name = settings.name.as_str();
        private_directory(&self.0)?;
        // What a removal or an addition has left that was cut off.
        self.remove_secrets(name)?;
        for (key, value) in &settings.secrets {
            self.write_one(&secret_path(name, key), value.expose_secret().as_bytes())?;
        }
        let Tls { ca_pem, identity } = &settings.tls;
        let (certificate, key) = identity.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
        for (part, content) in [("ca", ca_pem.as_ref()), ("certificate", certificate), ("key", key)] {
            if let Some(content) = content {
                self.write_one(&tls_path(name, part), content)?;
            }
        }
        write_atomically(&self.file(name), document.as_bytes())?;
        self.sync()
    }

    fn write_one(&self, path: &str, content: &[u8]) -> Result<()> {
        let path = self.0.join(path);
        private_directory(path.parent().unwrap_or(&self.0))?;
        write_atomically(&path, content)
    }

    /// Forgets a cloud.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        absent(std::fs::remove_file(self.file(name)))?;
        self.sync()?;
        self.remove_secrets(name)
    }

    fn remove_secrets(&self, name: &str) -> Result<()> {
        for beside in ["secrets", "tls"] {
            absent(std::fs::remove_dir_all(self.0.join(format!("{name}.{beside}"))))?;
        }
        Ok(())
    }

    /// Makes what was added to and removed from the directory durable.
    fn sync(&self) -> Result<()> {
        std::fs::File::open(&self.0)?.sync_all()
    }
}

/// What is gone already is gone.
fn absent(result: Result<()>) -> Result<()> {
    result.or_else(|error: Error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
