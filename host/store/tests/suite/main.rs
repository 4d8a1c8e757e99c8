//! The repositories' behaviour, the same on SQLite in memory, on a SQLite file and on PostgreSQL.
//!
//! PostgreSQL: `OSTLER_TEST_POSTGRES` is the URL of a server on which databases may be created; each test makes and drops its
//! own. Without the variable those tests say so and pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod accounts;
mod assignments;
mod callbacks;
mod certificates;
mod clouds;
mod credit;
mod deployment_pages;
mod deployment_races;
mod deployments;
mod drivers;
mod events;
mod fixture;
mod forwards;
mod grants;
mod instances;
mod latency;
mod links;
mod opening;
mod operations;
mod reports;
mod resource_credit;
mod resources;
mod retention;
mod samples;
mod schedules;
mod services;
mod services_at_random;
mod state;
mod users;
mod work;
mod world;

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
    operations: begins_and_ends, idempotency, idempotency_race, failure_keeps_the_key, what_passes_gives_the_key_back, tokens_are_unique, claims_are_disjoint,
        expired_lease_is_taken_over, stale_owner_is_refused, listing, events_come_with_the_change;
    work: life, all_or_nothing, requests, leases_and_timers, savers_race, listing;
    assignments: life, one_gets_it, ids_are_not_reused;
    forwards: life, keys, limit, races;
    clouds: uses_are_counted_and_named;
    links: life;
    grants: life;
    reports: life;
    accounts: deletion, one_administrator_stays, requests, requests_for_applications, addresses_and_passwords;
    users: life, paging, tokens, nothing_secret_in_debug, numbers_and_addresses, roles_and_activity;
    credit: life, charges_race, closers_race, reservations_race, references_count_once, references_race, limits,
        the_ledger_is_append_only, the_audit_finds_what_is_wrong, random_interleavings_add_up;
    certificates: life, for_a_service_that_runs, revocation, paging, the_authority_is_claimed_once;
    services: applications, a_start_and_a_stop, a_failed_start_costs_nothing, an_application_and_its_members,
        nodes_come_and_go, nodes_are_paid_for, idempotency, refusals, races, nodes_race_a_stop, stale_owners_change_nothing;
    services_at_random: random_interleavings_add_up;
    deployments: life, changes, beginnings_are_all_or_nothing, one_work_at_a_time, the_log_is_cut, nothing_secret_in_debug;
    deployment_races: one_begins, one_key_one_work, lines_are_not_lost, a_removal_races_changes;
    deployment_pages: filters, orders, beyond_the_end;
    callbacks: a_life_is_told, nobody_is_told_where_nobody_asked, all_or_nothing, a_key_tells_once, one_at_a_time_and_in_order,
        claims_are_bounded, claimants_race, writers_race, forgotten_after_a_time;
    resources: changes;
    resource_credit: life, races;
    instances: images_come_and_go, images_are_adopted_once, an_image_that_was_adopted_too_early, instances_come_and_go,
        images_and_their_instances, races;
    retention: operations_that_are_over, what_is_kept, in_portions, events;
    samples: life, one_of_two_writes, all_or_nothing, in_portions, many_at_once;
    schedules: life, refusals, idempotency, events, races, pages, event_pages;
    drivers: history, race_ends_at_the_highest;
    events: order_without_gaps, reader_misses_none;
    opening: migrations_are_idempotent, users_of_the_first_version_are_numbered, work_of_earlier_versions_goes_on,
        newer_schema_is_refused, nul_is_refused,
        closed_is_closed, writing_is_durable;
}
