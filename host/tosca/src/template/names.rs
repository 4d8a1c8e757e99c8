//! Names of nodes in answers: ASCII letters, digits and underscores only, as those of the original are.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;

/// Names that are given away.
pub(super) struct Names {
    taken: HashSet<String>,
    /// The last number that was needed to tell equal ones apart.
    last: HashMap<String, u32>,
}

impl Names {
    /// Those of `written` that are plain stay as they are.
    pub(super) fn new<'a>(written: impl Iterator<Item = &'a str>) -> Self {
        let taken = written.filter(|name| is_plain(name)).map(str::to_owned).collect();
        Self { taken, last: HashMap::new() }
    }

    /// Accents go, other characters become `_`, and a number tells equal ones apart.
    pub(super) fn plain(&mut self, written: &str) -> String {
        if is_plain(written) {
            return written.into();
        }
        let stripped = written.nfd().filter(|c| !unicode_normalization::char::is_combining_mark(*c));
        let plain: String = stripped.map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
        let plain = if plain.is_empty() { "_".to_owned() } else { plain };
        let last = self.last.entry(plain.clone()).or_default();
        let mut name = plain.clone();
        while self.taken.contains(&name) {
            *last += 1;
            name = format!("{plain}_{last}");
        }
        self.taken.insert(name.clone());
        name
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
