//! The repositories' behaviour, the same on SQLite in memory, on a SQLite file and on PostgreSQL.
//!
//! PostgreSQL: `OSTLER_TEST_POSTGRES` is the URL of a server on which databases may be created; each test makes and drops its
//! own. Without the variable those tests say so and pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod assignments;
mod drivers;
mod events;
mod fixture;
mod latency;
mod opening;
mod operations;
mod state;
mod users;

/// Every test on every engine.
macro_rules! suite {
    ($($module:ident: $($test:ident),* ;)*) => {
        suite!(@engine memory, Memory, $($module: $($test),* ;)*);
        suite!(@engine sqlite, Sqlite, $($module: $($test),* ;)*);
        suite!(@engine postgres, Postgres, $($module: $($test),* ;)*);
    };
    (@engine $engine:ident, $variant:ident, $($module:ident: $($test:ident),* ;)*) => {
        mod $engine {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $test() {
                    crate::fixture::run(crate::fixture::Engine::$variant, crate::$module::$test).await;
                })*
            })*
        }
    };
}

suite! {
    state: writes_and_reads, cas_counters_lose_nothing, all_or_nothing, quota, listing, versions_never_repeat,
        loading_is_one_moment, clouds_are_apart, a_later_write_of_a_key_counts;
    operations: begins_and_ends, idempotency, idempotency_race, failure_keeps_the_key, tokens_are_unique, claims_are_disjoint,
        expired_lease_is_taken_over, stale_owner_is_refused, listing, events_come_with_the_change;
    assignments: life, one_gets_it, ids_are_not_reused;
    users: life, paging, tokens, nothing_secret_in_debug;
    drivers: history, race_ends_at_the_highest;
    events: order_without_gaps, reader_misses_none;
    opening: migrations_are_idempotent, newer_schema_is_refused, nul_is_refused, closed_is_closed, writing_is_durable;
}
