//! A driver that breaks harms nobody but its own cloud, and that not for long.

use ostler_tests::provider::{Answer, Provider};
use ostler_tests::{Client, PATIENCE, Server, Setup, components, eventually, quantile, turn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `limits.call_seconds` of all clouds here.
const DEADLINE: Duration = Duration::from_secs(1);
/// What the host may add to it.
const GRACE: Duration = Duration::from_millis(250);

/// A cloud of the dummy whose `list-nodes` is broken like this.
fn broken(name: &str, fault: &str, more: &str) -> String {
    format!(
        "[clouds.{name}]\ndriver = \"dummy\"\nlimits = {{ call_seconds = 1 }}\n{more}\n\
         [clouds.{name}.config]\nfaults = {{ list-nodes = {{ {fault} }} }}\n"
    )
}

const FAULTS: &[(&str, u16, &str)] = &[
    ("trap", 502, "crashed"),
    ("stack", 502, "crashed"),
    ("loop", 504, "deadline"),
    ("hang", 504, "deadline"),
    ("memory", 502, "limit"),
    ("huge", 502, "limit"),
    ("endless-pages", 502, "contract"),
];

async fn contained(server: &Server, cloud: &str, status: u16, outcome: &str) {
    let started = Instant::now();
    let reply = server.get(&format!("/api/v2/nodes/{cloud}")).await;
    let took = started.elapsed();
    assert_eq!(reply.status, status, "{cloud}: {}", reply.text());
    assert_eq!(reply.header("content-type"), "application/problem+json", "{cloud}");
    assert!(took <= DEADLINE + GRACE, "{cloud} took {took:?}");
    println!("{cloud}: {outcome} after {took:?}");
    let cloud_label = format!("cloud=\"{cloud}\"");
    let labels = ["ostler_driver_calls_total", cloud_label.as_str(), "operation=\"list-nodes\""];
    // The pages of an endless list are calls that went well, each.
    if outcome != "contract" {
        let outcome = format!("outcome=\"{outcome}\"");
        let counted = server.metric(&[labels[0], labels[1], labels[2], &outcome]).await;
        assert!(counted >= 1.0, "{cloud}: no {outcome} is counted");
    }
    let next = server.get(&format!("/api/v2/sizes/{cloud}")).await;
    assert_eq!(next.status, 200, "the next call of {cloud}: {}", next.text());
}

#[tokio::test]
async fn each_fault_ends_as_a_typed_error_in_time_and_the_next_call_works() {
    let turn = turn::alone().await;
    let mut config = String::new();
    for instances in ["warm", "fresh"] {
        for (fault, ..) in FAULTS {
            config += &broken(&format!("{fault}-{instances}"), &format!("{fault} = 1"), &format!("instances = \"{instances}\""));
        }
    }
    let server = Setup::configured(format!("{config}[api.crs4]\nopen = true\n")).alone().start().await;
    let before = server.memory();
    for instances in ["warm", "fresh"] {
        for (fault, status, outcome) in FAULTS {
            // Twice: the second time there are instances that were left by the first.
            for _ in 0..2 {
                contained(&server, &format!("{fault}-{instances}"), *status, outcome).await;
            }
        }
    }
    let (after, limit) = (server.memory(), before + (192 << 20));
    assert!(after < limit, "from {before} to {after} bytes");
    drop((server, turn));
}

#[tokio::test]
async fn a_response_body_that_never_ends() {
    let turn = turn::alone().await;
    let endless = Arc::new(AtomicBool::new(false));
    let decide = Arc::clone(&endless);
    let provider = Provider::start(move |_| match decide.load(Ordering::SeqCst) {
        true => Answer::Endless,
        false => Answer::Json(200, r#"[{"id": "1", "name": "one"}]"#.into()),
    })
    .await;
    let origin = provider.origin();
    let cloud = |name: &str, answer_mb: u32| {
        format!(
            "[clouds.{name}]\ndriver = \"probe\"\ngrants = {{ http = [\"{origin}\"] }}\nconfig = {{ url = \"{origin}/nodes\" }}\n\
             limits = {{ call_seconds = 1, answer_mb = {answer_mb}, memory_mb = 64 }}\n"
        )
    };
    let config = format!("{}{}[api.crs4]\nopen = true\n", cloud("small", 1), cloud("large", 1024));
    let server = Setup::configured(config).driver("probe", components::probe()).alone().start().await;
    for cloud in ["small", "large"] {
        server.serving(cloud).await;
        for _ in 0..2 {
            endless.store(true, Ordering::SeqCst);
            let started = Instant::now();
            let reply = server.get(&format!("/api/v2/nodes/{cloud}")).await;
            let took = started.elapsed();
            assert!(matches!(reply.status, 502 | 504), "{cloud}: {} {}", reply.status, reply.text());
            assert_eq!(reply.header("content-type"), "application/problem+json");
            assert!(took <= DEADLINE + GRACE, "{cloud} took {took:?}");
            println!("{cloud}: {} after {took:?}", reply.text());
            endless.store(false, Ordering::SeqCst);
            let next = server.get(&format!("/api/v2/nodes/{cloud}")).await;
            assert_eq!(next.json()["nodes"][0]["name"], "one", "{cloud}: {}", next.text());
        }
    }
    drop((server, turn));
}

/// Times of the answers of a healthy cloud to eight connections, as fast as they come.
async fn load(server: &Server, time: Duration) -> Vec<Duration> {
    let end = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = Client::new(server.address());
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let started = Instant::now();
                let reply = client.get("/api/v1/nodes/healthy").await;
                assert_eq!((reply.status, reply.body.len()), (200, 683));
                times.push(started.elapsed());
            }
            times
        });
    }
    tasks.join_all().await.concat()
}

