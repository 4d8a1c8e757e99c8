//! From OpenStack's refusals to the contract's errors. Each service writes them in its own shape, and what stands before a service
//! (a proxy, a middleware) writes HTML.

use ostler_driver::Error;
use ostler_driver::http::{Answer, without_tags};
use serde_json::Value;

/// Characters of a provider's message that are passed on.
const EXCERPT: usize = 500;

/// Neutron's types where a network has no address left.
const EXHAUSTED: [&str; 3] = ["IpAddressGenerationFailure", "NoMoreNetworksAvailable", "ExternalIpAddressExhausted"];

/// What a refusal says.
struct Refusal {
    /// Nova's fault name or Neutron's type, where there is one.
    kind: String,
    message: String,
}

/// The error that an answer means. A token that the provider repeats is taken out of the text.
pub(crate) fn of(service: &str, answer: &Answer, token: Option<&str>) -> Error {
    let Refusal { kind, mut message } = read(&answer.body);
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        message = message.replace(token, "…");
    }
    let message: String = without_tags(&message).chars().take(EXCERPT).collect();
    let message = if message.is_empty() { "no reason given".to_owned() } else { message };
    let place = match answer.header("x-openstack-request-id") {
        Some(request) => format!("{}, {}", answer.status, request.chars().take(64).collect::<String>()),
        None => answer.status.to_string(),
    };
    class(answer, &kind, &message)(format!("{service}: {message} ({place})"))
}

type Class = Box<dyn FnOnce(String) -> Error>;

fn class(answer: &Answer, kind: &str, message: &str) -> Class {
    let says = |text: &str| message.to_ascii_lowercase().contains(text);
    let retry_after = answer.retry_after();
    match answer.status {
        401 => Box::new(Error::Unauthorized),
        // Nova's quota and its policy differ in the text only, and a policy may be about quotas. Not all quotas say that they are one:
        // "Maximum number of ports exceeded".
        403 if (says("quota") || says("maximum number of")) && !says("policy doesn't allow") => Box::new(Error::Quota),
        403 => Box::new(Error::Forbidden),
        404 => Box::new(Error::NotFound),
        409 if kind == "OverQuota" => Box::new(Error::Quota),
        // 409 where the network is a project's, 400 where it is external.
        400 | 409 if EXHAUSTED.contains(&kind) || says("no more ip addresses") => Box::new(Error::Capacity),
        // No state of an object stands in the way, but the order is not precise enough.
        409 if says("multiple possible networks") => Box::new(Error::Invalid),
        409 => Box::new(Error::Conflict),
        // Cinder and Glance answer 413 for quotas, older Novas for rates.
        413 if retry_after.is_none() && says("quota") => Box::new(Error::Quota),
        413 | 429 => Box::new(move |message| Error::Throttled { message, retry_after }),
        400 | 405 | 406 | 410..=422 => Box::new(Error::Invalid),
        501 => Box::new(Error::Unsupported),
        408 | 500..=599 => Box::new(Error::Transient),
        _ => Box::new(Error::Failed),
    }
}

