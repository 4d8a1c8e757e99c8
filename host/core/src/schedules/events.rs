//! From the news of a file to its deployments.
//!
//! Which schedules a file concerns is written down first, an event each. Then, from what is written down, the deployments are made,
//! each with a key that only this event has: whatever a crash interrupts is taken up from the events that are still pending, and
//! what was made already is found by its key.

use super::expression::Expression;
use super::{Expressions, Schedule, ScheduleError, Schedules, event};
use crate::Error;
use crate::compute::Key;
use crate::deployments::{DeploymentError, Submission};
use crate::identity::{Account, Permission, Person, Principal, Role, Scheme};
use crate::kill;
use ostler_store::{NewScheduleEvent, PendingEvent, RunningSchedule};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// What the message of a new file is called.
const REGISTERED: &str = "did_registered";
/// Messages at a time, and bytes of what each says, at most.
const MOST_MESSAGES: usize = 500;
const LONGEST_SCOPE: usize = 255;
const LONGEST_NAME: usize = 1024;
/// Pending events that are read at a time.
const BATCH: u32 = 16;
/// How often is looked for events that nobody has woken us for: another host's, or from before a crash.
const EVERY: Duration = Duration::from_secs(5);

/// A message about data. Only those of new files matter; the others are those that come the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMessage {
    /// What happened: `did_registered` is a new file.
    pub event_type: String,
    /// The scope of the file.
    pub scope: Option<String>,
    /// Its name within the scope.
    pub name: Option<String>,
}

/// What came of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// How many told of new files.
    pub files: usize,
    /// How many told of something else.
    pub ignored: usize,
    /// How many events there are now that were not there before: deployments to be made.
    pub events: usize,
}

impl Schedules {
    /// Takes news of files. Each that a running schedule is for makes one event, and that one deployment, of this schedule; telling
    /// it again makes nothing. What is returned is written down; deployments follow.
    pub async fn data_events(&self, who: &Principal, messages: &[DataMessage]) -> Result<Intake, Error> {
        who.require(Permission::SubmitDataEvents)?;
        if messages.len() > MOST_MESSAGES {
            return Err(Error::Invalid(format!("at most {MOST_MESSAGES} messages at a time")));
        }
        let files =
            messages.iter().filter(|message| message.event_type == REGISTERED).map(file).collect::<Result<Vec<_>, _>>()?;
        let mut intake = Intake { files: files.len(), ignored: messages.len() - files.len(), events: 0 };
        if files.is_empty() {
            return Ok(intake);
        }
        let running = self.store.schedules_running().await?;
        let texts: Vec<_> = files.iter().map(|(scope, name)| format!("{scope}:{name}")).collect();
        let expressions = self.expressions.clone();
        // Many expressions and many files are more than a moment's work.
        let matching = tokio::task::spawn_blocking(move || matching(&expressions, &running, &texts));
        let matching = matching.await.map_err(|_| Error::Stopping)?;
        for ((scope, name), schedules) in files.into_iter().zip(matching) {
            if schedules.is_empty() {
                continue;
            }
            let begin = |schedule: String| {
                let id = uuid::Uuid::now_v7().to_string();
                let data = json!({ "event": id, "scope": scope, "name": name });
                let event = event("schedule.matched", &schedule, &who.user, data);
                (NewScheduleEvent { id, schedule, scope: scope.to_owned(), name: name.to_owned() }, event)
            };
            let begun: Vec<_> = schedules.into_iter().map(begin).collect();
            intake.events += self.store.schedule_events_begin(&begun).await?.len();
        }
        if intake.events > 0 {
            kill::point("schedule.event.begun");
            self.wake.notify_one();
        }
        Ok(intake)
    }

