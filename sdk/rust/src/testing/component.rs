//! A built component, looked at from outside.
//!
//! The host links a component only with what its operator granted, so a driver should import nothing that it does not use. A
//! driver's test says what that is:
//!
//! ```no_run
//! // tests/component.rs
//! use ostler_driver::testing::component;
//!
//! #[test]
//! #[ignore = "needs the built component"]
//! fn it_imports_only_what_it_uses() {
//!     let built = component::built(env!("CARGO_PKG_NAME"), "wasm32-wasip2/release");
//!     component::check(&built, &["config", "http", "log", "state"]).unwrap();
//! }
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wasmparser::{BinaryReaderError, ComponentExternalKind, Parser, Payload};

use super::conformance::Violations;

/// The version of the contract's interfaces (`wit/`).
const VERSION: &str = "0.1.0";
/// Interfaces of WASI that Rust's standard library imports; the host bounds what they can do. `wasi:http` is granted as `http`.
const STANDARD: [&str; 5] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];

/// Where cargo has put the component of a package: `<target directory>/<folder>/<package>.wasm`, with `_` for each `-`. The folder
/// is that of target and profile, say `wasm32-wasip2/release`. The target directory is that of `CARGO_TARGET_DIR`, or else the
/// nearest folder `target` from the present folder upwards. The file need not exist.
pub fn built(package: &str, folder: &str) -> PathBuf {
    let found = || {
        let here = std::env::current_dir().ok()?;
        here.ancestors().map(|folder| folder.join("target")).find(|target| target.is_dir())
    };
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).or_else(found).unwrap_or_else(|| "target".into());
    target.join(folder).join(package.replace('-', "_")).with_extension("wasm")
}

/// Checks that a component exports the contract's `driver`, and no other interface, and that it imports exactly what is granted:
/// interfaces of the contract by their names (`cache`, `config`, `hypervisor`, `log`, `secrets`, `state`), and `http` for those of
/// `wasi:http`. What Rust's standard library needs of WASI may be there, and nothing else.
///
/// # Errors
/// Everything that is otherwise, or that the file cannot be read or is no component.
pub fn check(component: &Path, granted: &[&str]) -> Result<(), Violations> {
    let one = |violation: String| Violations(vec![violation]);
    let bytes = std::fs::read(component).map_err(|error| one(format!("{}: {error}", component.display())))?;
    let outside = Outside::read(&bytes).map_err(|error| one(format!("{}: {error}", component.display())))?;
    let violations = outside.violations(granted);
    if violations.is_empty() { Ok(()) } else { Err(Violations(violations)) }
}

/// What a component shows.
#[derive(Default)]
struct Outside {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

impl Outside {
    fn read(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let (mut outside, mut depth) = (Self::default(), 0);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ComponentSection { .. } | Payload::ModuleSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        outside.imports.insert(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let export = export?;
                        if export.kind == ComponentExternalKind::Instance {
                            outside.exports.insert(export.name.name.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(outside)
    }

    fn violations(&self, granted: &[&str]) -> Vec<String> {
        let ours = |name: &str| format!("ostler:driver/{name}@{VERSION}");
        let mut violations = Vec::new();
        if self.exports != BTreeSet::from([ours("driver")]) {
            violations.push(format!("it must export `{}`, and exports {:?}", ours("driver"), self.exports));
        }
        let is_granted = |import: &str| {
            let http = granted.contains(&"http") && import.starts_with("wasi:http/");
            // `types` has no functions: it only names the types.
            let contract = import == ours("types") || granted.iter().any(|name| import == ours(name));
            http || contract || STANDARD.iter().any(|prefix| import.starts_with(prefix))
        };
        let foreign = self.imports.iter().filter(|import| !is_granted(import));
        violations.extend(foreign.map(|import| format!("it imports `{import}`, which is not granted")));
        let is_used = |name: &str| match name {
            "http" => self.imports.iter().any(|import| import.starts_with("wasi:http/")),
            name => self.imports.contains(&ours(name)),
        };
        let idle = granted.iter().filter(|name| !is_used(name));
        violations.extend(idle.map(|name| format!("`{name}` is granted, and it does not import it")));
        violations
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
        let imports: String = imports.iter().map(|name| format!("(import \"{name}\" (instance))\n")).collect();
        let exports: String = exports.iter().map(|name| format!("(export \"{name}\" (instance $i))\n")).collect();
        // What is inside does not count.
        let inside = "(component (import \"wasi:sockets/tcp@0.2.0\" (instance)))\n(core module (memory 1))";
        wat::parse_str(format!("(component {imports}{inside}\n(instance $i)\n{exports})")).unwrap()
    }

    #[test]
    fn what_is_not_granted_or_not_used_is_found() {
        let driver = format!("ostler:driver/driver@{VERSION}");
        let [types, log, state] = ["types", "log", "state"].map(|name| format!("ostler:driver/{name}@{VERSION}"));
        let (http, io) = ("wasi:http/types@0.2.6", "wasi:io/streams@0.2.6");
        for (imports, exports, granted, found) in [
            (vec![&*types, &*log, io], vec![&*driver], vec!["log"], vec![]),
            (vec![&*log, http], vec![&*driver], vec!["http", "log"], vec![]),
            (vec![&*log, http], vec![&*driver], vec!["log"], vec!["`wasi:http/types@0.2.6`, which is not granted"]),
            (vec![&*log, &*state], vec![&*driver], vec!["log"], vec!["state@0.1.0`, which is not granted"]),
            (
                vec![&*log],
                vec![&*driver],
                vec!["log", "http", "state"],
                vec!["`http` is granted, and", "`state` is granted, and"],
            ),
            (vec!["wasi:sockets/tcp@0.2.0"], vec![&*driver], vec![], vec!["`wasi:sockets/tcp@0.2.0`, which is not"]),
            (vec!["ostler:driver/log@0.2.0"], vec![&*driver], vec!["log"], vec!["log@0.2.0`, which", "`log` is granted, and"]),
            (vec![], vec![], vec![], vec!["it must export `ostler:driver/driver@0.1.0`"]),
            (vec![], vec![&*driver, "a:b/c"], vec![], vec!["it must export"]),
        ] {
            let told = Outside::read(&component(&imports, &exports)).unwrap().violations(&granted);
            assert_eq!(told.len(), found.len(), "{imports:?} {exports:?} {granted:?}: {told:?}");
            assert!(told.iter().zip(&found).all(|(told, part)| told.contains(part)), "{told:?}");
        }
    }

    #[test]
    fn the_version_is_that_of_the_contract() {
        let contract = include_str!("../../../../wit/driver.wit");
        assert!(contract.contains(&format!("package ostler:driver@{VERSION};")));
    }

    #[test]
    fn what_is_no_component_is_told() {
        let missing = built("no-such-package", "nowhere");
        assert!(missing.ends_with("nowhere/no_such_package.wasm"), "{}", missing.display());
        let told = check(&missing, &[]).unwrap_err();
        assert!(told.0[0].contains("no_such_package.wasm: "), "{told}");
        assert!(Outside::read(b"not one").is_err());
    }
}
