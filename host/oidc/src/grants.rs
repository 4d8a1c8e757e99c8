//! New tokens from a token that somebody presented, for work that outlives it.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};

use crate::claims::{self, Claims};
use crate::error::{Document, GrantError, Problem, brief};
use crate::issuer::Issuer;
use crate::issuers::Issuers;

/// Tokens from an issuer's token endpoint. `Debug` shows neither of them.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The access token.
    pub access_token: SecretString,
    /// What to refresh it with next time: the issuer's new refresh token or, if it gave none, the one that was used.
    pub refresh_token: Option<SecretString>,
    /// When the access token expires, microseconds since 1970 UTC, if the issuer says so.
    pub expires_at: Option<i64>,
    /// What the access token is good for; empty if the issuer says that it is just what was asked for.
    pub scopes: BTreeSet<String>,
}

impl Issuers {
    /// Exchanges an access token of `issuer` that was verified for tokens of our own, on behalf of the same subject (RFC 8693).
    /// With the scope `offline_access` there is a refresh token among them.
    ///
    /// # Errors
    /// [`GrantError`].
    pub async fn exchange(&self, issuer: &str, access_token: &SecretString) -> Result<Tokens, GrantError> {
        let issuer = self.issuer(issuer).ok_or_else(|| GrantError::UnknownIssuer(brief(issuer)))?;
        let scopes = issuer.config.exchange.as_ref().map(|exchange| exchange.scopes.join(" ")).unwrap_or_default();
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", access_token.expose_secret()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        if let Some(audience) = issuer.config.exchange.as_ref().and_then(|exchange| exchange.audience.as_deref()) {
            form.push(("audience", audience));
        }
        issuer.grant(&form).await
    }

    /// A new access token for a refresh token of `issuer` (RFC 6749, section 6). Many issuers let each refresh token be used once
    /// only: store the one that comes back before anything else.
    ///
    /// # Errors
    /// [`GrantError`].
    pub async fn refresh(&self, issuer: &str, refresh_token: &SecretString) -> Result<Tokens, GrantError> {
        let issuer = self.issuer(issuer).ok_or_else(|| GrantError::UnknownIssuer(brief(issuer)))?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
        let mut tokens = issuer.grant(&form).await?;
        tokens.refresh_token.get_or_insert_with(|| refresh_token.clone());
        Ok(tokens)
    }
}

impl Issuer {
    async fn grant(&self, form: &[(&str, &str)]) -> Result<Tokens, GrantError> {
        const DOCUMENT: Document = Document::Tokens;
        let credentials = self.config.credentials.as_ref().filter(|_| self.config.exchange.is_some());
        let credentials = credentials.ok_or_else(|| GrantError::NotConfigured(self.config.issuer.clone()))?;
        let discovery = self.discovery().await?;
        let uri = self.remote.endpoint(DOCUMENT, discovery.token_endpoint.as_deref())?;
        let answer = self.remote.post(DOCUMENT, uri, credentials, form).await?;
        let unavailable = |problem| self.remote.unavailable(DOCUMENT, problem);
        match answer.status {
            200 => Ok(self.tokens(&answer.object().map_err(unavailable)?).map_err(unavailable)?),
            400 | 401 | 403 => {
                let refusal = answer.object().map_err(unavailable)?;
                Err(GrantError::Refused { issuer: self.config.issuer.clone(), code: code(&refusal) })
            }
            status => Err(unavailable(Problem::Status(status)).into()),
        }
    }

    /// Reads a token answer (RFC 6749, section 5.1, and RFC 8693, section 2.2.1).
    fn tokens(&self, answer: &Claims) -> Result<Tokens, Problem> {
        let text = |name| claims::text(answer, name).map_err(|_| Problem::Answer("a member has the wrong type"));
        let secret = |name| text(name).map(|found| found.filter(|token| !token.is_empty()).map(SecretString::from));
        let access_token = secret("access_token")?.ok_or(Problem::Answer("no access token"))?;
        if !text("token_type")?.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err(Problem::Answer("the new token is not a bearer token"));
        }
        let lifetime = claims::time(answer, "expires_in").map_err(|_| Problem::Answer("the lifetime is not a number"))?;
        Ok(Tokens {
            access_token,
            refresh_token: secret("refresh_token")?,
            expires_at: lifetime.map(|lifetime| (self.clock)().saturating_add(lifetime)),
            scopes: claims::scopes(answer).map_err(|_| Problem::Answer("the scopes are not a text"))?,
        })
    }
}

/// The error code. Descriptions are left out, since they may quote what was sent.
fn code(refusal: &Claims) -> String {
    let named = |code: &&str| code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    refusal.get("error").and_then(|code| code.as_str()).filter(named).unwrap_or("no error code").to_owned()
}
