//! Builds the dummy driver for WebAssembly, so that it can be part of the program.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../..");
    for input in ["plugins/dummy", "sdk/rust/src", "sdk/rust/Cargo.toml", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo"));
    // A directory of its own, beside the others: cargo holds a lock on the one that it builds in now.
    let directory = out.ancestors().nth(4).unwrap_or(&out).join("drivers");
    need_target();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What was set for the build around us (flags, wrappers, features) is not meant for this one.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let ours = name.starts_with("CARGO_") && !matches!(name.as_str(), "CARGO_HOME" | "CARGO_NET_OFFLINE");
        if ours || name == "RUSTFLAGS" || name.starts_with("RUSTC_W") || name == "TARGET" || name == "RUSTC" {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .current_dir(&workspace)
        .args(["build", "--locked", "--profile", "driver", "--target", TARGET, "--package", "ostler-plugin-dummy"])
        .arg("--target-dir")
        .arg(&directory)
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the dummy driver could not be built for {TARGET}");
    let built = directory.join(TARGET).join("driver/ostler_plugin_dummy.wasm");
    std::fs::copy(&built, out.join("dummy.wasm")).expect("the component was built");
}

/// Adds the standard library of the target, where rustup manages the toolchain and it is missing.
fn need_target() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output().expect("rustc can be started");
    let library = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if Path::new(&library).is_dir() {
        return;
    }
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    assert!(added.is_ok_and(|status| status.success()), "the target {TARGET} is missing; add it: rustup target add {TARGET}");
}
