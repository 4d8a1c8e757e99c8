//! What is refused at load, and whether the reason tells what to change.

use crate::components::{dummy, hollow, intruder, probe, trapping_component, unchanged, variant, with_version};
use crate::support::{Adjust, TestHost, kind, plain};
use ostler_drivers::{CloudSettings, ErrorKind, LoadError, LoadPolicy, Seal, Strictness};
use sha2::{Digest, Sha256};

/// Random bytes that are the same in every run.
fn noise(length: usize) -> Vec<u8> {
    (0_u64..).flat_map(|n| Sha256::digest(n.to_le_bytes())).take(length).collect()
}

async fn refusal(wasm: &[u8], settings: CloudSettings) -> LoadError {
    let host = TestHost::new();
    let driver = settings.driver.clone();
    host.host.add_cloud(settings).unwrap();
    host.prepare(&driver, wasm).await.expect_err("this must be refused")
}

/// Asserts the variant and that the message names what it must.
macro_rules! refused {
    ($error:expr, $variant:pat, $($part:expr),+ $(,)?) => {{
        let error = $error;
        assert!(matches!(error, $variant), "{error:?}");
        let text = error.to_string();
        $(assert!(text.contains($part), "`{}` is not in: {text}", $part);)+
    }};
}

#[tokio::test]
async fn what_is_no_component() {
    let dummy = dummy();
    let halves = [dummy.len() - 1, dummy.len() / 2, dummy.len() / 100, 9, 8];
    let cases = [
        ("core module", b"\0asm\x01\0\0\0".to_vec(), "core module"),
        ("empty", Vec::new(), ""),
        ("a text", b"#!/bin/sh\necho".to_vec(), "magic"),
        ("noise", noise(100_000), "magic"),
        ("noise with a magic number", [b"\0asm\x0d\0\x01\0".to_vec(), noise(100_000)].concat(), ""),
        ("noise within", [dummy[..2000].to_vec(), noise(1000), dummy[3000..].to_vec()].concat(), ""),
        ("another layer", b"\0asm\x01\0\x07\0".to_vec(), ""),
    ];
    let truncated = halves.map(|length| ("truncated", dummy[..length].to_vec(), ""));
    for (what, wasm, part) in cases.into_iter().chain(truncated) {
        let error = refusal(&wasm, plain()).await;
        let expected = match wasm.len() {
            // A head without anything is a component: one that exports nothing.
            8 if what == "truncated" => matches!(error, LoadError::Export(_)),
            _ => matches!(error, LoadError::NotAComponent(_)),
        };
        assert!(expected, "{what}: {error:?}");
        assert!(error.to_string().contains(part), "{what}: {error}");
    }
}

#[tokio::test]
async fn what_is_too_large() {
    let dummy = dummy();
    for (limit, fits) in [(dummy.len(), true), (dummy.len() - 1, false)] {
        let host = TestHost::with(LoadPolicy { max_bytes: limit, ..LoadPolicy::default() }, Default::default());
        let result = host.prepare("dummy", &dummy).await;
        assert_eq!(result.is_ok(), fits);
        if let Err(error) = result {
            assert_eq!(error, LoadError::TooLarge { size: dummy.len(), limit });
        }
    }
}

#[tokio::test]
async fn another_generation_of_the_contract() {
    for version in ["0.2.0", "1.0.0", "0.0.1"] {
        let error = refusal(&with_version(&dummy(), version), plain()).await;
        refused!(error, LoadError::Export(_), &format!("ostler:driver/driver@{version}"), "0.1.x");
    }
    // The export is ours, one capability is of another generation.
    let next = "package ostler:driver@0.2.0; interface state { wipe: func(); }";
    let wasm = hollow(unchanged, next, "import ostler:driver/state@0.2.0; export ostler:driver/driver@0.1.0;");
    refused!(refusal(&wasm, plain()).await, LoadError::Import { .. }, "ostler:driver/state@0.2.0");
}

