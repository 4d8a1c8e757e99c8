//! What instances did.

use super::errors::Fault;
use super::input::object;
use super::statistics::{self, Answer, Asked, MetricView};
use super::wire::Named;
use super::{Call, json};
use axum::response::Response;
use http::StatusCode;
use ostler_core::Error;
use ostler_core::measuring::Query;
use serde_json::Value;

pub(super) async fn list(call: &Call<'_>) -> Result<Response, Fault> {
    let metrics = call.app.core.measuring.metrics(&call.who, call.cloud()?, call.id).await?;
    let items: Vec<_> = metrics.iter().map(MetricView).collect();
    Ok(json(StatusCode::OK, &Named("metrics", items)))
}

/// By a body, or by parameters where there is none.
pub(super) async fn statistics(call: &Call<'_>, body: Option<Value>) -> Result<Response, Fault> {
    let asked = match body {
        Some(body) => Asked::body(object(Some(body))?)?,
        None => Asked::query(&call.query)?,
    };
    let cloud = call.cloud()?;
    let measuring = &call.app.core.measuring;
    let metric = match statistics::known(&asked.metric) {
        Some(metric) => metric.to_owned(),
        // What the driver calls it, only its list says for sure.
        None => {
            let metrics = measuring.metrics(&call.who, cloud, call.id).await?;
            let found = metrics.into_iter().find(|metric| statistics::name(&metric.name) == asked.metric.as_str());
            found.ok_or_else(|| Error::NoMetric(super::input::shown(&asked.metric)))?.name
        }
    };
    let query = Query { metric, statistic: asked.statistic, start: asked.start, end: asked.end, period: asked.period };
    let series = measuring.statistics(&call.who, cloud, call.id, &query).await?;
    Ok(json(StatusCode::OK, &Answer { asked: &asked, series: &series }))
}
