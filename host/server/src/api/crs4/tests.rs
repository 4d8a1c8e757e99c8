use super::*;
use std::collections::BTreeSet;

#[test]
fn every_route_says_what_it_asks_for_and_changes_are_never_public() {
    let mut paths = BTreeSet::new();
    for (row, endpoint) in ROWS.iter().chain(MORE) {
        assert!(paths.insert(row.path), "{} stands twice", row.path);
        for (method, access) in row.methods {
            let changes = matches!(*method, Method::PUT | Method::POST | Method::DELETE | Method::PATCH);
            let harmless = matches!(endpoint, Endpoint::Index | Endpoint::Auth);
            assert!(!changes || harmless || *access != Access::Public, "{method} {} is public", row.path);
        }
        assert_eq!(auth::access(row, &Method::DELETE), None, "{}: what is not listed is denied", row.path);
    }
}
