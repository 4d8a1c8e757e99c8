use super::*;
use std::collections::BTreeSet;

/// What anybody may call.
const PUBLIC_ROUTES: [&str; 12] = [
    "/new_user",
    "/login",
    "/getcerts",
    "/get_user_certs",
    "/available_services",
    "/available_clouds",
    "/download/ConPaaS.tar.gz",
    "/download_data/{file}",
    "/version",
    "/support_external_idp",
    "/support_openid",
    "/debug_level/{level}",
];

#[test]
fn every_route_says_what_it_asks_for() {
    let mut paths = BTreeSet::new();
    for (row, _) in ROWS {
        assert!(paths.insert(row.path), "{} stands twice", row.path);
        assert!(!row.methods.is_empty(), "{}", row.path);
        for (method, access) in row.methods {
            let public = PUBLIC_ROUTES.contains(&row.path);
            assert_eq!(*access == Access::Public, public, "{method} {}", row.path);
            // Who calls is what a certificate says, and nothing else.
            assert!(public || matches!(access, Access::Certificate(_)), "{method} {}", row.path);
        }
        assert_eq!(auth::access(row, &Method::DELETE), None, "{}: what is not listed is denied", row.path);
    }
    assert!(PUBLIC_ROUTES.iter().all(|path| paths.contains(path)));
}

#[test]
fn managers_and_users_have_routes_of_their_own() {
    let asks = |permission| {
        let asks =
            move |(row, _): &&(Row, Endpoint)| row.methods.iter().any(|(_, access)| *access == Access::Certificate(permission));
        ROWS.iter().filter(asks).map(|(row, _)| row.path).collect::<BTreeSet<_>>()
    };
    let managers = asks(Permission::ManageService);
    let expected = [
        "/callback/decrementUserCredit.php",
        "/callback/terminateService.php",
        "/ca/get_cert.php",
        "/credit",
        "/create_nodes",
        "/remove_nodes",
    ];
    assert_eq!(managers, BTreeSet::from(expected));
    assert!(asks(Permission::UseServices).is_disjoint(&managers));
}
