#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::*;
use crate::testing::Cloud;

/// What became of an order at the provider.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    /// It took effect, and the answer was lost.
    LostAnswer,
    /// It did not reach the provider, which the driver cannot know.
    Lost,
    Refused,
}

/// A provider that makes as many things as it is asked for.
#[derive(Clone, Default)]
struct Provider(Rc<RefCell<Vec<String>>>);

impl Provider {
    fn find(&self, token: &str) -> Result<Option<usize>> {
        Ok(self.0.borrow().iter().position(|made| made == token))
    }

    fn make(&self, token: &str, fate: Fate) -> Result<usize, Stop> {
        if matches!(fate, Fate::Answered | Fate::LostAnswer) {
            self.0.borrow_mut().push(token.to_owned());
        }
        match fate {
            Fate::Answered => Ok(self.0.borrow().len() - 1),
            Fate::Refused => Err(Stop::of_order(Error::Quota("no more".into()))),
            Fate::Lost | Fate::LostAnswer => Err(Stop::of_order(Error::Transient("reset".into()))),
        }
    }

    fn once(&self, cloud: &Cloud, token: &str, fate: Fate) -> Result<usize> {
        Orders::new(&cloud.context()).once("node", token, |_| self.find(token), || self.make(token, fate))
    }

    fn made(&self) -> usize {
        self.0.borrow().len()
    }
}

fn claims(cloud: &Cloud) -> Vec<String> {
    cloud.context().state().list("", None, 10).unwrap().into_iter().map(|entry| entry.key).collect()
}

fn busy(error: &Error) -> bool {
    error.to_string() == "transient: another order with this token is under way"
}

#[test]
fn a_repeated_order_finds_the_first_one() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    for _ in 0..3 {
        assert_eq!(provider.once(&cloud, "t-1", Fate::Answered), Ok(0));
        assert_eq!(claims(&cloud), [""; 0], "no claim stays behind");
    }
    assert_eq!(provider.made(), 1);
    // Another kind is another token.
    let orders = cloud.context();
    let other = Orders::new(&orders).once("image", "t-1", |_| Ok(None), || provider.make("t-1", Fate::Answered));
    assert_eq!(other, Ok(1));
}

/// Another order at the two points where it could come in between.
#[test]
fn concurrent_orders_make_one() {
    for while_finding in [true, false] {
        let (cloud, provider) = (Cloud::new("c"), Provider::default());
        let ctx = cloud.context();
        let told = Cell::new(None);
        let other = || {
            let orders = Orders::new(&ctx);
            let find = |alone| {
                told.set(Some(alone));
                provider.find("t-1")
            };
            let error = orders.once("node", "t-1", find, || provider.make("t-1", Fate::Answered)).unwrap_err();
            assert!(busy(&error), "{error}");
        };
        let find = |alone: bool| {
            assert!(alone, "the claim is ours");
            if while_finding {
                other();
            }
            provider.find("t-1")
        };
        let order = || {
            if !while_finding {
                other();
            }
            provider.make("t-1", Fate::Answered)
        };
        assert_eq!(Orders::new(&ctx).once("node", "t-1", find, order), Ok(0));
        assert_eq!((provider.made(), told.get()), (1, Some(false)));
        assert_eq!(provider.once(&cloud, "t-1", Fate::Answered), Ok(0), "the other tries again");
    }
}

#[test]
fn an_order_whose_thing_is_there_already_is_answered_meanwhile() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    let ctx = cloud.context();
    let order = || {
        let made = provider.make("t-1", Fate::Answered)?;
        assert_eq!(provider.once(&cloud, "t-1", Fate::Answered), Ok(made));
        Ok(made)
    };
    assert_eq!(Orders::new(&ctx).once("node", "t-1", |_| provider.find("t-1"), order), Ok(0));
    assert_eq!(provider.made(), 1);
}

