//! `ostler credit`.

use super::remote::Remote;
use super::user::path;
use super::{or_dash, say, say_json, table};
use crate::api::native::wire::accounts::{Balance, Entry, Grant, History};
use clap::Subcommand;
use http::Method;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show how much credit a user has.
    Show {
        /// The user's name.
        user: String,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a user credit.
    Add {
        /// The user's name.
        user: String,
        /// How many credits.
        #[arg(value_name = "N")]
        amount: i64,
        /// For what.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// A name for it, the number of an invoice say: the same one gives the credit once.
        #[arg(long, value_name = "TEXT")]
        reference: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show what became of a user's credit, the latest first.
    History {
        /// The user's name.
        user: String,
        /// How many entries at most, from 1 to 1000.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
        /// Only entries before the one of this number.
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<(), String> {
        match self {
            Self::Show { user, remote, json } => {
                let balance: Balance = remote.get(&format!("{}/credit", path(&user)))?;
                if json {
                    return say_json(&balance);
                }
                say(&format!("{user} has {} credits", balance.balance));
                Ok(())
            }
            Self::Add { user, amount, note, reference, remote } => {
                let grant = Grant { amount, note: note.unwrap_or_default(), reference };
                let entry: Entry = remote.json(Method::POST, &format!("{}/credit", path(&user)), &grant)?;
                say(&format!("{user} was given {} credits at {}: {} then", entry.amount, entry.at, entry.balance));
                Ok(())
            }
            Self::History { user, limit, before, remote, json } => {
                let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
                let history: History = remote.get(&format!("{}/credit/history?limit={limit}{before}", path(&user)))?;
                if json {
                    return say_json(&history);
                }
                show(history);
                Ok(())
            }
        }
    }
}

fn show(history: History) {
    let mut table = table(&["#", "AT", "KIND", "AMOUNT", "BALANCE", "NOTE", "REFERENCE", "BY"]);
    for entry in history.entries {
        table.add_row([
            entry.id.to_string(),
            entry.at,
            entry.kind,
            format!("{:+}", entry.amount),
            entry.balance.to_string(),
            or_dash(Some(entry.note)),
            or_dash(entry.reference),
            entry.actor,
        ]);
    }
    say(&table.to_string());
    if let Some(before) = history.next {
        say(&format!("there is more: --before {before}"));
    }
}
