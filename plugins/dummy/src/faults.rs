//! Breaking on purpose: what a driver can do wrong, done by a decision that repeats.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use ostler_driver::{Context, Error, Image, Node, Page, Result, Size};
use serde_json::Value;

use crate::settings::{check_operation, malformed};

const MIB: usize = 1024 * 1024;

/// One way to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error of this class.
    Error(&'static str),
    /// Ends the instance.
    Trap,
    /// Recursion without end.
    Stack,
    /// A loop without end.
    Loop,
    /// Takes all memory.
    Memory,
    /// Sleeps for ever.
    Hang,
    /// An answer of so many bytes.
    Huge(usize),
    /// A list whose pages never end.
    EndlessPages,
    /// It takes effect, then answers `transient`.
    Lost,
}

const CLASSES: [&str; 12] = [
    "not-found",
    "invalid",
    "conflict",
    "unauthorized",
    "forbidden",
    "quota",
    "capacity",
    "throttled",
    "unsupported",
    "transient",
    "failed",
    "other",
];

impl Fault {
    fn named(name: &str, huge: usize) -> Option<Self> {
        Some(match name {
            "trap" => Self::Trap,
            "stack" => Self::Stack,
            "loop" => Self::Loop,
            "memory" => Self::Memory,
            "hang" => Self::Hang,
            "huge" => Self::Huge(huge),
            "endless-pages" => Self::EndlessPages,
            "lost" => Self::Lost,
            name => Self::Error(CLASSES.into_iter().find(|class| *class == name)?),
        })
    }
}

/// The configured faults.
#[derive(Debug)]
pub(crate) struct Faults {
    by_operation: BTreeMap<String, Vec<(Fault, f64)>>,
    seed: u64,
}

impl Faults {
    /// Checks the table of the configuration.
    pub(crate) fn read(value: Option<Value>, seed: u64, huge_mb: usize) -> Result<Self> {
        const EXPECTED: &str = "a table by operation of tables of faults and their rates";
        let huge = huge_mb.saturating_mul(MIB);
        let mut by_operation = BTreeMap::new();
        let table = value.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        for (operation, rates) in table.as_object().ok_or_else(|| malformed("faults", EXPECTED))? {
            check_operation("faults", operation)?;
            let mut faults = Vec::new();
            for (name, rate) in rates.as_object().ok_or_else(|| malformed("faults", EXPECTED))? {
                let fault =
                    Fault::named(name, huge).ok_or_else(|| malformed("faults", &format!("known faults, not `{name}`")))?;
                if operation == "describe" && matches!(fault, Fault::Error(_) | Fault::Lost | Fault::EndlessPages) {
                    return Err(malformed("faults", &format!("for `describe` what it can do, not `{name}`")));
                }
                let rate = rate.as_f64().filter(|rate| (0.0..=1.0).contains(rate));
                let rate = rate.ok_or_else(|| malformed("faults", &format!("a rate from 0 to 1 for `{name}`")))?;
                if rate > 0.0 {
                    faults.push((fault, rate));
                }
            }
            if faults.iter().map(|(_, rate)| rate).sum::<f64>() > 1.0 + 1e-9 {
                return Err(malformed("faults", &format!("rates of `{operation}` that sum to at most 1")));
            }
            by_operation.insert(operation.clone(), faults);
        }
        Ok(Self { by_operation, seed })
    }

    /// The fault of this call, if any. Rates between 0 and 1 are decided by the seed, the operation and the number of its calls so
    /// far, which the state keeps; the faults share the interval from 0 to 1 in the alphabetical order of their names.
    pub(crate) fn draw(&self, ctx: &Context, operation: &str) -> Result<Option<Fault>> {
        let others = || self.by_operation.get("*").filter(|_| operation != "describe");
        let Some(faults) = self.by_operation.get(operation).or_else(others) else { return Ok(None) };
        match faults.as_slice() {
            [] => return Ok(None),
            [(fault, rate)] if *rate >= 1.0 => return Ok(Some(*fault)),
            _ => {}
        }
        let calls = ctx.state().update(&format!("f/{operation}"), |calls: Option<u64>| Ok(Some(calls.unwrap_or(0) + 1)))?;
        let mut point = unit(hash(&[self.seed, text(operation), calls.unwrap_or(0)]));
        for (fault, rate) in faults {
            if point < *rate {
                return Ok(Some(*fault));
            }
            point -= rate;
        }
        Ok(None)
    }
}

/// Mixes numbers (SplitMix64), the same in every version and on every machine.
pub(crate) fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A number for a text (FNV-1a).
pub(crate) fn text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A number from 0 to 1, without 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
pub(crate) fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// What an operation answers, as far as it can be broken.
pub(crate) trait Answer: Sized {
    /// An answer of about so many bytes, or as many as the memory allows.
    fn huge(bytes: usize) -> Result<Self> {
        Err(Error::Failed(filler(bytes)))
    }
}

macro_rules! answers {
    ($($type:ty),*) => { $(impl Answer for $type {})* };
}
answers!(
    (),
    Node,
    Option<Node>,
    Image,
    Option<Image>,
    ostler_driver::Health,
    ostler_driver::Capacity,
    Vec<ostler_driver::Sample>
);

