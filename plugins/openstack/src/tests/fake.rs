//! OpenStack, played: as much of it as the driver asks for, with the shapes and the refusals of the real one, and with faults to
//! order. Time is that of the test cloud.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use ostler_driver::http::{Answer, Outgoing, query};
use ostler_driver::testing::Cloud;
use ostler_driver::{Error, Result, time};
use serde_json::{Value, json};

use super::services;
use crate::driver::OpenStack;

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
    /// Nothing reaches the service.
    Lost,
    /// The service does it, and its answer is lost.
    LostAnswer,
    /// This happens first.
    Before(Interlude),
}

pub(super) struct Stage {
    pub(super) now: u64,
    pub(super) tokens: Vec<String>,
    pub(super) issued: u64,
    pub(super) token_seconds: u64,
    pub(super) servers: Vec<FakeServer>,
    pub(super) images: Vec<Value>,
    pub(super) floating: Vec<Value>,
    pub(super) volumes: Vec<Value>,
    pub(super) networks: Vec<Value>,
    pub(super) groups: Vec<Value>,
    pub(super) made: u64,
    /// Nova's least and most, or neither.
    pub(super) microversions: (&'static str, &'static str),
    /// The most on a page of any service.
    pub(super) page: usize,
    pub(super) catalog: Value,
    pub(super) floating_limit: i64,
    pub(super) import_methods: Vec<&'static str>,
    /// Method and path, as they came.
    pub(super) seen: Vec<String>,
    /// The bodies that came, after the request that they came with.
    pub(super) bodies: Vec<(String, Value)>,
    faults: VecDeque<(&'static str, Fault)>,
}

pub(super) struct FakeServer {
    pub(super) fields: Value,
    /// What it will be, and when; status `gone` removes it.
    pub(super) coming: Option<(u64, &'static str)>,
    pub(super) updated: u64,
}

/// A request as the services read it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: Vec<&'a str>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Value,
    pub(super) raw: Vec<u8>,
    pub(super) microversion: (u32, u32),
}

impl Asked<'_> {
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

pub(super) fn answer(status: u16, body: &Value) -> Answer {
    Answer::new(status, if body.is_null() { String::new() } else { body.to_string() })
}

impl Play {
    /// Opens the play for this thread, with what a bootstrapped cloud has.
    pub(super) fn open() -> Self {
        let endpoint = |interface: &str, region: &str, url: &str| json!({"id": "e", "interface": interface, "region": region, "region_id": region, "url": url});
        let entry = |kind: &str, url: &str| {
            json!({"type": kind, "name": kind, "id": kind, "endpoints": [
            endpoint("internal", "RegionOne", "http://inside:1/v9"), endpoint("public", "RegionOne", url)]})
        };
        let stage = Stage {
            now: 0,
            tokens: Vec::new(),
            issued: 0,
            token_seconds: 3600,
            servers: Vec::new(),
            images: vec![services::image("image-1", "cirros-fake", "active")],
            floating: Vec::new(),
            volumes: Vec::new(),
            networks: vec![
                json!({"id": "11111111-0000-4000-8000-000000000001", "name": "private", "router:external": false}),
                json!({"id": "11111111-0000-4000-8000-000000000002", "name": "public", "router:external": true}),
            ],
            groups: vec![json!({"id": "22222222-0000-4000-8000-000000000001", "name": "default", "project_id": "p1"})],
            made: 0,
            microversions: ("2.1", "2.104"),
            page: 1000,
            catalog: json!([
                entry("compute", "http://cloud:8774/v2.1"),
                entry("image", "http://cloud:9292"),
                entry("network", "http://cloud:9696"),
                entry("block-storage", "http://cloud:8776/v3/p1"),
            ]),
            floating_limit: 50,
            import_methods: vec!["glance-direct", "web-download"],
            seen: Vec::new(),
            bodies: Vec::new(),
            faults: VecDeque::new(),
        };
        let play = Self(Rc::new(RefCell::new(stage)));
        PLAY.set(Some(play.clone()));
        play
    }

    /// A cloud whose driver meets this play.
    pub(super) fn cloud() -> Cloud {
        Self::bare()
            .config("auth_url", "http://cloud:5000/v3")
            .config("username", "demo")
            .config("project_name", "demo")
            .secret("password", "demopw")
    }

    /// The same without settings.
    pub(super) fn bare() -> Cloud {
        Cloud::new("lab").answer_http(|cloud, request| {
            let play = PLAY.with_borrow(Clone::clone).expect("no play in this thread");
            play.answer(cloud.context().now(), request)
        })
    }

