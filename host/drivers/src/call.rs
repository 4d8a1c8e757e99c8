//! One call into one instance: what is asked, how it is bounded, and what is made of the ways it can go wrong.

use crate::engine::Runtime;
use crate::error::{Error, ErrorKind};
use crate::guest::{CloudContext, Guest, Stopped};
use crate::model::{Action, Capacity, Description, Health, Image, ImageSpec, Node, NodeSpec, Page, Sample, Size};
use crate::v0_1::bindings::{CloudDriver, CloudDriverPre};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::{Store, Trap};

/// A function of the contract, with its arguments.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Describe,
    Check,
    ListImages(Option<String>),
    GetImage(String),
    FindImage(String),
    ImportImage(String, ImageSpec),
    DeleteImage(String),
    ListSizes(Option<String>),
    ListNodes(Option<String>),
    GetNode(String),
    FindNode(String),
    CreateNode(String, NodeSpec),
    DestroyNode(String),
    Act(String, Action),
    Capacity,
    Sample(Vec<String>),
}

/// Names of the functions, in the order of [`Request::index`]: metric labels and log fields.
pub(crate) const OPERATIONS: [&str; 16] = [
    "describe",
    "check",
    "list-images",
    "get-image",
    "find-image",
    "import-image",
    "delete-image",
    "list-sizes",
    "list-nodes",
    "get-node",
    "find-node",
    "create-node",
    "destroy-node",
    "act",
    "get-capacity",
    "get-samples",
];

impl Request {
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Describe => 0,
            Self::Check => 1,
            Self::ListImages(_) => 2,
            Self::GetImage(_) => 3,
            Self::FindImage(_) => 4,
            Self::ImportImage(..) => 5,
            Self::DeleteImage(_) => 6,
            Self::ListSizes(_) => 7,
            Self::ListNodes(_) => 8,
            Self::GetNode(_) => 9,
            Self::FindNode(_) => 10,
            Self::CreateNode(..) => 11,
            Self::DestroyNode(_) => 12,
            Self::Act(..) => 13,
            Self::Capacity => 14,
            Self::Sample(_) => 15,
        }
    }

    /// Whether a listing may differ afterwards.
    pub(crate) fn changes(&self) -> bool {
        matches!(self, Self::ImportImage(..) | Self::DeleteImage(_) | Self::CreateNode(..) | Self::DestroyNode(_) | Self::Act(..))
    }

    pub(crate) fn name(&self) -> &'static str {
        OPERATIONS[self.index()]
    }
}

/// What a function answers.
pub(crate) enum Response {
    Description(Description),
    Health(Health),
    Images(Page<Image>),
    Image(Image),
    MaybeImage(Option<Image>),
    Sizes(Page<Size>),
    Nodes(Page<Node>),
    Node(Node),
    MaybeNode(Option<Node>),
    Capacity(Capacity),
    Samples(Vec<Sample>),
    Done,
}

/// A live instance, idle or in use by exactly one call.
pub(crate) struct Instance {
    store: Store<Guest>,
    bindings: CloudDriver,
    calls: u32,
    pub(crate) idle_since: Instant,
}

impl Instance {
    /// Whether the instance should not be used again.
    fn is_worn(&self) -> bool {
        let guest = self.store.data();
        let limits = &guest.cloud.settings.limits;
        // Linear memory never shrinks: an instance that grew is exchanged before it reaches its limit.
        self.calls >= limits.calls_per_instance || guest.memory_used() > limits.memory / 2 || guest.is_cluttered()
    }
}

/// Makes an instance. Counts as part of the call: the deadline must be armed, since a start function is guest code.
async fn instantiate(
    runtime: &Runtime,
    cloud: &Arc<CloudContext>,
    pre: &CloudDriverPre<Guest>,
    until: Instant,
) -> Result<Box<Instance>, Error> {
    let mut store = Guest::store(runtime.engine(), cloud);
    Guest::arm(&mut store, until);
    match pre.instantiate_async(&mut store).await {
        // Boxed: it is handed on by every call, and large.
        Ok(bindings) => Ok(Box::new(Instance { store, bindings, calls: 0, idle_since: Instant::now() })),
        Err(error) => Err(classify(&error, store.data(), "instantiation")),
    }
}

