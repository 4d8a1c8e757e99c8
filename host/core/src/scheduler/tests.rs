//! The scheduler on a real store, against a provider that fails and a process that dies in every place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::identity::{Role, Scheme};
use ostler_store::{Begin, Lease, NewOperation, OperationState, Options, Progress, Step, StepState};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Where a fault strikes: the step's kind, whether it is being undone, which fault, how often.
#[derive(Clone, Debug)]
struct Strike {
    kind: &'static str,
    undoing: bool,
    fault: fault::Fault,
    times: u32,
}

/// A provider of things with tokens, and what goes wrong with it.
struct Things {
    made: Mutex<BTreeMap<String, u32>>,
    strikes: Mutex<Vec<Strike>>,
    /// Says when the process is to die.
    dying: mpsc::UnboundedSender<()>,
    next: Vec<Vec<Step>>,
    resumes: bool,
}

impl Things {
    fn strike(&self, kind: &str, undoing: bool) -> Option<fault::Fault> {
        let mut strikes = self.strikes.lock();
        let strike = strikes.iter_mut().find(|s| s.kind == kind && s.undoing == undoing && s.times > 0)?;
        strike.times -= 1;
        Some(strike.fault)
    }

    async fn die(&self) -> ! {
        let _ = self.dying.send(());
        std::future::pending().await
    }

    async fn call(&self, work: &Work, position: usize, undoing: bool) -> Try {
        use fault::Fault::{CrashAfter, CrashBefore, ErrorAfter, ErrorBefore, Refused};
        let step = &work.steps[position];
        let error = |outcome| Try { outcome, output: None, error: Some(json!({ "message": "it broke" })) };
        let fault = self.strike(&step.kind, undoing);
        match fault {
            Some(Refused) => return error(Outcome::Failed),
            Some(ErrorBefore) => return error(Outcome::Retry(None)),
            Some(CrashBefore) => self.die().await,
            _ => {}
        }
        let token = step.token.clone().unwrap_or_default();
        // The provider knows tokens: what is made twice is made once.
        if undoing {
            self.made.lock().remove(&token)
        } else {
            self.made.lock().insert(token.clone(), 1)
        };
        match fault {
            Some(ErrorAfter) => error(Outcome::Retry(None)),
            Some(CrashAfter) => self.die().await,
            _ => Try::done(json!({ "token": token })),
        }
    }
}

#[async_trait]
impl Workflow for Things {
    fn kinds(&self) -> &'static [&'static str] {
        KINDS
    }

    fn policy(&self) -> Policy {
        Policy { tries: 3, first_pause: 1, longest_pause: 10, stuck_pause: 20 }
    }

    fn resumes(&self, _work: &Work) -> bool {
        self.resumes
    }

    async fn act(&self, work: &Work, position: usize) -> Try {
        self.call(work, position, false).await
    }

    async fn undo(&self, work: &Work, position: usize) -> Try {
        self.call(work, position, true).await
    }

    fn plan(&self, work: &Work) -> Plan {
        let attempt = work.progress.attempt as usize;
        match self.next.get(attempt.saturating_sub(1)) {
            Some(steps) if work.progress.phase == ostler_store::Phase::Back => {
                Plan::More { steps: steps.clone(), deadline: None }
            }
            _ => Plan::End,
        }
    }
}

const KINDS: &[&str] = &["reserve", "network", "left", "right", "join", "leave"];

fn step(attempt: u32, stage: u32, kind: &str) -> Step {
    let token = uuid::Uuid::now_v7().to_string();
    Step { cloud: Some("c".into()), token: Some(token), ..Step::new(attempt, stage, kind) }
}

fn attempt(number: u32) -> Vec<Step> {
    vec![step(number, 0, "network"), step(number, 1, "left"), step(number, 1, "right"), step(number, 2, "join")]
}

