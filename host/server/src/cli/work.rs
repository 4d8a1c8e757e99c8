//! `ostler work`.

use super::remote::{Remote, segment};
use super::{or_dash, say, say_json, table};
use crate::api::native::wire::work::{Operation, Operations};
use clap::{Args, Subcommand};
use http::Method;

#[derive(Subcommand)]
pub(super) enum Command {
    /// List operations of several steps that are not over, the latest first.
    List {
        /// Only those an operator should look at: something is tried again and again.
        #[arg(long, conflicts_with = "all")]
        stuck: bool,
        /// Also those that are over.
        #[arg(long)]
        all: bool,
        /// How many at most, from 1 to 1000.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
        /// Only operations before the one of this identifier.
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show an operation with its steps.
    Show {
        #[command(flatten)]
        one: One,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have an operation tried at once that waits for its time.
    Retry(One),
    /// Have an operation turned round: what it has done is undone, as far as there is a way back.
    Cancel(One),
    /// Give an operation up as it is. What it has made at a provider and not undone stays there.
    Abandon(One),
}

#[derive(Args)]
pub(super) struct One {
    /// The operation's identifier.
    id: String,
    #[command(flatten)]
    remote: Remote,
}

impl One {
    fn path(&self) -> String {
        format!("/ostler/v1/work/{}", segment(&self.id))
    }

    fn order(&self, order: &str) -> Result<(), String> {
        let operation: Operation = self.remote.call(Method::POST, &format!("{}/{order}", self.path()), None)?;
        say(&format!("{}: {order} is asked for", operation.id));
        Ok(())
    }
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::List { stuck, all, limit, before, remote, json } => {
                let which = if stuck {
                    "stuck"
                } else if all {
                    "all"
                } else {
                    "open"
                };
                let before = before.map(|before| format!("&before={}", segment(&before))).unwrap_or_default();
                let page: Operations = remote.get(&format!("/ostler/v1/work?which={which}&limit={limit}{before}"))?;
                if json {
                    return say_json(&page);
                }
                list(page);
                Ok(())
            }
            Self::Show { one, json } => {
                let operation: Operation = one.remote.get(&one.path())?;
                if json {
                    return say_json(&operation);
                }
                show(operation);
                Ok(())
            }
            Self::Retry(one) => one.order("retry"),
            Self::Cancel(one) => one.order("cancel"),
            Self::Abandon(one) => one.order("abandon"),
        }
    }
}

fn list(page: Operations) {
    let mut table = table(&["ID", "KIND", "ABOUT", "STATE", "SINCE", "BY"]);
    for operation in page.operations {
        let state = state(&operation);
        let Operation { id, kind, subject, created_at, actor, .. } = operation;
        table.add_row([id, kind, or_dash(subject), state, created_at, actor]);
    }
    say(&table.to_string());
    if let Some(before) = page.next {
        say(&format!("there is more: --before {before}"));
    }
}

fn show(operation: Operation) {
    say(&format!("id        {}", operation.id));
    say(&format!("kind      {}", operation.kind));
    say(&format!("state     {}", state(&operation)));
    say(&format!("about     {}", or_dash(operation.subject)));
    say(&format!("asked     {} by {}", operation.created_at, operation.actor));
    for (name, value) in [
        ("waits", operation.waits_until),
        ("deadline", operation.deadline),
        ("wanted", operation.request),
        ("host", operation.owner),
    ] {
        if let Some(value) = value {
            say(&format!("{name:<9} {value}"));
        }
    }
    if let Some(error) = &operation.error {
        say(&format!("error     {}", message(error)));
    }
    let mut table = table(&["ATTEMPT", "STAGE", "STEP", "CLOUD", "STATE", "TRIES", "TOKEN", "ERROR"]);
    for step in operation.steps {
        let error = step.error.as_ref().map(message);
        table.add_row([
            step.attempt.to_string(),
            step.stage.to_string(),
            step.kind,
            or_dash(step.cloud),
            step.state,
            step.tries.to_string(),
            or_dash(step.token),
            or_dash(error),
        ]);
    }
    say(&table.to_string());
}

/// In one word or two.
fn state(operation: &Operation) -> String {
    match (operation.state.as_str(), operation.phase.as_str()) {
        ("pending", _) if operation.stuck => "stuck".to_owned(),
        ("pending", "forward") => "under way".to_owned(),
        ("pending", _) => "being undone".to_owned(),
        (state, _) => state.to_owned(),
    }
}

fn message(error: &serde_json::Value) -> String {
    let message = error["message"].as_str().map(str::to_owned).unwrap_or_else(|| error.to_string());
    match error["step"].as_str() {
        Some(step) => format!("{step}: {message}"),
        None => message,
    }
}
