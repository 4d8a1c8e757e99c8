#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::{Credentials, Mail, Scheme};
use super::*;
use crate::images::Images;
use async_trait::async_trait;
use ostler_store::{Options, Store};
use std::sync::Arc;

/// A mailbox that takes letters, or does not.
#[derive(Default)]
struct Mailbox {
    letters: parking_lot::Mutex<Vec<Letter>>,
    broken: bool,
}

#[async_trait]
impl Mail for Mailbox {
    async fn send(&self, letter: &Letter) -> Result<(), String> {
        if self.broken {
            return Err("nobody answers".into());
        }
        self.letters.lock().push(letter.clone());
        Ok(())
    }
}

async fn identity() -> Identity {
    Identity::new(Store::open("sqlite::memory:", &Options::default()).await.unwrap())
}

fn order(name: &str, role: Role) -> NewAccount {
    NewAccount { username: name.into(), role, email: None, password: Some("right horse".into()) }
}

async fn add(identity: &Identity, name: &str, role: Role) -> User {
    identity.add_account(&Principal::host(), &order(name, role), None).await.unwrap().user
}

async fn log_in(identity: &Identity, name: &str, password: &str) -> Result<Principal, Error> {
    let credentials = Credentials::Password(name.into(), password.into());
    identity.authenticate(&credentials, [127, 0, 0, 1].into()).await
}

async fn principal(identity: &Identity, name: &str) -> Principal {
    log_in(identity, name, "right horse").await.unwrap()
}

/// Each role looks at, changes and makes users of each role.
#[tokio::test]
async fn who_may_do_what_to_whom() {
    let identity = identity().await;
    for (name, role) in [("root", Role::Admin), ("telecom", Role::Provider), ("home", Role::LocalAdmin), ("ann", Role::Guest)] {
        add(&identity, name, role).await;
        add(&identity, &format!("other-{name}"), role).await;
    }
    // Looks like a guest, and may more.
    let both = add(&identity, "both", Role::Guest).await;
    identity.store.user_add_role(&both.id, "agent").await.unwrap();
    for (name, sees, changes, makes) in [
        (
            "root",
            &["root", "other-root", "telecom", "other-telecom", "home", "other-home", "ann", "other-ann", "both"][..],
            &["root", "other-root", "telecom", "other-telecom", "home", "other-home", "ann", "other-ann", "both"][..],
            &PLATFORM_ROLES[..],
        ),
        ("telecom", &["telecom"], &["telecom"], &[]),
        ("home", &["home", "ann", "other-ann"], &["home", "ann", "other-ann"], &[Role::Guest]),
        ("ann", &["ann"], &["ann"], &[]),
    ] {
        let who = principal(&identity, name).await;
        let names = |users: Vec<User>| users.into_iter().map(|user| user.username).collect::<Vec<_>>();
        assert_eq!(names(identity.accounts(&who, None).await.unwrap()), sees, "{name}");
        let guests = identity.accounts(&who, Some(Role::Guest)).await.unwrap();
        assert!(guests.iter().all(|user| platform_role(user) == Some(Role::Guest)), "{name}");
        for user in identity.store.users_by_number().await.unwrap() {
            let seen = identity.account(&who, user.number).await;
            assert_eq!(seen.is_ok(), sees.contains(&user.username.as_str()), "{name} looks at {}", user.username);
            let change = AccountChange::Email(Some(format!("{}@example.org", user.username)));
            match identity.change_account(&who, user.number, &change).await {
                Ok(()) => assert!(changes.contains(&user.username.as_str()), "{name} changes {}", user.username),
                Err(Error::NoAccount(_)) => assert!(!sees.contains(&user.username.as_str()), "{name}: {}", user.username),
                Err(error) => panic!("{name} changes {}: {error}", user.username),
            }
        }
        for role in PLATFORM_ROLES {
            let made = identity.add_account(&who, &order(&format!("{name}-{}", role.as_str()), role), None).await;
            match made {
                Ok(made) => {
                    assert!(makes.contains(&role), "{name} makes {role:?}");
                    identity.store.user_delete(&made.user.id).await.unwrap();
                }
                Err(Error::Forbidden) => assert!(!makes.contains(&role), "{name} makes {role:?}"),
                Err(error) => panic!("{name} makes {role:?}: {error}"),
            }
        }
    }
    let stranger = Principal::new("x", vec![Role::Customer], Scheme::Basic);
    assert!(matches!(identity.accounts(&stranger, None).await, Err(Error::Forbidden)));
    let other = identity.add_account(&Principal::host(), &order("x", Role::Agent), None).await;
    assert!(matches!(other, Err(Error::Invalid(_))), "no role of the platform");
}