#[test]
fn the_others_claim_may_come_and_go_while_ours_is_made() {
    // The other has done it all before our write.
    let cloud = Cloud::new("c");
    let (orders, found) = (cloud.context(), Cell::new(0));
    cloud.before_next_write(|cloud| {
        let key = "order/node/t-1";
        let version = cloud.context().state().set(key, b"{\"until\":0,\"lost\":null}").unwrap();
        cloud.context().state().compare_and_swap(key, Some(version), None).unwrap();
    });
    let find = |_| {
        found.set(found.get() + 1);
        Ok(Some(7))
    };
    assert_eq!(Orders::new(&orders).once("node", "t-1", find, || panic!("it is there")), Ok(7));
    assert_eq!(found.get(), 1);
    // A claim that has ended is taken over by one of two only.
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    cloud.context().state().set("order/node/t-1", b"{\"until\":1,\"lost\":null}").unwrap();
    cloud.before_next_write(|_| {});
    cloud.before_next_write(|cloud| {
        cloud.context().state().set("order/node/t-1", b"{\"until\":2,\"lost\":null}").unwrap();
    });
    let error = provider.once(&cloud, "t-1", Fate::Answered).unwrap_err();
    assert!(busy(&error) && provider.made() == 0, "{error}");
}

#[test]
fn an_order_without_an_answer_is_not_repeated_too_soon() {
    for (fate, made) in [(Fate::LostAnswer, 1), (Fate::Lost, 0)] {
        let (cloud, provider) = (Cloud::new("c"), Provider::default());
        let error = provider.once(&cloud, "t-1", fate).unwrap_err();
        assert_eq!((error.to_string().as_str(), provider.made()), ("transient: reset", made));
        let again = provider.once(&cloud, "t-1", Fate::Answered);
        if fate == Fate::LostAnswer {
            assert_eq!(again, Ok(0), "it is there");
        } else {
            let text = "an earlier order with this token may still take effect (reset)";
            assert_eq!(again, Err(Error::Transient(text.to_owned())));
            cloud.advance(LEASE - Duration::from_micros(1));
            assert_eq!(provider.once(&cloud, "t-1", Fate::Answered).unwrap_err().message(), text);
            cloud.advance(Duration::from_micros(1));
            assert_eq!(provider.once(&cloud, "t-1", Fate::Answered), Ok(0));
        }
        assert_eq!(provider.made(), 1);
    }
}

/// Whoever finds a claim that was left behind may put in order what there is.
#[test]
fn a_claim_that_was_left_behind_leaves_nobody_at_work() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    provider.once(&cloud, "t-1", Fate::Lost).unwrap_err();
    let (ctx, told) = (cloud.context(), Cell::new(None));
    let find = |alone| {
        told.set(Some(alone));
        Ok(Some(3))
    };
    assert_eq!(Orders::new(&ctx).once("node", "t-1", find, || panic!("it may be under way")), Ok(3));
    assert_eq!(told.get(), Some(true));
}

#[test]
fn the_claim_of_a_driver_that_died_ends() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    let until = cloud.context().now() + u64::try_from(LEASE.as_micros()).unwrap();
    let claim = serde_json::json!({"until": until, "lost": null}).to_string();
    cloud.context().state().set("order/node/t-1", claim.as_bytes()).unwrap();
    let error = provider.once(&cloud, "t-1", Fate::Answered).unwrap_err();
    assert!(busy(&error), "{error}");
    cloud.advance(LEASE);
    assert_eq!(provider.once(&cloud, "t-1", Fate::Answered), Ok(0));
    assert_eq!(claims(&cloud), [""; 0]);
}

#[test]
fn claims_that_nobody_takes_over_do_not_pile_up() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    for token in ["t-1", "t-2", "t-3"] {
        provider.once(&cloud, token, Fate::Lost).unwrap_err();
        if token == "t-1" {
            cloud.advance(LEASE);
        }
    }
    assert_eq!(claims(&cloud), ["order/node/t-2", "order/node/t-3"]);
}

