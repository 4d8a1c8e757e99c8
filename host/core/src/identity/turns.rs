//! One at a time of those who want the same.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

type Locks = Mutex<HashMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>;

/// Who is at work on what. What nobody waits for is forgotten.
#[derive(Default)]
pub(super) struct Turns(Locks);

/// A turn, until it is dropped.
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    key: [u8; 32],
    lock: Arc<tokio::sync::Mutex<()>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for those who came before with the same key.
    pub(super) async fn take(&self, key: [u8; 32]) -> Turn<'_> {
        let lock = Arc::clone(self.0.lock().entry(key).or_default());
        // From here on it is forgotten again, also where nobody waits any more.
        let mut turn = Turn { turns: self, key, lock, guard: None };
        turn.guard = Some(Arc::clone(&turn.lock).lock_owned().await);
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.turns.0.lock();
        // The map's, and this one.
        if Arc::strong_count(&self.lock) <= 2 {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn the_same_key_waits_and_leaves_nothing() {
        let turns = Turns::default();
        let first = turns.take([1; 32]).await;
        assert!(turns.take([2; 32]).now_or_never().is_some(), "another key");
        assert!(turns.take([1; 32]).now_or_never().is_none(), "and whoever gives up leaves nothing");
        assert_eq!(turns.0.lock().len(), 1);
        let mut second = Box::pin(turns.take([1; 32]));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        drop(second.now_or_never().unwrap());
        assert!(turns.0.lock().is_empty());
    }
}