/// Calls a broken cloud again and again; in between one that works, so that the breaker does not spare the machine.
async fn spin(server: &Server, cloud: &str, stop: &AtomicBool) -> usize {
    let mut client = server.client();
    let mut calls = 0;
    while !stop.load(Ordering::SeqCst) {
        let reply = client.get(&format!("/api/v2/nodes/{cloud}")).await;
        assert_eq!(reply.status, 504, "{}", reply.text());
        assert_eq!(client.get(&format!("/api/v2/sizes/{cloud}")).await.status, 200);
        calls += 1;
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_hardly_notices() {
    /// Below this the machine's own noise decides.
    const FLOOR: Duration = Duration::from_millis(2);
    const ROUNDS: usize = 5;
    let turn = turn::alone().await;
    let spinning: String = (1..=4).map(|number| broken(&format!("spins{number}"), "loop = 1", "")).collect();
    let config = format!("{spinning}[clouds.healthy]\ndriver = \"dummy\"\n[api.crs4]\nopen = true\n");
    let server = Setup::configured(config).alone().start().await;
    load(&server, Duration::from_millis(300)).await;
    let (mut quiet, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        quiet.push(quantile(&mut load(&server, Duration::from_millis(800)).await, 0.99));
        let stop = AtomicBool::new(false);
        let work = async {
            // The spinning calls are under way before anything is measured.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let times = load(&server, Duration::from_millis(900)).await;
            stop.store(true, Ordering::SeqCst);
            times
        };
        let [one, two, three, four] = ["spins1", "spins2", "spins3", "spins4"].map(|cloud| spin(&server, cloud, &stop));
        let (mut times, a, b, c, d) = futures::join!(work, one, two, three, four);
        assert!([a, b, c, d].iter().all(|calls| *calls > 0), "all four were at work");
        loaded.push(quantile(&mut times, 0.99));
    }
    println!("p99 quiet {quiet:?}, loaded {loaded:?}");
    // The best rounds: whatever else the machine does only adds to them.
    let best = |rounds: Vec<Duration>| rounds.into_iter().min().expect("there were rounds");
    let (quiet, loaded) = (best(quiet), best(loaded));
    assert!(
        loaded <= 2 * quiet.max(FLOOR),
        "p99 of a neighbour: {quiet:?} when it is quiet, {loaded:?} beside four endless loops"
    );
    drop((server, turn));
}

#[tokio::test]
async fn a_cloud_that_fails_again_and_again_is_given_a_rest() {
    let config = format!("{}[clouds.healthy]\ndriver = \"dummy\"\n[api.crs4]\nopen = true\n", broken("traps", "trap = 1", ""));
    let server = Setup::configured(config).start().await;
    let mut client = server.client();
    let state = async || server.as_operator("GET", "/ostler/v1/clouds/traps", "").await.json();
    for _ in 0..5 {
        assert_eq!(client.get("/api/v2/nodes/traps").await.status, 502);
    }
    let refused = client.get("/api/v2/sizes/traps").await;
    assert_eq!(refused.status, 503, "all of its calls: {}", refused.text());
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{:?}", refused.headers);
    let refused = client.get("/api/v1/sizes/traps").await;
    assert_eq!((refused.status, refused.json()["status_code"].as_u64()), (503, Some(503)), "{}", refused.text());
    assert_eq!(state().await["state"], "resting");
    assert_eq!(client.get("/api/v2/sizes/healthy").await.status, 200, "others go on");
    eventually("the cloud comes back by itself", PATIENCE, async || {
        (client.get("/api/v2/sizes/traps").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(state().await["state"], "serving");
    assert_eq!(client.get("/api/v2/nodes/traps").await.status, 502, "calls reach the driver again");
}

#[tokio::test]
async fn faults_come_by_the_seed_and_the_calls_between_them_work() {
    let config = format!(
        "{}seed = 3\n{}seed = 3\n{}seed = 4\n[api.crs4]\nopen = true\n",
        broken("first", "trap = 0.4", ""),
        broken("second", "trap = 0.4", ""),
        broken("third", "trap = 0.4", ""),
    );
    let server = Setup::configured(config).start().await;
    let mut sequences = Vec::new();
    for cloud in ["first", "second", "third"] {
        let mut sequence = Vec::new();
        for _ in 0..24 {
            let status = server.get(&format!("/api/v2/nodes/{cloud}")).await.status;
            assert!(matches!(status, 200 | 502), "{cloud}: {status}");
            sequence.push(status);
            assert_eq!(server.get(&format!("/api/v2/sizes/{cloud}")).await.status, 200);
        }
        assert!(sequence.contains(&200) && sequence.contains(&502), "{cloud}: {sequence:?}");
        sequences.push(sequence);
    }
    assert_eq!(sequences[0], sequences[1], "the same seed");
    assert_ne!(sequences[0], sequences[2], "another seed");
}
