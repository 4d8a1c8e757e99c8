//! The contract over time: what was built against a released version runs today, and what is written today does not take
//! anything away.

use crate::components::{repository, with_version};
use crate::support::{TestHost, order, plain};
use ostler_drivers::model::NodeState;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wit_parser::{FunctionKind, Resolve, SourceMap, WorldId, WorldItem, WorldKey};

/// The texts of one version of the contract, by file name.
type Texts = BTreeMap<String, String>;

fn texts(directory: &Path) -> Texts {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let wit = files.filter(|path| path.extension().is_some_and(|extension| extension == "wit"));
    wit.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap())).collect()
}

fn today() -> Texts {
    texts(&repository().join("wit"))
}

/// Directories of the released versions, by version.
fn releases() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(repository().join("wit/releases")).unwrap().map(|entry| entry.unwrap());
    let mut found: Vec<_> = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path())).collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// Adds a version of the contract under a version number of its own, since two packages cannot have the same name.
fn push(resolve: &mut Resolve, texts: &Texts, number: &str) -> WorldId {
    let mut sources = SourceMap::default();
    for (name, text) in texts {
        let at = text.find("package ostler:driver@").unwrap_or_else(|| panic!("{name}: no package"));
        let end = at + text[at..].find(';').unwrap();
        sources.push_str(name, format!("{}package ostler:driver@{number}{}", &text[..at], &text[end..]));
    }
    let group = sources.parse().unwrap_or_else(|(sources, error)| panic!("{}", error.render(&sources)));
    let package = resolve.push_group(group).unwrap();
    resolve.select_world(&[package], Some("cloud-driver")).unwrap()
}

/// The functions that drivers export and host capabilities that they import, as `interface function`.
fn functions(resolve: &Resolve, items: impl IntoIterator<Item = (WorldKey, WorldItem)>) -> Vec<String> {
    let mut names = Vec::new();
    for (_, item) in items {
        let WorldItem::Interface { id, .. } = item else { panic!("the world is made of interfaces") };
        let interface = &resolve.interfaces[id];
        let functions = interface.functions.values().filter(|f| matches!(f.kind, FunctionKind::Freestanding));
        names.extend(functions.map(|f| format!("{} {}", interface.name.as_deref().unwrap_or_default(), f.name)));
    }
    names.sort();
    names
}

/// What is wrong with `new` as a successor of `old`, if anything: it may add interfaces, and functions to imported interfaces.
fn incompatibility(old: &Texts, new: &Texts) -> Option<String> {
    let mut resolve = Resolve::default();
    let (before, after) = (push(&mut resolve, old, "0.1.1"), push(&mut resolve, new, "0.1.2"));
    let exports = |world: WorldId| functions(&resolve, resolve.worlds[world].exports.clone());
    // A successor may demand less by the rules of components, but the host would miss what it takes away.
    if let Some(gone) = exports(before).iter().find(|name| !exports(after).contains(name)) {
        return Some(format!("the export `{gone}` is gone"));
    }
    wit_component::semver_check(resolve, before, after).err().map(|error| format!("{error:#}"))
}

#[test]
fn today_succeeds_every_release() {
    for (version, directory) in releases() {
        assert_eq!(incompatibility(&texts(&directory), &today()), None, "against {version}");
    }
}

#[test]
fn a_release_carries_its_version() {
    for (version, directory) in releases() {
        for (name, text) in texts(&directory) {
            assert!(text.contains(&format!("package ostler:driver@{version};")), "{name} of {version}");
        }
    }
}

/// What may change and what may not: the rules themselves, and the test of the test above.
#[test]
fn only_additions_are_compatible() {
    const FILES: [&str; 4] = ["capabilities.wit", "driver.wit", "types.wit", "world.wit"];
    for (file, from, to, compatible) in [
        // An imported interface gains a function; there is a new interface.
        (0, "    get: func(name: string)", "    known: func() -> bool;\n    get: func(name: string)", true),
        (3, "import cache;", "import cache;\n    import clock;", true),
        // A comment.
        (2, "/// One network address of a node.", "/// An address.", true),
        // An imported function is gone, or changed.
        (0, "    cloud: func() -> string;", "", false),
        (0, "    get: func(key: string) -> option<string>;", "    get: func(key: string) -> string;", false),
        (3, "import cache;", "", false),
        // Exported functions: one more, one less, one changed.
        (1, "    describe: func()", "    more: func();\n    describe: func()", false),
        (1, "    check: func() -> result<health, error>;", "", false),
        (1, "    describe: func() -> description;", "    describe: func(of: string) -> description;", false),
        // A record, a variant, an enumeration.
        (2, "    record block-device {", "    record block-device {\n        kind: string,", false),
        (2, "        /// `usb`, `pci`, …\n        kind: string,", "", false),
        (2, "        rebooting,", "        rebooting,\n        migrating,", false),
        (0, "        trace,", "", false),
        (0, "        trace,", "        trace,\n        verbose,", false),
    ] {
        let mut changed = today();
        changed.insert("clock.wit".into(), "package ostler:driver@0.1.0;\ninterface clock { now: func() -> u64; }\n".into());
        let text = changed.get_mut(FILES[file]).unwrap();
        assert!(text.contains(from), "{}: `{from}`", FILES[file]);
        *text = text.replacen(from, to, 1);
        let found = incompatibility(&today(), &changed);
        assert_eq!(found.is_none(), compatible, "{}: `{from}` -> `{to}`: {found:?}", FILES[file]);
    }
}

fn fixture(version: &str) -> Vec<u8> {
    std::fs::read(repository().join(format!("tests/fixtures/driver-{version}.wasm"))).unwrap()
}

#[tokio::test]
async fn a_driver_of_every_release_still_runs() {
    for (version, _) in releases() {
        let host = TestHost::new();
        let cloud = host.serve(plain(), &fixture(&version)).await;
        assert_eq!(cloud.package().unwrap().contract, version);
        assert_eq!(cloud.description().unwrap().name, "dummy");
        let node = cloud.create_node("t-1", order("n")).await.unwrap().value;
        assert_eq!(node.state, NodeState::Running);
        assert_eq!(cloud.list_nodes().await.unwrap().as_slice(), std::slice::from_ref(&node));
        cloud.destroy_node(&node.id).await.unwrap();
        assert!(cloud.list_nodes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_later_patch_of_the_contract_runs_too() {
    let host = TestHost::new();
    let cloud = host.serve(plain(), &with_version(&fixture("0.1.0"), "0.1.9")).await;
    let package = cloud.package().unwrap();
    assert_eq!(package.contract, "0.1.9");
    assert!(package.imports.iter().any(|import| import == "ostler:driver/state@0.1.9"), "{:?}", package.imports);
    cloud.create_node("t-1", order("n")).await.unwrap();
    assert_eq!(cloud.list_nodes().await.unwrap().len(), 1);
}
