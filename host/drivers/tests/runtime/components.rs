//! Components for the tests: the drivers of this repository, built when they are missing or old, and changed copies of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, SourceMap};

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The dummy driver: a cloud without machines, breakable on purpose.
pub fn dummy() -> Vec<u8> {
    built("ostler-plugin-dummy", "plugins/dummy")
}

/// A driver that fetches what it is told to.
pub fn probe() -> Vec<u8> {
    built("ostler-test-driver-probe", "tests/drivers/probe")
}

/// A driver that reaches for what it must not have.
pub fn intruder() -> Vec<u8> {
    built("ostler-test-driver-intruder", "host/drivers/tests/intruder")
}

/// The component of a package: from `OSTLER_DRIVERS_DIR`, or built by cargo beside the others.
pub fn built(package: &str, source: &str) -> Vec<u8> {
    let file = format!("{}.wasm", package.replace('-', "_"));
    if let Some(directory) = std::env::var_os("OSTLER_DRIVERS_DIR") {
        let path = Path::new(&directory).join(file);
        return std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    static BUILT: OnceLock<()> = OnceLock::new();
    let path = target().join("wasm32-wasip2/driver").join(file);
    let inputs = [source, "sdk/rust/src", "wit", "Cargo.lock"].map(|input| newest(&repository().join(input)));
    if inputs.iter().any(|input| *input > newest(&path)) {
        BUILT.get_or_init(build);
    }
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Where drivers are built.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from).join("drivers")
}

fn build() {
    let mut cargo = Command::new(env!("CARGO"));
    // Flags for the build around us are not meant for this one.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(name);
    }
    cargo.current_dir(repository()).args(["build", "--locked", "--profile", "driver", "--target", "wasm32-wasip2"]);
    for package in ["ostler-plugin-dummy", "ostler-plugin-libvirt", "ostler-test-driver-probe", "ostler-test-driver-intruder"] {
        cargo.args(["--package", package]);
    }
    let status = cargo.arg("--target-dir").arg(target()).status().expect("cargo can be started");
    assert!(status.success(), "the drivers could not be built");
}

/// When a file, or the newest one below a directory, was changed; long ago where there is none.
fn newest(path: &Path) -> SystemTime {
    let Ok(metadata) = std::fs::metadata(path) else { return SystemTime::UNIX_EPOCH };
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).unwrap();
        return entries.map(|entry| newest(&entry.unwrap().path())).max().unwrap_or(SystemTime::UNIX_EPOCH);
    }
    metadata.modified().unwrap()
}

/// Another component that does the same: a custom section is added.
pub fn variant(wasm: &[u8], name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).ok().filter(|length| *length < 100).expect("a short name");
    let mut bytes = wasm.to_vec();
    // Section 0, its size, the length of its name, its name.
    bytes.extend_from_slice(&[0, length + 1, length]);
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

/// The same component as if it had been built against another version of the contract; versions must be of equal length.
pub fn with_version(wasm: &[u8], version: &str) -> Vec<u8> {
    const PREFIX: &[u8] = b"ostler:driver/";
    assert_eq!(version.len(), "0.1.0".len());
    let mut bytes = wasm.to_vec();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(PREFIX.len()).position(|window| window == PREFIX) {
        at += found + PREFIX.len();
        let name = bytes[at..].iter().take_while(|byte| byte.is_ascii_lowercase() || **byte == b'-').count();
        let end = at + name + "@0.1.0".len();
        if bytes.get(at + name..end) == Some(b"@0.1.0") {
            bytes[end - version.len()..end].copy_from_slice(version.as_bytes());
        }
    }
    bytes
}

/// A component with these imports and exports whose functions all trap. `contract` changes the contract's text before.
pub fn hollow(contract: impl Fn(String) -> String, more: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let files = ["types", "capabilities", "hypervisor", "driver"];
    let text = |name: &str| std::fs::read_to_string(repository().join("wit").join(name).with_extension("wit")).unwrap();
    let mut sources = SourceMap::default();
    for file in files {
        sources.push_str(file, contract(text(file)));
    }
    resolve.push_group(sources.parse().unwrap_or_else(|(_, error)| panic!("{error}"))).unwrap();
    if !more.is_empty() {
        resolve.push_str("more.wit", more).unwrap();
    }
    let case = resolve.push_str("case.wit", &format!("package test:case; world case {{ {world} }}")).unwrap();
    let world = resolve.select_world(&[case], None).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// Leaves the text of the contract as it is.
pub fn unchanged(text: String) -> String {
    text
}

/// A driver that traps whatever is asked.
pub fn trapping_component() -> Vec<u8> {
    hollow(unchanged, "", "export ostler:driver/driver@0.1.0;")
}
