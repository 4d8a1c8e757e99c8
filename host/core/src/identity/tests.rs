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

/// A user whose password is `right horse`.
async fn add(identity: &Identity, name: &str, roles: &[Role]) -> User {
    let new = Registration { password: "right horse".into(), ..Registration::named(name) };
    identity.add_user(&Principal::host(), &new, roles, 0).await.unwrap()
}

#[tokio::test]
async fn credentials() {
    let identity = identity().await;
    add(&identity, "ann", &[Role::Agent]).await;
    let off = add(&identity, "off", &[Role::Agent]).await;
    let change = Changes { active: Some(false), ..Changes::default() };
    identity.change_user(&Principal::host(), &off.username, &change).await.unwrap();
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
        (basic("a\0", "right horse"), None),
        (Credentials::Token(token), Some(("ann", Scheme::Token))),
        (Credentials::Token("guess".into()), None),
        (Credentials::Token("".into()), None),
        (Credentials::Token(operator), Some(("operator", Scheme::Operator))),
        (Credentials::Certificate(b"no certificate".to_vec()), None),
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

#[tokio::test]
async fn who_is_changed_is_so_with_the_next_request() {
    let (identity, admin) = (identity().await, Principal::host());
    add(&identity, "ann", &[Role::Agent]).await;
    let token = identity.log_in("ann", &"right horse".into(), here()).await.unwrap().secret;
    let (old, new, token) = (basic("ann", "right horse"), basic("ann", "new horse"), Credentials::Token(token));
    let order = TokenOrder { label: "ci".into(), scopes: vec![], life: None };
    let api = Credentials::Token(identity.create_token(&admin, "ann", &order).await.unwrap().secret);
    for good in [&old, &token, &api] {
        assert!(identity.authenticate(good, here()).await.is_ok());
    }

    let changes = Changes { password: Some("new horse".into()), ..Changes::default() };
    identity.change_user(&admin, "ann", &changes).await.unwrap();
    assert!(matches!(identity.authenticate(&old, here()).await, Err(Error::Unauthenticated)));
    assert!(identity.authenticate(&new, here()).await.is_ok());
    // What was got with the old password ends with it.
    for token in [&token, &api] {
        assert!(matches!(identity.authenticate(token, here()).await, Err(Error::Unauthenticated)));
    }
    let token = Credentials::Token(identity.log_in("ann", &"new horse".into(), here()).await.unwrap().secret);

    let changes = Changes { roles: Some(vec![Role::Monitor]), ..Changes::default() };
    identity.change_user(&admin, "ann", &changes).await.unwrap();
    for credentials in [&new, &token] {
        let principal = identity.authenticate(credentials, here()).await.unwrap();
        assert_eq!(principal.roles, [Role::Monitor]);
    }

    let changes = Changes { active: Some(false), ..Changes::default() };
    identity.change_user(&admin, "ann", &changes).await.unwrap();
    for credentials in [&new, &token] {
        assert!(matches!(identity.authenticate(credentials, here()).await, Err(Error::Unauthenticated)));
    }
    let unknown = identity.change_user(&admin, "bob", &changes).await;
    assert!(matches!(unknown, Err(Error::NoUser(_))), "{unknown:?}");
}

/// Whoever is on this host, too, is told so: nobody could let himself in any more.
#[tokio::test]
async fn the_last_administrator_stays_one() {
    let (identity, operator) = (identity().await, Principal::host());
    add(&identity, "root", &[Role::Admin]).await;
    add(&identity, "ann", &[Role::Agent]).await;
    let out = [
        Changes { active: Some(false), ..Changes::default() },
        Changes { roles: Some(vec![Role::Agent]), password: Some("new horse".into()), ..Changes::default() },
        Changes { roles: Some(vec![Role::Admin]), active: Some(false), ..Changes::default() },
    ];
    for change in &out {
        let refused = identity.change_user(&operator, "root", change).await;
        assert!(matches!(refused, Err(Error::Busy(_))), "{change:?}: {refused:?}");
        assert!(identity.authenticate(&basic("root", "right horse"), here()).await.is_ok(), "all of a change or nothing");
    }
    let change = Changes { roles: Some(vec![Role::Admin]), ..Changes::default() };
    identity.change_user(&operator, "ann", &change).await.unwrap();
    identity.change_user(&operator, "root", &out[0]).await.unwrap();
    assert!(matches!(identity.change_user(&operator, "ann", &out[1]).await, Err(Error::Busy(_))));
}

fn verified(identity: &Identity) -> usize {
    identity.passwords.verified.load(std::sync::atomic::Ordering::Relaxed)
}

/// Whether somebody exists, and what is the matter with him, cannot be told by the time that a refusal takes.
#[tokio::test]
async fn every_refusal_costs_one_hash() {
    let identity = identity().await;
    for name in ["ann", "off", "none", "ended"] {
        add(&identity, name, &[Role::Agent]).await;
    }
    let change = async |name: &str, change: ostler_store::UserChange| {
        let user = identity.store.user_by_name(name).await.unwrap().unwrap();
        identity.store.user_change(&user.id, &change).await.unwrap();
    };
    change("off", ostler_store::UserChange { active: Some(false), ..Default::default() }).await;
    change("none", ostler_store::UserChange { password: Some(Default::default()), ..Default::default() }).await;
    let hash = identity.store.user_by_name("ann").await.unwrap().unwrap().password_hash;
    let password = Some(ostler_store::NewPassword { hash, until: Some(1) });
    change("ended", ostler_store::UserChange { password, ..Default::default() }).await;
    for (name, password) in
        [("ann", "wrong"), ("nobody", "right horse"), ("off", "right horse"), ("none", "right horse"), ("ended", "right horse")]
    {
        let before = verified(&identity);
        let refused = identity.authenticate(&basic(name, password), here()).await;
        assert!(matches!(refused, Err(Error::Unauthenticated)), "{name}: {refused:?}");
        assert_eq!(verified(&identity) - before, 1, "{name}");
    }
}

/// What comes at once counts as what comes one after the other.
#[tokio::test]
async fn guesses_at_once_are_as_slow_as_others() {
    const MANY: usize = 64;
    let identity = identity().await;
    add(&identity, "ann", &[Role::Agent]).await;
    add(&identity, "bob", &[Role::Agent]).await;
    let elsewhere: IpAddr = [192, 0, 2, 1].into();
    let guesses = (0..MANY).map(|i| basic("ann", &format!("guess {i}"))).collect::<Vec<_>>();
    let all = futures::future::join_all(guesses.iter().map(|guess| identity.authenticate(guess, here())));
    // Whoever is the owner comes from elsewhere, or is somebody else, or is many at once.
    let right = [basic("ann", "right horse"), basic("bob", "right horse")];
    let owner = identity.authenticate(&right[0], elsewhere);
    let others = futures::future::join_all((0..MANY).map(|_| identity.authenticate(&right[1], elsewhere)));
    let (all, owner, others) = futures::future::join3(all, owner, others).await;
    assert!(owner.is_ok(), "{owner:?}");
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    let wrong = all.iter().filter(|result| matches!(result, Err(Error::Unauthenticated))).count();
    assert_eq!(wrong, backoff::TRIES_PAIR as usize);
    assert!(all.iter().all(|result| matches!(result, Err(Error::Unauthenticated | Error::Throttled(_)))), "{all:?}");
    assert_eq!(verified(&identity), wrong + 2, "the same from many connections is hashed once");

    // Many accounts from one address: it has its share of the queue, and others find room.
    let spray = (0..2 * MANY).map(|i| basic(&format!("user{i}"), "right horse")).collect::<Vec<_>>();
    let from: IpAddr = [192, 0, 2, 2].into();
    let all = futures::future::join_all(spray.iter().map(|guess| identity.authenticate(guess, from)));
    let fresh = basic("ann", "wrong");
    let (all, seen) = futures::future::join(all, identity.authenticate(&fresh, elsewhere)).await;
    assert!(matches!(seen, Err(Error::Unauthenticated)), "it had its verdict: {seen:?}");
    let wrong = all.iter().filter(|result| matches!(result, Err(Error::Unauthenticated))).count();
    assert_eq!(wrong, backoff::SHARE as usize);
}

/// The parameters have risen since: the log-in is the moment when the password is known.
#[tokio::test]
async fn a_hash_of_old_parameters_is_made_anew() {
    use argon2::password_hash::PasswordHasher;
    let identity = identity().await;
    let ann = add(&identity, "ann", &[Role::Agent]).await;
    let today = ann.password_hash.clone().unwrap();
    let params = argon2::Params::new(8 * 1024, 1, 1, None).unwrap();
    let weak = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let weak = weak.hash_password(b"right horse").unwrap().to_string();
    let password = Some(ostler_store::NewPassword { hash: Some(weak.clone()), until: None });
    identity.store.user_change(&ann.id, &ostler_store::UserChange { password, ..Default::default() }).await.unwrap();
    let hash = async || identity.store.user_get(&ann.id).await.unwrap().unwrap().password_hash.unwrap();
    let parameters = |hash: &str| hash.rsplitn(3, '$').last().unwrap().to_owned();

    assert!(identity.authenticate(&basic("ann", "wrong"), here()).await.is_err());
    assert_eq!(hash().await, weak, "only who knows the password can");
    let token = Credentials::Token(identity.log_in("ann", &"right horse".into(), here()).await.unwrap().secret);
    assert_eq!(parameters(&hash().await), parameters(&today));
    assert_ne!(hash().await, weak);
    assert!(identity.authenticate(&basic("ann", "right horse"), here()).await.is_ok());
    assert!(identity.authenticate(&token, here()).await.is_ok(), "the password is the same");
}

#[tokio::test]
async fn a_token_is_good_for_its_scopes_until_it_is_revoked() {
    let (identity, admin) = (identity().await, Principal::host());
    add(&identity, "ann", &[Role::Agent]).await;
    let order = TokenOrder { label: "ci".into(), scopes: vec![Permission::ReadCompute], life: None };
    let token = identity.create_token(&admin, "ann", &order).await.unwrap();
    assert_eq!(token.expires_at, None);
    let shown = Credentials::Token(token.secret);
    let principal = identity.authenticate(&shown, here()).await.unwrap();
    assert!(principal.require(Permission::ReadCompute).is_ok());
    assert!(principal.require(Permission::ChangeCompute).is_err(), "its user may, the token not");
    assert!(identity.create_token(&principal, "ann", &order).await.is_err(), "no tokens by tokens");
    assert!(identity.revoke_token(&admin, &token.id).await.unwrap());
    assert!(!identity.revoke_token(&admin, &token.id).await.unwrap());
    assert!(matches!(identity.authenticate(&shown, here()).await, Err(Error::Unauthenticated)));
}

#[tokio::test]
async fn names_and_addresses_have_one_owner() {
    let (identity, admin) = (identity().await, Principal::host());
    let with = |name: &str, email: Option<&str>| Registration { email: email.map(str::to_owned), ..Registration::named(name) };
    identity.add_user(&admin, &with("ann", Some("ann@example.org")), &[], 7).await.unwrap();
    for (name, email) in [("ann", None), ("bob", Some("Ann@Example.org"))] {
        let taken = identity.add_user(&admin, &with(name, email), &[], 0).await;
        assert!(matches!(taken, Err(Error::Taken(_))), "{taken:?}");
    }
    for (name, email) in
        [("", None), ("a:b", None), ("a\0", None), ("bob", Some("@")), ("bob", Some("bob")), ("bob", Some("b b@c"))]
    {
        let refused = identity.add_user(&admin, &with(name, email), &[], 0).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{name:?} {email:?}: {refused:?}");
    }
    let nobody = Principal::new("x", vec![Role::Agent], Scheme::Basic);
    assert!(matches!(identity.add_user(&nobody, &with("bob", None), &[], 0).await, Err(Error::Forbidden)));
}

#[test]
fn roles_permit_what_the_table_says() {
    use Permission::*;
    let most = [
        ReadCompute,
        ChangeCompute,
        ReadDrivers,
        ChangeDrivers,
        ReadMetrics,
        UseServices,
        UseDeployments,
        ReadWork,
        ChangeWork,
        SubmitDataEvents,
        ReadUsers,
        ChangeUsers,
        UseCatalogue,
        ManageImages,
        UseInstances,
        SeeInstances,
        ManageInstances,
        ManageGuests,
        ChangeClouds,
    ];
    for (role, permitted) in [
        (Role::Admin, &most[..]),
        (Role::Agent, &[ReadCompute, ChangeCompute, UseServices, UseDeployments, UseCatalogue, UseInstances]),
        (Role::User, &[ReadCompute]),
        (Role::Monitor, &[ReadMetrics]),
        (Role::Customer, &[UseServices, UseDeployments]),
        (Role::Supervisor, &[UseDeployments]),
        (Role::ServiceManager, &[ManageService]),
        (Role::Provider, &[UseCatalogue, ManageImages, SeeInstances]),
        (Role::LocalAdmin, &[UseCatalogue, ManageImages, UseInstances, SeeInstances, ManageInstances, ManageGuests]),
        (Role::Guest, &[UseCatalogue, UseInstances]),
    ] {
        let principal = Principal::new("x", vec![role], Scheme::Basic);
        for permission in PERMISSIONS {
            assert_eq!(principal.require(permission).is_ok(), permitted.contains(&permission), "{role:?} {permission:?}");
        }
    }
    let nobody = Principal::new("x", vec![], Scheme::Basic);
    assert!(PERMISSIONS.into_iter().all(|permission| nobody.require(permission).is_err()), "default deny");
    for role in [Role::ServiceManager, Role::Supervisor] {
        assert_eq!(Role::parse(role.as_str()), None, "no user is one");
    }
}
