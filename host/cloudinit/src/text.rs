//! Output of programs as text that can be shown.

/// Text without control characters other than tabs and line feeds: escape sequences of terminals go as a whole, a carriage return
/// ends a line, characters that turn the direction of text go. What is not UTF-8 becomes U+FFFD; what is left of a character that
/// was cut at the start goes.
pub(crate) fn clean(bytes: &[u8]) -> String {
    let cut = bytes.iter().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
    let text = String::from_utf8_lossy(bytes.get(cut..).unwrap_or_default());
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' => {
                if rest.peek() != Some(&'\n') {
                    clean.push('\n');
                }
            }
            '\n' | '\t' => clean.push(c),
            '\u{1b}' => match rest.next_if(|c| ('\u{20}'..='\u{7e}').contains(c)) {
                // A control sequence: up to its final character.
                Some('[') => {
                    while rest.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
                    rest.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
                }
                // A text for the terminal, such as its title: up to BEL or ESC \, on its line.
                Some(']' | 'P' | '^' | '_' | 'X') => {
                    while rest.next_if(|c| !c.is_control()).is_some() {}
                    if rest.next_if_eq(&'\u{1b}').is_some() {
                        rest.next_if_eq(&'\\');
                    }
                }
                // One with intermediate characters, such as the choice of a character set.
                Some(' '..='/') => {
                    while rest.next_if(|c| (' '..='/').contains(c)).is_some() {}
                    rest.next_if(|c| ('0'..='~').contains(c));
                }
                _ => {}
            },
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_left() {
        let cases: &[(&[u8], &str)] = &[
            (b"", ""),
            (b"a\tb\n", "a\tb\n"),
            (b"a\r\nb\rc", "a\nb\nc"),
            (b"\x1b[1;31mred\x1b[0m!", "red!"),
            (b"\x1b]0;title\x07text", "text"),
            (b"\x1b]8;;http://h\x1b\\link", "link"),
            (b"\x1b(Bplain\x1b7x", "plainx"),
            (b"\x1b[12", ""),
            (b"\x1b", ""),
            (b"a\x00\x08\x7fb", "ab"),
            (b"a\x1b\nb", "a\nb"),
            (b"\x82\xacrest", "rest"),
            (b"a\xffb", "a\u{fffd}b"),
            ("\u{9b}31m \u{202e}abc\u{2069}".as_bytes(), "31m abc"),
            ("gr\u{fc}n \u{1f600}".as_bytes(), "gr\u{fc}n \u{1f600}"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(clean(bytes), *expected, "{bytes:?}");
        }
    }
}
