//! How users are reached who cannot log in.

use async_trait::async_trait;
use secrecy::SecretString;

/// A letter. What it says is for its reader alone.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The address.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// What it says; line ends are `\n`.
    pub text: SecretString,
}

/// Sends letters.
#[async_trait]
pub trait Mail: Send + Sync {
    /// Sends a letter: a server has taken it when this returns. The error is why not, in words that hold nothing secret.
    async fn send(&self, letter: &Letter) -> Result<(), String>;
}