fn read(body: &[u8]) -> Refusal {
    let plain = || Refusal { kind: String::new(), message: String::from_utf8_lossy(body).into_owned() };
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return plain() };
    // Glance: the object itself.
    if let Some(message) = object.get("message").and_then(Value::as_str) {
        return Refusal { kind: String::new(), message: message.to_owned() };
    }
    for (name, value) in &object {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        match value {
            Value::String(message) => return Refusal { kind: name.clone(), message: message.clone() },
            Value::Object(_) => {
                if let Some(message) = text("message") {
                    return Refusal { kind: text("type").unwrap_or_else(|| name.clone()), message };
                }
            }
            _ => {}
        }
    }
    plain()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_refusal_has_its_class() {
        for (status, body, class, text) in [
            (
                401,
                r#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#,
                "unauthorized",
                "The request you have made requires authentication.",
            ),
            (
                401,
                "<html><head><title>401 Unauthorized</title></head><body><h1>401 Unauthorized</h1>Sorry.<br /><br /></body></html>",
                "unauthorized",
                "401 Unauthorized 401 Unauthorized Sorry.",
            ),
            (
                404,
                r#"{"itemNotFound":{"code":404,"message":"Instance x could not be found."}}"#,
                "not-found",
                "Instance x could not be found.",
            ),
            (404, "<html><title>404 Not Found</title><h1>404 Not Found</h1></html>", "not-found", "404 Not Found 404 Not Found"),
            (
                400,
                r#"{"badRequest":{"code":400,"message":"Can not find requested image"}}"#,
                "invalid",
                "Can not find requested image",
            ),
            (
                409,
                r#"{"conflictingRequest":{"code":409,"message":"Cannot 'start' instance x while it is in vm_state active"}}"#,
                "conflict",
                "Cannot 'start' instance x while it is in vm_state active",
            ),
            (
                409,
                r#"{"conflictingRequest":{"code":409,"message":"Multiple possible networks found, use a Network ID to be more specific."}}"#,
                "invalid",
                "Multiple possible networks found, use a Network ID to be more specific.",
            ),
            (
                403,
                r#"{"forbidden":{"code":403,"message":"Quota exceeded for cores, ram: Requested 4, but already used 18 of 20 cores"}}"#,
                "quota",
                "Quota exceeded for cores, ram: Requested 4, but already used 18 of 20 cores",
            ),
            (
                403,
                r#"{"forbidden":{"code":403,"message":"Maximum number of ports exceeded"}}"#,
                "quota",
                "Maximum number of ports exceeded",
            ),
            (
                403,
                r#"{"forbidden":{"code":403,"message":"Policy doesn't allow os_compute_api:os-server-diagnostics to be performed."}}"#,
                "forbidden",
                "Policy doesn't allow os_compute_api:os-server-diagnostics to be performed.",
            ),
            (
                403,
                r#"{"forbidden":{"code":403,"message":"Policy doesn't allow os_compute_api:os-quota-sets:show to be performed."}}"#,
                "forbidden",
                "Policy doesn't allow os_compute_api:os-quota-sets:show to be performed.",
            ),
            (
                409,
                r#"{"NeutronError":{"type":"OverQuota","message":"Quota exceeded for resources: ['floatingip'].","detail":""}}"#,
                "quota",
                "Quota exceeded for resources: ['floatingip'].",
            ),
            (
                409,
                r#"{"NeutronError":{"type":"IpAddressGenerationFailure","message":"No more IP addresses available on network n.","detail":""}}"#,
                "capacity",
                "No more IP addresses available on network n.",
            ),
            (
                400,
                r#"{"NeutronError":{"type":"ExternalIpAddressExhausted","message":"Unable to find any IP address on external network n.","detail":""}}"#,
                "capacity",
                "Unable to find any IP address on external network n.",
            ),
            (409, r#"{"NeutronError":{"type":"PortInUse","message":"Used.","detail":""}}"#, "conflict", "Used."),
            (
                404,
                r#"{"NeutronError":{"type":"NetworkNotFound","message":"Network n could not be found.","detail":""}}"#,
                "not-found",
                "Network n could not be found.",
            ),
            (403, r#"{"NeutronError":{"type":"PolicyNotAuthorized","message":"No.","detail":""}}"#, "forbidden", "No."),
            (404, r#"{"NeutronError":"an old Neutron"}"#, "not-found", "an old Neutron"),
            (
                404,
                r#"{"message":"No image found with ID x<br /><br />\n\n\n","code":"404 Not Found","title":"Not Found"}"#,
                "not-found",
                "No image found with ID x",
            ),
            (
                413,
                r#"{"overLimit":{"code":413,"message":"VolumeSizeExceedsAvailableQuota: Requested volume exceeds allowed gigabytes quota."}}"#,
                "quota",
                "VolumeSizeExceedsAvailableQuota: Requested volume exceeds allowed gigabytes quota.",
            ),
            (
                413,
                r#"{"overLimit":{"code":413,"message":"This request was rate-limited."}}"#,
                "throttled",
                "This request was rate-limited.",
            ),
            (
                406,
                r#"{"computeFault":{"code":406,"message":"Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.104."}}"#,
                "invalid",
                "Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.104.",
            ),
            (500, r#"{"computeFault":{"code":500,"message":"Unexpected API Error."}}"#, "transient", "Unexpected API Error."),
            (503, "", "transient", "no reason given"),
            (501, "[]", "unsupported", "[]"),
            (302, "1 < 2", "failed", "1 < 2"),
        ] {
            let error = of("compute", &Answer::new(status, body), None);
            assert_eq!((error.class(), error.message()), (class, format!("compute: {text} ({status})").as_str()));
        }
    }

    #[test]
    fn waits_and_request_identifiers_are_passed_on() {
        let answer = Answer::new(429, "").with_header("retry-after", "7").with_header("x-openstack-request-id", "req-1");
        let Error::Throttled { message, retry_after } = of("compute", &answer, None) else { panic!("throttled") };
        assert_eq!((message.as_str(), retry_after), ("compute: no reason given (429, req-1)", Some(Duration::from_secs(7))));
    }

    #[test]
    fn a_token_is_not_repeated_and_a_text_is_not_endless() {
        let body = format!(r#"{{"error":{{"message":"Could not find token gAAAA-secret. {}"}}}}"#, "x".repeat(9000));
        let error = of("identity", &Answer::new(404, body), Some("gAAAA-secret"));
        assert!(error.message().contains("token …. xxx") && error.message().chars().count() < 600);
    }
}
