//! What providers write where it is not JSON, and what they may be asked for.

use crate::{Error, Result};

/// Whether a text can be an identifier, and so a part of a path as it is: 1 to 255 characters of `A-Z a-z 0-9 - _ .`, and not dots
/// only. What cannot be one exists nowhere; sent as a path, it might lead elsewhere.
pub fn is_identifier(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && text.bytes().any(|byte| byte != b'.')
}

/// Refuses what cannot be an identifier without asking for it.
///
/// # Errors
/// [`Error::NotFound`] where [`is_identifier`] says no; of a long text it repeats the beginning only.
pub fn check_identifier(kind: &str, id: &str) -> Result<()> {
    if is_identifier(id) { Ok(()) } else { Err(Error::not_found(kind, &id.chars().take(64).collect::<String>())) }
}

/// One line without the tags of HTML, for the errors that a proxy writes, and without characters that control something.
pub fn without_tags(text: &str) -> String {
    let (mut plain, mut in_tag) = (String::new(), false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // A tag begins with a letter or a slash; a sign for less does not.
            '<' if rest.peek().is_some_and(|next| next.is_ascii_alphabetic() || matches!(next, '/' | '!')) => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                plain.push(' ');
            }
            c if !in_tag => plain.push(if c.is_control() { ' ' } else { c }),
            _ => {}
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_stay_in_their_part_of_a_path() {
        let longest = "x".repeat(255);
        let long = "x".repeat(256);
        for (text, allowed) in [
            ("7", true),
            ("33333333-0000-4000-8000-000000000001", true),
            ("a.b_C-9", true),
            (".a", true),
            (&*longest, true),
            (&*long, false),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a?b", false),
            ("a%2fb", false),
            ("ä", false),
            ("a b", false),
        ] {
            assert_eq!((is_identifier(text), check_identifier("node", text).is_ok()), (allowed, allowed), "{text}");
        }
        assert_eq!(check_identifier("node", "../x"), Err(Error::NotFound("no node `../x`".to_owned())));
        assert_eq!(check_identifier("node", &long), Err(Error::not_found("node", &long[..64])));
    }

    #[test]
    fn a_page_is_told_in_a_line() {
        for (page, told) in [
            ("<html><head><title>502 Bad Gateway</title></head>\n<body></body></html>", "502 Bad Gateway"),
            ("<!-- x --><h1>Not<br/>Found</h1>", "Not Found"),
            ("1 < 2 and\t3 > 2", "1 < 2 and 3 > 2"),
            ("a\u{7}b", "a b"),
            ("", ""),
        ] {
            assert_eq!(without_tags(page), told);
        }
    }
}
