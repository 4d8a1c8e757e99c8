//! What cloud-init reads in a document, and what machines do with it: the runner really runs, below a directory of its own, under
//! each shell that is here, with each program for HTTP that is here, and reports to a server of the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ansible;
mod document;
mod failures;
mod place;
mod reports;
mod server;
mod success;
mod tls;
mod yaml;
