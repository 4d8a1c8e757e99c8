//! One configured cloud: the version of its driver that serves now, its instances, and the policy that every call passes.

use crate::breaker::Breaker;
use crate::call::{self, Instance, OPERATIONS, Request, Response};
use crate::capabilities::state::StateError;
use crate::component::Package;
use crate::engine::Runtime;
use crate::error::{Error, ErrorKind};
use crate::flight::Flight;
use crate::guest::CloudContext;
use crate::model::{Action, Capacity, Description, Health, Image, ImageSpec, Node, NodeSpec, Page, Sample, Size};
use crate::settings::{CloudSettings, Instances};
use arc_swap::{ArcSwap, ArcSwapOption};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Instant;
use tokio::sync::Semaphore;

/// Items of the longest listing.
const MAX_ITEMS: usize = 200_000;
/// Calls in a row that left the first poll unfinished, after which a cloud counts as slow.
const SLOW: u32 = 4;

/// One version of a driver at work for one cloud. Calls hold it, so that a swap lets them finish where they began.
pub(crate) struct Generation {
    pub(crate) package: Arc<Package>,
    #[allow(clippy::vec_box, reason = "handed on by every call, and large")]
    idle: Mutex<Vec<Box<Instance>>>,
    /// Each version is judged by its own failures: a candidate that fails when probed says nothing about the one that serves, and
    /// a repaired one does not wait for what the broken one did.
    breaker: Breaker,
    /// What it said of itself for this cloud when it was probed: answers are shown with the description of whoever gave them.
    description: OnceLock<Arc<Description>>,
}

impl Generation {
    pub(crate) fn new(package: Arc<Package>) -> Arc<Self> {
        Arc::new(Self { package, idle: Mutex::new(Vec::new()), breaker: Breaker::new(), description: OnceLock::new() })
    }

    pub(crate) fn describe(&self, description: Arc<Description>) {
        // A generation is probed once.
        let _ = self.description.set(description);
    }

    fn take(&self) -> Option<Box<Instance>> {
        self.idle.lock().pop()
    }

    fn give(&self, instance: Box<Instance>, keep: usize) {
        let mut idle = self.idle.lock();
        if idle.len() < keep {
            idle.push(instance);
        }
    }
}

/// What is known of a cloud's driver.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// What `describe` said of the version that serves now.
    pub description: Option<Arc<Description>>,
    /// What the latest `check` said.
    pub health: Option<Result<Health, Error>>,
    /// Why nothing could be loaded, where that is so.
    pub refused: Option<String>,
}

/// A driver's answer, and who gave it.
#[derive(Clone, Debug)]
pub struct Made<T> {
    /// What it answered.
    pub value: T,
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// What the driver says of itself.
    pub driver: Arc<Description>,
}

/// All items of a kind, and who listed them.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// The items, in the provider's order.
    pub items: Vec<T>,
    /// What the driver says of itself.
    pub driver: Arc<Description>,
}

impl<T> std::ops::Deref for Listing<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

/// One configured cloud.
pub struct Cloud {
    context: Arc<CloudContext>,
    runtime: Arc<Runtime>,
    generation: ArcSwapOption<Generation>,
    status: ArcSwap<Status>,
    permits: Arc<Semaphore>,
    rate: Option<DefaultDirectRateLimiter>,
    nodes: Flight<Listing<Node>>,
    images: Flight<Listing<Image>>,
    sizes: Flight<Listing<Size>>,
    slow: AtomicU32,
    meters: Vec<Meter>,
    breaker_open: Gauge,
}

struct Meter {
    ok: Counter,
    seconds: Histogram,
}

