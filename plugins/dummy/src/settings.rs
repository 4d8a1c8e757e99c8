//! What the operator can set.

use std::collections::BTreeMap;

use ostler_driver::{Context, Error, Result, Setting};
use serde_json::Value;

use crate::faults::Faults;

/// The functions that can be slowed down or broken, by their names in the contract.
pub(crate) const OPERATIONS: [&str; 16] = [
    "describe",
    "check",
    "list-images",
    "get-image",
    "find-image",
    "import-image",
    "delete-image",
    "list-sizes",
    "list-nodes",
    "get-node",
    "find-node",
    "create-node",
    "destroy-node",
    "act",
    "get-capacity",
    "get-samples",
];

/// Every key, with its meaning.
const KEYS: [(&str, &str); 13] = [
    (
        "form",
        "`fake_driver` (default): as the dummy driver of Apache Libcloud 0.12.4, with its images, sizes, names, addresses and \
         identifiers, which repeat after a node was destroyed. `plain`: a cloud with all features and identifiers that never repeat.",
    ),
    ("nodes", "How many nodes there are at first; by default 2 for `fake_driver`, 0 for `plain`. Read until the first change."),
    ("boot_ms", "Milliseconds from an order to `running`, for starts and reboots too; 0 by default."),
    ("image_ms", "Milliseconds from the import of an image to `active`; 0 by default."),
    ("quota_nodes", "More nodes than this answer `quota`; no bound by default."),
    ("capacity_nodes", "More nodes than this answer `capacity`; no bound by default."),
    ("latency_ms", "Milliseconds that each call takes: a number, or a table by operation with `*` for all others; 0 by default."),
    (
        "faults",
        "A table by operation (or `*` for all others but `describe`) of tables of faults and their rates from 0 to 1. Faults: each \
         error class of the contract, `trap`, `stack`, `loop`, `memory`, `hang`, `huge`, `endless-pages`, and `lost` (it takes \
         effect, then answers `transient`). Example: {\"create-node\": {\"lost\": 0.1}}.",
    ),
    ("seed", "A whole number from which rates below 1 are decided, call by call, always alike; 0 by default."),
    ("huge_mb", "Mebibytes that the fault `huge` answers; 1024 by default."),
    (
        "keep_user_data",
        "`true`: nodes of the form `plain` show in `extra` what they were given for their first boot, secrets included; `false` by default.",
    ),
    (
        "report",
        "What nodes whose first boot is cloud-init's say of it, since nothing runs on them: `done` (default), `failed`, or `none`.",
    ),
    ("page_size", "Nodes, images or sizes on a page, 1 to 10000; 1000 by default."),
];

/// The largest first number of nodes: identifiers keep their width.
const MAX_NODES: u64 = 900_000;

/// Which cloud to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Apache Libcloud's dummy.
    Fake,
    /// A normal cloud.
    Plain,
}

/// What the operator set.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) form: Form,
    pub(crate) nodes: u64,
    pub(crate) boot_us: u64,
    pub(crate) image_us: u64,
    pub(crate) quota_nodes: Option<u64>,
    pub(crate) capacity_nodes: Option<u64>,
    pub(crate) faults: Faults,
    pub(crate) seed: u64,
    pub(crate) page_size: u32,
    pub(crate) keep_user_data: bool,
    pub(crate) report: Option<Report>,
    latency_ms: BTreeMap<String, u64>,
}

/// What a node says of its first boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Done,
    Failed,
}

impl Settings {
    /// Reads and checks everything.
    pub(crate) fn read(ctx: &Context) -> Result<Self> {
        let config = ctx.config();
        config.reject_unknown(&KEYS.map(|(key, _)| key))?;
        let form = Form::read(ctx)?;
        let nodes = config.parse("nodes")?.unwrap_or(match form {
            Form::Fake => 2,
            Form::Plain => 0,
        });
        if nodes > MAX_NODES {
            return Err(malformed("nodes", &format!("at most {MAX_NODES}")));
        }
        let page_size = config.parse("page_size")?.unwrap_or(1000);
        if !(1..=10_000).contains(&page_size) {
            return Err(malformed("page_size", "1 to 10000"));
        }
        let seed = config.parse::<i64>("seed")?.unwrap_or(0).cast_unsigned();
        let milliseconds = |key| Ok::<_, Error>(config.parse::<u64>(key)?.unwrap_or(0).saturating_mul(1000));
        Ok(Self {
            form,
            nodes,
            boot_us: milliseconds("boot_ms")?,
            image_us: milliseconds("image_ms")?,
            quota_nodes: config.parse("quota_nodes")?,
            capacity_nodes: config.parse("capacity_nodes")?,
            latency_ms: latency(config.json("latency_ms")?)?,
            faults: Faults::read(config.json("faults")?, seed, config.parse("huge_mb")?.unwrap_or(1024))?,
            seed,
            page_size,
            keep_user_data: config.parse("keep_user_data")?.unwrap_or(false),
            report: match config.get("report").as_deref() {
                None | Some("done") => Some(Report::Done),
                Some("failed") => Some(Report::Failed),
                Some("none") => None,
                Some(_) => return Err(malformed("report", "`done`, `failed` or `none`")),
            },
        })
    }

