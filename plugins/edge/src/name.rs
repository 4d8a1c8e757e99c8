//! Names that carry the host's token: `<name>--ostler-<token>`.
//!
//! The name itself has no two hyphens in a row and none at an end, so the first two hyphens of such a name are those before the
//! token, whatever the token is.

use ostler_driver::is_token;

/// Between name and token, after two hyphens.
const MARK: &str = "ostler-";
/// The longest name that is sent.
const LONGEST: usize = 255;

/// The name of an instance: letters, digits, `.`, `_` and `-` of ASCII, which every far side can be expected to take.
pub(crate) fn instance(name: &str, token: &str) -> String {
    join(name, token, "node", |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
}

/// The name of an image, which may have other characters but those that control something.
pub(crate) fn image(name: &str, token: &str) -> String {
    join(name, token, "image", |c| !c.is_control() && c != '-')
}

fn join(name: &str, token: &str, without: &str, kept: impl Fn(char) -> bool) -> String {
    let room = LONGEST.saturating_sub(2 + MARK.len() + token.len());
    let (mut plain, mut gap) = (String::new(), false);
    for c in name.trim().chars() {
        if !kept(c) {
            gap = true;
            continue;
        }
        let hyphen = gap && !plain.is_empty();
        if plain.len() + usize::from(hyphen) + c.len_utf8() > room {
            break;
        }
        if hyphen {
            plain.push('-');
        }
        gap = false;
        plain.push(c);
    }
    if plain.is_empty() {
        plain.push_str(without);
    }
    format!("{plain}--{MARK}{token}")
}

/// The plain name and the token; the whole name and none where there is no token in it.
pub(crate) fn split(name: &str) -> (&str, Option<&str>) {
    let parts = name.split_once("--").and_then(|(plain, rest)| Some((plain, rest.strip_prefix(MARK)?)));
    match parts {
        Some((plain, token)) if !plain.is_empty() && is_token(token) => (plain, Some(token)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_again() {
        let uuid = "01a224ff-6337-71f3-acfd-37283e3fdc75";
        for token in [uuid, "t", "-", "--", "a--ostler-b", "--ostler-", &"x".repeat(64)] {
            for (given, plain) in [
                ("web", "web"),
                ("web.example_1", "web.example_1"),
                ("a  b", "a-b"),
                ("--a--ostler--", "a-ostler"),
                ("a--ostler-b", "a-ostler-b"),
                ("Zürich", "Z-rich"),
                ("", "node"),
                ("ü-", "node"),
            ] {
                let name = instance(given, token);
                assert_eq!(split(&name), (plain, Some(token)), "{name}");
            }
            for (given, plain) in [("fliker++ ä", "fliker++ ä"), ("a--b\n", "a-b"), ("---", "image")] {
                assert_eq!(split(&image(given, token)), (plain, Some(token)));
            }
            for long in ["x".repeat(300), "é".repeat(300), "x-".repeat(300)] {
                let name = image(&long, token);
                assert!((250..=255).contains(&name.len()) && split(&name).1 == Some(token), "{name}");
            }
        }
    }

    #[test]
    fn names_of_others_have_no_token() {
        for name in ["web", "db--primary", "a--b--ostler-t", "--ostler-t", "a--ostler-", "a--ostler-T", "osgi-instance-238", ""] {
            assert_eq!(split(name), (name, None));
        }
        let long = format!("a--ostler-{}", "x".repeat(65));
        assert_eq!(split(&long), (long.as_str(), None));
    }
}
