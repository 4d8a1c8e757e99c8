//! Pages of deployments, held against what sorting and picking gives.

use std::cmp::Ordering;
use std::sync::Arc;

use ostler_store::{
    Deployment, DeploymentChange, DeploymentFilter, DeploymentSort, DeploymentStatus, DeploymentTask, NewDeployment, Owner, Page,
    Store,
};
use sqlx::{Connection as _, SqliteConnection};

use crate::deployments::{made, new, owner};
use crate::fixture::{Engine, Fixture, execute};

const COUNT: usize = 40;

/// Deployments of several owners, in several states, of which some were asked for at the same moment.
async fn many(f: &Fixture) -> Vec<Deployment> {
    let store = &f.store;
    let statuses = [DeploymentStatus::CreateComplete, DeploymentStatus::Unknown, DeploymentStatus::DeleteFailed];
    let tasks = [DeploymentTask::Deployer, DeploymentTask::None];
    let mut ids = Vec::new();
    for number in 0..COUNT {
        let organisation = [None, Some("o-1"), Some("o-2")][number % 3];
        let owner = match number % 7 {
            0 => None,
            1 => Some(Owner { issuer: "https://i.example".into(), ..owner("alice", organisation) }),
            other => Some(owner(["alice", "bob"][other % 2], organisation)),
        };
        let user_group = (number % 4 == 0).then(|| "g".to_owned());
        let new = NewDeployment { owner, user_group, ..new() };
        made(store, &new, &[]).await;
        ids.push(new.id);
    }
    // In another order.
    for number in 0..COUNT {
        let change = DeploymentChange {
            status: Some(statuses[number % statuses.len()]),
            task: Some(tasks[number % tasks.len()]),
            log_line: Some("x".into()),
            ..Default::default()
        };
        store.deployment_change(&ids[number * 7 % COUNT], &change, None).await.unwrap();
    }
    let together = "UPDATE deployments SET created_at = (SELECT MIN(created_at) FROM deployments) WHERE status = 'UNKNOWN'";
    match f.engine {
        Engine::Memory => {}
        Engine::Postgres => execute(&f.url, together.into()).await,
        Engine::Sqlite => {
            let mut connection = SqliteConnection::connect(&f.url).await.unwrap();
            sqlx::query(together).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
    let mut all = Vec::new();
    for id in ids {
        let deployment = store.deployment_get(&id).await.unwrap().unwrap();
        assert_eq!(deployment.log, "x\n");
        // Pages come without.
        all.push(Deployment { log: String::new(), ..deployment });
    }
    all
}

fn compare(a: &Deployment, b: &Deployment, sort: &[(DeploymentSort, bool)]) -> Ordering {
    let mut last = false;
    for &(by, descending) in sort {
        let order = match by {
            DeploymentSort::CreatedAt => a.created_at.cmp(&b.created_at),
            DeploymentSort::UpdatedAt => a.updated_at.cmp(&b.updated_at),
            DeploymentSort::Status => a.status.as_str().cmp(b.status.as_str()),
            DeploymentSort::Task => a.task.as_str().cmp(b.task.as_str()),
            DeploymentSort::Id => a.id.cmp(&b.id),
        };
        let order = if descending { order.reverse() } else { order };
        if order != Ordering::Equal {
            return order;
        }
        last = descending;
    }
    let order = a.id.cmp(&b.id);
    if last { order.reverse() } else { order }
}

/// All pages, which must agree about how many there are.
async fn pages(store: &Store, filter: &DeploymentFilter, sort: &[(DeploymentSort, bool)], limit: u32) -> Vec<Deployment> {
    let mut all = Vec::new();
    let mut totals = Vec::new();
    loop {
        let page = Page { offset: all.len() as u64, limit, sort: sort.to_vec() };
        let (found, total) = store.deployments(filter, &page).await.unwrap();
        totals.push(total);
        if found.is_empty() {
            break;
        }
        all.extend(found);
    }
    assert!(totals.iter().all(|total| *total == all.len() as u64), "{totals:?}");
    all
}

pub(crate) async fn filters(f: Arc<Fixture>) {
    let mut all = many(&f).await;
    let latest = [(DeploymentSort::CreatedAt, true)];
    all.sort_by(|a, b| compare(a, b, &latest));
    let text = |text: &str| Some(text.to_owned());
    let mut found = 0;
    for person in [None, Some(("local", "alice")), Some(("local", "carol")), Some(("https://i.example", "alice"))] {
        for issuer in [None, text("local"), text("https://i.example")] {
            for organisation in [None, text("o-1"), text("none")] {
                for user_group in [None, text("g")] {
                    let issuer_subject = person.map(|(issuer, subject)| (issuer.to_owned(), subject.to_owned()));
                    let filter = DeploymentFilter {
                        issuer_subject,
                        issuer: issuer.clone(),
                        organisation: organisation.clone(),
                        user_group: user_group.clone(),
                    };
                    let matches = |deployment: &&Deployment| {
                        let owner = deployment.owner.as_ref();
                        let is = |wanted: &Option<String>, is: Option<&String>| wanted.is_none() || wanted.as_ref() == is;
                        person.is_none_or(|person| owner.is_some_and(|o| (o.issuer.as_str(), o.subject.as_str()) == person))
                            && is(&issuer, owner.map(|owner| &owner.issuer))
                            && is(&organisation, owner.and_then(|owner| owner.organisation.as_ref()))
                            && is(&user_group, deployment.user_group.as_ref())
                    };
                    let expected: Vec<_> = all.iter().filter(matches).cloned().collect();
                    assert_eq!(pages(&f.store, &filter, &[], 4).await, expected, "{filter:?}");
                    assert_eq!(pages(&f.store, &filter, &[(DeploymentSort::Status, false)], 50).await.len(), expected.len());
                    found += expected.len();
                }
            }
        }
    }
    assert!(found > 100, "{found}");
}

pub(crate) async fn orders(f: Arc<Fixture>) {
    use DeploymentSort::{CreatedAt, Id, Status, Task, UpdatedAt};
    let mut all = many(&f).await;
    let sorts: &[&[(DeploymentSort, bool)]] = &[
        &[(CreatedAt, false)],
        &[(CreatedAt, true)],
        &[(CreatedAt, true), (Id, false)],
        &[(UpdatedAt, false)],
        &[(UpdatedAt, true)],
        &[(Status, false)],
        &[(Status, true)],
        &[(Task, false), (CreatedAt, true)],
        &[(Task, true), (Status, false), (UpdatedAt, true), (CreatedAt, false)],
        &[(Status, true), (Status, false), (Task, true), (Task, true), (CreatedAt, true), (UpdatedAt, false)],
        &[(Id, false)],
        &[(Id, true), (Status, true)],
        &[(Task, false), (Id, true)],
    ];
    let filters = [
        DeploymentFilter::default(),
        DeploymentFilter { issuer_subject: Some(("local".into(), "bob".into())), ..Default::default() },
        DeploymentFilter { issuer: Some("local".into()), organisation: Some("o-1".into()), ..Default::default() },
    ];
    for sort in sorts {
        all.sort_by(|a, b| compare(a, b, sort));
        for filter in &filters {
            let matches = |deployment: &&Deployment| {
                if *filter == DeploymentFilter::default() {
                    return true;
                }
                let Some(owner) = deployment.owner.as_ref().filter(|owner| owner.issuer == "local") else { return false };
                filter.issuer_subject.as_ref().is_none_or(|(_, subject)| owner.subject == *subject)
                    && (filter.organisation.is_none() || filter.organisation == owner.organisation)
            };
            let expected: Vec<_> = all.iter().filter(matches).cloned().collect();
            assert!(!expected.is_empty());
            for limit in [1, 7, 100] {
                assert_eq!(pages(&f.store, filter, sort, limit).await, expected, "{sort:?} {filter:?}");
            }
        }
    }
}

pub(crate) async fn beyond_the_end(f: Arc<Fixture>) {
    let store = &f.store;
    let page = |offset, limit| Page { offset, limit, sort: Vec::new() };
    let everything = DeploymentFilter::default();
    let list = async |page: Page| {
        let (found, total) = store.deployments(&everything, &page).await.unwrap();
        (found.len(), total)
    };
    assert_eq!(list(page(0, 10)).await, (0, 0));
    assert_eq!(list(page(10, 10)).await, (0, 0));
    for _ in 0..3 {
        made(store, &new(), &[]).await;
    }
    assert_eq!(list(page(0, 3)).await, (3, 3));
    assert_eq!(list(page(1, 1)).await, (1, 3));
    assert_eq!(list(page(3, 10)).await, (0, 3));
    assert_eq!(list(page(0, 0)).await, (0, 3));
    assert_eq!(list(page(u64::MAX, u32::MAX)).await, (0, 3));
    assert_eq!(list(page(2, u32::MAX)).await, (1, 3));
}