    /// How long a call of this operation takes at least, in milliseconds.
    pub(crate) fn latency_ms(&self, operation: &str) -> u64 {
        self.latency_ms.get(operation).or_else(|| self.latency_ms.get("*")).copied().unwrap_or(0)
    }
}

impl Form {
    /// Reads the one setting on which the description depends.
    pub(crate) fn read(ctx: &Context) -> Result<Self> {
        match ctx.config().get("form").as_deref() {
            None | Some("fake_driver") => Ok(Self::Fake),
            Some("plain") => Ok(Self::Plain),
            Some(_) => Err(malformed("form", "`fake_driver` or `plain`")),
        }
    }
}

/// A number for all operations, or a table by operation.
fn latency(value: Option<Value>) -> Result<BTreeMap<String, u64>> {
    const EXPECTED: &str = "a whole number, or a table of whole numbers by operation";
    let number = |value: &Value| value.as_u64().ok_or_else(|| malformed("latency_ms", EXPECTED));
    match value {
        None => Ok(BTreeMap::new()),
        Some(Value::Object(table)) => table
            .iter()
            .map(|(operation, value)| {
                check_operation("latency_ms", operation)?;
                Ok((operation.clone(), number(value)?))
            })
            .collect(),
        Some(value) => Ok(BTreeMap::from([("*".to_owned(), number(&value)?)])),
    }
}

/// Refuses what is no operation, which is mostly a typing error.
pub(crate) fn check_operation(key: &str, operation: &str) -> Result<()> {
    if operation == "*" || OPERATIONS.contains(&operation) {
        return Ok(());
    }
    Err(malformed(key, &format!("operations of the contract, or `*`, not `{operation}`")))
}

/// The error for a malformed setting.
pub(crate) fn malformed(key: &str, expected: &str) -> Error {
    Error::Invalid(format!("setting `{key}`: expected {expected}"))
}

/// The settings, for the description.
pub(crate) fn describe() -> Vec<Setting> {
    KEYS.iter().map(|(key, doc)| Setting::optional(*key, *doc)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use ostler_driver::testing::Cloud;

    #[test]
    fn latency_is_by_operation() {
        for (text, list, other) in [("5", 5, 5), (r#"{"list-nodes": 50, "*": 5}"#, 50, 5), (r#"{"list-nodes": 50}"#, 50, 0)] {
            let settings = Settings::read(&Cloud::new("c").config("latency_ms", text).context()).unwrap();
            assert_eq!((settings.latency_ms("list-nodes"), settings.latency_ms("check")), (list, other), "{text}");
        }
    }

    #[test]
    fn malformed_settings_are_named() {
        for (key, value) in [
            ("form", "other"),
            ("nodes", "-1"),
            ("nodes", "1000000"),
            ("boot_ms", "soon"),
            ("image_ms", "1.5"),
            ("quota_nodes", ""),
            ("capacity_nodes", "x"),
            ("latency_ms", "\"5\""),
            ("latency_ms", r#"{"list_nodes": 5}"#),
            ("faults", "[]"),
            ("faults", r#"{"list-nodes": {"boom": 1}}"#),
            ("faults", r#"{"nodes": {"trap": 1}}"#),
            ("faults", r#"{"check": {"trap": 1.5}}"#),
            ("faults", r#"{"check": {"trap": 0.6, "loop": 0.6}}"#),
            ("faults", r#"{"describe": {"failed": 1}}"#),
            ("seed", "0x1"),
            ("huge_mb", "x"),
            ("page_size", "0"),
            ("colour", "red"),
        ] {
            let error = Settings::read(&Cloud::new("c").config(key, value).context()).unwrap_err();
            assert_eq!(error.class(), "invalid", "{key} = {value}");
            assert!(error.message().contains(&format!("`{key}`")), "{key} = {value}: {error}");
        }
    }
}
