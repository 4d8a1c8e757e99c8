//! Which files a schedule is for: an expression over `scope:name` as a whole.
//!
//! Regular expressions are those of an engine that needs time in proportion to the length of what it looks at, whatever the
//! expression: no look-around, no back-references. As in the expressions that clients of the original wrote, `\d`, `\w` and `\s`
//! mean ASCII, which also keeps compiled ones small.

use super::ExpressionSyntax;
use regex::bytes::{Regex, RegexBuilder};

/// Bytes of a compiled expression at most, and of what it remembers of texts.
const PROGRAM: usize = 64 << 10;
const CACHE: usize = 64 << 10;
/// Characters of an engine's complaint that are repeated.
const SHOWN: usize = 200;

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Expression(Regex);

impl Expression {
    /// Compiles it. An error says what is wrong with it.
    pub(crate) fn compile(text: &str, syntax: ExpressionSyntax) -> Result<Self, String> {
        match syntax {
            ExpressionSyntax::Regex => {
                // By itself first: what is put around it must not be what makes it whole.
                build(text)?;
                whole(text)
            }
            ExpressionSyntax::Glob => whole(&glob(text)?),
        }
    }

    /// Whether it matches a file from the beginning of its scope to the end of its name.
    pub(crate) fn matches(&self, file: &str) -> bool {
        self.0.is_match(file.as_bytes())
    }
}

fn whole(text: &str) -> Result<Expression, String> {
    build(&format!(r"\A(?:{text})\z")).map(Expression)
}

fn build(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).unicode(false).size_limit(PROGRAM).dfa_size_limit(CACHE).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        // The last of its lines says what is wrong; those before it show where.
        error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").chars().take(SHOWN).collect(),
    })
}

/// `*` stands for any characters, `?` for one, `[ab]`, `[a-z]` and `[!a]` for one of these or one of all others, `\*` for `*`
/// itself. None of them stops at a `/` or a `:`.
fn glob(text: &str) -> Result<String, String> {
    let mut regex = String::new();
    let mut rest = text.chars();
    let mut buffer = [0; 4];
    while let Some(next) = rest.next() {
        match next {
            '*' => {
                while let Some(more) = rest.as_str().strip_prefix('*') {
                    rest = more.chars();
                }
                regex.push_str("(?s:.*)");
            }
            '?' => regex.push_str("(?su:.)"),
            '[' => rest = class(rest.as_str(), &mut regex)?.chars(),
            '\\' => {
                let literal = rest.next().ok_or("it ends with a backslash")?;
                regex.push_str(&regex::escape(literal.encode_utf8(&mut buffer)));
            }
            literal => regex.push_str(&regex::escape(literal.encode_utf8(&mut buffer))),
        }
    }
    Ok(regex)
}

