//! What a machine has to do, as user data for cloud-init ([`user_data`]), and what the machine reports ([`Message::parse`]).
//!
//! Nothing here does any input or output.
//!
//! # On the machine
//! The document writes files below [`Options::base`] that only root can read, and one script that cloud-init starts at the end of
//! every boot. It starts the runner, which takes the [`Operation`]s in their order:
//!
//! - A shell operation gets its inputs as environment variables of exactly their names; what is not a string arrives as JSON. A
//!   script that names no interpreter (`#!`) is run by `sh`. An Ansible operation gets them as variables that win over all others,
//!   as text and never as a template: `{{ }}` in a value stays what it is. `ansible-playbook` must be there (see
//!   [`Machine::packages`]).
//! - What it tells to others goes to the file that `$OSTLER_OUTPUTS` names: lines `key=value`, or one JSON object.
//! - It has a deadline; all of its process group gets `SIGTERM`, and [`Options::grace`] later `SIGKILL`. What it leaves running in a
//!   session of its own, as services are, stays.
//! - The first one that fails ends the run. At the next boot the runner goes on with the operation that failed, or that was
//!   interrupted; one that succeeded is never repeated, unless the user data differs (an image made of the machine starts anew).
//!
//! # Reports
//! After each operation, and at the end, the runner POSTs JSON to [`Report::url`] with `Authorization: Bearer` and
//! [`Report::token`]. The answer decides:
//!
//! - 2xx: taken.
//! - 400, 409, 410, 413, 415, 422: refused for good. The run ends, with [`Reason::Refused`].
//! - All else, and none at all: the report waits and is tried again; three times after an operation, which keeps nothing from going
//!   on, [`Options::tries`] times at the end, and at the next boot. Pauses double, up to a minute.
//!
//! Reports come in order. One may come twice, when an answer was lost: take (component, operation) as its key. [`Message::Failed`]
//! need not be the end, as the next boot may lead to [`Message::Done`].
//!
//! # For the host
//! - One token for one machine, good for its reports and nothing else, and no longer than they are awaited: providers show user
//!   data to every process on the machine.
//! - Answer 422 where [`Message::parse`] fails, and bound the body by [`Limits::body`] before it is read.
//! - A report is a stranger's claim. Names are texts that the host has to find in its own plan.
//! - The document is the same for the same machine and options, so a creation that is repeated is the same request.
//!
//! ```
//! use std::time::Duration;
//! use ostler_cloudinit::{Component, Kind, Lifecycle, Machine, Operation, Options, Report, Source, user_data};
//!
//! let mut machine = Machine::new("web", "web-1", Duration::from_secs(1800));
//! machine.report = Some(Report::new("https://ostler.example:5555/machines/reports", "a-token-of-this-machine"));
//! let mut install = Operation::new(Lifecycle::Create, Kind::Shell, Source::Inline("apt-get install -y \"$PACKAGE\"".into()));
//! install.inputs.insert("PACKAGE".into(), "nginx".into());
//! machine.components.push(Component { name: "nginx".into(), operations: vec![install] });
//! let document = user_data(&machine, &Options::default())?;
//! assert!(document.as_str().starts_with("#cloud-config\n"));
//! # Ok::<(), ostler_cloudinit::Error>(())
//! ```

mod check;
mod document;
mod error;
mod machine;
mod message;
mod outputs;
mod text;
mod vars;

pub use document::{UserData, user_data};
pub use error::{Error, InputProblem, MessageError, OutputProblem, SourceProblem};
pub use machine::{Component, Kind, Lifecycle, Limit, Machine, Operation, Options, Report, Source};
pub use message::{Limits, Message, OperationReport, Reason, Status};

/// Bytes that the name of a component or an input may have.
pub const MAX_NAME: usize = 256;
/// Operations that a machine may have.
pub const MAX_OPERATIONS: usize = 998;