#[tokio::test]
async fn a_function_that_the_host_lacks() {
    let later = |text: String| {
        let text = text.replace("package ostler:driver@0.1.0;", "package ostler:driver@0.1.7;");
        text.replace("    /// All values, sorted by key.", "    teleport: func();\n    /// All values, sorted by key.")
    };
    let wasm = hollow(later, "", "import ostler:driver/config@0.1.7; export ostler:driver/driver@0.1.7;");
    refused!(refusal(&wasm, plain()).await, LoadError::Import { .. }, "ostler:driver/config@0.1.7", "teleport");
}

#[tokio::test]
async fn a_changed_type() {
    let wider = |text: String| text.replace("    record block-device {", "    record block-device {\n        kind: string,");
    let wasm = hollow(wider, "", "export ostler:driver/driver@0.1.0;");
    refused!(refusal(&wasm, plain()).await, LoadError::Probe { .. }, "expected record of 3 fields, found 4 fields");
}

#[tokio::test]
async fn a_missing_export() {
    let lacking = |text: String| text.replace("    destroy-node: func(id: string) -> result<_, error>;", "");
    let wasm = hollow(lacking, "", "export ostler:driver/driver@0.1.0;");
    refused!(refusal(&wasm, plain()).await, LoadError::Export(_), "ostler:driver/driver@0.1.0", "destroy-node");
    let none = hollow(unchanged, "package a:b@1.2.3; interface c { d: func(); }", "export a:b/c@1.2.3;");
    refused!(refusal(&none, plain()).await, LoadError::Export(_), "ostler:driver/driver@0.1", "a:b/c@1.2.3");
}

#[tokio::test]
async fn an_unknown_import() {
    let more = "package foo:bar@1.0.0; interface baz { f: func(); }";
    let wasm = hollow(unchanged, more, "import foo:bar/baz@1.0.0; export ostler:driver/driver@0.1.0;");
    refused!(refusal(&wasm, plain()).await, LoadError::Import { .. }, "foo:bar/baz@1.0.0", "does not provide");
    let wasm = hollow(unchanged, "", "import launch: func(); export ostler:driver/driver@0.1.0;");
    refused!(refusal(&wasm, plain()).await, LoadError::Import { .. }, "launch");
    // Known as a package, unknown as an interface.
    let more = "package wasi:http@0.2.4; interface incoming-handler { f: func(); }";
    let wasm = hollow(unchanged, more, "import wasi:http/incoming-handler@0.2.4; export ostler:driver/driver@0.1.0;");
    refused!(refusal(&wasm, plain()).await, LoadError::Import { .. }, "wasi:http/incoming-handler@0.2.4");
}

#[tokio::test]
async fn an_import_that_is_not_granted() {
    let ungranted = CloudSettings::new("lab", "probe").set("url", "http://127.0.0.1:1/");
    refused!(
        refusal(&probe(), ungranted).await,
        LoadError::Import { .. },
        "lab",
        "wasi:http/",
        "@0.2.",
        "clouds.lab.grants.http"
    );
    for name in ["state", "config", "log"] {
        let settings = plain().grant(|grants| match name {
            "state" => grants.state = false,
            "config" => grants.config = false,
            _ => grants.log = false,
        });
        let error = refusal(&dummy(), settings).await;
        refused!(error, LoadError::Import { .. }, &format!("ostler:driver/{name}@0.1.0"), &format!("clouds.c.grants.{name}"));
    }
    let secretive = CloudSettings::new("c", "intruder").grant(|grants| grants.secrets = false);
    refused!(
        refusal(&intruder(), secretive).await,
        LoadError::Import { .. },
        "ostler:driver/secrets@0.1.0",
        "clouds.c.grants.secrets"
    );
    let wasm = hollow(unchanged, "", "import ostler:driver/cache@0.1.0; export ostler:driver/driver@0.1.0;");
    let error = refusal(&wasm, plain().grant(|grants| grants.cache = false)).await;
    refused!(error, LoadError::Import { .. }, "ostler:driver/cache@0.1.0", "clouds.c.grants.cache");
}

