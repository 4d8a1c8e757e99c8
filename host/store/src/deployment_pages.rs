//! Pages of deployments. Which rows a page has is found in an index alone.

use crate::deployment_rows::{deployment, deployment_columns};
use crate::pages::{Page, Sort, Statements, any_order};
use crate::{Deployment, Error, Store};

/// Which deployments or schedules to list: all that have what is given. What has no owner has no person, issuer or organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentFilter {
    /// Of the person whom this issuer calls so.
    pub issuer_subject: Option<(String, String)>,
    /// Of anybody whom this issuer vouches for.
    pub issuer: Option<String>,
    /// Of anybody of this organisation.
    pub organisation: Option<String>,
    /// For this group of users.
    pub user_group: Option<String>,
}

/// By what deployments are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeploymentSort {
    /// When they were asked for.
    CreatedAt,
    /// When they last changed.
    UpdatedAt,
    /// The text of their status.
    Status,
    /// The text of their task.
    Task,
    /// Their identifiers.
    Id,
}

impl Sort for DeploymentSort {
    const CREATED: Self = Self::CreatedAt;

    fn column(self) -> Option<i64> {
        match self {
            Self::CreatedAt => Some(1),
            Self::UpdatedAt => Some(2),
            Self::Status => Some(3),
            Self::Task => Some(4),
            Self::Id => None,
        }
    }
}

/// The rows of a page: first which, then what is in them.
macro_rules! page {
    ($condition:expr, $order:expr) => {
        concat!(
            "SELECT ",
            deployment_columns!(),
            " FROM (SELECT id AS page_id FROM deployments ",
            $condition,
            " ORDER BY ",
            $order,
            " LIMIT $5 OFFSET $6) AS page JOIN deployments d ON d.id = page_id JOIN deployment_texts t ON t.deployment = d.id \
             ORDER BY ",
            $order
        )
    };
}

macro_rules! statements {
    ($condition:literal) => {
        Statements {
            count: concat!("SELECT COUNT(*) FROM deployments ", $condition),
            earliest: page!($condition, "created_at, id"),
            latest: page!($condition, "created_at DESC, id DESC"),
            any: ANY,
        }
    };
}

/// A page in any other order, by any condition: all rows are looked at.
const ANY: &str = page!(
    "WHERE (CAST($1 AS TEXT) IS NULL OR issuer = $1) AND (CAST($2 AS TEXT) IS NULL OR subject = $2) \
     AND (CAST($3 AS TEXT) IS NULL OR organisation = $3) AND (CAST($4 AS TEXT) IS NULL OR user_group = $4)",
    any_order!("created_at", "updated_at", "status", "task", "id")
);

/// A filter as parameters: issuer, subject, organisation, group.
#[derive(Clone, Copy)]
pub(crate) struct Conditions<'a>(pub(crate) [Option<&'a str>; 4]);

impl<'a> Conditions<'a> {
    /// None where nothing can have all that is wanted.
    pub(crate) fn of(filter: &'a DeploymentFilter) -> Option<Self> {
        let (person, subject) = filter.issuer_subject.as_ref().map(|(issuer, subject)| (issuer, subject.as_str())).unzip();
        if let (Some(one), Some(other)) = (person, &filter.issuer)
            && one != other
        {
            return None;
        }
        let issuer = person.or(filter.issuer.as_ref()).map(String::as_str);
        Some(Self([issuer, subject, filter.organisation.as_deref(), filter.user_group.as_deref()]))
    }

    /// Each with just the conditions there are, so that the database can tell which index serves them.
    fn statements(self) -> Statements {
        match self.0.map(|wanted| wanted.is_some()) {
            [false, _, false, false] => statements!(""),
            [false, _, false, true] => statements!("WHERE user_group = $4"),
            [false, _, true, false] => statements!("WHERE organisation = $3"),
            [false, _, true, true] => statements!("WHERE organisation = $3 AND user_group = $4"),
            [true, false, false, false] => statements!("WHERE issuer = $1"),
            [true, false, false, true] => statements!("WHERE issuer = $1 AND user_group = $4"),
            [true, false, true, false] => statements!("WHERE issuer = $1 AND organisation = $3"),
            [true, false, true, true] => statements!("WHERE issuer = $1 AND organisation = $3 AND user_group = $4"),
            [true, true, false, false] => statements!("WHERE issuer = $1 AND subject = $2"),
            [true, true, false, true] => statements!("WHERE issuer = $1 AND subject = $2 AND user_group = $4"),
            [true, true, true, false] => statements!("WHERE issuer = $1 AND subject = $2 AND organisation = $3"),
            [true, true, true, true] => {
                statements!("WHERE issuer = $1 AND subject = $2 AND organisation = $3 AND user_group = $4")
            }
        }
    }
}

impl Store {
    /// A page of deployments, without their logs, and how many there are in all.
    pub async fn deployments(&self, filter: &DeploymentFilter, page: &Page) -> Result<(Vec<Deployment>, u64), Error> {
        let Some(conditions) = Conditions::of(filter) else { return Ok((Vec::new(), 0)) };
        let (rows, total) = self.page(&conditions.statements(), conditions.0, page).await?;
        Ok((rows.iter().map(deployment).collect::<Result<_, _>>()?, total))
    }
}
