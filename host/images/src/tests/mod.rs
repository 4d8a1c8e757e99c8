//! Fetches from servers on loopback addresses: what goes wrong on the way, and what must not become an image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod contents;
mod server;
mod transfers;

use super::*;
use server::Server;
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use url::Url;

/// A directory and what fetches into it.
struct Lab {
    directory: TempDir,
    settings: Settings,
    fetcher: Fetcher,
}

/// May fetch from these servers.
fn lab(servers: &[&Server]) -> Lab {
    lab_with(servers, |_| {})
}

fn lab_with(servers: &[&Server], change: impl FnOnce(&mut Settings)) -> Lab {
    let directory = TempDir::new().unwrap();
    let mut settings = Settings::new(directory.path().join("images"));
    settings.inside = servers.iter().map(|server| server.origin().parse().unwrap()).collect();
    settings.keep_free = 0;
    change(&mut settings);
    Lab { directory, fetcher: Fetcher::new(settings.clone()).unwrap(), settings }
}

impl Lab {
    async fn fetch(&self, source: &Url) -> Result<Staged, Error> {
        self.fetch_checked(source, None).await
    }

    async fn fetch_checked(&self, source: &Url, checksum: Option<&str>) -> Result<Staged, Error> {
        let fetch = self.fetcher.fetch("a-1", source, checksum, &|_, _| {});
        // Fails a test that hangs; none depends on how much sooner it ends.
        tokio::time::timeout(Duration::from_secs(120), fetch).await.expect("the fetch hangs")
    }

    /// Another process on the same directory.
    fn restart(&mut self) {
        self.fetcher = Fetcher::new(self.settings.clone()).unwrap();
    }

    /// The files in the directory.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join("images")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn content(&self) -> Vec<u8> {
        let mut opened = open_staged(self.fetcher.directory(), "a-1").unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut opened.file, &mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, opened.file_bytes);
        bytes
    }
}

/// A disk of so many sectors, no two of them alike.
fn disk(sectors: usize) -> Vec<u8> {
    (0..sectors * 128).flat_map(|word| u32::try_from(word).unwrap().to_be_bytes()).map(|byte| byte ^ 0x5a).collect()
}

fn checksum(content: &[u8]) -> String {
    format!("sha256:{}", transfer::hex(&Sha256::digest(content)))
}

/// The class and the text of a failure.
fn failure(result: Result<Staged, Error>) -> (&'static str, String) {
    let error = result.unwrap_err();
    let class = match &error {
        Error::Refused(_) => "refused",
        Error::Interrupted(_) => "interrupted",
        Error::Io(_) => "io",
    };
    (class, error.to_string())
}

#[tokio::test]
async fn what_is_ready_stays_until_it_is_forgotten() {
    let content = disk(8);
    let server = Server::giving(content.clone()).await;
    let mut lab = lab(&[&server]);
    let seen = parking_lot::Mutex::new(Vec::new());
    let progress = |have: u64, total: Option<u64>| seen.lock().push((have, total));
    let staged = lab.fetcher.fetch("a-1", &server.url("/a"), None, &progress).await.unwrap();
    let expected = Staged { format: "raw".to_owned(), checksum: checksum(&content), bytes: 4096, disk_bytes: 4096 };
    assert_eq!(staged, expected);
    assert_eq!(seen.into_inner(), [(0, Some(4096)), (4096, Some(4096))]);
    assert_eq!((lab.files(), lab.content()), (vec!["a-1.image".to_owned(), "a-1.json".to_owned()], content));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(lab.fetcher.directory()), mode(&lab.fetcher.directory().join("a-1.image"))), (0o700, 0o600));
    lab.restart();
    assert_eq!(lab.fetch(&server.url("/a")).await.unwrap(), expected);
    assert_eq!(lab.fetcher.ready("a-1").unwrap(), Some(expected));
    assert_eq!(failure(lab.fetch_checked(&server.url("/a"), Some(&checksum(b"other"))).await).0, "refused");
    assert_eq!((server.fields("host").len(), lab.files().len()), (1, 2), "nothing was fetched again, nothing removed");
    lab.fetcher.tidy(Duration::ZERO).await.unwrap();
    assert_eq!(lab.files().len(), 2);
    lab.fetcher.forget("a-1").await.unwrap();
    assert_eq!(lab.files(), [""; 0]);
    assert!(open_staged(lab.fetcher.directory(), "a-1").is_err());
    lab.fetcher.forget("a-1").await.unwrap();
}

#[tokio::test]
async fn names_and_checksums_have_their_forms() {
    let content = disk(1);
    let server = Server::giving(content.clone()).await;
    let lab = lab(&[&server]);
    for name in ["", "A", "a/b", "..", "a.b", "a b", &"a".repeat(65)] {
        assert_eq!(failure(lab.fetcher.fetch(name, &server.url("/"), None, &|_, _| {}).await).0, "refused", "{name}");
        assert!(lab.fetcher.forget(name).await.is_err() && open_staged(lab.fetcher.directory(), name).is_err(), "{name}");
    }
    for wrong in ["", "sha256:", "md5:00", "sha256:zz", &checksum(&content)[7..]] {
        assert_eq!(failure(lab.fetch_checked(&server.url("/"), Some(wrong)).await).0, "refused", "{wrong}");
    }
    assert!(server.fields("host").is_empty(), "nobody was asked");
    let (class, text) = failure(lab.fetch_checked(&server.url("/"), Some(&checksum(b""))).await);
    assert!(class == "refused" && text.contains(&checksum(&content)), "{text}");
    assert_eq!(lab.files(), [""; 0]);
    lab.fetch_checked(&server.url("/"), Some(&checksum(&content).to_uppercase())).await.unwrap();
}

#[tokio::test]
async fn what_nobody_continues_is_tidied_away() {
    let server = Server::start(|_, _| server::sending(Some(4096), server::cut(&disk(1)))).await;
    let lab = lab(&[&server]);
    assert_eq!(failure(lab.fetch(&server.url("/")).await).0, "interrupted");
    std::fs::write(lab.fetcher.directory().join("b.image"), "of a crash").unwrap();
    std::fs::write(lab.fetcher.directory().join("README"), "not ours").unwrap();
    assert_eq!(lab.fetcher.tidy(Duration::from_secs(3600)).await.unwrap(), 0, "too young");
    assert_eq!(lab.files().len(), 4, "{:?}", lab.files());
    assert_eq!(lab.fetcher.tidy(Duration::ZERO).await.unwrap(), 2);
    assert_eq!(lab.files(), ["README"]);
}
