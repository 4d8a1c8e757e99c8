//! What the server costs, as ratios to reference programs measured in the same run.
//!
//! `cargo bench --profile release --workspace --bench http` after a build of the whole workspace; names of sections (`list`,
//! `large`, `change`, `call`, `start`, `swap`, `director`, `deployments`, `forwarding`, `hypervisor`) run only those;
//! `openstack` runs only where it is named. Prints a table, writes
//! `target/bench/http.json`, and fails where a bar is missed. Whatever is compared is measured in turns, and each figure is the
//! median over the turns, so that what else the machine does falls on both sides.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod call;
mod change;
mod client;
mod deployments;
mod director;
mod forwarding;
#[cfg(feature = "libvirt")]
mod hypervisor;
mod list;
mod native;
mod openstack;
mod process;
mod report;
mod start;
mod swap;

use process::{Scratch, Server};
use report::Report;
use std::process::ExitCode;

/// As in the server: the reference programs must not lose by their allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECTIONS: [&str; 11] =
    ["list", "large", "change", "call", "start", "swap", "director", "deployments", "forwarding", "hypervisor", "openstack"];

/// Clouds for every section but those about the start and the swap, which take what the program has by default.
const CONFIGURATION: &str = r#"
[server]
listen = "127.0.0.1:0"
[clouds.fake_driver]
driver = "dummy"
[clouds.fresh]
driver = "dummy"
instances = "fresh"
[clouds.hundred]
driver = "dummy"
config = { nodes = 100 }
[clouds.large]
driver = "dummy"
config = { nodes = 10000 }
[clouds.changing]
driver = "dummy"
config = { form = "plain" }
[api.crs4]
open = true
"#;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--native", directory] => {
            native::serve(directory.as_ref());
            return ExitCode::SUCCESS;
        }
        // What test runners ask of every target.
        [first, ..] if *first == "--list" => return ExitCode::SUCCESS,
        _ => {}
    }
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = named.iter().find(|name| !SECTIONS.contains(name)) {
        eprintln!("no section is called `{unknown}`; there are: {}", SECTIONS.join(" "));
        return ExitCode::from(2);
    }
    let wanted = |section: &str| named.is_empty() || named.contains(&section);

    let scratch = Scratch::new();
    let mut report = Report::new();
    if ["list", "large", "change"].into_iter().any(wanted) {
        let configuration = scratch.file("ostler.toml", CONFIGURATION.as_bytes());
        let server = Server::spawn(&scratch.path("served"), Some(&configuration));
        let reference = native::Reference::spawn(&scratch, &server);
        if wanted("list") {
            list::small(&mut report, &server, &reference);
        }
        if wanted("large") {
            list::large(&mut report, &server, &reference);
        }
        if wanted("change") {
            change::run(&mut report, &server, &scratch);
        }
        server.stop();
    }
    if wanted("call") {
        call::run(&mut report);
    }
    if wanted("start") {
        start::run(&mut report, &scratch);
    }
    if wanted("swap") {
        swap::run(&mut report, &scratch);
    }
    if wanted("director") {
        director::run(&mut report);
    }
    if wanted("deployments") {
        deployments::run(&mut report, &scratch);
    }
    if wanted("forwarding") {
        forwarding::run(&mut report);
    }
    #[cfg(feature = "libvirt")]
    if wanted("hypervisor") {
        hypervisor::run(&mut report);
    }
    if named.contains(&"openstack") {
        openstack::run(&mut report);
    }
    report.finish()
}
