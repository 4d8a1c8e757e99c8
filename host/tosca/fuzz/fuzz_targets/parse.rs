//! Any bytes as a template: nothing panics, and what is refused says where.
//!
//! In `host/tosca`, with cargo-fuzz and a nightly compiler; the templates of the tests are what it begins with:
//!
//! ```text
//! mkdir -p fuzz/corpus/parse
//! cargo +nightly fuzz run parse fuzz/corpus/parse tests/templates tests/oracle/templates -- -max_len=8192 -timeout=2
//! ```
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

#[path = "../../tests/everything/mod.rs"]
mod everything;

/// Inputs of the templates that it begins with.
static GIVEN: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let given = json!({ "token": "t", "path": "p", "password": "long enough", "system": "linux", "cpus": "4" });
    given.as_object().cloned().unwrap_or_default()
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        everything::holds(text, &GIVEN);
    }
});
