//! The component asks for no power that it does not use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use wasmparser::{Parser, Payload};

/// Needs the built component: `cargo build --profile driver --target wasm32-wasip2 -p ostler-plugin-edge --target-dir
/// target/drivers`, or its path in `OSTLER_EDGE_COMPONENT`.
#[test]
#[ignore = "needs the built component"]
fn the_component_imports_only_what_it_uses() {
    let target =
        std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").to_owned());
    let built = format!("{target}/drivers/wasm32-wasip2/driver/ostler_plugin_edge.wasm");
    let path = std::env::var("OSTLER_EDGE_COMPONENT").unwrap_or(built);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (mut imports, mut depth) = (BTreeSet::new(), 0);
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.unwrap() {
            Payload::ComponentSection { .. } | Payload::ModuleSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    // `types` has no functions: it only names the types.
    let granted = ["types", "cache", "config", "log", "secrets", "state"].map(|name| format!("ostler:driver/{name}@0.1.0"));
    let ours: BTreeSet<_> = imports.iter().filter(|name| !name.starts_with("wasi:")).cloned().collect();
    assert_eq!(ours, BTreeSet::from(granted), "{imports:?}");
    let standard = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:http/", "wasi:io/", "wasi:random/"];
    let foreign = |name: &&String| name.starts_with("wasi:") && !standard.iter().any(|prefix| name.starts_with(prefix));
    assert_eq!(imports.iter().find(foreign), None);
}
