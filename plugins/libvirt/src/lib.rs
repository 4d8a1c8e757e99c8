//! A driver for hypervisors that libvirt manages.
//!
//! It has no sockets: what it does goes through the host's capability `hypervisor`, which shows it this cloud's domains and
//! volumes and nothing else. It keeps nothing: what there is stands at the hypervisor, found by names that follow from the host's
//! token (module `identity`).
//!
//! | what | where the token is |
//! |---|---|
//! | node | a domain with the token in its mark, whose uuid follows from the token |
//! | disk | a volume whose name begins with the domain's uuid |
//! | image | a volume of the image pool; of one that was imported, the token stands in its mark, and its name follows from it |
//!
//! The disks of a node are made before its domain. An order that breaks off in between leaves disks without a domain; they are
//! deleted when the host asks whether the node exists, which it does before it decides anything. `README.md` is for operators.

mod config;
mod driver;
mod identity;
mod images;
mod nodes;
mod orders;
mod seed;
#[cfg(test)]
mod tests;

use ostler_driver::export_driver;

export_driver!(driver::Libvirt);
