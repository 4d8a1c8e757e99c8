//! The host's tokens.

use crate::{Error, Result};

/// Whether the host may use this token, by the contract: 1 to 64 characters of `a-z 0-9 -`.
pub fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Refuses what the contract allows no host to use as a token.
///
/// # Errors
/// [`Error::Invalid`] where [`is_token`] says no.
pub fn check_token(text: &str) -> Result<()> {
    if is_token(text) { Ok(()) } else { Err(Error::Invalid("a token has 1 to 64 characters of a-z 0-9 -".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_contract() {
        for (text, allowed) in [
            ("t-1", true),
            (&*"x".repeat(64), true),
            (&*"x".repeat(65), false),
            ("", false),
            ("A", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!((is_token(text), check_token(text).is_ok()), (allowed, allowed), "{text}");
        }
    }
}
