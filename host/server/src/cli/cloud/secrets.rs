//! Secrets for a cloud: from the environment, a file or standard input, and never from the command line, which others on the machine
//! can read.

use crate::api::native::wire::accounts::Secret;
use crate::config::{SECRET_BYTES, SecretSource, secret_name};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

/// Reads what `KEY=env:NAME`, `KEY=file:PATH` and `KEY=-` stand for.
pub(super) fn read(given: &[String]) -> Result<BTreeMap<String, Secret>, String> {
    let mut secrets = BTreeMap::new();
    let mut input = false;
    for one in given {
        let Some((name, source)) = one.split_once('=') else {
            return Err("--secret: must be KEY=env:NAME, KEY=file:PATH or KEY=-".to_owned());
        };
        secret_name(name).map_err(|error| format!("--secret: {error}"))?;
        let value = match source.split_once(':') {
            None if source == "-" && !input => {
                input = true;
                standard_input()
            }
            None if source == "-" => Err("standard input can be one secret only".to_owned()),
            Some(("env", variable)) => SecretSource::Env(variable.to_owned()).read(&|name| std::env::var(name).ok()),
            Some(("file", path)) => SecretSource::File(PathBuf::from(path)).read(&|_| None),
            // It may be the secret itself.
            _ => Err("must be env:NAME, file:PATH or - for standard input; secrets do not belong on the command line".to_owned()),
        };
        let value = value.map_err(|error| format!("--secret {name}: {error}"))?;
        if secrets.insert(name.to_owned(), Secret(value)).is_some() {
            return Err(format!("--secret {name}: is given twice"));
        }
    }
    Ok(secrets)
}

fn standard_input() -> Result<SecretString, String> {
    let mut text = String::new();
    let read = std::io::stdin().take(SECRET_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err("there is no secret on standard input".to_owned());
    }
    Ok(secret.to_owned().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_secret_is_fetched_and_never_taken_from_the_command_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "canary\n").unwrap();
        let given = format!("password=file:{}", file.display());
        let secrets = read(std::slice::from_ref(&given)).unwrap();
        assert_eq!(secrets["password"].0.expose_secret(), "canary");
        for (given, part) in [
            (vec!["password=canary"], "--secret password: must be env:NAME"),
            (vec!["password=file-canary:x"], "--secret password: must be env:NAME"),
            (vec!["canary"], "--secret: must be KEY=env:NAME"),
            (vec!["a/b=-"], "a secret's name must be"),
            (vec!["password=env:OSTLER_TEST_NOT_SET"], "OSTLER_TEST_NOT_SET is not set"),
            (vec!["password=file:/nowhere"], "cannot read /nowhere"),
            (vec![given.as_str(), given.as_str()], "--secret password: is given twice"),
        ] {
            let given: Vec<String> = given.into_iter().map(str::to_owned).collect();
            let error = read(&given).unwrap_err();
            assert!(error.contains(part) && !error.contains("canary"), "{part}: {error}");
        }
    }
}