    /// The next request whose method and path begin with `request` goes wrong. Faults strike in their order.
    pub(super) fn fault(&self, request: &'static str, fault: Fault) {
        self.0.borrow_mut().faults.push_back((request, fault));
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Stage)) {
        change(&mut self.0.borrow_mut());
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

    fn answer(&self, now: u64, request: &Outgoing) -> Result<Answer> {
        let path = request.url.strip_prefix("http://cloud").unwrap_or(&request.url);
        let line = format!("{} {path}", request.method);
        let fault = {
            let mut stage = self.0.borrow_mut();
            stage.now = now;
            stage.seen.push(line.clone());
            if !request.body.is_empty() {
                let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
                stage.bodies.push((line.clone(), body));
            }
            let at = stage.faults.iter().position(|(wanted, _)| line.starts_with(wanted));
            at.and_then(|at| stage.faults.remove(at)).map(|(_, fault)| fault)
        };
        match fault {
            Some(Fault::Answer(status, body)) => return Ok(Answer::new(status, body)),
            Some(Fault::Lost) => return Err(Error::Transient("ConnectionReset".to_owned())),
            Some(Fault::LostAnswer) => {
                self.0.borrow_mut().serve(request);
                return Err(Error::Transient("no answer in time".to_owned()));
            }
            // The stage is free meanwhile: this may call the driver.
            Some(Fault::Before(interlude)) => interlude(),
            None => {}
        }
        Ok(self.0.borrow_mut().serve(request))
    }
}

impl Stage {
    fn serve(&mut self, request: &Outgoing) -> Answer {
        let header = |name: &str| request.header(name);
        assert!(header("accept") == Some("application/json") || request.url.starts_with("http://images"), "{}", request.url);
        let Some(address) = request.url.strip_prefix("http://cloud:") else {
            return Answer::new(200, "content");
        };
        let address = address.split('?').next().unwrap();
        let (port, path) = address.split_once('/').unwrap_or((address, ""));
        let microversion = header("openstack-api-version").and_then(|text| text.strip_prefix("compute "));
        assert_eq!(microversion, header("x-openstack-nova-api-version"));
        let (major, minor) = microversion.unwrap_or("2.1").split_once('.').unwrap();
        let asked = Asked {
            method: &request.method,
            path: path.split('/').collect(),
            query: query(&request.url).collect(),
            body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
            raw: request.body.clone(),
            microversion: (major.parse().unwrap(), minor.parse().unwrap()),
        };
        self.pass_time();
        if port == "5000" {
            return self.keystone(&asked);
        }
        if !header("x-auth-token").is_some_and(|token| self.tokens.iter().any(|valid| valid == token)) {
            // Glance's middleware answers in another language.
            let html = "<html><head><title>401 Unauthorized</title></head><body><h1>401 Unauthorized</h1></body></html>";
            let json =
                r#"{"error":{"code":401,"title":"Unauthorized","message":"The request you have made requires authentication."}}"#;
            return Answer::new(401, if port == "9292" { html } else { json });
        }
        let mut answer = match port {
            "8774" => self.nova(&asked),
            "9292" => self.glance(&asked),
            "9696" => self.neutron(&asked),
            "8776" => self.cinder(&asked),
            _ => panic!("{} is nowhere", request.url),
        };
        answer.headers.push(("x-openstack-request-id".to_owned(), "req-1".to_owned()));
        answer.headers.push(("date".to_owned(), http_date(self.now)));
        answer
    }

    fn keystone(&mut self, asked: &Asked<'_>) -> Answer {
        assert_eq!((asked.method, asked.path.as_slice()), ("POST", ["v3", "auth", "tokens"].as_slice()));
        let identity = &asked.body["auth"]["identity"];
        let good = match identity["methods"][0].as_str() {
            Some("password") => identity["password"]["user"]["password"] == "demopw",
            _ => identity["application_credential"]["secret"] == "demo-secret" && asked.body["auth"].get("scope").is_none(),
        };
        if !good {
            let text = "The request you have made requires authentication.";
            return answer(401, &json!({"error": {"code": 401, "message": text, "title": "Unauthorized"}}));
        }
        self.issued += 1;
        let token = format!("gAAAAtoken{}", self.issued);
        self.tokens.push(token.clone());
        let until = self.now + self.token_seconds * 1_000_000;
        let mut answer = answer(
            201,
            &json!({"token": {
                "methods": ["password"], "user": {"id": "u1", "name": "demo", "domain": {"id": "default", "name": "Default"}},
                "audit_ids": ["a"], "expires_at": time::format(until), "issued_at": time::format(self.now), "is_domain": false,
                "project": {"id": "p1", "name": "demo", "domain": {"id": "default", "name": "Default"}}, "roles": [],
                "catalog": self.catalog,
            }}),
        );
        answer.headers.push(("x-subject-token".to_owned(), token));
        answer
    }

    /// Servers become what they were about to be.
    fn pass_time(&mut self) {
        let now = self.now;
        for server in &mut self.servers {
            if let Some((at, status)) = server.coming.filter(|(at, _)| *at <= now) {
                server.updated = at;
                server.coming = None;
                server.fields["status"] = status.into();
                server.fields["OS-EXT-STS:task_state"] = Value::Null;
                if status == "ACTIVE" && server.fields["addresses"] == json!({}) {
                    server.fields["addresses"] = json!({"private": [{"version": 4, "addr": "10.0.0.7",
                        "OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:07"}]});
                }
            }
        }
        self.servers.retain(|server| server.fields["status"] != "gone");
    }

    pub(super) fn identifier(&mut self) -> String {
        self.made += 1;
        format!("33333333-0000-4000-8000-{:012}", self.made)
    }
}

fn http_date(micros: u64) -> String {
    // The test clock begins on 2001-09-09, and no test lasts three weeks.
    let iso = time::format(micros);
    assert!(iso.starts_with("2001-09-") && time::parse(&iso).is_some());
    format!("Sun, {} Sep 2001 {} GMT", &iso[8..10], &iso[11..19])
}

/// A driver as a new instance would be.
pub(super) fn driver(cloud: &Cloud) -> OpenStack {
    cloud.driver().unwrap()
}
