//! The APIs: one room a dialect, our own, and what they share.

pub mod auth;
mod body;
pub mod cloudedge;
pub mod conpaas;
pub mod crs4;
mod forwarded;
mod idempotency;
pub mod indigo;
mod json;
pub mod native;
mod observe;
pub mod problem;
mod root;
#[cfg(test)]
mod tests;

use crate::config::{Config, ListenerChoice, Mode};
use crate::telemetry::Metrics;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use ostler_core::Core;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What handlers need. One count to raise for each request, not one for each part.
pub type App = Arc<Application>;

/// The parts of an [`App`].
pub struct Application {
    /// The use cases.
    pub core: Core,
    /// The configuration.
    pub config: Arc<Config>,
    /// The metrics.
    pub metrics: Metrics,
    /// Whether everything is up.
    pub ready: Arc<AtomicBool>,
}

impl Application {
    /// Whether this is development mode.
    pub fn is_development(&self) -> bool {
        self.config.mode == Mode::Development
    }

    /// Bytes of the largest request body.
    fn max_body(&self) -> usize {
        usize::try_from(self.config.server.max_body_bytes).unwrap_or(usize::MAX)
    }
}

/// Everything that one listener serves.
pub fn router(app: &App, tls: bool) -> Router {
    let served = |choice: ListenerChoice| choice.includes(tls);
    let mut router = root::router(app).merge(native::router(app));
    let crs4 = &app.config.api.crs4.dialect;
    if crs4.enabled && served(crs4.listener) {
        router = router.merge(crs4::router(app));
        if let Some(prefix) = &crs4.prefix {
            router = router.nest(prefix, crs4::router(app));
        }
    }
    let timeout = Duration::from_secs(app.config.server.request_timeout_seconds);
    let mut router = router.layer(observe::Layer::new(timeout));
    let indigo = &app.config.api.indigo.dialect;
    if indigo.enabled && served(indigo.listener) {
        let orchestrator = indigo::router(app).layer(observe::Layer::new(timeout));
        router = router.merge(orchestrator.layer(axum::middleware::from_fn(indigo::around)));
    }
    let cloudedge = &app.config.api.cloudedge;
    if cloudedge.enabled && served(cloudedge.listener) {
        let edge = cloudedge::router(app).layer(observe::Layer::new(timeout));
        router = router.merge(edge.layer(axum::middleware::from_fn(cloudedge::around)));
    }
    let conpaas = &app.config.api.conpaas.dialect;
    if !conpaas.enabled || !served(conpaas.listener) {
        return router.layer(DefaultBodyLimit::max(app.max_body()));
    }
    // A start answers when the machine has an address, which may take longer than any other request.
    let patient = timeout + Duration::from_secs(app.config.services.start_timeout_seconds);
    let mut director = conpaas::router(app);
    if let Some(prefix) = &conpaas.prefix {
        director = director.nest(prefix, conpaas::router(app));
    }
    router.merge(director.layer(observe::Layer::new(patient))).layer(DefaultBodyLimit::max(app.max_body()))
}