#[test]
fn a_longer_lease_holds_longer() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    let ctx = cloud.context();
    let once = |fate| {
        let orders = Orders::new(&ctx).lease(2 * LEASE);
        orders.once("node", "t-1", |_| provider.find("t-1"), || provider.make("t-1", fate))
    };
    once(Fate::Lost).unwrap_err();
    cloud.advance(LEASE);
    assert!(once(Fate::Answered).is_err());
    cloud.advance(LEASE);
    assert_eq!(once(Fate::Answered), Ok(0));
}

#[test]
fn what_is_refused_or_cannot_be_looked_for_leaves_the_token_free() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    assert_eq!(provider.once(&cloud, "t-1", Fate::Refused).unwrap_err().class(), "quota");
    assert_eq!(claims(&cloud), [""; 0]);
    let ctx = cloud.context();
    let find = |_| Err::<Option<usize>, _>(Error::Transient("a 500".into()));
    let failed = Orders::new(&ctx).once("node", "t-1", find, || panic!("nobody knows what there is"));
    assert_eq!((failed.unwrap_err().message(), claims(&cloud)), ("a 500", Vec::new()));
    cloud.state_outage(1);
    assert_eq!(provider.once(&cloud, "t-1", Fate::Answered).unwrap_err().class(), "transient");
    assert_eq!(provider.made(), 0);
    assert_eq!(provider.once(&cloud, "t-1", Fate::Answered), Ok(0));
}

/// The state fails when the claim is to be given back: the order counts, and the claim ends by itself.
#[test]
fn an_outage_after_the_order_takes_nothing_back() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    let ctx = cloud.context();
    let order = || {
        cloud.state_outage(1);
        provider.make("t-1", Fate::Answered)
    };
    assert_eq!(Orders::new(&ctx).once("node", "t-1", |_| provider.find("t-1"), order), Ok(0));
    assert_eq!(claims(&cloud), ["order/node/t-1"]);
    assert_eq!(cloud.logs()[0].message, "a claim was not given back");
    assert_eq!(provider.once(&cloud, "t-1", Fate::Answered), Ok(0));
}

#[test]
fn repeatable_orders_claim_nothing() {
    let (cloud, provider) = (Cloud::new("c"), Provider::default());
    let ctx = cloud.context();
    let once = |fate| {
        let find = |alone: bool| {
            assert!(alone);
            provider.find("t-1")
        };
        Orders::new(&ctx).repeatable(true).once("node", "t-1", find, || provider.make("t-1", fate))
    };
    assert_eq!(once(Fate::Lost).unwrap_err().message(), "reset");
    assert_eq!(once(Fate::Refused).unwrap_err().class(), "quota");
    assert_eq!(once(Fate::Answered), Ok(0), "at once");
    assert_eq!(once(Fate::Answered), Ok(0), "found");
    assert_eq!((provider.made(), cloud.state_operations()), (1, 0));
}

#[test]
fn an_error_is_a_refusal_or_it_is_uncertain() {
    let text = || "why".to_owned();
    for (error, uncertain) in [
        (Error::NotFound(text()), false),
        (Error::Invalid(text()), false),
        (Error::Conflict(text()), false),
        (Error::Unauthorized(text()), false),
        (Error::Forbidden(text()), false),
        (Error::Quota(text()), false),
        (Error::Capacity(text()), false),
        (Error::Throttled { message: text(), retry_after: None }, false),
        (Error::Unsupported(text()), false),
        (Error::Transient(text()), true),
        (Error::Failed(text()), true),
        (Error::Other { kind: "odd".into(), message: text() }, true),
    ] {
        let expected = if uncertain { Stop::Uncertain(error.clone()) } else { Stop::Refused(error.clone()) };
        assert_eq!(Stop::of_order(error), expected);
    }
}
