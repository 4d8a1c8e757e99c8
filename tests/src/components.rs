//! Components: the two that tests install, and variations of their bytes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

const TARGET: &str = "wasm32-wasip2";

/// The target directory of the workspace.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The dummy driver.
pub fn dummy() -> Vec<u8> {
    built("ostler_plugin_dummy")
}

/// The driver of hypervisors.
pub fn libvirt() -> Vec<u8> {
    built("ostler_plugin_libvirt")
}

/// The driver of OpenStack.
pub fn openstack() -> Vec<u8> {
    built("ostler_plugin_openstack")
}

/// The driver of other platforms.
pub fn edge() -> Vec<u8> {
    built("ostler_plugin_edge")
}

/// The driver that fetches what it is told to, and gives a secret away.
pub fn probe() -> Vec<u8> {
    built("ostler_test_driver_probe")
}

/// The dummy driver whose answers differ in two places: what an instance says of each node (`"foo": "baz"`), and what the
/// driver says of itself (`Dummy Node Provides`). An answer with only one of them is made of two versions.
pub fn other_dummy() -> Vec<u8> {
    let bytes = replaced(&dummy(), r#"{"foo":"bar"}"#, r#"{"foo":"baz"}"#);
    replaced(&bytes, "Dummy Node Provider", "Dummy Node Provides")
}

/// The same component with another digest: a custom section that nobody reads.
pub fn marked(component: &[u8], mark: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    text("mark", &mut payload);
    payload.extend_from_slice(mark.as_bytes());
    let mut bytes = component.to_vec();
    section(0, &payload, &mut bytes);
    bytes
}

/// The component with each occurrence of a text replaced by one of the same length.
pub fn replaced(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "lengths are part of the format");
    let mut bytes = component.to_vec();
    let mut found = 0;
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "`{from}` is not in the component");
    bytes
}

/// The component with one more import: an instance of which it uses nothing.
pub fn importing(component: &[u8], name: &str) -> Vec<u8> {
    let types = wasmparser::Validator::new().validate_all(component).unwrap();
    let count = types.as_ref().component_type_count();
    let mut bytes = component.to_vec();
    // A type: an instance (0x42) with no declarations.
    section(7, &[1, 0x42, 0], &mut bytes);
    let mut import = vec![1, 0];
    text(name, &mut import);
    import.push(5);
    leb(count, &mut import);
    section(10, &import, &mut bytes);
    wasmparser::Validator::new().validate_all(&bytes).unwrap();
    bytes
}

/// A core module, which is no component.
pub const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn section(id: u8, payload: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(id);
    leb(u32::try_from(payload.len()).unwrap(), bytes);
    bytes.extend_from_slice(payload);
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    leb(u32::try_from(text.len()).unwrap(), bytes);
    bytes.extend_from_slice(text.as_bytes());
}

fn leb(mut number: u32, bytes: &mut Vec<u8>) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

/// Reads a component, built anew where its sources have changed since.
fn built(name: &str) -> Vec<u8> {
    let directory = target().join("drivers");
    std::fs::create_dir_all(&directory).unwrap();
    // One test process builds, the others wait.
    let lock = File::create(directory.join("tests.lock")).unwrap();
    lock.lock().unwrap();
    let stamp = directory.join("tests.stamp");
    let sources = ["plugins", "tests/drivers", "sdk/rust", "wit", "Cargo.lock"].map(|path| workspace().join(path));
    let newest = sources.iter().map(|path| newest(path)).max().unwrap();
    let fresh = modified(&stamp).is_some_and(|stamp| stamp > newest);
    let file = directory.join(TARGET).join("driver").join(format!("{name}.wasm"));
    if !fresh || !file.exists() {
        build(&directory);
        File::create(&stamp).unwrap().set_modified(SystemTime::now()).unwrap();
    }
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn build(directory: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What was set for the build around us is not meant for this one.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = name.starts_with("CARGO_") && !matches!(name.as_str(), "CARGO_HOME" | "CARGO_NET_OFFLINE");
        if ours || name == "RUSTFLAGS" || name.starts_with("RUSTC") {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .current_dir(workspace())
        .args(["build", "--locked", "--quiet", "--profile", "driver", "--target", TARGET])
        .args(
            [
                "ostler-plugin-dummy",
                "ostler-plugin-edge",
                "ostler-plugin-libvirt",
                "ostler-plugin-openstack",
                "ostler-test-driver-probe",
            ]
            .map(package),
        )
        .arg("--target-dir")
        .arg(directory)
        .status()
        .unwrap();
    assert!(status.success(), "the components could not be built");
}

fn package(name: &str) -> String {
    format!("--package={name}")
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

fn newest(path: &Path) -> SystemTime {
    if !path.is_dir() {
        return modified(path).unwrap_or(SystemTime::UNIX_EPOCH);
    }
    let entries = std::fs::read_dir(path).unwrap();
    entries.map(|entry| newest(&entry.unwrap().path())).max().unwrap_or(SystemTime::UNIX_EPOCH)
}
