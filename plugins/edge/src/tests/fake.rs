//! A Cloud Edge, played from the text of its API: strict as the text, or as stubborn as servers are, and with faults to order.
//! Time is that of the test cloud.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ostler_driver::http::{Answer, Outgoing, query};
use ostler_driver::testing::Cloud;
use ostler_driver::{Error, Result, time};
use serde_json::{Value, json};

use crate::driver::Edge;

thread_local! {
    /// Where requests of this thread go.
    static PLAY: RefCell<Option<Play>> = const { RefCell::new(None) };
}

/// The play; clones are the same.
#[derive(Clone)]
pub(super) struct Play(Rc<RefCell<Stage>>);

type Interlude = Box<dyn FnOnce()>;

/// What happens instead of, or before, the answer to a request.
pub(super) enum Fault {
    /// This answer instead.
    Answer(u16, &'static str),
    /// This answer instead, with a header.
    AnswerWith(u16, (&'static str, &'static str), &'static str),
    /// Nothing reaches the far side.
    Lost,
    /// The far side does it, and the connection closes before its answer.
    LostAnswer,
    /// The connection closes now, and the far side does it when [`Play::catch_up`] says so.
    Later,
    /// The answer takes so long.
    Slow(Duration),
    /// This happens first.
    Before(Interlude),
}

/// How a far side differs from what the text shows.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    /// Identifiers as texts.
    pub(super) text_ids: bool,
    /// Links without scheme and host.
    pub(super) bare_links: bool,
    /// Wrappers the other way round: `instance`, `images`.
    pub(super) other_wrappers: bool,
    /// Faults in HTML.
    pub(super) html: bool,
    /// An identifier that is no number is a bad request.
    pub(super) strict_ids: bool,
    /// Knows `Idempotency-Key`, and says that it is an Ostler.
    pub(super) ostler: bool,
    /// Only `/version` and `/instances/…/metrics`, or the other spellings.
    pub(super) other_paths: bool,
    /// Actions that do nothing are accepted.
    pub(super) lenient_actions: bool,
    /// The filter of rules is not known.
    pub(super) no_filter: bool,
    /// Rules are listed without their instance.
    pub(super) bare_rules: bool,
    /// Names are the far side's own.
    pub(super) own_names: bool,
    /// How statistics can be asked for.
    pub(super) statistics: &'static str,
    /// Seconds from `starting` to `running`.
    pub(super) boot_seconds: u64,
}

impl Manners {
    /// As the text shows it.
    pub(super) fn of_the_text() -> Self {
        Self {
            text_ids: false,
            bare_links: false,
            other_wrappers: false,
            html: false,
            strict_ids: false,
            ostler: false,
            other_paths: false,
            lenient_actions: false,
            no_filter: false,
            bare_rules: false,
            own_names: false,
            statistics: "body",
            boot_seconds: 0,
        }
    }

    /// As another Ostler.
    pub(super) fn of_an_ostler() -> Self {
        Self { ostler: true, statistics: "query", boot_seconds: 3, strict_ids: true, ..Self::of_the_text() }
    }

