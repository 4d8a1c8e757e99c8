//! What a machine may say. All that passes can stand in a document, a plan, a file or a variable as it is.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::{PemObject, SectionKind};
use secrecy::ExposeSecret;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::{Host, Url};

use crate::{Error, InputProblem, Kind, MAX_NAME, MAX_OPERATIONS, Machine, Operation, Options, Report, Source, SourceProblem};

/// Seconds that an operation may have: 30 days.
const LONGEST: u64 = 30 * 86_400;
/// What Linux passes on as one text, its final null included.
const VARIABLE: usize = 128 << 10;
/// Bytes of an address.
const ADDRESS: usize = 2048;

/// Names that `sh` sets, refuses, does not take over or takes numbers in only, where `sh` is dash, BusyBox or bash.
const SHELL_NAMES: [&str; 29] = [
    "_",
    "BASHOPTS",
    "BASHPID",
    "COMP_WORDBREAKS",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "IFS",
    "LINENO",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "PIPESTATUS",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "UID",
];

pub(crate) fn machine(machine: &Machine, options: &Options) -> Result<(), Error> {
    if !base(&options.base) {
        return Err(Error::Base);
    }
    if !hostname(&machine.hostname) {
        return Err(Error::Hostname(machine.hostname.clone()));
    }
    if let Some(index) = machine.ssh_keys.iter().position(|key| ssh_key(key).is_none()) {
        return Err(Error::SshKey(index));
    }
    if let Some(index) = machine.packages.iter().position(|name| !package(name)) {
        return Err(Error::Package(index));
    }
    if let Some(report) = &machine.report {
        reports(report, options)?;
    }
    if !(1..=100).contains(&options.tries) {
        return Err(Error::Tries);
    }
    seconds("the pause between reports", options.retry_delay, 0, 60)?;
    seconds("the time from SIGTERM to SIGKILL", options.grace, 0, 600)?;
    let count = machine.components.iter().map(|component| component.operations.len()).sum();
    if count > MAX_OPERATIONS {
        return Err(Error::Operations { count, limit: MAX_OPERATIONS });
    }
    let mut seen = HashSet::new();
    for (index, component) in machine.components.iter().enumerate() {
        if component.name.is_empty() || component.name.len() > MAX_NAME {
            return Err(Error::Name(index));
        }
        for operation in &component.operations {
            if !seen.insert((component.name.as_str(), operation.name)) {
                return Err(Error::Twice { component: component.name.clone(), operation: operation.name });
            }
            deadline(machine, operation)?;
            source(operation).map_err(|problem| Error::Source {
                component: component.name.clone(),
                operation: operation.name,
                problem,
            })?;
            for (name, value) in &operation.inputs {
                input(operation.kind, name, value).map_err(|problem| Error::Input {
                    component: component.name.clone(),
                    operation: operation.name,
                    // A name that is too long is not told in full.
                    input: name.chars().take(MAX_NAME).collect(),
                    problem,
                })?;
            }
        }
    }
    Ok(())
}

/// The seconds that an operation has.
pub(crate) fn deadline(machine: &Machine, operation: &Operation) -> Result<u64, Error> {
    seconds("the deadline of an operation", operation.timeout.unwrap_or(machine.timeout), 1, LONGEST)
}

fn seconds(what: &'static str, time: Duration, least: u64, most: u64) -> Result<u64, Error> {
    let seconds = time.as_secs();
    if time.subsec_nanos() == 0 && (least..=most).contains(&seconds) { Ok(seconds) } else { Err(Error::Time(what, least, most)) }
}

