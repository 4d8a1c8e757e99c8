//! What libvirt's errors mean to a driver.

use super::xml::Unreadable;
use crate::v0_1::imports::hypervisor::Error;
use virt::sys;

/// Why an operation on a connection failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What the driver learns.
    pub(super) error: Error,
    /// Whether the connection is gone.
    pub(super) lost: bool,
}

/// The result of what runs on a connection.
pub(super) type Outcome<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, lost: false }
    }
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        Error::Failed(error.to_string()).into()
    }
}

impl From<virt::error::Error> for Failure {
    fn from(error: virt::error::Error) -> Self {
        let (code, domain, text) = (error.code().to_raw(), error.domain().to_raw(), error.message().to_owned());
        // A daemon that ended shows in the first call as a failed system call, in later ones as an internal error.
        if domain == sys::VIR_FROM_RPC {
            return Self { error: Error::Transient(format!("the connection to the hypervisor is lost: {text}")), lost: true };
        }
        class(code, text).into()
    }
}

/// What an error says, for people.
pub(super) fn message(error: Error) -> String {
    match error {
        Error::NotFound(text)
        | Error::Invalid(text)
        | Error::Conflict(text)
        | Error::Unauthorized(text)
        | Error::Forbidden(text)
        | Error::Quota(text)
        | Error::Capacity(text)
        | Error::Unsupported(text)
        | Error::Transient(text)
        | Error::Failed(text) => text,
        Error::Throttled(throttling) => throttling.message,
        Error::Other(other) => other.message,
    }
}

fn class(code: sys::virErrorNumber, text: String) -> Error {
    match code {
        sys::VIR_ERR_NO_DOMAIN
        | sys::VIR_ERR_NO_STORAGE_VOL
        | sys::VIR_ERR_NO_STORAGE_POOL
        | sys::VIR_ERR_NO_NETWORK
        | sys::VIR_ERR_NO_NODE_DEVICE => Error::NotFound(text),
        sys::VIR_ERR_OPERATION_INVALID | sys::VIR_ERR_DOM_EXIST | sys::VIR_ERR_STORAGE_VOL_EXIST | sys::VIR_ERR_RESOURCE_BUSY => {
            Error::Conflict(text)
        }
        sys::VIR_ERR_AUTH_FAILED | sys::VIR_ERR_AUTH_CANCELLED | sys::VIR_ERR_AUTH_UNAVAILABLE => Error::Unauthorized(text),
        sys::VIR_ERR_OPERATION_DENIED | sys::VIR_ERR_ACCESS_DENIED => Error::Forbidden(text),
        sys::VIR_ERR_NO_SUPPORT
        | sys::VIR_ERR_OPERATION_UNSUPPORTED
        | sys::VIR_ERR_CONFIG_UNSUPPORTED
        | sys::VIR_ERR_ARGUMENT_UNSUPPORTED => Error::Unsupported(text),
        sys::VIR_ERR_OPERATION_TIMEOUT | sys::VIR_ERR_AGENT_UNRESPONSIVE | sys::VIR_ERR_NO_CONNECT => Error::Transient(text),
        sys::VIR_ERR_NO_MEMORY => Error::Capacity(text),
        // What the hypervisor's machine lacks arrives as text only.
        _ if [
            "No space left",
            "not enough free space",
            "Not enough free space",
            "annot allocate memory",
            "Disk quota exceeded",
        ]
        .iter()
        .any(|part| text.contains(part)) =>
        {
            Error::Capacity(text)
        }
        _ => Error::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_class_follows_the_code_and_then_the_text() {
        let class = |code, text: &str| format!("{:?}", class(code, text.to_owned()));
        for (code, text, expected) in [
            (sys::VIR_ERR_NO_DOMAIN, "x", "Error::NotFound"),
            (sys::VIR_ERR_OPERATION_INVALID, "x", "Error::Conflict"),
            (sys::VIR_ERR_AUTH_FAILED, "x", "Error::Unauthorized"),
            (sys::VIR_ERR_NO_SUPPORT, "x", "Error::Unsupported"),
            (sys::VIR_ERR_SYSTEM_ERROR, "cannot write: No space left on device", "Error::Capacity"),
            (sys::VIR_ERR_INTERNAL_ERROR, "qemu: cannot set up guest memory: Cannot allocate memory", "Error::Capacity"),
            (sys::VIR_ERR_INTERNAL_ERROR, "x", "Error::Failed"),
        ] {
            assert!(class(code, text).starts_with(expected), "{code} {}", class(code, text));
        }
    }
}
