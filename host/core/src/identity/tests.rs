#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use ostler_store::Options;

async fn identity() -> Identity {
    Identity::new(Store::open("sqlite::memory:", &Options::default()).await.unwrap())
}

fn here() -> IpAddr {
    [127, 0, 0, 1].into()
}

fn basic(user: &str, password: &str) -> Credentials {
    Credentials::Password(user.into(), password.into())
}

#[tokio::test]
async fn credentials() {
    let identity = identity().await;
    identity.add_user("ann", &"right horse".into(), &[Role::Agent]).await.unwrap();
    let off = identity.add_user("off", &"right horse".into(), &[Role::Agent]).await.unwrap();
    identity.store.user_set_active(&off.id, false).await.unwrap();
    let token = identity.log_in("ann", &"right horse".into(), here()).await.unwrap().secret;
    let operator = identity.operator_token().clone();
    for (credentials, expected) in [
        (basic("ann", "right horse"), Some(("ann", Scheme::Basic))),
        (basic("ann", "right horse"), Some(("ann", Scheme::Basic))),
        (basic("ann", "wrong"), None),
        (basic("Ann", "right horse"), None),
        (basic("nobody", "right horse"), None),
        (basic("off", "right horse"), None),
        (basic("ann", ""), None),
        (Credentials::Token(token), Some(("ann", Scheme::Token))),
        (Credentials::Token("guess".into()), None),
        (Credentials::Token("".into()), None),
        (Credentials::Token(operator), Some(("operator", Scheme::Operator))),
    ] {
        let result = identity.authenticate(&credentials, here()).await;
        match expected {
            Some((user, scheme)) => {
                let principal = result.unwrap();
                assert_eq!((principal.user.as_str(), principal.scheme), (user, scheme));
            }
            None => assert!(matches!(result, Err(Error::Unauthenticated)), "{result:?}"),
        }
    }
}

#[tokio::test]
async fn the_first_administrator_is_made_once() {
    let identity = identity().await;
    let password = identity.first_administrator(None).await.unwrap().expect("a new password");
    assert!(identity.first_administrator(Some("other".into())).await.unwrap().is_none());
    let principal = identity.authenticate(&Credentials::Password("admin".into(), password), here()).await.unwrap();
    assert!(principal.require(Permission::ChangeDrivers).is_ok());
    assert!(identity.authenticate(&basic("admin", "other"), here()).await.is_err());
}

#[test]
fn roles_permit_what_the_table_says() {
    use Permission::*;
    for (role, permitted) in [
        (Role::Admin, &[ReadCompute, ChangeCompute, ReadDrivers, ChangeDrivers, ReadMetrics][..]),
        (Role::Agent, &[ReadCompute, ChangeCompute]),
        (Role::User, &[ReadCompute]),
        (Role::Monitor, &[ReadMetrics]),
    ] {
        let principal = Principal { user: "x".into(), roles: vec![role], scheme: Scheme::Basic };
        for permission in [ReadCompute, ChangeCompute, ReadDrivers, ChangeDrivers, ReadMetrics] {
            assert_eq!(principal.require(permission).is_ok(), permitted.contains(&permission), "{role:?} {permission:?}");
        }
    }
    let nobody = Principal { user: "x".into(), roles: vec![], scheme: Scheme::Basic };
    assert!(nobody.require(ReadCompute).is_err(), "default deny");
}