    /// Makes the deployments of what matched, as it comes, until the task that runs it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut interval = tokio::time::interval(EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.wake.notified() => {}
            }
            if let Err(error) = self.deploy_pending().await {
                tracing::error!(%error, "deployments of schedules have to wait");
            }
        }
    }

    /// Makes the deployments of all that matched and has none yet. How many events came to their end.
    pub async fn deploy_pending(&self) -> Result<usize, Error> {
        let (mut after, mut ended) = (None, 0);
        loop {
            let pending = self.store.schedule_events_pending(after.as_deref(), BATCH).await?;
            let Some(last) = pending.last() else { return Ok(ended) };
            after = Some(last.event.id.clone());
            for pending in pending {
                ended += usize::from(self.deploy(pending).await?);
            }
        }
    }

    /// Makes one deployment; whether the event came to its end. An error is one that the next event would get as well.
    async fn deploy(&self, PendingEvent { event: pending, schedule }: PendingEvent) -> Result<bool, Error> {
        let (id, owner) = (schedule.id.clone(), schedule.owner.as_ref().map(|owner| owner.subject.clone()));
        let key = Key { scope: "schedules", key: key(&id, &pending.scope, &pending.name) };
        let made = match self.on_behalf(&schedule).await {
            Ok(who) => match self.submission(schedule).await {
                Ok(submission) => self.deployments.create(&who, submission, Some(key)).await.map(|deployment| deployment.id),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        kill::point("schedule.event.made");
        let outcome = match made {
            // Made by an earlier try, and removed since.
            Ok(deployment) | Err(Error::Deployment(DeploymentError::NotFound(deployment))) => Ok(deployment),
            Err(error) if is_final(&error) => Err(error.to_string()),
            Err(error) if is_general(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(schedule = id, event = pending.id, %error, "a schedule's deployment has to wait");
                return Ok(false);
            }
        };
        let (kind, more) = match &outcome {
            Ok(deployment) => ("schedule.deployed", json!({ "event": pending.id, "deployment": deployment })),
            Err(why) => ("schedule.failed", json!({ "event": pending.id, "reason": why })),
        };
        let event = event(kind, &id, &owner.unwrap_or_default(), more);
        let outcome = outcome.as_ref().map(String::as_str).map_err(String::as_str);
        let ended = self.store.schedule_event_end(&pending.id, outcome, &event).await?;
        kill::point("schedule.event.done");
        Ok(ended)
    }

    /// What is asked for, with a token of the owner where there is one.
    async fn submission(&self, schedule: Schedule) -> Result<Submission, Error> {
        let token = match (&self.identity, &schedule.owner) {
            (Some(identity), Some(owner)) => identity.token_for(&owner.issuer, &owner.subject).await?,
            _ => None,
        };
        Ok(Submission { token, ..submission(schedule) })
    }

    /// The owner of a schedule, as if he asked. Who has an account here has the roles of now, and nothing while it is disabled; for
    /// others stands what they were when they made the schedule.
    pub(super) async fn on_behalf(&self, schedule: &Schedule) -> Result<Principal, Error> {
        let (issuer, subject, organisation) = match schedule.owner.clone() {
            Some(owner) => (owner.issuer, owner.subject, owner.organisation),
            None => Default::default(),
        };
        // Always said, so that it is the same person, and the same key, when this server's own address changes.
        let person = Some(Person { issuer, subject, organisation, groups: None, scopes: None });
        let Some(owner) = &schedule.owner else { return Ok(Principal { person, ..Principal::open() }) };
        let Some(id) = &owner.user_id else {
            return Ok(Principal { person, ..Principal::new(&owner.subject, vec![Role::Customer], Scheme::Token) });
        };
        let user = self.store.user_get(id).await?.filter(|user| user.active).ok_or(ScheduleError::Disabled)?;
        let roles = user.roles.iter().filter_map(|role| Role::parse(role)).collect();
        let account = Some(Account { id: user.id, number: user.number });
        Ok(Principal { account, person, ..Principal::new(user.username, roles, Scheme::Token) })
    }
}

/// The scope and the name of a new file.
fn file(message: &DataMessage) -> Result<(&str, &str), Error> {
    let part = |field, text: Option<&String>, longest| match text {
        Some(text) if (1..=longest).contains(&text.len()) && !text.contains(char::is_control) => Ok(()),
        _ => Err(Error::Invalid(format!("{field} of {REGISTERED} has 1 to {longest} bytes, without control characters"))),
    };
    part("scope", message.scope.as_ref(), LONGEST_SCOPE)?;
    part("name", message.name.as_ref(), LONGEST_NAME)?;
    Ok((message.scope.as_deref().unwrap_or_default(), message.name.as_deref().unwrap_or_default()))
}

/// For each file the schedules that are for it.
fn matching(expressions: &Expressions, running: &[RunningSchedule], files: &[String]) -> Vec<Vec<String>> {
    let mut matching = vec![Vec::new(); files.len()];
    for schedule in running {
        let compiled = expressions.get_with_by_ref(&schedule.id, || {
            let compiled = Expression::compile(&schedule.file_expression, schedule.syntax);
            let complain = |why: &String| tracing::error!(schedule = schedule.id, why, "a schedule's expression cannot be used");
            compiled.inspect_err(complain).ok().map(Arc::new)
        });
        let Some(expression) = compiled else { continue };
        for (file, schedules) in files.iter().zip(&mut matching) {
            if expression.matches(file) {
                schedules.push(schedule.id.clone());
            }
        }
    }
    matching
}

/// What tells the deployment of this file of this schedule from all others, in bounded length.
pub(super) fn key(schedule: &str, scope: &str, name: &str) -> String {
    let digest = Sha256::digest(json!([schedule, scope, name]).to_string());
    digest.iter().fold(format!("{schedule}:"), |key, byte| format!("{key}{byte:02x}"))
}

/// What a schedule orders.
pub(super) fn submission(schedule: Schedule) -> Submission {
    let duration = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    Submission {
        template: schedule.template,
        parameters: match schedule.parameters {
            Value::Object(parameters) => parameters,
            _ => Map::new(),
        },
        callback: schedule.callback,
        user_group: schedule.user_group,
        max_attempts: schedule.max_attempts,
        timeout: schedule.timeout.map(duration),
        attempt_timeout: schedule.attempt_timeout.map(duration),
        keep_last_attempt: schedule.keep_last_attempt,
        token: None,
    }
}

/// Whether it would be the same another time.
fn is_final(error: &Error) -> bool {
    use ostler_store::Error as Store;
    let refused = matches!(error, Error::Store(Store::Invalid(_) | Store::NotFound(_) | Store::Exists(_)));
    refused
        || matches!(error, Error::Forbidden | Error::Invalid(_) | Error::KeyReused | Error::Deployment(_) | Error::Schedule(_))
}

/// Whether it would be the same for everything else.
fn is_general(error: &Error) -> bool {
    match error {
        Error::Store(error) => error.is_transient() || matches!(error, ostler_store::Error::Closed),
        error => matches!(error, Error::Stopping),
    }
}
