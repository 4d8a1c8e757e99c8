//! What Ostler must not forget: repositories on SQLite (one host) and PostgreSQL (several hosts).
//!
//! [`Store`] is a cheap handle; its methods are the repositories, one file each. No type of the database library leaves this
//! crate. Times are microseconds since 1970 UTC, see [`now`]. JSON is kept as text. Text must not contain U+0000, which
//! PostgreSQL cannot hold ([`Error::Invalid`] on both engines); keys and values of drivers' [`state`] are bytes and may.
//!
//! Every method is one transaction, durable when it returns. Lengths and characters are the callers' to check.

mod accounts;
mod applications;
mod assignments;
mod callbacks;
mod certificates;
mod clouds;
mod credit;
mod db;
mod deployment_pages;
mod deployment_rows;
mod deployments;
mod drivers;
mod error;
mod events;
mod forwards;
mod grants;
mod images;
mod instances;
mod links;
mod migrations;
mod open;
mod operations;
mod pages;
mod reports;
mod resource_credit;
mod resources;
mod retention;
mod samples;
mod schedule_events;
mod schedules;
mod service_nodes;
mod services;
mod state;
mod tokens;
mod users;
mod work;

pub use accounts::{AccountError, KeyedRequest, NewPassword, UserChange};
pub use applications::Application;
pub use assignments::{ASSIGNED, AssignError, Assignment, FREE};
pub use callbacks::{Callback, CallbackKind, CallbackOutcome, redacted};
pub use certificates::{Certificate, CertificateFilter, NewCertificate};
pub use clouds::CloudUse;
pub use credit::{CreditEntry, CreditError, CreditKind};
pub use deployment_pages::{DeploymentFilter, DeploymentSort};
pub use deployments::{Deployment, DeploymentChange, DeploymentStatus, DeploymentTask, NewDeployment, Owner};
pub use drivers::{DriverSource, DriverVersion, NewDriverVersion};
pub use error::Error;
pub use events::{Event, NewEvent};
pub use forwards::{Forward, ForwardError, ForwardMade, ForwardProtocol, NewForward};
pub use images::{Adopted, Begun, ImageEnd, ImageRecord, ImageSeen, ImageStatus, ImageTask, NewImageRecord, RecordError};
pub use instances::{InstanceEnd, InstanceFilter, InstanceRecord, InstanceSeen, InstanceStatus, InstanceTask, NewInstanceRecord};
pub use links::Link;
pub use open::{Options, Store};
pub use operations::{
    Begin, Idempotency, Lease, NewOperation, Operation, OperationFilter, OperationKind, OperationState, Outcome,
};
pub use pages::Page;
pub use reports::{MachineReport, ReportState};
pub use resource_credit::ResourceCredit;
pub use resources::{Resource, ResourceChange, ResourceState};
pub use samples::{Resolution, Rollup, SampleSeries};
pub use schedule_events::{NewScheduleEvent, PendingEvent, ScheduleEvent, ScheduleEventSort, ScheduleEventState};
pub use schedules::{ExpressionSyntax, NewSchedule, RunningSchedule, Schedule, ScheduleSort, ScheduleStatus};
pub use service_nodes::{NewServiceNode, NodeFacts, NodeRole, ServiceNode, ServiceNodeState};
pub use services::{NewService, Service, ServiceBegin, ServiceError, ServiceKind, ServiceState};
pub use state::{Commit, Condition, Entry, StateError, Write};
pub use tokens::{NewToken, Token};
pub use users::{NewUser, User};
pub use work::{Phase, Progress, Request, Save, Step, StepState, Work, WorkFilter};

/// The time by this host's clock, in microseconds since 1970 UTC.
pub fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_micros()).ok())
        .unwrap_or(0)
}

/// A fresh identifier: a uuid v7 as text, so that later ones sort after earlier ones.
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