fn base(path: &str) -> bool {
    let part = |part: &str| {
        !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    path.len() <= 200 && path.strip_prefix('/').is_some_and(|path| path.split('/').all(part))
}

fn hostname(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// The key as it may stand in `authorized_keys`: its type, the key, and of its comment what is printable ASCII.
pub(crate) fn ssh_key(line: &str) -> Option<String> {
    let mut words = line.trim().splitn(3, [' ', '\t']);
    let (kind, key, comment) = (words.next()?, words.next()?, words.next().unwrap_or_default().trim());
    // Options, or a second line, could stand elsewhere only.
    let control = |text: &str| text.chars().any(char::is_control);
    if line.len() > 16 << 10 || control(comment) || !kind.is_ascii() {
        return None;
    }
    let blob = STANDARD.decode(key).ok()?;
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let named = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"].iter().any(|prefix| kind.starts_with(prefix));
    if !known || named != kind.as_bytes() || rest.len() == named.len() {
        return None;
    }
    let comment: String = comment.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    Some(format!("{kind} {key} {comment}").trim_end().to_owned())
}

fn package(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+._:=~-".contains(&byte))
}

fn reports(report: &Report, options: &Options) -> Result<(), Error> {
    address(&report.url, options.plain_http).map_err(Error::ReportUrl)?;
    let token = report.token.expose_secret();
    let text = token.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if text.is_empty() || token.len() > 4096 || !text.bytes().all(allowed) {
        return Err(Error::Token);
    }
    let Some(pem) = &report.ca_pem else { return Ok(()) };
    let sections: Result<Vec<(SectionKind, Vec<u8>)>, _> = PemObject::pem_slice_iter(pem.as_bytes()).collect();
    match sections {
        Ok(sections) if !sections.is_empty() && sections.iter().all(|(kind, _)| *kind == SectionKind::Certificate) => Ok(()),
        _ => Err(Error::CaPem),
    }
}

/// The address as curl, Python and wget may read it from a line of a file.
pub(crate) fn address(text: &str, plain: bool) -> Result<String, &'static str> {
    let mut url = Url::parse(text).map_err(|_| "is not a URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has user information");
    }
    let itself = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("has no host"),
    };
    match url.scheme() {
        "https" => {}
        "http" if plain || itself => {}
        "http" => return Err("is not https"),
        _ => return Err("is neither https nor http"),
    }
    url.set_fragment(None);
    let text = url.as_str().replace('\\', "%5C");
    if text.len() > ADDRESS {
        return Err("is too long");
    }
    if text.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'"') {
        return Err("has characters that have no place in a URL");
    }
    Ok(text)
}

fn source(operation: &Operation) -> Result<(), SourceProblem> {
    match &operation.source {
        Source::Inline(text) if text.trim().is_empty() => Err(SourceProblem::Empty),
        Source::Inline(text) => match operation.sha256 {
            Some(digest) if Sha256::digest(text.as_bytes()).as_slice() != digest => Err(SourceProblem::Digest),
            _ => Ok(()),
        },
        Source::Url(url) => address(url, operation.sha256.is_some()).map(|_| ()).map_err(SourceProblem::Url),
    }
}

fn input(kind: Kind, name: &str, value: &Value) -> Result<(), InputProblem> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(InputProblem::Name);
    }
    if kind == Kind::Ansible {
        return Ok(());
    }
    if name.starts_with(|first: char| first.is_ascii_digit())
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(InputProblem::Name);
    }
    if SHELL_NAMES.contains(&name) || name.starts_with("OSTLER_") || name.starts_with("BASH_") {
        return Err(InputProblem::Reserved);
    }
    let text = variable(value);
    if text.contains('\0') {
        return Err(InputProblem::Null);
    }
    if name.len() + text.len() + 2 > VARIABLE {
        return Err(InputProblem::Length);
    }
    Ok(())
}

