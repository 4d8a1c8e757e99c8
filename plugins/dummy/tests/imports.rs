//! The component asks for no power that it does not use.
#![allow(clippy::unwrap_used)]

use ostler_driver::testing::component;

/// Needs the built component: `cargo build --profile driver --target wasm32-wasip2 -p ostler-plugin-dummy --target-dir target/drivers`.
#[test]
#[ignore = "needs the built component"]
fn the_component_imports_only_what_it_uses() {
    let built = component::built(env!("CARGO_PKG_NAME"), "drivers/wasm32-wasip2/driver");
    component::check(&built, &["config", "log", "state"]).unwrap();
}
