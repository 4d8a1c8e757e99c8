#![allow(clippy::unwrap_used)]
use super::*;
use crate::api::root;
use std::collections::BTreeSet;

/// The document and the table of permissions name the same routes: neither an undocumented nor an unguarded one.
#[test]
fn the_document_and_the_table_are_in_step() {
    let document = serde_json::to_value(document()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "delete", "patch"].iter().filter(|m| item.get(**m).is_some()) {
            documented.insert((path.clone(), method.to_uppercase()));
        }
    }
    let table: BTreeSet<_> =
        ROWS.iter().flat_map(|row| row.methods.iter().map(|(method, _)| (row.path.to_owned(), method.to_string()))).collect();
    assert_eq!(documented, table);
    assert!(ROWS.iter().flat_map(|row| row.methods).all(|(_, access)| *access != Access::Public));
    assert!(root::ROWS.iter().any(|row| row.path == "/metrics" && row.methods.iter().all(|(_, a)| *a != Access::Public)));
}
