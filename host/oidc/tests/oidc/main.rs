//! Tokens from outside: issuers of our own that misbehave on demand, and the provider of npm's `oidc-provider`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod config;
mod grants;
mod introspection;
mod keys;
mod outages;
mod provider;
mod signers;
mod support;
mod tokens;
mod userinfo;