/// Names of the shapes of work, with the steps at first and those of further attempts.
fn shape(name: &str) -> (Vec<Step>, Vec<Vec<Step>>) {
    match name {
        "one after the other" => (vec![step(0, 0, "reserve"), step(0, 1, "network"), step(0, 2, "join")], vec![]),
        "two attempts" => ([vec![step(0, 0, "reserve")], attempt(1)].concat(), vec![attempt(1)]),
        _ => (vec![step(0, 0, "reserve"), Step { onward: true, ..step(0, 1, "leave") }, step(0, 2, "join")], vec![]),
    }
}

const SHAPES: [&str; 3] = ["one after the other", "two attempts", "no way back"];

/// A run of one piece of work, through as many lives of the process as it takes.
struct Run {
    work: Work,
    made: Vec<String>,
    lives: u32,
}

async fn run(shape_name: &str, strikes: &[Strike], resumes: bool) -> Run {
    let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
    let (steps, next) = shape(shape_name);
    let (dying, mut death) = mpsc::unbounded_channel();
    let things = Arc::new(Things { made: Mutex::default(), strikes: Mutex::new(strikes.to_vec()), dying, next, resumes });
    let new = NewOperation {
        cloud: "c".into(),
        kind: OperationKind::StartService,
        token: None,
        node_id: None,
        input: json!({}),
        input_hash: vec![1],
        driver_digest: None,
        actor: "ann".into(),
        lease: Some(Lease { owner: "life 1".into(), until: ostler_store::now() + LEASE }),
        idempotency: None,
    };
    let progress = Progress { attempt: steps.iter().map(|step| step.attempt).max().unwrap(), ..Progress::default() };
    let Begin::New(operation) = store.work_begin(&new, None, &progress, &steps, None).await.unwrap() else { panic!() };
    let mut lives = 1;
    let work = loop {
        let scheduler = Arc::new(Scheduler::owned(store.clone(), format!("life {lives}")));
        scheduler.install(HashMap::from([(OperationKind::StartService, Arc::clone(&things) as Arc<dyn Workflow>)]));
        let mut task = scheduler.start(store.work_get(&operation.id).await.unwrap().unwrap()).unwrap();
        tokio::select! {
            ended = &mut task => break ended.unwrap().unwrap(),
            _ = death.recv() => {
                task.abort();
                let _ = task.await;
                while death.try_recv().is_ok() {}
                lives += 1;
                let claimed = store.operation_claim(&format!("life {lives}"), i64::MAX, ostler_store::now() + LEASE, 9).await.unwrap();
                assert_eq!(claimed.len(), 1);
            }
        }
    };
    let recorded = store.work_get(&operation.id).await.unwrap().unwrap();
    assert_eq!(recorded, as_recorded(&work, &recorded), "what is returned is what is recorded");
    let made = things.made.lock().keys().cloned().collect();
    Run { work, made, lives }
}

/// What is returned does not know when it was written down.
fn as_recorded(work: &Work, recorded: &Work) -> Work {
    let mut work = work.clone();
    work.operation.updated_at = recorded.operation.updated_at;
    work
}

fn tokens(work: &Work, state: StepState) -> Vec<String> {
    let mut tokens: Vec<_> = work.steps.iter().filter(|s| s.state == state).filter_map(|s| s.token.clone()).collect();
    tokens.sort();
    tokens
}

