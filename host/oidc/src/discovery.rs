//! Discovery: where an issuer has its keys and endpoints (OpenID Connect Discovery 1.0).

use serde::Deserialize;

use crate::error::{Problem, brief};

/// What we need of the document.
#[derive(Deserialize)]
pub(crate) struct Discovery {
    issuer: String,
    pub(crate) jwks_uri: Option<String>,
    pub(crate) introspection_endpoint: Option<String>,
    pub(crate) userinfo_endpoint: Option<String>,
    pub(crate) token_endpoint: Option<String>,
}

impl Discovery {
    /// Reads the document, which must be about exactly this issuer (section 4.3).
    pub(crate) fn parse(issuer: &str, body: &[u8]) -> Result<Self, Problem> {
        let document: Self = serde_json::from_slice(body).map_err(|_| Problem::Answer("not a discovery document"))?;
        if document.issuer == issuer { Ok(document) } else { Err(Problem::OtherIssuer(brief(&document.issuer))) }
    }
}

/// The address of the document: one slash at the end of the issuer is left out (section 4.1).
pub(crate) fn address(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn slashes() {
        let table = [
            ("https://i.example", "https://i.example/.well-known/openid-configuration"),
            ("https://i.example/", "https://i.example/.well-known/openid-configuration"),
            ("https://i.example/realms/a", "https://i.example/realms/a/.well-known/openid-configuration"),
            ("https://i.example/realms/a/", "https://i.example/realms/a/.well-known/openid-configuration"),
        ];
        for (issuer, expected) in table {
            assert_eq!(address(issuer), expected);
        }
    }
}