/// Reads what follows `[`; what follows its end.
fn class<'t>(text: &'t str, regex: &mut String) -> Result<&'t str, String> {
    let inverted = text.strip_prefix(['!', '^']);
    let text = inverted.unwrap_or(text);
    // One that stands first is one of the characters.
    let first = text.chars().next().map_or(0, char::len_utf8);
    let end = text.get(first..).and_then(|rest| rest.find(']')).ok_or("a [ has no ]")? + first;
    let (within, rest) = (&text[..end], &text[end + 1..]);
    regex.push_str(if inverted.is_some() { "(?u:[^" } else { "(?u:[" });
    let mut members = within.chars();
    let mut buffer = [0; 4];
    while let Some(from) = members.next() {
        regex.push_str(&regex::escape(from.encode_utf8(&mut buffer)));
        let mut ahead = members.clone();
        if let (Some('-'), Some(to)) = (ahead.next(), ahead.next()) {
            if to < from {
                return Err(format!("the range {from}-{to} is empty"));
            }
            regex.push('-');
            regex.push_str(&regex::escape(to.encode_utf8(&mut buffer)));
            members = ahead;
        }
    }
    regex.push_str("])");
    Ok(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(syntax: ExpressionSyntax, table: &[(&str, &[&str], &[&str])]) {
        for (text, matched, others) in table {
            let expression = Expression::compile(text, syntax).unwrap_or_else(|error| unreachable!("{text}: {error}"));
            for file in *matched {
                assert!(expression.matches(file), "{text} {file}");
            }
            for file in *others {
                assert!(!expression.matches(file), "{text} {file}");
            }
        }
    }

    #[test]
    fn regular_expressions_match_as_a_whole() {
        check(
            ExpressionSyntax::Regex,
            &[
                // As the original's documentation has it, which its readers take for something else.
                ("scope:name*", &["scope:name", "scope:nam", "scope:nameee"], &["scope:name1", "xscope:name", "scope:names"]),
                ("scope:name.*", &["scope:name", "scope:name1", "scope:name/é"], &["scope:nam", "scope2:name"]),
                ("a|ab", &["a", "ab"], &["b", "abb", "xab"]),
                ("s:(a|b)+", &["s:abba"], &["s:", "s:abc"]),
                ("^s:a$", &["s:a"], &["s:ab"]),
                ("(?m)^s:a$", &["s:a"], &["s:a\ns:b"]),
                ("(?i)S:A", &["s:a", "S:a"], &["s:b"]),
                (r"s:\d\w\.root", &["s:1a.root", "s:1_.root"], &["s:1a_root", "s:١a.root", "s:1é.root"]),
                ("s:[A-Za-z0-9][A-Za-z0-9._-]{1,255}", &["s:run-2026.root"], &["s:-", "s:a"]),
                ("s:\u{e9}.*", &["s:\u{e9}t\u{e9}"], &["s:e"]),
                ("", &[""], &["s:a"]),
            ],
        );
        for (text, said) in [
            ("s:(", "unclosed group"),
            ("s:a)|(b:c", "unopened group"),
            ("[", "unclosed character class"),
            ("*", "repetition operator missing expression"),
            ("(?x)a # b", "unclosed group"),
            ("(?=a)a", "look-around"),
            (r"(a)\1", "backreferences are not supported"),
            (r"\", "incomplete escape sequence"),
            ("(?:[a-z]{200}){200}", "it is too large"),
            (r"\p{Greek}", "Unicode"),
        ] {
            let error = Expression::compile(text, ExpressionSyntax::Regex).unwrap_err();
            assert!(error.contains(said) && !error.contains('\n') && error.len() <= 4 * SHOWN, "{text}: {error}");
        }
    }

    #[test]
    fn globs_match_as_a_whole() {
        check(
            ExpressionSyntax::Glob,
            &[
                (
                    "scope:name*",
                    &["scope:name", "scope:name1", "scope:name/a:b.root", "scope:nameé"],
                    &["scope:nam", "xscope:name"],
                ),
                ("scope:*", &["scope:", "scope:x"], &["scop:x"]),
                ("*:*.root", &["a:b.root", ":.root"], &["a:broot", "a:b.root2"]),
                ("**:?", &["a:b", "a:é"], &["a:", "a:bc"]),
                ("s:[abc][0-9]", &["s:a0", "s:c9"], &["s:d0", "s:ab", "s:a"]),
                ("s:[!a-c]", &["s:d", "s:é", "s:-"], &["s:a", "s:b", "s:"]),
                ("s:[^a]", &["s:b", "s:^"], &["s:a"]),
                ("s:[]]", &["s:]"], &["s:["]),
                ("s:[!]]", &["s:a"], &["s:]"]),
                ("s:[a-]", &["s:a", "s:-"], &["s:b"]),
                ("s:[é-ü&&x]", &["s:ö", "s:&", "s:x"], &["s:y"]),
                (r"s:\*\?\[\\", &[r"s:*?[\"], &["s:abc"]),
                ("s:a.b+(c)|d$^{2}#", &["s:a.b+(c)|d$^{2}#"], &["s:axb+(c)|d$^{2}#", "d"]),
                ("", &[""], &["s"]),
            ],
        );
        for (text, said) in [
            ("s:[", "a [ has no ]"),
            ("s:[]", "a [ has no ]"),
            ("s:[!", "a [ has no ]"),
            ("s:[b-a]", "the range b-a is empty"),
            (r"s:\", "it ends with a backslash"),
        ] {
            assert_eq!(Expression::compile(text, ExpressionSyntax::Glob).unwrap_err(), said, "{text}");
        }
    }

    /// What would keep a backtracking engine busy for ages: this would not come to its end.
    #[test]
    fn time_is_in_proportion_to_the_file() {
        let file = format!("s:{}", "a".repeat(2_000));
        for text in ["(a*)*b", "(a|a)*b", "(.*)*x", "s:(a?){100}(a){100}c", "(?:.*a){12}c"] {
            assert!(!Expression::compile(text, ExpressionSyntax::Regex).unwrap().matches(&file), "{text}");
        }
        let stars = "*a".repeat(500);
        match Expression::compile(&stars, ExpressionSyntax::Glob) {
            Ok(expression) => assert!(expression.matches(&file)),
            Err(error) => assert_eq!(error, "it is too large"),
        }
    }
}