#[tokio::test]
async fn roles_are_given_by_administrators_and_one_stays_one() {
    let identity = identity().await;
    let root = add(&identity, "root", Role::Admin).await;
    let ann = add(&identity, "ann", Role::Guest).await;
    add(&identity, "home", Role::LocalAdmin).await;
    identity.store.user_add_role(&ann.id, "monitor").await.unwrap();
    let (admin, home) = (principal(&identity, "root").await, principal(&identity, "home").await);
    let to = AccountChange::Role;

    let last = identity.change_account(&admin, root.number, &to(Role::Guest)).await;
    assert!(matches!(last, Err(Error::Busy(_))), "{last:?}");
    identity.change_account(&admin, ann.number, &to(Role::Admin)).await.unwrap();
    let now = identity.account(&admin, ann.number).await.unwrap();
    assert_eq!(now.roles, ["admin", "monitor"], "what is no role of the platform stays");
    identity.change_account(&admin, root.number, &to(Role::Guest)).await.unwrap();
    assert!(matches!(identity.accounts(&principal(&identity, "root").await, None).await, Ok(users) if users.len() == 1));

    // A guest is what local administrators look after, and what they can make of nobody else.
    let root = principal(&identity, "root").await;
    let number = root.account.as_ref().unwrap().number;
    for role in [Role::Admin, Role::Provider, Role::LocalAdmin] {
        let refused = identity.change_account(&home, number, &to(role)).await;
        assert!(matches!(refused, Err(Error::Forbidden)), "{role:?}: {refused:?}");
        let own = identity.change_account(&root, number, &to(role)).await;
        assert!(matches!(own, Err(Error::Forbidden)), "{role:?}: {own:?}");
    }
    assert!(matches!(identity.change_account(&home, now.number, &to(Role::Guest)).await, Err(Error::NoAccount(_))));
}

#[tokio::test]
async fn passwords_are_set_by_oneself_and_by_whoever_looks_after_one() {
    let identity = identity().await;
    add(&identity, "root", Role::Admin).await;
    let ann = add(&identity, "ann", Role::Guest).await;
    let who = principal(&identity, "ann").await;
    let scoped = Principal { scopes: Some(vec![Permission::UseCatalogue]), ..who.clone() };
    let change = AccountChange::Password("new horse".into());
    assert!(matches!(identity.change_account(&scoped, ann.number, &change).await, Err(Error::Forbidden)), "by a token");
    identity.change_account(&who, ann.number, &change).await.unwrap();
    assert!(log_in(&identity, "ann", "right horse").await.is_err());
    assert!(log_in(&identity, "ann", "new horse").await.is_ok());
    let long = AccountChange::Password("x".repeat(1025).into());
    assert!(matches!(identity.change_account(&who, ann.number, &long).await, Err(Error::Invalid(_))));
    for email in ["ann", "@", "a b@c", "a@b\n", ""] {
        let refused = identity.change_account(&who, ann.number, &AccountChange::Email(Some(email.into()))).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{email:?}: {refused:?}");
    }
    let admin = principal(&identity, "root").await;
    identity.change_account(&admin, ann.number, &AccountChange::Password("third horse".into())).await.unwrap();
    assert!(log_in(&identity, "ann", "third horse").await.is_ok());
}

#[tokio::test]
async fn a_reset_is_a_letter_with_a_password_that_ends() {
    let mailbox = Arc::new(Mailbox::default());
    let plain = identity().await;
    let ann = add(&plain, "ann", Role::Guest).await;
    let who = principal(&plain, "ann").await;
    let reset = AccountChange::Reset;
    assert!(matches!(plain.change_account(&who, ann.number, &reset).await, Err(Error::NoMail(_))), "no server");
    let identity = Identity::new(plain.store.clone()).mailing(Arc::clone(&mailbox) as Arc<dyn Mail>);
    assert!(matches!(identity.change_account(&who, ann.number, &reset).await, Err(Error::Invalid(_))), "no address");
    identity.change_account(&who, ann.number, &AccountChange::Email(Some("ann@example.org".into()))).await.unwrap();

    let broken = Arc::new(Mailbox { broken: true, ..Mailbox::default() });
    let other = Identity::new(identity.store.clone()).mailing(broken);
    for _ in 0..2 {
        let failed = other.change_account(&who, ann.number, &reset).await;
        assert!(matches!(failed, Err(Error::NoMail(_))), "{failed:?}");
    }
    assert!(log_in(&identity, "ann", "right horse").await.is_ok(), "nothing was sent, nothing changes");

    identity.change_account(&who, ann.number, &reset).await.unwrap();
    let letter = mailbox.letters.lock()[0].clone();
    assert_eq!(letter.to, "ann@example.org");
    let text = letter.text.expose_secret();
    let sent = text.lines().find_map(|line| line.strip_prefix("    ")).unwrap();
    assert!(!format!("{letter:?}").contains(sent));
    assert!(log_in(&identity, "ann", "right horse").await.is_err());
    assert!(log_in(&identity, "ann", sent).await.is_ok());
    let again = identity.change_account(&who, ann.number, &reset).await;
    assert!(matches!(again, Err(Error::Busy(_))), "{again:?}");
    assert_eq!(mailbox.letters.lock().len(), 1);

    // Its end comes, whoever has just used it.
    let hash = identity.store.user_get(&ann.id).await.unwrap().unwrap().password_hash.unwrap();
    let password = Some(NewPassword { hash: Some(hash), until: Some(ostler_store::now() - 1) });
    identity.store.user_change(&ann.id, &UserChange { password, ..UserChange::default() }).await.unwrap();
    assert!(matches!(log_in(&identity, "ann", sent).await, Err(Error::Unauthenticated)));
}

