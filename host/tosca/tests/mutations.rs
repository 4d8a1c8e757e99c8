//! Templates with pieces changed, moved, doubled and mixed: nothing panics, nothing costs much, and what is refused says where.
//!
//! Deterministic. `OSTLER_FUZZ_ROUNDS` asks for more rounds than a test run has time for; `host/tosca/fuzz` looks for more.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod everything;
mod measure;

use serde_json::json;

/// Marsaglia's xorshift: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

const WORDS: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "\n",
    "\r\n",
    "  ",
    "\t",
    "get_input: ",
    "get_property: [SELF, x]",
    "get_attribute: [HOST, x, 0]",
    "&a ",
    "*a",
    "<<: ",
    "<<: *a",
    "~",
    "''",
    "\"",
    "é",
    "concat: [1]",
    "token: [a, '', 0]",
    "9e999",
    "tosca.nodes.Root",
    "derived_from: ",
    "|\n",
    "# ",
];

fn changed(files: &[String], random: &mut Random) -> String {
    let mut text: Vec<char> = files[random.below(files.len())].chars().collect();
    for _ in 0..=random.below(6) {
        let (from, to) = (random.below(text.len()), random.below(text.len()));
        let length = random.below(40).min(text.len() - from);
        let line = {
            let begin = text[..from].iter().rposition(|c| *c == '\n').map_or(0, |place| place + 1);
            begin..text[from..].iter().position(|c| *c == '\n').map_or(text.len(), |place| from + place + 1)
        };
        match random.below(8) {
            0 => drop(text.drain(from..from + length)),
            1 => {
                let piece: Vec<char> = text[from..from + length].to_vec();
                text.splice(to..to, piece);
            }
            2 => drop(text.splice(to..to, WORDS[random.below(WORDS.len())].chars())),
            3 => text[from] = char::from_u32(random.below(0x250) as u32).unwrap_or('x'),
            4 => text[from] = char::from_u32(text[from] as u32 ^ 1 << random.below(7)).unwrap_or('x'),
            5 => drop(text.drain(line)),
            6 => {
                let line: Vec<char> = text[line].to_vec();
                let to = text[..to].iter().rposition(|c| *c == '\n').map_or(0, |place| place + 1);
                text.splice(to..to, line);
            }
            _ => {
                // The head of one, the tail of another.
                let other: Vec<char> = files[random.below(files.len())].chars().collect();
                let cut = random.below(other.len());
                text.truncate(from);
                text.extend(&other[cut..]);
            }
        }
        if text.is_empty() {
            break;
        }
    }
    text.into_iter().collect()
}

#[test]
fn random_changes_never_panic() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let mut files = Vec::new();
    for directory in ["templates", "oracle/templates"] {
        let mut paths: Vec<_> =
            std::fs::read_dir(format!("{here}/{directory}")).unwrap().map(|file| file.unwrap().path()).collect();
        paths.sort();
        files.extend(paths.iter().map(|path| std::fs::read_to_string(path).unwrap()));
    }
    let rounds = std::env::var("OSTLER_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1000);
    let given = json!({ "token": "t", "path": "p", "password": "long enough", "system": "linux", "cpus": 4 });
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for text in &files {
        everything::holds(text, given.as_object().unwrap());
    }
    for _ in 0..rounds {
        let text = changed(&files, &mut random);
        let (bytes, ()) = measure::memory(|| everything::holds(&text, given.as_object().unwrap()));
        assert!(bytes < 16 << 20, "{bytes} bytes:\n{text}");
    }
}
