#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! On real sockets of the loopback, with the real store. Instances are played, and are on this host; each test listens at an
//! address of its own.

mod life;
mod rights;
mod traffic;

use super::*;
use crate::identity::{Account, Role, Scheme};
use ostler_store::Options;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const CLOUD: &str = "lab";
const MIB: usize = 1 << 20;

/// An instance that is played.
#[derive(Clone)]
struct Played {
    cloud: &'static str,
    owner: i64,
    address: Option<IpAddr>,
}

/// Instances that are played.
#[derive(Default)]
struct House {
    instances: Mutex<HashMap<i64, Played>>,
    /// How often an address was asked for.
    asked: AtomicUsize,
}

impl House {
    fn put(&self, id: i64, owner: i64, address: Option<&str>) {
        let address = address.map(|address| address.parse().unwrap());
        self.instances.lock().insert(id, Played { cloud: CLOUD, owner, address });
    }

    fn remove(&self, id: i64) {
        self.instances.lock().remove(&id);
    }
}

#[async_trait::async_trait]
impl Targets for House {
    async fn visible(&self, who: &Principal, cloud: &str, id: i64) -> Result<Target, Error> {
        let all = self.all(who, cloud).await?;
        all.into_iter().find(|target| target.id == id).ok_or(Error::NoInstance(id))
    }

    async fn all(&self, who: &Principal, cloud: &str) -> Result<Vec<Target>, Error> {
        let instances = self.instances.lock();
        let own = |played: &Played| who.account.as_ref().is_some_and(|account| account.number == played.owner);
        let sees = |played: &Played| played.cloud == cloud && (own(played) || who.require(Permission::SeeInstances).is_ok());
        let target = |(id, played): (&i64, &Played)| Target {
            id: *id,
            name: format!("instance-{id}"),
            owner: played.owner,
            address: played.address,
        };
        Ok(instances.iter().filter(|(_, played)| sees(played)).map(target).collect())
    }

    async fn address(&self, id: i64) -> Result<Option<IpAddr>, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // Whoever else asks in the meantime should not have to.
        tokio::task::yield_now().await;
        self.instances.lock().get(&id).map(|played| played.address).ok_or(Error::NoInstance(id))
    }
}

/// A host that runs.
struct Host {
    forwarding: Arc<Forwarding>,
    listen: IpAddr,
    running: Option<JoinHandle<()>>,
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// Quick, and with instances on this host.
fn tuning() -> Tuning {
    Tuning { here: true, address: Duration::ZERO, poll: Duration::from_millis(5), ..Tuning::default() }
}

/// An address of the loopback that no other test has.
fn somewhere() -> IpAddr {
    let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
    IpAddr::from([127, 1 + a % 254, b, 1 + c % 254])
}

fn settings(ports: RangeInclusive<u16>) -> Settings {
    Settings { listen: somewhere(), ports, connections: 8 }
}

async fn memory() -> Store {
    Store::open("sqlite::memory:", &Options::default()).await.unwrap()
}

impl Host {
    fn start(house: &Arc<House>, store: &Store, settings: Settings, tuning: Tuning) -> Self {
        let listen = settings.listen;
        let forwarding = Forwarding::with(Arc::<House>::clone(house), store.clone(), settings, tuning);
        let running = Some(tokio::spawn(Arc::clone(&forwarding).run()));
        Self { forwarding, listen, running }
    }

    /// One host with an instance of ann's here, of the number 1.
    async fn with_one_instance(tuning: Tuning) -> (Self, Arc<House>) {
        let house = Arc::new(House::default());
        house.put(1, 1, Some("127.0.0.1"));
        (Self::start(&house, &memory().await, settings(7000..=7009), tuning), house)
    }

    /// The process ends.
    async fn stop(mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        let _ = running.await;
    }

    async fn make(&self, new: NewRule) -> Result<Rule, Error> {
        self.forwarding.create(&guest(1), new, None).await
    }

    async fn connect(&self, rule: &Rule) -> std::io::Result<TcpStream> {
        TcpStream::connect((self.listen, rule.port_from)).await
    }

    /// What the instance at the end of a rule says of itself.
    async fn ask(&self, rule: &Rule) -> std::io::Result<String> {
        let mut answer = String::new();
        let mut connection = self.connect(rule).await?;
        connection.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn guest(number: i64) -> Principal {
    principal(number, Role::Guest)
}

fn principal(number: i64, role: Role) -> Principal {
    let account = Some(Account { id: number.to_string(), number });
    Principal { account, ..Principal::new(format!("user-{number}"), vec![role], Scheme::Basic) }
}

/// For a rule to this port of instance 1.
fn to(port_to: u16) -> NewRule {
    NewRule { cloud: CLOUD.into(), instance: 1, protocol: Protocol::Tcp, port_to, port_from: None }
}

fn key(key: &str) -> Option<Key> {
    Some(Key { scope: "test", key: key.into() })
}

/// Listens as an instance, and has each connection handled.
async fn instance<F>(address: &str, handle: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    port
}

/// An instance that says its name.
async fn named(address: &str, name: &'static str) -> u16 {
    instance(address, move |mut stream| async move { stream.write_all(name.as_bytes()).await }).await
}

/// An instance that sends back what it gets.
async fn echo() -> u16 {
    let handle = |mut stream: TcpStream| async move {
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.map(|_| ())
    };
    instance("127.0.0.1:0", handle).await
}

/// Sends something there and back.
async fn round_trip(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping").await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"ping");
    Ok(())
}

/// How a connection ended that should not have got anywhere.
async fn turned_away(stream: &mut TcpStream) -> bool {
    let mut nothing = [0];
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut nothing)).await;
    matches!(read, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset)
}

/// Waits until it is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