    /// As stubborn as can be.
    pub(super) fn stubborn() -> Self {
        Self {
            text_ids: true,
            bare_links: true,
            other_wrappers: true,
            html: true,
            other_paths: true,
            lenient_actions: true,
            no_filter: true,
            bare_rules: true,
            statistics: "post",
            boot_seconds: 5,
            ..Self::of_the_text()
        }
    }
}

pub(super) struct Stage {
    pub(super) manners: Manners,
    now: u64,
    pub(super) instances: Vec<Value>,
    pub(super) images: Vec<Value>,
    pub(super) rules: Vec<Value>,
    next: u64,
    keys: Vec<(String, Value)>,
    pub(super) upstream: Vec<&'static str>,
    pub(super) version: Value,
    pub(super) resources: Value,
    /// Method and path, as they came.
    pub(super) seen: Vec<String>,
    /// The bodies that came, after the request that they came with.
    pub(super) bodies: Vec<(String, Value)>,
    faults: VecDeque<(&'static str, Fault)>,
    later: Vec<Outgoing>,
}

/// Whether this is the number of an object.
pub(super) fn is(number: &Value, id: &str) -> bool {
    number.to_string().as_str() == id
}

/// An answer of JSON, or an empty one.
pub(super) fn plain(status: u16, body: &Value) -> Answer {
    Answer::new(status, if body.is_null() { String::new() } else { body.to_string() })
}

impl Play {
    /// Opens the play for this thread, with one image.
    pub(super) fn open(manners: Manners) -> Self {
        let stage = Stage {
            manners,
            now: 0,
            instances: Vec::new(),
            images: Vec::new(),
            rules: Vec::new(),
            next: 61,
            keys: Vec::new(),
            upstream: Vec::new(),
            version: json!({"version": {"major": 1, "minor": 3}}),
            resources: json!({"cpu": {"type": "i386", "vcpu": 2}, "ram": 1024, "disk": 5000,
                "usb": {"class": "unknown", "vendor": "0x10c4", "product": "0xea60"}}),
            seen: Vec::new(),
            bodies: Vec::new(),
            faults: VecDeque::new(),
            later: Vec::new(),
        };
        let play = Self(Rc::new(RefCell::new(stage)));
        play.set(|stage| {
            stage.now = Cloud::EPOCH;
            stage.add_image("test", "ACTIVE");
        });
        PLAY.set(Some(play.clone()));
        play
    }

    /// A cloud whose driver meets this play.
    pub(super) fn cloud() -> Cloud {
        let cloud = Cloud::new("home1").config("url", "https://far:5555/cloudedge").config("username", "ann");
        cloud.secret("password", "canary").answer_http(|cloud, request| {
            let play = PLAY.with_borrow(Clone::clone).expect("no play in this thread");
            play.answer(cloud, request)
        })
    }

    /// The next request whose method and path begin with `request` goes wrong. Faults strike in their order.
    pub(super) fn fault(&self, request: &'static str, fault: Fault) {
        self.0.borrow_mut().faults.push_back((request, fault));
    }

    /// Faults that did not strike.
    pub(super) fn unused(&self) -> usize {
        self.look(|stage| stage.faults.len())
    }

    pub(super) fn clear_faults(&self) {
        self.set(|stage| stage.faults.clear());
    }

    /// What was to be done later is done now.
    pub(super) fn catch_up(&self) {
        let later = std::mem::take(&mut self.0.borrow_mut().later);
        for request in later {
            self.0.borrow_mut().serve(&request);
        }
    }

    pub(super) fn set<R>(&self, change: impl FnOnce(&mut Stage) -> R) -> R {
        change(&mut self.0.borrow_mut())
    }

    pub(super) fn look<R>(&self, look: impl FnOnce(&Stage) -> R) -> R {
        look(&self.0.borrow())
    }

    /// The requests since the last time.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().seen)
    }

    /// How many requests begin with this, so far.
    pub(super) fn count(&self, request: &str) -> usize {
        self.look(|stage| stage.seen.iter().filter(|seen| seen.starts_with(request)).count())
    }

    /// The body of the last request that begins with this.
    pub(super) fn body(&self, request: &str) -> Value {
        self.look(|stage| stage.bodies.iter().rev().find(|(seen, _)| seen.starts_with(request)).unwrap().1.clone())
    }

