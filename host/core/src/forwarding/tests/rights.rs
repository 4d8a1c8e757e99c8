//! Who may do what.

use super::*;

#[tokio::test]
async fn roles() {
    const NO: &str = "this needs another role";
    let (host, house) = Host::with_one_instance(tuning()).await;
    house.put(2, 2, None);
    let operator = Principal::new("operator", vec![Role::Admin], Scheme::Operator);
    let no_account = Principal::new("somebody", vec![Role::Guest], Scheme::Open);
    let both = Principal { roles: vec![Role::Guest, Role::Provider], ..guest(1) };
    let scoped = Principal { scopes: Some(vec![Permission::SeeInstances]), ..principal(1, Role::Admin) };
    // Of whom; how many rules he sees of two, or why none; what becomes of what he does to his own instance 1, and to another's.
    let (no_rule, no_instance) = ("there is no forwarding rule", "there is no instance 2");
    for (who, sees, own, others) in [
        (principal(1, Role::Admin), Ok(2), None, None),
        (principal(1, Role::LocalAdmin), Ok(2), None, None),
        (operator, Ok(2), None, None),
        (principal(1, Role::Provider), Ok(2), Some((NO, NO)), Some((NO, NO))),
        (scoped, Ok(2), Some((NO, NO)), Some((NO, NO))),
        (both, Ok(2), None, Some((NO, NO))),
        (guest(1), Ok(1), None, Some((no_instance, no_rule))),
        (principal(1, Role::Agent), Ok(1), None, Some((no_instance, no_rule))),
        (no_account, Ok(0), Some(("there is no instance 1", no_rule)), Some((no_instance, no_rule))),
        (principal(1, Role::User), Err(NO), Some((NO, NO)), Some((NO, NO))),
        (principal(1, Role::Customer), Err(NO), Some((NO, NO)), Some((NO, NO))),
        (principal(1, Role::Monitor), Err(NO), Some((NO, NO)), Some((NO, NO))),
    ] {
        let rules = [host.make(to(80)).await.unwrap(), {
            let order = NewRule { instance: 2, ..to(80) };
            host.forwarding.create(&guest(2), order, None).await.unwrap()
        }];
        let listed = host.forwarding.list(&who, CLOUD, None).await;
        assert_eq!(listed.map(|rules| rules.len()).map_err(|error| error.to_string()), sees.map_err(str::to_owned), "{who:?}");
        for (rule, refused) in rules.iter().zip([own, others]) {
            let visible = match sees {
                Ok(2) => true,
                Ok(1) => rule.instance == 1,
                _ => false,
            };
            let got = host.forwarding.get(&who, CLOUD, rule.id).await;
            assert_eq!(got.is_ok(), visible, "{who:?} {rule:?}");
            if sees.is_ok() {
                let named = host.forwarding.list(&who, CLOUD, Some(rule.instance)).await.unwrap();
                assert_eq!(named.len(), usize::from(visible), "{who:?} {rule:?}");
            }
            // Nobody finds it elsewhere.
            assert!(host.forwarding.get(&who, "other", rule.id).await.is_err());
            let made = host.forwarding.create(&who, NewRule { instance: rule.instance, ..to(80) }, None).await;
            let deleted = host.forwarding.delete(&who, CLOUD, rule.id).await;
            match (refused, made, deleted) {
                (None, Ok(made), Ok(())) => host.forwarding.delete(&who, CLOUD, made.id).await.unwrap(),
                (Some((why_not_make, why_not_delete)), Err(make), Err(delete)) => {
                    assert_eq!(make.to_string(), why_not_make, "{who:?} {rule:?}");
                    assert!(delete.to_string().starts_with(why_not_delete), "{who:?} {rule:?}: {delete}");
                }
                (_, made, deleted) => panic!("{who:?} {rule:?}: {made:?} {deleted:?}"),
            }
        }
        for instance in [1, 2] {
            host.forwarding.instance_gone(instance).await.unwrap();
        }
    }
}
