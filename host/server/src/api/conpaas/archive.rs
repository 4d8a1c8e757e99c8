//! What `getcerts` sends: the certificate of a user, its key and the authority's certificate, in one archive.

use std::io::{Cursor, Write};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The archive's media type.
pub(super) const MEDIA_TYPE: &str = "application/zip";
/// The archive's `Content-Disposition`.
pub(super) const DISPOSITION: &str = "attachment; filename=certs.zip";

/// The files, each in PEM.
#[derive(Clone, Copy)]
pub(super) struct Certificates<'a> {
    /// The user's certificate.
    pub(super) cert: &'a str,
    /// The key that belongs to it, PKCS#8, not encrypted.
    pub(super) key: &'a str,
    /// The authority's certificate.
    pub(super) ca_cert: &'a str,
}

/// The archive, nothing in it compressed. The same files make the same bytes: the format's earliest date stands for all.
pub(super) fn zip(files: Certificates<'_>) -> Result<Vec<u8>, ZipError> {
    // Clients unpack it as it is: the key is for its owner alone.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o600);
    let mut archive = ZipWriter::new(Cursor::new(Vec::with_capacity(8 << 10)));
    for (name, content) in [("cert.pem", files.cert), ("key.pem", files.key), ("ca_cert.pem", files.ca_cert)] {
        archive.start_file(name, options)?;
        archive.write_all(content.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;
    use zip::ZipArchive;

    #[test]
    fn the_archive_holds_three_stored_files() {
        let bytes = zip(Certificates { cert: "C\n", key: "K\n", ca_cert: "A\n" }).unwrap();
        assert_eq!(bytes, zip(Certificates { cert: "C\n", key: "K\n", ca_cert: "A\n" }).unwrap());
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 3);
        for (name, expected) in [("cert.pem", "C\n"), ("key.pem", "K\n"), ("ca_cert.pem", "A\n")] {
            let mut file = archive.by_name(name).unwrap();
            assert_eq!(file.compression(), CompressionMethod::Stored);
            assert_eq!(file.unix_mode().map(|mode| mode & 0o777), Some(0o600));
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            assert_eq!(content, expected);
        }
    }
}