impl Cloud {
    pub(crate) fn new(runtime: Arc<Runtime>, context: Arc<CloudContext>) -> Self {
        let name = context.settings.name.clone();
        let limits = &context.settings.limits;
        let meter = |operation: &'static str| Meter {
            ok: metrics::counter!("ostler_driver_calls_total", "cloud" => name.clone(), "operation" => operation, "outcome" => "ok"),
            seconds: metrics::histogram!("ostler_driver_call_seconds", "cloud" => name.clone(), "operation" => operation),
        };
        let rate = limits.rate.and_then(rate_limiter);
        Self {
            permits: Arc::new(Semaphore::new(limits.concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            rate,
            meters: OPERATIONS.iter().copied().map(meter).collect(),
            breaker_open: metrics::gauge!("ostler_driver_breaker_open", "cloud" => name.clone()),
            generation: ArcSwapOption::empty(),
            status: ArcSwap::default(),
            nodes: Flight::new(),
            images: Flight::new(),
            sizes: Flight::new(),
            slow: AtomicU32::new(SLOW),
            context,
            runtime,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.context.settings.name
    }

    /// How it is configured.
    pub fn settings(&self) -> &CloudSettings {
        &self.context.settings
    }

    /// What is known of its driver.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// What the driver says of itself.
    pub fn description(&self) -> Result<Arc<Description>, Error> {
        self.status.load().description.clone().ok_or_else(|| self.not_loaded())
    }

    /// The component that serves now.
    pub fn package(&self) -> Option<Arc<Package>> {
        self.generation.load().as_ref().map(|generation| Arc::clone(&generation.package))
    }

    /// Whether calls are refused at present because of earlier failures.
    pub fn is_resting(&self) -> bool {
        self.generation.load().as_ref().is_some_and(|generation| generation.breaker.is_open(Instant::now()))
    }

    fn not_loaded(&self) -> Error {
        let status = self.status.load();
        let why = status.refused.as_deref().unwrap_or("no driver of that name is installed");
        let settings = self.settings();
        Error::new(ErrorKind::NotLoaded, format!("cloud `{}` has no driver `{}`: {why}", settings.name, settings.driver))
    }

    fn current(&self) -> Result<Arc<Generation>, Error> {
        self.generation.load_full().ok_or_else(|| self.not_loaded())
    }

    fn described(&self, generation: &Generation) -> Result<Arc<Description>, Error> {
        generation.description.get().cloned().ok_or_else(|| self.not_loaded())
    }

    /// Lets another version serve from now on; calls under way finish on the one before.
    pub(crate) fn serve(&self, generation: Option<Arc<Generation>>, status: Status) {
        self.status.store(Arc::new(status));
        self.generation.store(generation);
        self.changed();
    }

    /// What was listed before, or is being listed, is not the truth any more.
    fn changed(&self) {
        self.nodes.invalidate();
        self.images.invalidate();
        self.sizes.invalidate();
    }

    /// Drops instances that have been idle for long.
    pub(crate) fn tidy(&self, now: Instant) {
        if let Some(generation) = &*self.generation.load() {
            let idle = self.settings().limits.idle;
            let mut kept = generation.idle.lock();
            let (keep, old): (Vec<_>, Vec<_>) = kept.drain(..).partition(|i| now.saturating_duration_since(i.idle_since) < idle);
            *kept = keep;
            drop(kept);
            drop(old);
            self.breaker_open.set(if generation.breaker.is_open(now) { 1.0 } else { 0.0 });
        }
    }

    /// One call on one version, past breaker, rate and concurrency limits.
    async fn call_on(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        request: Request,
        until: Instant,
    ) -> Result<Response, Error> {
        let started = Instant::now();
        generation.breaker.admit(started)?;
        self.attend(until).await?;
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout_at(until.into(), Arc::clone(&self.permits).acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                _ => return Err(self.saturated()),
            },
        };
        let (index, changes) = (request.index(), request.changes());
        let (cloud, generation) = (Arc::clone(self), Arc::clone(generation));
        let warm = generation.take();
        // Owns everything that it needs, so that it runs to its end even when nobody waits for it any more.
        let mut work = Box::pin(async move {
            let pre = Arc::clone(&generation.package.pre);
            let runtime = Arc::clone(&cloud.runtime);
            let (result, instance) = call::run(runtime, Arc::clone(&cloud.context), pre, warm, request, until).await;
            if let Some(mut instance) = instance
                && cloud.settings().instances == Instances::Warm
            {
                instance.idle_since = Instant::now();
                generation.give(instance, cloud.settings().limits.warm);
            }
            cloud.record(&generation.breaker, index, started, result.as_ref().map(drop));
            if changes {
                cloud.changed();
            }
            drop(permit);
            result
        });
        if self.is_quick() {
            // Most calls of a quick driver end within the first poll: no other thread is woken for them. One that does not, because
            // it waits or because it used up a tick of processor time, goes on where it cannot hold up the server.
            if let Poll::Ready(result) = futures::poll!(work.as_mut()) {
                self.slow.store(0, Ordering::Relaxed);
                return result;
            }
            self.slow.fetch_add(1, Ordering::Relaxed);
        } else if self.slow.fetch_add(1, Ordering::Relaxed) >= SLOW + 16 {
            // Now and then it may show whether it has become quick.
            self.slow.store(SLOW - 1, Ordering::Relaxed);
        }
        let name = OPERATIONS[index];
        self.runtime
            .workers()
            .spawn(work)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Crashed, format!("{name}: the call broke down in the host"))))
    }

    fn is_quick(&self) -> bool {
        self.slow.load(Ordering::Relaxed) < SLOW
    }

    /// Waits for the cloud's rate limit.
    async fn attend(&self, until: Instant) -> Result<(), Error> {
        let Some(rate) = &self.rate else { return Ok(()) };
        tokio::time::timeout_at(until.into(), rate.until_ready()).await.map_err(|_| {
            let settings = self.settings();
            let allowed = settings.limits.rate.unwrap_or_default();
            Error::new(
                ErrorKind::Unavailable,
                format!("cloud `{}`: more calls than its rate admits (limits.rate = {allowed})", settings.name),
            )
        })
    }

    fn saturated(&self) -> Error {
        let settings = self.settings();
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "cloud `{}`: too many calls wait already (limits.concurrency = {})",
                settings.name, settings.limits.concurrency
            ),
        )
    }

    fn record(&self, breaker: &Breaker, index: usize, started: Instant, result: Result<(), &Error>) {
        let now = Instant::now();
        breaker.record(result, now);
        let Some(meter) = self.meters.get(index) else { return };
        meter.seconds.record((now - started).as_secs_f64());
        match result {
            Ok(()) => meter.ok.increment(1),
            Err(error) => {
                let (operation, outcome) = (OPERATIONS[index], error.kind.as_str());
                let cloud = self.name().to_owned();
                metrics::counter!("ostler_driver_calls_total", "cloud" => cloud, "operation" => operation, "outcome" => outcome)
                    .increment(1);
                if error.kind.is_fault() {
                    tracing::warn!(cloud = self.name(), operation, outcome, error = %error, "a driver call failed");
                    self.breaker_open.set(if breaker.is_open(now) { 1.0 } else { 0.0 });
                }
            }
        }
    }

    async fn call(self: &Arc<Self>, request: Request) -> Result<Response, Error> {
        let generation = self.current()?;
        self.call_on(&generation, request, Instant::now() + self.settings().limits.call).await
    }

    /// A call with who answered it.
    async fn call_whoever_serves(self: &Arc<Self>, request: Request) -> Result<Made<Response>, Error> {
        let generation = self.current()?;
        let until = Instant::now() + self.settings().limits.call;
        let value = self.call_on(&generation, request, until).await?;
        Ok(Made { value, digest: generation.package.digest.clone(), driver: self.described(&generation)? })
    }

    /// All pages of a listing, from one version of the driver.
    async fn pages<T>(
        self: Arc<Self>,
        request: fn(Option<String>) -> Request,
        page: fn(Response) -> Option<Page<T>>,
    ) -> Result<Listing<T>, Error> {
        let generation = self.current()?;
        let driver = self.described(&generation)?;
        let until = Instant::now() + self.settings().limits.call;
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let question = request(cursor.clone());
            let name = question.name();
            let answer = self.call_on(&generation, question, until).await?;
            let Some(answer) = page(answer) else { return Err(mismatch(name)) };
            if items.is_empty() {
                items = answer.items;
            } else {
                items.extend(answer.items);
            }
            if answer.next.is_none() {
                return Ok(Listing { items, driver });
            }
            let endless = if items.len() > MAX_ITEMS {
                Some(format!("{name}: more than {MAX_ITEMS} items"))
            } else if answer.next == cursor {
                Some(format!("{name}: a page names itself as the next one"))
            } else if Instant::now() >= until {
                Some(format!("{name}: the pages did not end in time"))
            } else {
                None
            };
            if let Some(message) = endless {
                let error = Error::new(ErrorKind::Contract, message);
                generation.breaker.record(Err(&error), Instant::now());
                return Err(error);
            }
            cursor = answer.next;
        }
    }

    /// All nodes.
    pub async fn list_nodes(self: &Arc<Self>) -> Result<Arc<Listing<Node>>, Error> {
        let work = Arc::clone(self).pages(Request::ListNodes, |r| if let Response::Nodes(page) = r { Some(page) } else { None });
        self.nodes.list(self.is_quick(), self.settings().limits.list_ttl, work).await
    }

    /// All images.
    pub async fn list_images(self: &Arc<Self>) -> Result<Arc<Listing<Image>>, Error> {
        let work =
            Arc::clone(self).pages(Request::ListImages, |r| if let Response::Images(page) = r { Some(page) } else { None });
        self.images.list(self.is_quick(), self.settings().limits.list_ttl, work).await
    }

    /// All sizes.
    pub async fn list_sizes(self: &Arc<Self>) -> Result<Arc<Listing<Size>>, Error> {
        let work = Arc::clone(self).pages(Request::ListSizes, |r| if let Response::Sizes(page) = r { Some(page) } else { None });
        self.sizes.list(self.is_quick(), self.settings().limits.list_ttl, work).await
    }

    /// One node.
    pub async fn get_node(self: &Arc<Self>, id: &str) -> Result<Node, Error> {
        Ok(self.look_up_node(id).await?.value)
    }

    /// One node, and who told of it.
    pub async fn look_up_node(self: &Arc<Self>, id: &str) -> Result<Made<Node>, Error> {
        let found = self.call_whoever_serves(Request::GetNode(id.to_owned())).await?;
        match found.value {
            Response::Node(value) => Ok(Made { value, digest: found.digest, driver: found.driver }),
            _ => Err(mismatch("get-node")),
        }
    }

    /// The node with this token, if there is one.
    pub async fn find_node(self: &Arc<Self>, token: &str) -> Result<Option<Node>, Error> {
        match self.call(Request::FindNode(token.to_owned())).await? {
            Response::MaybeNode(node) => Ok(node),
            _ => Err(mismatch("find-node")),
        }
    }

    /// Orders a node. Call it only after the intent has been recorded.
    pub async fn create_node(self: &Arc<Self>, token: &str, spec: NodeSpec) -> Result<Made<Node>, Error> {
        let made = self.call_whoever_serves(Request::CreateNode(token.to_owned(), spec)).await?;
        match made.value {
            Response::Node(value) => Ok(Made { value, digest: made.digest, driver: made.driver }),
            _ => Err(mismatch("create-node")),
        }
    }

    /// Destroys a node.
    pub async fn destroy_node(self: &Arc<Self>, id: &str) -> Result<Made<()>, Error> {
        let made = self.call_whoever_serves(Request::DestroyNode(id.to_owned())).await?;
        Ok(Made { value: (), digest: made.digest, driver: made.driver })
    }

    /// Starts an action on a node.
    pub async fn act(self: &Arc<Self>, id: &str, action: Action) -> Result<(), Error> {
        self.call_whoever_serves(Request::Act(id.to_owned(), action)).await.map(drop)
    }

    /// One image.
    pub async fn get_image(self: &Arc<Self>, id: &str) -> Result<Image, Error> {
        match self.call(Request::GetImage(id.to_owned())).await? {
            Response::Image(image) => Ok(image),
            _ => Err(mismatch("get-image")),
        }
    }

    /// The image with this token, if there is one.
    pub async fn find_image(self: &Arc<Self>, token: &str) -> Result<Option<Image>, Error> {
        match self.call(Request::FindImage(token.to_owned())).await? {
            Response::MaybeImage(image) => Ok(image),
            _ => Err(mismatch("find-image")),
        }
    }

    /// Starts to import an image.
    pub async fn import_image(self: &Arc<Self>, token: &str, spec: ImageSpec) -> Result<Made<Image>, Error> {
        let made = self.call_whoever_serves(Request::ImportImage(token.to_owned(), spec)).await?;
        match made.value {
            Response::Image(value) => Ok(Made { value, digest: made.digest, driver: made.driver }),
            _ => Err(mismatch("import-image")),
        }
    }

    /// Deletes an image.
    pub async fn delete_image(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        self.call_whoever_serves(Request::DeleteImage(id.to_owned())).await.map(drop)
    }

    /// What the platform has.
    pub async fn capacity(self: &Arc<Self>) -> Result<Capacity, Error> {
        match self.call(Request::Capacity).await? {
            Response::Capacity(capacity) => Ok(capacity),
            _ => Err(mismatch("get-capacity")),
        }
    }

    /// Present measurements.
    pub async fn sample(self: &Arc<Self>, ids: Vec<String>) -> Result<Vec<Sample>, Error> {
        match self.call(Request::Sample(ids)).await? {
            Response::Samples(samples) => Ok(samples),
            _ => Err(mismatch("get-samples")),
        }
    }

    /// Asks the driver whether all is well, and remembers the answer.
    pub async fn check(self: &Arc<Self>) -> Result<Health, Error> {
        let generation = self.current()?;
        let result = self.check_on(&generation).await;
        self.remember(&result);
        result
    }

    /// The same, even while the cloud rests. If it is well, its rest is over.
    pub async fn test(self: &Arc<Self>) -> Result<Health, Error> {
        let generation = self.current()?;
        let result = self.check_on(&Generation::new(Arc::clone(&generation.package))).await;
        if result.is_ok() {
            generation.breaker.record(Ok(()), Instant::now());
        }
        self.remember(&result);
        result
    }

    fn remember(&self, health: &Result<Health, Error>) {
        self.status.rcu(|status| Status { health: Some(health.clone()), ..Status::clone(status) });
    }

    pub(crate) async fn check_on(self: &Arc<Self>, generation: &Arc<Generation>) -> Result<Health, Error> {
        // What was refused before is another call's matter.
        self.context.refused.take();
        match self.call_on(generation, Request::Check, Instant::now() + self.settings().limits.call).await {
            Ok(Response::Health(health)) => Ok(health),
            Ok(_) => Err(mismatch("check")),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Drivers only hear that a request is denied; whoever configures the cloud needs to know where it was to go.
    fn explain(&self, mut error: Error) -> Error {
        let refused: Vec<String> = self.context.refused.take().into_iter().collect();
        if !refused.is_empty() {
            let origins = refused.join(", ");
            let origins = self.context.redactor.clean(&origins);
            error.message = format!("{}; the driver asked for {origins}, which is not granted (grants.http)", error.message);
        }
        error
    }

    /// Deletes the durable state of its driver.
    pub async fn forget_state(&self) -> Result<(), Error> {
        let failed = |error: StateError| Error::new(ErrorKind::Unavailable, format!("its state: {error}"));
        self.context.state.clear().await.map_err(failed)
    }

    /// It is not there any more for whoever looks at metrics. Calls under way go on.
    pub(crate) fn retire(&self) {
        self.breaker_open.set(0.0);
    }

    pub(crate) async fn describe_on(self: &Arc<Self>, generation: &Arc<Generation>) -> Result<Description, Error> {
        match self.call_on(generation, Request::Describe, Instant::now() + self.settings().limits.call).await? {
            Response::Description(description) => Ok(description),
            _ => Err(mismatch("describe")),
        }
    }
}

fn mismatch(name: &str) -> Error {
    Error::new(ErrorKind::Contract, format!("{name}: the answer belongs to another call"))
}

/// A bucket of one second's calls.
fn rate_limiter(per_second: f64) -> Option<DefaultDirectRateLimiter> {
    if !per_second.is_finite() || per_second <= 0.0 {
        return None;
    }
    let quota = Quota::with_period(std::time::Duration::from_secs_f64(1.0 / per_second))?;
    // A positive float, cut to what fits: at least one call may go at once.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let burst = NonZeroU32::new(per_second as u32).unwrap_or(NonZeroU32::MIN);
    Some(RateLimiter::direct(quota.allow_burst(burst)))
}
