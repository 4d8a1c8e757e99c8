//! A driver for clouds that speak FIWARE's Cloud Edge API, 1.x: another Ostler's `/cloudedge`, or any server that follows its text.
//!
//! The API has neither metadata nor tags, so the host's token is in the **name** of what was made ([`name`]). An instance is made
//! stopped and started by an action, and what else belongs to an order comes after it as well: what is still owed to a node is in
//! the cloud's state by the token ([`record`]), and whoever looks at the node goes on with it. Two orders by one token make
//! one instance ([`ostler_driver::orders`]).
//!
//! What the text leaves open is read in every form: numbers as texts, both spellings of a path, wrappers in the singular and the
//! plural, three ways to ask for statistics. `README.md` is for operators.

mod capacity;
mod config;
mod details;
mod driver;
mod errors;
mod forwards;
mod http;
mod images;
mod metrics;
mod name;
mod nodes;
mod orders;
mod platform;
mod record;
#[cfg(test)]
mod tests;
mod wire;

use ostler_driver::export_driver;

export_driver!(driver::Edge);
