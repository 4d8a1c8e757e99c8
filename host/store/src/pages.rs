//! Pages of lists. Which rows a page has is found first, from the nearer end where the order is the usual one, so that what is
//! skipped costs little; then what is in them.

use crate::db::{Row, args};
use crate::{DeploymentSort, Error, Store};

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<S = DeploymentSort> {
    /// How many to skip.
    pub offset: u64,
    /// How many to give at most.
    pub limit: u32,
    /// By what to sort, the first before the others, and whether downwards. What is equal is sorted by identifier, in the
    /// direction of the last. By nothing means the latest first.
    pub sort: Vec<(S, bool)>,
}

impl<S> Default for Page<S> {
    fn default() -> Self {
        Self { offset: 0, limit: 0, sort: Vec::new() }
    }
}

/// By what a list can be sorted.
pub(crate) trait Sort: Copy + PartialEq {
    /// When a row was made: column 1.
    const CREATED: Self;

    /// The number of the column: 1 and 2 are times, 3 and 4 texts. None is the identifier, of which no two are equal.
    fn column(self) -> Option<i64>;
}

/// How the database is told to sort: by up to four columns, numbered from 1, negative where downwards and 0 for none, and then by
/// identifier, 1 upwards and -1 downwards.
struct Order {
    columns: [i64; 4],
    id: i64,
}

impl Order {
    fn of<S: Sort>(sort: &[(S, bool)]) -> Self {
        let default = [(S::CREATED, true)];
        let sort = if sort.is_empty() { &default } else { sort };
        let mut order = Self { columns: [0; 4], id: 1 };
        let mut free = order.columns.iter_mut();
        let mut seen = Vec::new();
        for &(by, descending) in sort {
            let direction = if descending { -1 } else { 1 };
            order.id = direction;
            // What comes after the identifier decides nothing.
            let Some(column) = by.column() else { break };
            // Neither does what came before.
            if !seen.contains(&by)
                && let Some(free) = free.next()
            {
                *free = column * direction;
                seen.push(by);
            }
        }
        order
    }
}

/// One column of an order, by the names of the columns 1 to 4. Numbers and texts apart, as PostgreSQL wants it.
macro_rules! by_column {
    ($parameter:literal, $created:literal, $updated:literal, $third:literal, $fourth:literal) => {
        concat!(
            "CASE ",
            $parameter,
            " WHEN 1 THEN ",
            $created,
            " WHEN 2 THEN ",
            $updated,
            " END, CASE ",
            $parameter,
            " WHEN -1 THEN ",
            $created,
            " WHEN -2 THEN ",
            $updated,
            " END DESC, CASE ",
            $parameter,
            " WHEN 3 THEN ",
            $third,
            " WHEN 4 THEN ",
            $fourth,
            " END, CASE ",
            $parameter,
            " WHEN -3 THEN ",
            $third,
            " WHEN -4 THEN ",
            $fourth,
            " END DESC, "
        )
    };
}
pub(crate) use by_column;

/// Any order, as `$7` to `$11` say it, by the names of the columns 1 to 4 and of the identifier.
macro_rules! any_order {
    ($created:literal, $updated:literal, $third:literal, $fourth:literal, $id:literal) => {
        concat!(
            $crate::pages::by_column!("$7", $created, $updated, $third, $fourth),
            $crate::pages::by_column!("$8", $created, $updated, $third, $fourth),
            $crate::pages::by_column!("$9", $created, $updated, $third, $fourth),
            $crate::pages::by_column!("$10", $created, $updated, $third, $fourth),
            "CASE WHEN $11 = 1 THEN ",
            $id,
            " END, CASE WHEN $11 = -1 THEN ",
            $id,
            " END DESC"
        )
    };
}
pub(crate) use any_order;

/// What pages are made of: how many rows there are by `$1` to `$4`, and `$5` rows after `$6`, in the usual orders and in any.
pub(crate) struct Statements {
    pub(crate) count: &'static str,
    pub(crate) earliest: &'static str,
    pub(crate) latest: &'static str,
    pub(crate) any: &'static str,
}

impl Store {
    /// The rows of a page, and how many there are in all.
    pub(crate) async fn page<S: Sort>(
        &self,
        statements: &Statements,
        conditions: [Option<&str>; 4],
        page: &Page<S>,
    ) -> Result<(Vec<Row>, u64), Error> {
        let [a, b, c, d] = conditions;
        let counted = self.db().optional(statements.count, args![a, b, c, d]).await?;
        let total: i64 = counted.ok_or(Error::Corrupt("count"))?.get(0)?;
        let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
        let limit = total.saturating_sub(offset).min(page.limit.into());
        let mut rows = Vec::new();
        if limit > 0 {
            let order = Order::of(&page.sort);
            // Whatever is skipped is gone through: from the nearer end.
            let behind = total - offset - limit;
            let from_behind = behind < offset;
            let usual = match (order.columns, order.id) {
                ([1, 0, 0, 0], 1) => Some([statements.earliest, statements.latest]),
                ([-1, 0, 0, 0], -1) => Some([statements.latest, statements.earliest]),
                _ => None,
            };
            if let Some([there, back]) = usual {
                let (sql, skipped) = if from_behind { (back, behind) } else { (there, offset) };
                rows = self.db().all(sql, args![a, b, c, d, limit, skipped]).await?;
                if from_behind {
                    rows.reverse();
                }
            } else {
                let [first, second, third, fourth] = order.columns;
                let args = args![a, b, c, d, limit, offset, first, second, third, fourth, order.id];
                rows = self.db().all(statements.any, args).await?;
            }
        }
        Ok((rows, u64::try_from(total).map_err(|_| Error::Corrupt("count"))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeploymentSort::{CreatedAt, Id, Status, Task, UpdatedAt};

    #[test]
    fn orders() {
        let order = |sort: &[(DeploymentSort, bool)]| {
            let order = Order::of(sort);
            (order.columns, order.id)
        };
        assert_eq!(order(&[]), ([-1, 0, 0, 0], -1));
        assert_eq!(order(&[(CreatedAt, false)]), ([1, 0, 0, 0], 1));
        assert_eq!(order(&[(CreatedAt, true), (Id, true), (Status, false)]), ([-1, 0, 0, 0], -1));
        assert_eq!(order(&[(Id, true)]), ([0; 4], -1));
        let all = [(Task, true), (Status, false), (Task, false), (UpdatedAt, true), (CreatedAt, false), (Status, true)];
        assert_eq!(order(&all), ([-4, 3, -2, 1], -1));
    }
}
