//! What `wit-bindgen` makes of the contract. The rest of the crate wraps it; nothing here is written by hand.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated: calls into the host cross the canonical ABI"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "cloud-driver",
    generate_all,
    generate_unused_types: true,
    additional_derives: [PartialEq],
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "ostler_driver::__private::bindings",
});