/// Granted or not: without a connection named, and without support in the build, there is none.
#[tokio::test]
async fn a_hypervisor_that_nobody_granted() {
    let wasm = hollow(unchanged, "", "import ostler:driver/hypervisor@0.1.0; export ostler:driver/driver@0.1.0;");
    let error = refusal(&wasm, plain()).await;
    refused!(error, LoadError::Import { .. }, "ostler:driver/hypervisor@0.1.0", "not granted", "clouds.c.grants.hypervisor");
    #[cfg(not(feature = "libvirt"))]
    {
        let granted = plain().grant(|grants| grants.hypervisor = Some("test:///default".to_owned()));
        let error = refusal(&wasm, granted).await;
        refused!(error, LoadError::Import { .. }, "ostler:driver/hypervisor@0.1.0", "this build has no libvirt");
    }
}

#[tokio::test]
async fn a_driver_that_breaks_when_probed() {
    let fast = || plain().limit(|limits| limits.call = std::time::Duration::from_millis(300));
    let cases = [
        (trapping_component(), fast(), "describe", "trap"),
        (dummy(), fast().set("faults", r#"{"describe": {"loop": 1}}"#), "describe", "time"),
        (dummy(), fast().set("faults", r#"{"describe": {"hang": 1}}"#), "describe", "time"),
        (dummy(), fast().set("faults", r#"{"check": {"trap": 1}}"#), "check", "trap"),
        (dummy(), fast().set("faults", r#"{"check": {"loop": 1}}"#), "check", "time"),
        (dummy(), fast().set("colour", "red"), "check", "colour"),
    ];
    for (wasm, settings, call, part) in cases {
        let error = refusal(&wasm, settings).await;
        refused!(error, LoadError::Probe { .. }, "cloud `c`", call, part);
    }
    // A provider that is down, or does not answer, is not the driver's fault.
    for (fault, expected) in [("transient", ErrorKind::Transient), ("hang", ErrorKind::Deadline)] {
        let host = TestHost::new();
        let cloud = host.serve(fast().set("faults", &format!(r#"{{"check": {{"{fault}": 1}}}}"#)), &dummy()).await;
        assert_eq!(cloud.status().health.clone().unwrap().unwrap_err().kind, expected, "{fault}");
        assert!(cloud.list_nodes().await.unwrap().is_empty(), "{fault}");
    }
}

/// One cloud grants what the driver needs, the other does not.
#[tokio::test]
async fn one_refusing_cloud_stops_a_swap_but_not_a_start() {
    let (host, dummy) = (TestHost::new(), dummy());
    let good = host.host.add_cloud(plain().named("good")).unwrap();
    let bad = host.host.add_cloud(plain().named("bad").grant(|grants| grants.state = false)).unwrap();
    let error = host.prepare("dummy", &dummy).await.unwrap_err();
    refused!(error, LoadError::Import { .. }, "cloud `bad`", "ostler:driver/state@0.1.0");
    assert_eq!(kind(good.list_nodes().await), ErrorKind::NotLoaded);

    let start = host.host.prepare("dummy", dummy.clone(), Seal::Signature(None), Strictness::EachForItself).await.unwrap();
    host.host.activate(start).await;
    assert!(good.list_nodes().await.unwrap().is_empty());
    let error = bad.list_nodes().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotLoaded);
    assert!(error.message.contains("ostler:driver/state@0.1.0") && error.message.contains("clouds.bad.grants.state"), "{error}");
    assert_eq!(bad.status().refused.as_deref(), Some(error.message.split_once(": ").unwrap().1));

    // What runs goes on running, by the version that ran before.
    let before = good.package().unwrap().digest.clone();
    host.prepare("dummy", &variant(&dummy, "next")).await.unwrap_err();
    assert_eq!(good.package().unwrap().digest, before);
    assert!(good.list_nodes().await.is_ok());
    assert_eq!(host.host.cloud("none").unwrap_err().kind, ErrorKind::UnknownCloud);
}
