//! The two files of the authority, and how they get there: both or none, whatever interrupts.
//!
//! Both are written under temporary names first, then the key is put in place, then the certificate. An interruption before the
//! first rename leaves nothing that counts; one between the two is finished at the next opening.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;

/// Where the files are.
pub(crate) struct Files {
    directory: PathBuf,
    /// `ca_cert.pem`, as ConPaaS calls it.
    pub(crate) certificate: PathBuf,
    /// `ca_key.pem`, as ConPaaS calls it.
    pub(crate) key: PathBuf,
}

/// What they contain.
pub(crate) struct Content {
    pub(crate) certificate: String,
    pub(crate) key: SecretString,
}

impl Files {
    pub(crate) fn of(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { certificate: directory.join("ca_cert.pem"), key: directory.join("ca_key.pem"), directory }
    }

    /// Both files, or nothing if there are none.
    ///
    /// `matching` says whether a certificate and a key belong together.
    pub(crate) fn read(&self, matching: impl Fn(&Content) -> bool) -> Result<Option<Content>, Error> {
        match (exists(&self.certificate)?, exists(&self.key)?) {
            (false, false) => return Ok(None),
            (true, true) => {}
            (true, false) => {
                return Err(Error::Incomplete { present: self.certificate.clone(), missing: self.key.clone() });
            }
            (false, true) => {
                let staged = staged(&self.certificate);
                if !exists(&staged)? || !matching(&Content { certificate: read(&staged)?, key: self.read_key()? }) {
                    return Err(Error::Incomplete { present: self.key.clone(), missing: self.certificate.clone() });
                }
                self.place(&self.certificate)?;
            }
        }
        Ok(Some(Content { certificate: read(&self.certificate)?, key: self.read_key()? }))
    }

    /// Puts both files in place.
    pub(crate) fn write(&self, content: &Content) -> Result<(), Error> {
        create_private_directory(&self.directory).map_err(at(&self.directory))?;
        stage(&self.key, content.key.expose_secret(), 0o600)?;
        stage(&self.certificate, &content.certificate, 0o644)?;
        self.place(&self.key)?;
        self.place(&self.certificate)
    }

    /// The mode is read from the open file, so that it is the mode of what is read.
    fn read_key(&self) -> Result<SecretString, Error> {
        let mut file = File::open(&self.key).map_err(at(&self.key))?;
        #[cfg(unix)]
        {
            let metadata = file.metadata().map_err(at(&self.key))?;
            let mode = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777;
            if mode & 0o077 != 0 {
                return Err(Error::Exposed { path: self.key.clone(), mode });
            }
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(at(&self.key))?;
        Ok(text.into())
    }

    fn place(&self, path: &Path) -> Result<(), Error> {
        fs::rename(staged(path), path).map_err(at(path))?;
        // The rename lasts when the directory is written.
        #[cfg(unix)]
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(at(&self.directory))?;
        Ok(())
    }
}

fn staged(path: &Path) -> PathBuf {
    path.with_extension("pem.new")
}

fn stage(path: &Path, content: &str, mode: u32) -> Result<(), Error> {
    let path = staged(path);
    let write = || -> io::Result<()> {
        // What an interrupted attempt left may have another mode.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let mut file = options.open(&path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    write().map_err(at(&path))
}

fn create_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(at(path))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