/// Each step × each fault × once and twice and for good × doing and undoing, in each shape: in the end the provider has what the
/// record says, which is all of it or nothing.
#[tokio::test]
async fn every_step_breaks_in_every_way() {
    let mut runs = 0;
    for name in SHAPES {
        for kind in KINDS {
            for fault in fault::Fault::ALL {
                for (times, undoing) in [(1, false), (2, false), (9, false), (1, true), (2, true), (9, true)] {
                    for resumes in [true, false] {
                        let mut strikes = vec![Strike { kind, undoing, fault, times }];
                        if undoing {
                            // So that there is something to be undone.
                            strikes.push(Strike { kind: "join", undoing: false, fault: fault::Fault::Refused, times: 1 });
                        }
                        let run = run(name, &strikes, resumes).await;
                        let what = format!("{name}: {strikes:?}, resumes: {resumes}: {:?}", run.work);
                        runs += 1;
                        assert_eq!(run.made, tokens(&run.work, StepState::Done), "{what}");
                        match run.work.operation.state {
                            OperationState::Failed => {
                                assert!(run.made.is_empty(), "{what}");
                                let error = run.work.operation.error.clone().unwrap();
                                let named = error["step"].as_str().is_some_and(|step| KINDS.contains(&step));
                                let told = error["message"] == "interrupted before it had succeeded";
                                assert!(named || (told && !resumes && run.lives > 1), "{what}: {error}");
                            }
                            OperationState::Succeeded => assert!(!run.made.is_empty(), "{what}"),
                            other => panic!("{what}: {other:?}"),
                        }
                    }
                }
            }
        }
    }
    assert_eq!(runs, SHAPES.len() * KINDS.len() * 5 * 6 * 2);
}

#[tokio::test]
async fn what_somebody_wants_of_running_work() {
    let (who, ann) = (Principal::host(), Principal::new("ann", vec![Role::Customer], Scheme::Token));
    for request in [Request::Cancel, Request::Retry, Request::Abandon] {
        let store = Store::open("sqlite::memory:", &Options::default()).await.unwrap();
        let (dying, _death) = mpsc::unbounded_channel();
        // It waits for a time that nobody lives to see.
        let steps = vec![step(0, 0, "reserve"), Step { wake_at: i64::MAX, ..step(0, 1, "join") }];
        let things = Things { made: Mutex::default(), strikes: Mutex::default(), dying, next: vec![], resumes: true };
        let things = Arc::new(things);
        let new = NewOperation {
            cloud: "c".into(),
            kind: OperationKind::StartService,
            token: None,
            node_id: None,
            input: json!({}),
            input_hash: vec![],
            driver_digest: None,
            actor: "ann".into(),
            lease: Some(Lease { owner: "me".into(), until: ostler_store::now() + LEASE }),
            idempotency: None,
        };
        let Begin::New(operation) = store.work_begin(&new, None, &Progress::default(), &steps, None).await.unwrap() else {
            panic!()
        };
        let scheduler = Arc::new(Scheduler::owned(store.clone(), "me".into()));
        scheduler.install(HashMap::from([(OperationKind::StartService, Arc::clone(&things) as Arc<dyn Workflow>)]));
        let task = scheduler.start(store.work_get(&operation.id).await.unwrap().unwrap()).unwrap();
        for refused in [
            scheduler.order(&ann, &operation.id, request).await.map(drop),
            scheduler.show(&ann, &operation.id).await.map(drop),
            scheduler.list(&ann, WorkFilter::All, None, 9).await.map(drop),
        ] {
            assert!(matches!(refused, Err(Error::Forbidden)), "{refused:?}");
        }
        // A step that is planned for later is not begun by asking for it; it is cancelled, or given up as it is.
        scheduler.order(&who, &operation.id, request).await.unwrap();
        if request == Request::Retry {
            scheduler.request(&operation.id, Request::Cancel).await.unwrap();
        }
        let work = task.await.unwrap().unwrap();
        let made = things.made.lock().len();
        match request {
            Request::Abandon => {
                assert_eq!((work.operation.state, made), (OperationState::Abandoned, tokens(&work, StepState::Done).len()));
            }
            _ => assert_eq!((work.operation.state, made), (OperationState::Failed, 0)),
        }
        assert!(matches!(scheduler.order(&who, &operation.id, request).await, Err(Error::Ended(_))));
        assert!(matches!(scheduler.order(&who, "none", request).await, Err(Error::NoOperation(_))));
        assert!(matches!(scheduler.show(&who, "none").await, Err(Error::NoOperation(_))));
        let recorded = scheduler.show(&who, &operation.id).await.unwrap();
        assert_eq!(recorded, as_recorded(&work, &recorded));
        assert_eq!(scheduler.list(&who, WorkFilter::Open, None, 9).await.unwrap().len(), 0);
        scheduler.stop().await;
    }
}
