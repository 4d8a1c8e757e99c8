//! Schedules: a deployment of each file that matches an expression, made as files become known.
//!
//! Who brings the news calls [`Schedules::data_events`], whatever the way it came: our own API now, a message broker some day.
//! `events` writes down which schedules it concerns, and makes their deployments from what is written down. The expressions for
//! replicas are kept for whoever sees to replicas; nobody here does.

mod events;
mod expression;
#[cfg(test)]
mod tests;

pub use events::{DataMessage, Intake};
pub use ostler_store::{
    ExpressionSyntax, Schedule, ScheduleEvent, ScheduleEventSort, ScheduleEventState, ScheduleSort, ScheduleStatus,
};

use crate::Error;
use crate::compute::Key;
use crate::deployments::{CreatedBy, Deployments, Page, Submission};
use crate::identity::{Identity, Permission, Principal};
use expression::Expression;
use ostler_store::{Idempotency, NewEvent, NewSchedule, Store};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Bytes of an expression at most.
const LONGEST_EXPRESSION: usize = 1024;
/// Schedules of one owner at most: each looks at every file.
const MOST: u32 = 200;
/// Compiled expressions that are kept.
const COMPILED: u64 = 2_000;

/// Compiled expressions by schedule; none where an expression cannot be used any more.
type Expressions = moka::sync::Cache<String, Option<Arc<Expression>>>;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// The deployment of each file.
    pub submission: Submission,
    /// Which files, as `scope:name`.
    pub file_expression: String,
    /// How that is written.
    pub syntax: ExpressionSyntax,
    /// Where files are to be replicated.
    pub replication_expression: String,
    /// How many replicas there are to be, from 1.
    pub replicas: u32,
}

/// Why a use case of schedules failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// There is none that the caller may see.
    #[error("no schedule has the id `{0}`")]
    NotFound(String),
    /// Only its owner may do this.
    #[error("only the owner may do this")]
    NotOwner,
    /// Somebody else's schedules are for administrators.
    #[error("only an administrator sees the schedules of {0}")]
    OnlyAdministrators(String),
    /// The expression for files cannot be used.
    #[error("fileExpression is no {} that can be used: {why}", match syntax { ExpressionSyntax::Regex => "regular expression", ExpressionSyntax::Glob => "glob" })]
    Expression {
        /// How it is written.
        syntax: ExpressionSyntax,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing is deployed for whoever may not log in.
    #[error("the account of the schedule's owner is disabled")]
    Disabled,
}

/// The use cases around schedules.
pub struct Schedules {
    deployments: Arc<Deployments>,
    store: Store,
    /// For acting on behalf of owners.
    identity: Option<Arc<Identity>>,
    expressions: Expressions,
    /// Something is pending.
    wake: Notify,
}

impl Schedules {
    /// The use cases on these deployments, which are in this store.
    pub fn new(deployments: Arc<Deployments>, store: Store) -> Self {
        let expressions = moka::sync::Cache::builder().max_capacity(COMPILED).build();
        Self { deployments, store, identity: None, expressions, wake: Notify::new() }
    }

    /// The same, with what acts on behalf of owners: external registries are shown tokens of theirs.
    #[must_use]
    pub fn on_behalf_by(self, identity: Arc<Identity>) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// Makes a schedule, which runs. The template and the inputs must be such that a deployment could be made of them now. With a
    /// key, a second call returns what the first one made.
    pub async fn create(&self, who: &Principal, order: Order, key: Option<Key>) -> Result<Schedule, Error> {
        who.require(Permission::UseDeployments)?;
        for (field, text) in
            [("fileExpression", &order.file_expression), ("replicationExpression", &order.replication_expression)]
        {
            if text.len() > LONGEST_EXPRESSION || text.contains('\0') {
                return Err(Error::Invalid(format!("{field} has at most {LONGEST_EXPRESSION} bytes, none of them zero")));
            }
        }
        if order.replicas == 0 {
            return Err(Error::Invalid("numberOfReplicas must be at least 1".into()));
        }
        Expression::compile(&order.file_expression, order.syntax)
            .map_err(|why| ScheduleError::Expression { syntax: order.syntax, why })?;
        let owner = self.deployments.check(who, &order.submission)?;
        if let (Some(identity), Some(token)) = (&self.identity, &order.submission.token) {
            identity.keep_grant(who, token).await?;
        }
        let scope = |key: &Key| format!("{}:{}", key.scope, self.deployments.person_key(who));
        let idempotency = key.map(|key| Idempotency { scope: scope(&key), key: key.key });
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let asked = order.submission;
        let (timeout, attempt_timeout) = (asked.timeout.map(micros), asked.attempt_timeout.map(micros));
        let input = json!([
            [order.file_expression, order.syntax.as_str(), order.replication_expression, order.replicas],
            [asked.template, asked.parameters, asked.callback, asked.user_group],
            [asked.max_attempts, timeout, attempt_timeout, asked.keep_last_attempt],
        ]);
        let new = NewSchedule {
            id: uuid::Uuid::now_v7().to_string(),
            owner,
            user_group: asked.user_group,
            file_expression: order.file_expression,
            syntax: order.syntax,
            replication_expression: order.replication_expression,
            replicas: order.replicas,
            callback: asked.callback,
            max_attempts: asked.max_attempts,
            timeout,
            attempt_timeout,
            keep_last_attempt: asked.keep_last_attempt,
            template: asked.template,
            parameters: Value::Object(asked.parameters),
            idempotency,
            input_hash: Sha256::digest(input.to_string()).to_vec(),
        };
        let event = event("schedule.created", &new.id, &who.user, json!({}));
        match self.store.schedule_create(&new, MOST, &event).await {
            Ok(schedule) => Ok(schedule),
            Err(ostler_store::Error::IdempotencyMismatch) => Err(Error::KeyReused),
            Err(error) => Err(error.into()),
        }
    }

