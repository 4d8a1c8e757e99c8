//! The certificate authority that ConPaaS clients and managers know: it issues, checks requests and signs revocation lists.
//!
//! What the certificates say is ConPaaS's (`facts/conpaas.md`, section 2.1): the subject's `UID`, `serviceLocator` and `role`
//! decide what the holder may do. How they are made is not: X.509 v3, P-256, SHA-256, 128-bit serial numbers, extensions that
//! say what a key is for, and no key but the authority's own is kept.
//!
//! Pure but for the two files of [`Authority::open_or_create`]. Who may have which certificate, which ones were issued and which
//! of them are revoked is decided and remembered elsewhere; nothing here logs.

mod authority;
mod claims;
mod error;
mod files;
mod hex;
mod key;
mod name;
mod profile;
mod request;
mod verify;

pub use authority::{Authority, Issued, RevocationReason, Revoked};
pub use claims::{Claims, claims};
pub use error::{Error, RequestError};
pub use key::PublicKey;
pub use profile::{Profile, Role};
pub use request::check_request;