macro_rules! huge_pages {
    ($($type:ty: $item:expr),*) => {$(
        impl Answer for Page<$type> {
            fn huge(bytes: usize) -> Result<Self> {
                let make: fn(String) -> $type = $item;
                let mut items = Vec::new();
                for _ in 0..bytes.div_ceil(MIB) {
                    let name = filler(MIB);
                    // Less than was asked for means that the memory is used up.
                    let last = name.len() < MIB;
                    items.push(make(name));
                    if last {
                        break;
                    }
                }
                Ok(Self::last(items))
            }
        }
    )*};
}
huge_pages!(
    Node: |name| Node::new("huge", name),
    Image: |name| Image::new("huge", name),
    Size: |name| Size::new("huge", name, 1, 1)
);

/// A text of so many bytes, or of half the memory that is left.
pub(crate) fn filler(bytes: usize) -> String {
    let mut room = bytes;
    let mut text = Vec::new();
    while room > 0 && text.try_reserve_exact(room).is_err() {
        room /= 2;
    }
    text.resize(room, b'x');
    String::from_utf8(text).unwrap_or_default()
}

/// Does the work of a call, or breaks.
pub(crate) fn suffer<T: Answer>(
    ctx: &Context,
    operation: &str,
    fault: Option<Fault>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    match fault {
        None | Some(Fault::EndlessPages) => work(),
        Some(Fault::Lost) => {
            work()?;
            Err(Error::Transient(format!("configured fault: the answer of {operation} is lost")))
        }
        Some(Fault::Error(class)) => Err(error(class, format!("configured fault of {operation}"))),
        Some(Fault::Huge(bytes)) => T::huge(bytes),
        Some(fault) => perish(ctx, fault),
    }
}

fn error(class: &str, message: String) -> Error {
    match class {
        "not-found" => Error::NotFound(message),
        "invalid" => Error::Invalid(message),
        "conflict" => Error::Conflict(message),
        "unauthorized" => Error::Unauthorized(message),
        "forbidden" => Error::Forbidden(message),
        "quota" => Error::Quota(message),
        "capacity" => Error::Capacity(message),
        "throttled" => Error::Throttled { message, retry_after: Some(Duration::from_secs(1)) },
        "unsupported" => Error::Unsupported(message),
        "transient" => Error::Transient(message),
        "failed" => Error::Failed(message),
        _ => Error::Other { kind: "dummy-fault".to_owned(), message },
    }
}

/// Never comes back.
#[allow(clippy::panic, reason = "the point of it")]
pub(crate) fn perish(ctx: &Context, fault: Fault) -> ! {
    match fault {
        Fault::Stack => {
            black_box(dig(black_box(1)));
        }
        Fault::Loop => loop {
            black_box(());
        },
        Fault::Memory => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![black_box(1u8); MIB]);
                black_box(&hoard);
            }
        }
        Fault::Hang => loop {
            ctx.sleep(Duration::from_secs(3600));
        },
        _ => {}
    }
    panic!("configured fault")
}

/// Recursion without end that no optimiser turns into a loop.
#[expect(unconditional_recursion, reason = "the point of it")]
fn dig(depth: u64) -> u64 {
    // Little goes on the stack that the component keeps in its memory, so that the runtime's own ends first.
    dig(depth.wrapping_add(1)).wrapping_add(black_box(depth))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use ostler_driver::testing::Cloud;
    use serde_json::json;

    fn draws(seed: u64, table: Value, operation: &str, calls: usize) -> (Vec<Option<Fault>>, u64) {
        let cloud = Cloud::new("c");
        let faults = Faults::read(Some(table), seed, 1).unwrap();
        let drawn = (0..calls).map(|_| faults.draw(&cloud.context(), operation).unwrap()).collect();
        (drawn, cloud.state_operations())
    }

    #[test]
    fn decisions_repeat_and_follow_the_rates() {
        let table = || json!({"check": {"trap": 0.25, "failed": 0.25}});
        let (first, _) = draws(7, table(), "check", 2000);
        assert_eq!(first, draws(7, table(), "check", 2000).0);
        assert_ne!(first, draws(8, table(), "check", 2000).0);
        for fault in [Fault::Trap, Fault::Error("failed")] {
            let share = first.iter().filter(|drawn| **drawn == Some(fault)).count();
            assert!((400..600).contains(&share), "{fault:?} {share} of 2000");
        }
    }

    #[test]
    fn certain_rates_do_not_touch_the_state() {
        for (table, operation, expected) in [
            (json!({"check": {"trap": 1}}), "check", Some(Fault::Trap)),
            (json!({"check": {"trap": 0}}), "check", None),
            (json!({"*": {"hang": 1}}), "get-node", Some(Fault::Hang)),
            (json!({"*": {"hang": 1}}), "describe", None),
            (json!({"*": {"hang": 1}, "check": {}}), "check", None),
            (json!({"*": {"huge": 1, "loop": 0}}), "check", Some(Fault::Huge(MIB))),
        ] {
            let (drawn, operations) = draws(0, table.clone(), operation, 3);
            assert_eq!((drawn, operations), (vec![expected; 3], 0), "{table} {operation}");
        }
    }

    #[test]
    fn every_class_is_answered_as_itself() {
        let cloud = Cloud::new("c");
        for class in CLASSES {
            let fault = Fault::named(class, 0);
            let error = suffer(&cloud.context(), "check", fault, || Ok(())).unwrap_err();
            let expected = if class == "other" { "dummy-fault" } else { class };
            assert_eq!(error.class(), expected);
        }
        let huge = suffer(&cloud.context(), "list-nodes", Some(Fault::Huge(3 * MIB)), || Ok(Page::<Node>::last(vec![]))).unwrap();
        assert!(huge.items.iter().map(|node| node.name.len()).sum::<usize>() >= 3 * MIB);
    }
}
