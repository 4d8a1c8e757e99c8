//! The key that seals what issuers have given for acting on behalf of persons later. It is beside the database and not in it.

use crate::app::StartError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ostler_core::identity::SEAL_KEY;
use ostler_drivers::write_atomically;
use rand::Rng;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where it is, in the data directory. All hosts on one database need the same.
pub(crate) const FILE: &str = "grants.key";

/// Reads the key in a data directory, and makes it first where there is none.
///
/// # Errors
/// [`StartError::File`], [`StartError::Config`].
pub(crate) fn open_or_create(data: &Path) -> Result<[u8; SEAL_KEY], StartError> {
    let path = data.join(FILE);
    let failed = |source| StartError::File { path: path.clone(), source };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut key = [0; SEAL_KEY];
            rand::rng().fill_bytes(&mut key);
            write_atomically(&path, format!("{}\n", STANDARD.encode(key)).as_bytes()).map_err(failed)?;
            return Ok(key);
        }
        Err(error) => return Err(failed(error)),
    };
    let mode = std::fs::metadata(&path).map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StartError::Config(format!("{}: others can read it (mode {mode:o}); chmod 600", path.display())));
    }
    let key = STANDARD.decode(text.trim()).ok().and_then(|key| key.try_into().ok());
    key.ok_or_else(|| StartError::Config(format!("{}: must be base64 of {SEAL_KEY} bytes", path.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_kept_to_its_owner() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(FILE);
        let key = open_or_create(data.path()).unwrap();
        assert_eq!((open_or_create(data.path()).unwrap(), std::fs::metadata(&path).unwrap().mode() & 0o777), (key, 0o600));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(open_or_create(data.path()).unwrap_err().to_string().contains("others can read it"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "canary", &STANDARD.encode([0; SEAL_KEY - 1])] {
            std::fs::write(&path, text).unwrap();
            let error = open_or_create(data.path()).unwrap_err().to_string();
            assert!(error.contains("must be base64 of 32 bytes") && !error.contains("canary"), "{error}");
        }
    }
}
