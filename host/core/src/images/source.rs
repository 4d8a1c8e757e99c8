//! What an image is ordered from, and what of that may be seen.

use super::NewImage;
use crate::Error;
use ostler_store::Work;
use serde_json::{Value, json};
use url::Url;

/// Characters of the longest name.
pub(crate) const LONGEST_NAME: usize = 255;
/// Bytes of the longest address.
const LONGEST_URL: usize = 4096;

/// An order that was checked. It holds the whole address: it is for the operation's record alone.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) name: String,
    pub(super) source: Url,
    pub(super) checksum: Option<String>,
}

impl Order {
    /// What somebody wants, within bounds.
    pub(super) fn check(new: &NewImage) -> Result<Self, Error> {
        check_name("an image", &new.name)?;
        if new.source.len() > LONGEST_URL {
            return Err(Error::Invalid(format!("the address of an image has at most {LONGEST_URL} bytes")));
        }
        let source = Url::parse(&new.source).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let source = source.ok_or_else(|| {
            Error::Invalid("an image is named by the absolute address of its content, with http:// or https://".into())
        })?;
        let checksum = new.checksum.as_deref().map(checksum).transpose()?;
        Ok(Self { name: new.name.clone(), source, checksum })
    }

    /// As an operation's record has it.
    pub(super) fn input(&self) -> Value {
        json!({ "name": self.name, "source": self.source.as_str(), "checksum": self.checksum })
    }

    /// What an operation was begun for.
    pub(super) fn of(work: &Work) -> Result<Self, Error> {
        let text = |key: &str| work.operation.input[key].as_str().map(str::to_owned);
        let read = || Some((text("name")?, Url::parse(&text("source")?).ok()?));
        let (name, source) = read().ok_or_else(|| Error::Invalid("the order for an image cannot be read".into()))?;
        Ok(Self { name, source, checksum: text("checksum") })
    }

    /// The address without what may be secret in it: user, password, query, fragment.
    pub(super) fn shown(&self) -> String {
        let mut url = self.source.clone();
        // Only addresses without a host have no place for them.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }

    /// A text of somebody else without what may be secret in the address.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.replace(self.source.as_str(), &self.shown());
        // Who has no password may have a token for a name.
        let name = Some(self.source.username()).filter(|name| self.source.password().is_none() && name.len() > 7);
        let secrets = [self.source.password(), self.source.query(), name];
        for secret in secrets.into_iter().flatten().filter(|secret| secret.len() > 2) {
            text = text.replace(secret, "***");
        }
        text
    }

    /// An error of somebody else without what may be secret in the address.
    pub(super) fn clean_error(&self, error: ostler_drivers::Error) -> ostler_drivers::Error {
        ostler_drivers::Error { message: self.clean(&error.message), ..error }
    }
}

/// Whether a name is within bounds. `what` it names, for people.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let fits = (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(Error::Invalid(format!("the name of {what} has 1 to {LONGEST_NAME} characters, none of them a control character")))
}

/// A checksum in the one form in which it is kept.
fn checksum(text: &str) -> Result<String, Error> {
    let lower = text.to_ascii_lowercase();
    let hex = lower.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match hex {
        Some(_) => Ok(lower),
        None => Err(Error::Invalid("a checksum is `sha256:` and 64 hexadecimal digits".into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_may_be_secret_in_an_address_is_not_shown() {
        // (address, as it is shown, a text of somebody else, the text as it is shown)
        for (source, shown, text, cleaned) in [
            ("https://x.example/a.img", "https://x.example/a.img", "no https://x.example/a.img", "no https://x.example/a.img"),
            ("http://x.example:81/a?sig=s3cret#f", "http://x.example:81/a", "GET /a?sig=s3cret: 403", "GET /a?***: 403"),
            (
                "https://ann:p4ss@x.example/a",
                "https://x.example/a",
                "ann has p4ss at https://ann:p4ss@x.example/a",
                "ann has *** at https://x.example/a",
            ),
            ("https://ghp_12345678@x.example/a", "https://x.example/a", "ghp_12345678 is known", "*** is known"),
        ] {
            let order = Order { name: "n".into(), source: Url::parse(source).unwrap(), checksum: None };
            assert_eq!((order.shown().as_str(), order.clean(text).as_str()), (shown, cleaned), "{source}");
        }
    }
}