    fn answer(&self, cloud: &Cloud, request: &Outgoing) -> Result<Answer> {
        let ctx = cloud.context();
        let path = request.url.strip_prefix("https://far:5555/cloudedge").unwrap_or(&request.url);
        let line = format!("{} {path}", request.method);
        let fault = {
            let mut stage = self.0.borrow_mut();
            stage.now = ctx.now();
            stage.seen.push(line.clone());
            if !request.body.is_empty() {
                let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
                stage.bodies.push((line.clone(), body));
            }
            let at = stage.faults.iter().position(|(wanted, _)| line.starts_with(wanted));
            at.and_then(|at| stage.faults.remove(at)).map(|(_, fault)| fault)
        };
        let lost = || Err(Error::Transient("the connection was closed".to_owned()));
        match fault {
            Some(Fault::Answer(status, body)) => return Ok(Answer::new(status, body)),
            Some(Fault::AnswerWith(status, (name, value), body)) => return Ok(Answer::new(status, body).with_header(name, value)),
            Some(Fault::Lost) => return lost(),
            Some(Fault::LostAnswer) => {
                self.0.borrow_mut().serve(request);
                return lost();
            }
            Some(Fault::Later) => {
                self.0.borrow_mut().later.push(request.clone());
                return lost();
            }
            Some(Fault::Slow(time)) => ctx.sleep(time),
            // The stage is free meanwhile: this may call the driver.
            Some(Fault::Before(interlude)) => interlude(),
            None => {}
        }
        let mut stage = self.0.borrow_mut();
        stage.now = ctx.now();
        Ok(stage.serve(request))
    }
}

impl Stage {
    fn link(&self, path: &str) -> Value {
        if self.manners.bare_links { path.into() } else { format!("https://far:5555/cloudedge{path}").into() }
    }