    /// A page of schedules, without templates and inputs, and how many there are in all.
    pub async fn list(
        &self,
        who: &Principal,
        by: Option<&CreatedBy>,
        page: &Page<ScheduleSort>,
    ) -> Result<(Vec<Schedule>, u64), Error> {
        who.require(Permission::UseDeployments)?;
        let filter = self.deployments.listed(who, by).map_err(ScheduleError::OnlyAdministrators)?;
        Ok(self.store.schedules(&filter, page).await?)
    }

    /// One that the caller may see.
    pub async fn get(&self, who: &Principal, id: &str) -> Result<Schedule, Error> {
        who.require(Permission::UseDeployments)?;
        let known = id.len() <= 64 && !id.contains('\0');
        let found = if known { self.store.schedule_get(id).await? } else { None };
        let visible = found.filter(|schedule| self.deployments.may_see(who, schedule.owner.as_ref()));
        visible.ok_or_else(|| ScheduleError::NotFound(id.to_owned()).into())
    }

    /// One that is the caller's own.
    async fn own(&self, who: &Principal, id: &str) -> Result<Schedule, Error> {
        let schedule = self.get(who, id).await?;
        let own = self.deployments.may_change(who, schedule.owner.as_ref());
        if own { Ok(schedule) } else { Err(ScheduleError::NotOwner.into()) }
    }

    /// A page of what happened to one that the caller may see, each with its deployment, and how many there are in all. Of one that
    /// he may not see, nothing.
    pub async fn events(
        &self,
        who: &Principal,
        id: &str,
        page: &Page<ScheduleEventSort>,
    ) -> Result<(Vec<ScheduleEvent>, u64), Error> {
        match self.get(who, id).await {
            Ok(schedule) => Ok(self.store.schedule_events(&schedule.id, page).await?),
            Err(Error::Schedule(ScheduleError::NotFound(_))) => Ok((Vec::new(), 0)),
            Err(error) => Err(error),
        }
    }

    /// Suspends one, or lets it run: it looks at the files of which is told from then on. What matched before is deployed.
    pub async fn set_status(&self, who: &Principal, id: &str, status: ScheduleStatus) -> Result<Schedule, Error> {
        let schedule = self.own(who, id).await?;
        let kind = match status {
            ScheduleStatus::Running => "schedule.resumed",
            ScheduleStatus::Suspended => "schedule.suspended",
        };
        let changed = self.store.schedule_set_status(&schedule.id, status, &event(kind, id, &who.user, json!({}))).await?;
        changed.ok_or_else(|| ScheduleError::NotFound(id.to_owned()).into())
    }

    /// Removes one with its events. Its deployments stay; what matched and is not deployed yet will not be.
    pub async fn delete(&self, who: &Principal, id: &str) -> Result<(), Error> {
        let schedule = self.own(who, id).await?;
        if self.store.schedule_remove(&schedule.id, &event("schedule.deleted", id, &who.user, json!({}))).await? {
            self.expressions.invalidate(id);
            return Ok(());
        }
        Err(ScheduleError::NotFound(id.to_owned()).into())
    }
}

/// An event about a schedule.
fn event(kind: &str, schedule: &str, actor: &str, data: Value) -> NewEvent {
    NewEvent { kind: kind.to_owned(), subject: schedule.to_owned(), cloud: None, actor: actor.to_owned(), data }
}
