//! TOSCA Simple Profile in YAML 1.0: templates are read and checked ([`Template`]), get their inputs ([`Topology`]), and have all
//! values computed, outputs included.
//!
//! Nothing here does any input or output: imports stand for a catalogue of types ([`Catalogue`]). Texts come from strangers; what one
//! may cost is limited ([`Limits`]).
//!
//! ```
//! use std::sync::Arc;
//! use ostler_tosca::{Catalogue, Limits, Mode, Template, Topology};
//!
//! let text = "
//! tosca_definitions_version: tosca_simple_yaml_1_0
//! topology_template:
//!   inputs:
//!     cpus: { type: integer, default: 1 }
//!   node_templates:
//!     web:
//!       type: tosca.nodes.Compute
//!       capabilities:
//!         host: { properties: { num_cpus: { get_input: cpus } } }
//! ";
//! let template = Template::parse(text, &Catalogue::standard(), Mode::Normal, &Limits::default())?;
//! let given = serde_json::json!({ "cpus": "4" });
//! let topology = Topology::bind(Arc::new(template), given.as_object().unwrap_or(&Default::default()))?;
//! assert_eq!(topology.capability(0, "host", "num_cpus", None), Ok(Some(4.into())));
//! # Ok::<(), ostler_tosca::Error>(())
//! ```

mod catalogue;
mod emit;
mod error;
mod evaluation;
mod expr;
mod interfaces;
mod schema;
mod template;
mod topology;
mod types;
mod value;
mod work;
mod yaml;

pub use catalogue::Catalogue;
pub use emit::without_removal_lists;
pub use error::{Code, Error, InputProblem, Level, Mark, Mode, Problem};
pub use template::{Group, NodeTemplate, Policy, Requirement, Template};
pub use topology::{Attributes, Failure, Operation, Topology};
pub use value::{Primitive, bytes};
pub use yaml::Limits;