/// Runs one call to its end. Returns the instance if it can serve another one.
pub(crate) async fn run(
    runtime: Arc<Runtime>,
    cloud: Arc<CloudContext>,
    pre: Arc<CloudDriverPre<Guest>>,
    warm: Option<Box<Instance>>,
    request: Request,
    until: Instant,
) -> (Result<Response, Error>, Option<Box<Instance>>) {
    let _running = runtime.clock().run();
    let name = request.name();
    let work = async {
        let mut instance = match warm {
            Some(instance) => instance,
            None => instantiate(&runtime, &cloud, &pre, until).await?,
        };
        instance.calls += 1;
        Guest::arm(&mut instance.store, until);
        let Instance { bindings, store, .. } = &mut *instance;
        match dispatch(bindings, store, request).await {
            // An instance that was stopped in the middle of its work cannot be entered again.
            Err(error) => Err(classify(&error, instance.store.data(), name)),
            Ok(answer) => Ok((answer, (!instance.is_worn()).then_some(instance))),
        }
    };
    // Epochs do not pass while the guest waits in the host, hence the second clock.
    match tokio::time::timeout_at(until.into(), work).await {
        Ok(Ok((answer, instance))) => (answer.map_err(|error| clean(&cloud, error)), instance),
        Ok(Err(error)) => (Err(clean(&cloud, error)), None),
        Err(_) => {
            let error = Error::new(ErrorKind::Deadline, format!("{name}: {}", Stopped::Deadline));
            (Err(Error { waited: true, ..error }), None)
        }
    }
}

fn clean(cloud: &CloudContext, mut error: Error) -> Error {
    if let std::borrow::Cow::Owned(message) = cloud.redactor.clean(&error.message) {
        error.message = message;
    }
    if let ErrorKind::Other(kind) = &mut error.kind
        && let std::borrow::Cow::Owned(cleaned) = cloud.redactor.clean(kind)
    {
        *kind = cleaned;
    }
    error
}

/// Calls the function, and converts what it answers.
async fn dispatch(
    bindings: &CloudDriver,
    store: &mut Store<Guest>,
    request: Request,
) -> wasmtime::Result<Result<Response, Error>> {
    let driver = bindings.ostler_driver_driver();
    macro_rules! answer {
        ($call:expr, $wrap:expr) => {
            $call.await?.map($wrap).map_err(Error::from)
        };
    }
    Ok(match request {
        Request::Describe => Ok(Response::Description(driver.call_describe(store).await?.into())),
        Request::Check => answer!(driver.call_check(store), |h| Response::Health(h.into())),
        Request::ListImages(cursor) => answer!(driver.call_list_images(store, cursor.as_deref()), |p| Response::Images(p.into())),
        Request::GetImage(id) => answer!(driver.call_get_image(store, &id), |i| Response::Image(i.into())),
        Request::FindImage(token) => {
            answer!(driver.call_find_image(store, &token), |i: Option<_>| Response::MaybeImage(i.map(Into::into)))
        }
        Request::ImportImage(token, spec) => {
            answer!(driver.call_import_image(store, &token, &spec.into()), |i| Response::Image(i.into()))
        }
        Request::DeleteImage(id) => answer!(driver.call_delete_image(store, &id), |()| Response::Done),
        Request::ListSizes(cursor) => answer!(driver.call_list_sizes(store, cursor.as_deref()), |p| Response::Sizes(p.into())),
        Request::ListNodes(cursor) => answer!(driver.call_list_nodes(store, cursor.as_deref()), |p| Response::Nodes(p.into())),
        Request::GetNode(id) => answer!(driver.call_get_node(store, &id), |n| Response::Node(n.into())),
        Request::FindNode(token) => {
            answer!(driver.call_find_node(store, &token), |n: Option<_>| Response::MaybeNode(n.map(Into::into)))
        }
        Request::CreateNode(token, spec) => {
            answer!(driver.call_create_node(store, &token, &spec.into()), |n| Response::Node(n.into()))
        }
        Request::DestroyNode(id) => answer!(driver.call_destroy_node(store, &id), |()| Response::Done),
        Request::Act(id, action) => answer!(driver.call_act(store, &id, &action.into()), |()| Response::Done),
        Request::Capacity => answer!(driver.call_get_capacity(store), |c| Response::Capacity(c.into())),
        Request::Sample(ids) => {
            answer!(driver.call_get_samples(store, &ids), |s: Vec<_>| Response::Samples(s.into_iter().map(Into::into).collect()))
        }
    })
}

/// The class of what ended a guest.
fn classify(error: &wasmtime::Error, guest: &Guest, name: &str) -> Error {
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return Error::new(ErrorKind::Deadline, format!("{name}: {stopped}"));
    }
    if guest.memory_refused() {
        return Error::new(
            ErrorKind::Limit,
            format!("{name}: it needed more memory than the {} bytes it may have", guest.cloud.settings.limits.memory),
        );
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Error::new(ErrorKind::Crashed, format!("{name}: the driver trapped: {trap}"));
    }
    let root = error.root_cause().to_string();
    if root.contains("hostcalls") {
        let limit = guest.cloud.settings.limits.answer;
        return Error::new(ErrorKind::Limit, format!("{name}: an answer was larger than {limit} bytes"));
    }
    Error::new(ErrorKind::Crashed, format!("{name}: the driver broke down: {root}"))
}