#[tokio::test]
async fn a_key_makes_a_user_once() {
    let identity = identity().await;
    let admin = Principal::host();
    let key = |key: &str| Some(Key { scope: "test", key: key.into() });
    let first = identity.add_account(&admin, &order("ann", Role::Guest), key("a")).await.unwrap();
    assert!(first.password.is_none(), "it is the caller's");
    let again = identity.add_account(&admin, &order("ann", Role::Guest), key("a")).await.unwrap();
    assert_eq!(again.user, first.user);
    for other in [
        NewAccount { password: Some("another".into()), ..order("ann", Role::Guest) },
        NewAccount { password: None, ..order("ann", Role::Guest) },
        NewAccount { email: Some("ann@example.org".into()), ..order("ann", Role::Guest) },
        order("ann", Role::Admin),
    ] {
        let refused = identity.add_account(&admin, &other, key("a")).await;
        assert!(matches!(refused, Err(Error::KeyReused)), "{other:?}: {refused:?}");
    }
    let taken = identity.add_account(&admin, &order("ann", Role::Guest), key("b")).await;
    assert!(matches!(taken, Err(Error::Taken("the user"))), "{taken:?}");

    let made = NewAccount { password: None, ..order("bob", Role::Guest) };
    let first = identity.add_account(&admin, &made, key("c")).await.unwrap();
    let password = first.password.unwrap();
    assert!(log_in(&identity, "bob", password.expose_secret()).await.is_ok());
    let again = identity.add_account(&admin, &made, key("c")).await.unwrap();
    assert!(again.password.is_none() && again.user == first.user, "it is told once");
    for name in ["", "a:b", "a\n"] {
        let refused = identity.add_account(&admin, &order(name, Role::Guest), None).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{name:?}: {refused:?}");
    }
}

#[tokio::test]
async fn a_user_is_deleted_by_whoever_looks_after_him() {
    let identity = identity().await;
    let compute = crate::compute::tests::compute_on(identity.store.clone(), &[("form", "plain")]).await;
    let instances = Instances::new(Arc::clone(&compute), Images::new(compute, None));
    let root = add(&identity, "root", Role::Admin).await;
    let ann = add(&identity, "ann", Role::Guest).await;
    let home = add(&identity, "home", Role::LocalAdmin).await;
    for (name, number, expected) in [
        ("ann", ann.number, "this needs another role"),
        ("ann", home.number, "there is no user 3"),
        ("home", home.number, "this needs another role"),
        ("home", root.number, "there is no user 1"),
        ("root", root.number, "the last administrator stays one"),
        ("root", 99, "there is no user 99"),
        ("home", ann.number, ""),
        ("root", ann.number, "there is no user 2"),
        ("root", home.number, ""),
    ] {
        let who = match name {
            "root" | "home" | "ann" => {
                let user = identity.store.user_by_name(name).await.unwrap().unwrap();
                Principal::of(&user, Scheme::Basic)
            }
            other => panic!("{other}"),
        };
        let outcome = identity.delete_account(&who, number, &instances, false).await;
        assert_eq!(outcome.err().map_or(String::new(), |error| error.to_string()), expected, "{name} deletes {number}");
    }
    assert!(log_in(&identity, "ann", "right horse").await.is_err());
    assert!(add(&identity, "ann", Role::Guest).await.number > home.number);
    // Nobody makes a new `admin` because the first one is gone.
    assert!(identity.first_administrator(None).await.unwrap().is_none());
}
