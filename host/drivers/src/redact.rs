//! Takes a cloud's secrets out of texts before anybody sees them.

use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;

/// What stands in a secret's place.
const MARK: &str = "[redacted]";
/// Shorter secrets would make every text unreadable; the configuration warns about them.
const SHORTEST: usize = 4;

#[derive(Clone, Default)]
pub(crate) struct Redactor {
    secrets: Vec<SecretString>,
}

impl Redactor {
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = &'a SecretString>) -> Self {
        let mut secrets: Vec<SecretString> = secrets.filter(|s| s.expose_secret().len() >= SHORTEST).cloned().collect();
        // The longest first, so that a secret within another does not leave the rest of it behind.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.expose_secret().len()));
        Self { secrets }
    }

    pub(crate) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.expose_secret()) {
                text = Cow::Owned(text.replace(secret.expose_secret(), MARK));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_no_trace() {
        let secrets: Vec<SecretString> = ["hunter22", "hunter22-longer", "abc"].into_iter().map(Into::into).collect();
        let redactor = Redactor::new(secrets.iter());
        for (text, expected) in [
            ("nothing here", "nothing here"),
            ("password hunter22!", "password [redacted]!"),
            ("hunter22-longer hunter22", "[redacted] [redacted]"),
            ("abc is too short to tell from a word", "abc is too short to tell from a word"),
        ] {
            assert_eq!(redactor.clean(text), expected);
        }
    }
}