    fn number(&self, id: u64) -> Value {
        if self.manners.text_ids { id.to_string().into() } else { id.into() }
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    fn date(&self) -> String {
        time::format(self.now).replace('Z', "+00:00")
    }

    pub(super) fn add_image(&mut self, name: &str, status: &str) -> u64 {
        let id = self.fresh();
        let date = self.date();
        self.images.push(json!({"id": id, "name": name, "owner_id": 6789, "status": status, "created_by": 78945,
            "created_at": date, "updated_at": date}));
        id
    }

    pub(super) fn add_instance(&mut self, name: &str, status: &str) -> u64 {
        let id = self.fresh();
        let (date, image) = (self.date(), self.images[0]["id"].clone());
        self.instances.push(json!({"id": id, "name": name, "status": status, "image": {"id": image, "name": "test"},
            "created_by": 789, "ip": "10.0.3.2", "created_at": date, "updated_at": date, "coming_at": 0}));
        id
    }

    /// An object as it is told: with links, and with identifiers as this server has them.
    pub(super) fn tell(&self, list: &str, object: &Value, keys: Option<&[&str]>) -> Value {
        let mut told = object.clone();
        let id = object["id"].as_u64().unwrap();
        let map = told.as_object_mut().unwrap();
        map.remove("coming_at");
        if let Some(keys) = keys {
            map.retain(|key, _| keys.contains(&key.as_str()));
        }
        map.insert("id".into(), self.number(id));
        map.insert("link".into(), self.link(&format!("/{list}/{id}")));
        for other in ["image", "instance"] {
            if let Some(Value::Object(inner)) = map.get_mut(other) {
                let id = inner["id"].as_u64().unwrap();
                inner.insert("id".into(), self.number(id));
                inner.insert("link".into(), self.link(&format!("/{other}s/{id}")));
            }
        }
        if let Some(instance) = map.get_mut("instance_id") {
            *instance = self.number(instance.as_u64().unwrap());
        }
        told
    }

    pub(super) fn refuse(&self, name: &str, status: u16, message: &str) -> Answer {
        if self.manners.html {
            let page = format!("<html><head><title>{status}</title></head><body><h1>{message}</h1></body></html>");
            return Answer::new(status, page);
        }
        plain(status, &json!({name: {"code": status, "message": message}}))
    }

    pub(super) fn gone(&self, id: &str) -> Answer {
        if self.manners.strict_ids && id.parse::<u64>().is_err() {
            return self.refuse("badRequest", 400, "an identifier is a number");
        }
        self.refuse("itemNotFound", 404, &format!("nothing is called {id}"))
    }

    fn serve(&mut self, request: &Outgoing) -> Answer {
        assert_eq!(request.header("accept"), Some("application/json"));
        if request.header("authorization") != Some("Basic YW5uOmNhbmFyeQ==") {
            return self.refuse("unauthorized", 401, "who are you");
        }
        self.pass_time();
        let address = request.url.strip_prefix("https://far:5555/cloudedge/").expect("another address");
        let path = address.split('?').next().unwrap();
        let query: Vec<_> = query(&request.url).collect();
        let body = if request.body.is_empty() { Value::Null } else { serde_json::from_slice(&request.body).unwrap() };
        let path: Vec<&str> = path.split('/').collect();
        let key = request.header("idempotency-key").filter(|_| self.manners.ostler);
        if let Some((_, known)) = self.keys.iter().find(|(known, _)| Some(known.as_str()) == key) {
            return plain(202, &known.clone());
        }
        let answer = self.route(&request.method, &path, &query, &body);
        if let Some(key) = key.filter(|_| answer.status == 202) {
            self.keys.push((key.to_owned(), serde_json::from_slice(&answer.body).unwrap()));
        }
        answer
    }

    fn route(&mut self, method: &str, path: &[&str], query: &[(String, String)], body: &Value) -> Answer {
        let spelled = |usual: bool| usual != self.manners.other_paths;
        match (method, path) {
            ("GET", ["platform", "version"]) if spelled(true) => plain(200, &self.version()),
            ("GET", ["version"]) if spelled(false) => plain(200, &self.version()),
            ("GET", ["platform", "resources"]) => plain(200, &self.resources.clone()),
            ("GET", [list @ ("images" | "instances")]) => {
                let all = if *list == "images" { &self.images } else { &self.instances };
                let told: Vec<_> = all.iter().map(|one| self.tell(list, one, Some(&["id", "name", "link"]))).collect();
                plain(200, &json!({*list: told}))
            }
            ("GET", ["images", id]) => match self.images.iter().find(|one| is(&one["id"], id)) {
                Some(one) => {
                    let wrapper = if self.manners.other_wrappers { "images" } else { "image" };
                    plain(200, &json!({wrapper: self.tell("images", one, None)}))
                }
                None => self.gone(id),
            },
            ("GET", ["instances", id]) => match self.instances.iter().find(|one| is(&one["id"], id)) {
                Some(one) => {
                    let wrapper = if self.manners.other_wrappers { "instance" } else { "instances" };
                    plain(200, &json!({wrapper: self.tell("instances", one, None)}))
                }
                None => self.gone(id),
            },
            ("POST", ["images"]) => {
                let name = body["image"]["name"].as_str().unwrap().to_owned();
                assert!(body["image"]["imageRef"].as_str().unwrap().starts_with("https://"));
                let id = self.add_image(&name, "SAVING");
                let one = self.images.last().unwrap().clone();
                assert_eq!(one["id"], id);
                plain(202, &json!({"image": self.tell("images", &one, Some(&["id", "name", "status", "created_at", "link"]))}))
            }
            ("POST", ["instances"]) => self.create(&body["instance"]),
            ("POST", ["instances", id, "action"]) => self.act(id, body),
            ("DELETE", [list @ ("images" | "instances" | "fwrules"), id]) => {
                let all = match *list {
                    "images" => &mut self.images,
                    "instances" => &mut self.instances,
                    _ => &mut self.rules,
                };
                match all.iter().position(|one| is(&one["id"], id)) {
                    Some(at) => {
                        all.remove(at);
                        plain(204, &Value::Null)
                    }
                    None => self.gone(id),
                }
            }
            (_, ["fwrules", ..]) => self.rules(method, path, query, body),
            (_, [spelling @ ("instance" | "instances"), id, "metrics", rest @ ..])
                if spelled(*spelling == "instance") && self.instances.iter().any(|one| is(&one["id"], id)) =>
            {
                self.metrics(method, rest, query, body)
            }
            ("GET", [.., id]) => self.gone(id),
            _ => self.refuse("badMethod", 405, "not here"),
        }
    }
}

/// A driver as a new instance would be.
pub(super) fn driver(cloud: &Cloud) -> Edge {
    cloud.driver().unwrap()
}
