//! Who may use the machine: tests that measure time run alone, all others side by side.
//!
//! Test processes know nothing of each other, hence a lock on a file.

use std::fs::File;

/// Held while a test uses the machine.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "the lock goes with the file")] File);

fn file() -> File {
    let path = crate::components::target().join("e2e.lock");
    File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A turn together with others.
pub async fn shared() -> Turn {
    take(File::lock_shared).await
}

/// The whole machine. Servers started in this turn must be [`crate::Setup::alone`].
pub async fn alone() -> Turn {
    take(File::lock).await
}

async fn take(lock: fn(&File) -> std::io::Result<()>) -> Turn {
    let wait = move || {
        let file = file();
        lock(&file).unwrap();
        Turn(file)
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}