/// An input as the value of an environment variable.
pub(crate) fn variable(value: &Value) -> std::borrow::Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;

    use super::*;
    use crate::{Component, Lifecycle};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn texts_are_accepted_or_not() {
        let long = "a".repeat(64);
        type Check = fn(&str) -> bool;
        let cases: &[(Check, &str, bool)] = &[
            (base, "/var/lib/ostler", true),
            (base, "/a", true),
            (base, "/", false),
            (base, "", false),
            (base, "relative", false),
            (base, "/a/../b", false),
            (base, "/a//b", false),
            (base, "/a b", false),
            (base, "/a$b", false),
            (base, "/a/", false),
            (base, "/a\nb", false),
            (hostname, "web", true),
            (hostname, "web-1.example.org", true),
            (hostname, "9", true),
            (hostname, "", false),
            (hostname, "-web", false),
            (hostname, "web-", false),
            (hostname, "web.", false),
            (hostname, "we_b", false),
            (hostname, "web\n", false),
            (hostname, &long, false),
            (package, "ansible-core", true),
            (package, "g++=4:12.2.0-3", true),
            (package, "-y", false),
            (package, "", false),
            (package, "a b", false),
        ];
        for (check, text, expected) in cases {
            assert_eq!(check(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn ssh_keys_are_keys_without_options() {
        let body = KEY.strip_prefix("ssh-ed25519 ").unwrap();
        let cases = [
            (KEY.to_owned(), Some(KEY.to_owned())),
            (format!("  {KEY}  jos\u{e9}@home \n"), Some(format!("{KEY} jos?@home"))),
            (format!("ssh-rsa {body}"), None),
            (format!("command=\"id\" {KEY}"), None),
            (format!("{KEY} a\n{KEY} b"), None),
            (format!("{KEY} a\u{1b}[0m"), None),
            ("ssh-ed25519".into(), None),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5".into(), None),
            ("ssh-ed25519 !!!!".into(), None),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".into(), None),
            (String::new(), None),
        ];
        for (line, expected) in cases {
            assert_eq!(ssh_key(&line), expected, "{line:?}");
        }
    }

    #[test]
    fn addresses_are_safe_on_a_line() {
        let cases = [
            ("https://h/a?b=c#d", false, Ok("https://h/a?b=c")),
            ("https://h:5555/a\"b/{c}", false, Ok("https://h:5555/a%22b/%7Bc%7D")),
            ("https://h/?a\\\"b", false, Ok("https://h/?a%5C%22b")),
            ("https://h/a\nurl = x", false, Ok("https://h/aurl%20=%20x")),
            ("http://127.0.0.1:80/", false, Ok("http://127.0.0.1/")),
            ("http://[::1]/", false, Ok("http://[::1]/")),
            ("http://localhost/", false, Ok("http://localhost/")),
            ("http://h/", true, Ok("http://h/")),
            ("http://h/", false, Err("is not https")),
            ("http://127.0.0.1.example/", false, Err("is not https")),
            ("file:///etc/passwd", true, Err("has no host")),
            ("ftp://h/", true, Err("is neither https nor http")),
            ("https://u:p@h/", true, Err("has user information")),
            ("artifacts/a.yml", true, Err("is not a URL")),
        ];
        for (text, plain, expected) in cases {
            assert_eq!(address(text, plain), expected.map(str::to_owned), "{text:?}");
        }
        assert_eq!(address(&format!("https://h/{}", "a".repeat(ADDRESS)), false), Err("is too long"));
    }

    #[test]
    fn inputs_of_shells_are_variables() {
        let cases = [
            ("port", json!(80), Ok(())),
            ("PATH", json!("/bin"), Ok(())),
            ("_a1", json!({ "a": "\0" }), Ok(())),
            ("", json!(""), Err(InputProblem::Name)),
            ("1a", json!(""), Err(InputProblem::Name)),
            ("a-b", json!(""), Err(InputProblem::Name)),
            ("a=b", json!(""), Err(InputProblem::Name)),
            ("a\nb", json!(""), Err(InputProblem::Name)),
            ("\u{e9}", json!(""), Err(InputProblem::Name)),
            ("UID", json!("0"), Err(InputProblem::Reserved)),
            ("BASH_ENV", json!("x"), Err(InputProblem::Reserved)),
            ("OSTLER_OUTPUTS", json!("x"), Err(InputProblem::Reserved)),
            ("a", json!("x\0"), Err(InputProblem::Null)),
            ("a", json!("x".repeat(VARIABLE - 3)), Ok(())),
            ("a", json!("x".repeat(VARIABLE - 2)), Err(InputProblem::Length)),
        ];
        for (name, value, expected) in cases {
            assert_eq!(input(Kind::Shell, name, &value), expected, "{name:?}");
        }
        for name in ["a-b", "\u{e9} \" {{ x }}", "UID"] {
            assert_eq!(input(Kind::Ansible, name, &json!("\0")), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let shell = |source| Operation::new(Lifecycle::Create, Kind::Shell, source);
        let inline = || Source::Inline("true".into());
        type Change = Box<dyn Fn(&mut Machine, &mut Options)>;
        let operations = |operations: Vec<Operation>| -> Change {
            Box::new(move |machine, _| machine.components.push(Component { name: "web".into(), operations: operations.clone() }))
        };
        let token = |token: &'static str| -> Change {
            Box::new(move |machine, _| machine.report = Some(Report::new("https://h/", token)))
        };
        let authority = |pem: &'static str| -> Change {
            Box::new(move |machine, _| {
                machine.report = Some(Report { ca_pem: Some(pem.into()), ..Report::new("https://h/", "t") });
            })
        };
        let of_source = |problem| Error::Source { component: "web".into(), operation: Lifecycle::Create, problem };
        let mut wrong = shell(inline());
        wrong.sha256 = Some([0; 32]);
        let mut brief = shell(inline());
        brief.timeout = Some(Duration::from_millis(1500));
        let mut named = shell(inline());
        named.inputs.insert("a b".into(), "secret".into());
        let cases: Vec<(Change, Error)> = vec![
            (Box::new(|_, options| options.base = "x".into()), Error::Base),
            (Box::new(|machine, _| machine.hostname = "a b".into()), Error::Hostname("a b".into())),
            (Box::new(|machine, _| machine.ssh_keys = vec![KEY.into(), "x".into()]), Error::SshKey(1)),
            (Box::new(|machine, _| machine.packages = vec!["-x".into()]), Error::Package(0)),
            (Box::new(|machine, _| machine.report = Some(Report::new("http://h/", "t"))), Error::ReportUrl("is not https")),
            (token(""), Error::Token),
            (token("=="), Error::Token),
            (token("a b"), Error::Token),
            (token("a\"\nurl = x"), Error::Token),
            (authority("x"), Error::CaPem),
            (authority("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), Error::CaPem),
            (
                Box::new(|_, options| options.grace = Duration::from_secs(601)),
                Error::Time("the time from SIGTERM to SIGKILL", 0, 600),
            ),
            (Box::new(|_, options| options.tries = 0), Error::Tries),
            (operations(vec![brief]), Error::Time("the deadline of an operation", 1, LONGEST)),
            (operations(vec![shell(inline()); 999]), Error::Operations { count: 999, limit: 998 }),
            (
                Box::new(|machine, _| machine.components.push(Component { name: "x".repeat(257), operations: Vec::new() })),
                Error::Name(0),
            ),
            (operations(vec![shell(inline()); 2]), Error::Twice { component: "web".into(), operation: Lifecycle::Create }),
            (operations(vec![shell(Source::Inline(" \n".into()))]), of_source(SourceProblem::Empty)),
            (operations(vec![shell(Source::Url("http://h/".into()))]), of_source(SourceProblem::Url("is not https"))),
            (operations(vec![wrong]), of_source(SourceProblem::Digest)),
            (
                operations(vec![named]),
                Error::Input {
                    component: "web".into(),
                    operation: Lifecycle::Create,
                    input: "a b".into(),
                    problem: InputProblem::Name,
                },
            ),
        ];
        for (change, expected) in cases {
            let (mut subject, mut options) = (Machine::new("m", "m", Duration::from_secs(60)), Options::default());
            assert_eq!(machine(&subject, &options), Ok(()));
            change(&mut subject, &mut options);
            let error = machine(&subject, &options).expect_err("it is wrong");
            assert_eq!(error, expected);
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
}
