//! One issuer.

use std::sync::Arc;

use crate::cached::Cached;
use crate::claims::{self, Claims};
use crate::config::{ClientCredentials, Introspection, IssuerConfig};
use crate::discovery::{self, Discovery};
use crate::error::{ConfigError, Document, Error, Invalid, Problem, Unavailable, brief};
use crate::identity::{self, Identity};
use crate::issuers::Clock;
use crate::keys::{KeySet, Verdict};
use crate::remote::Remote;
use crate::token::Jwt;

/// For how long an introspection answer counts, in microseconds.
pub(crate) const ANSWER_TERM: i64 = 60_000_000;

pub(crate) struct Issuer {
    pub(crate) config: IssuerConfig,
    pub(crate) remote: Arc<Remote>,
    pub(crate) clock: Clock,
    discovery: Arc<Cached<Discovery>>,
    keys: Arc<Cached<KeySet>>,
}

impl Issuer {
    pub(crate) fn new(config: IssuerConfig, clock: Clock) -> Result<Self, ConfigError> {
        let remote = Arc::new(Remote::new(&config, Arc::clone(&clock))?);
        let discovery = Cached::new(Arc::clone(&clock), &config.issuer, Document::Discovery);
        let keys = Cached::new(Arc::clone(&clock), &config.issuer, Document::Keys);
        Ok(Self { config, remote, clock, discovery, keys })
    }

    /// Whether this issuer is asked about tokens that are not JSON Web Tokens, and as whom.
    pub(crate) fn introspects(&self) -> Option<&ClientCredentials> {
        self.config.credentials.as_ref().filter(|_| self.config.introspection != Introspection::Never)
    }

    /// Checks a token that names this issuer, as far as that needs nobody but the issuer's keys.
    pub(crate) async fn verify(&self, jwt: &Jwt<'_>) -> Result<Identity, Error> {
        if !self.config.algorithms.contains(&jwt.algorithm) {
            return Err(Invalid::Algorithm(brief(jwt.algorithm.as_str())).into());
        }
        let started = (self.clock)();
        let keys = self.keys.get(|| self.fetch_keys()).await?;
        let mut verdict = keys.check(jwt);
        // An issuer that gives its keys no names may have exchanged them just the same.
        let outdated = matches!(verdict, Verdict::Unknown) || (matches!(verdict, Verdict::Forged) && jwt.key.is_none());
        if outdated && let Some(newer) = self.keys.refresh(&keys, started, || self.fetch_keys()).await? {
            verdict = newer.check(jwt);
        }
        let invalid = match verdict {
            Verdict::Genuine => return Ok(self.claimed(&jwt.claims)?),
            Verdict::Forged => Invalid::Signature,
            Verdict::Mismatch => Invalid::KeyMismatch(jwt.algorithm.as_str()),
            Verdict::Unknown => Invalid::UnknownKey(jwt.key.as_deref().map_or_else(|| "for it".to_owned(), brief)),
        };
        Err(invalid.into())
    }

    /// Reads the claims of a token whose signature is genuine.
    fn claimed(&self, claims: &Claims) -> Result<Identity, Invalid> {
        let expires = claims::check(&self.config, claims, (self.clock)())?.ok_or(Invalid::Missing("exp"))?;
        let subject = claims::subject(claims)?.ok_or(Invalid::Missing("sub"))?;
        Identity::new(&self.config, claims, subject, expires)
    }

    /// Completes what a token says with what the issuer says about it now.
    pub(crate) async fn complete(&self, token: &str, mut identity: Identity, is_jwt: bool) -> Result<Identity, Error> {
        if is_jwt
            && self.config.introspection == Introspection::Always
            && let Some(credentials) = &self.config.credentials
        {
            let answer = self.introspect(token, credentials).await?;
            if claims::subject(&answer)?.is_some_and(|subject| subject != identity.subject) {
                return Err(Invalid::Other("subject").into());
            }
        }
        if self.config.userinfo && identity.scopes.contains("openid") {
            let facts = self.userinfo(token, &identity.subject).await?;
            identity.describe(&self.config, &facts);
        }
        identity.organisation = identity.organisation.or_else(|| self.config.organisation.clone());
        Ok(identity)
    }

    /// Who presents a token that only the issuer can read. Invalid with [`Invalid::Inactive`] if the issuer does not know it.
    pub(crate) async fn look_up(&self, token: &str, credentials: &ClientCredentials) -> Result<Identity, Error> {
        let answer = self.introspect(token, credentials).await?;
        // Refresh tokens are active, too. `token_type` is what tells them apart, `typ` with Keycloak.
        claims::text(&answer, "token_type")?.or(claims::text(&answer, "typ")?).ok_or(Invalid::Missing("token_type"))?;
        let now = (self.clock)();
        let expires = claims::check(&self.config, &answer, now)?.unwrap_or(now.saturating_add(ANSWER_TERM));
        // A token that nobody but its client stands behind may come without a subject; as a JSON Web Token it would have the
        // client for one (RFC 9068, section 2.2).
        let subject = claims::subject(&answer)?.or_else(|| identity::client(&answer)).ok_or(Invalid::Missing("sub"))?;
        Ok(Identity::new(&self.config, &answer, subject, expires)?)
    }

    /// Asks whether a token is active (RFC 7662, section 2) and gives the answer if it is.
    async fn introspect(&self, token: &str, credentials: &ClientCredentials) -> Result<Claims, Error> {
        const DOCUMENT: Document = Document::Introspection;
        let discovery = self.discovery().await?;
        let uri = self.remote.endpoint(DOCUMENT, discovery.introspection_endpoint.as_deref())?;
        let form = [("token", token), ("token_type_hint", "access_token")];
        let answer = self.remote.post(DOCUMENT, uri, credentials, &form).await?;
        let unavailable = |problem| self.remote.unavailable(DOCUMENT, problem);
        let claims = match answer.status {
            200 => answer.object().map_err(unavailable)?,
            401 => return Err(unavailable(Problem::Credentials).into()),
            status => return Err(unavailable(Problem::Status(status)).into()),
        };
        match claims.get("active") {
            Some(serde_json::Value::Bool(true)) => {}
            Some(serde_json::Value::Bool(false)) => return Err(Invalid::Inactive.into()),
            _ => return Err(unavailable(Problem::Answer("it does not say whether the token is active")).into()),
        }
        if claims::text(&claims, "iss")?.is_some_and(|issuer| issuer != self.config.issuer) {
            return Err(Invalid::Other("issuer").into());
        }
        for name in ["token_type", "typ"] {
            if let Some(kind) = claims::text(&claims, name)?.filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
                return Err(Invalid::Type(brief(kind)).into());
            }
        }
        Ok(claims)
    }

    /// Asks for the facts about the subject of a token (OpenID Connect Core 1.0, section 5.3).
    async fn userinfo(&self, token: &str, subject: &str) -> Result<Claims, Error> {
        const DOCUMENT: Document = Document::Userinfo;
        let discovery = self.discovery().await?;
        let uri = self.remote.endpoint(DOCUMENT, discovery.userinfo_endpoint.as_deref())?;
        let answer = self.remote.get_with_token(DOCUMENT, uri, token).await?;
        let unavailable = |problem| self.remote.unavailable(DOCUMENT, problem);
        let facts = match answer.status {
            200 => answer.object().map_err(unavailable)?,
            401 | 403 => return Err(Invalid::Userinfo.into()),
            status => return Err(unavailable(Problem::Status(status)).into()),
        };
        // Section 5.3.4: without this, the facts could be about somebody else.
        match facts.get("sub").and_then(serde_json::Value::as_str) {
            Some(found) if found == subject => Ok(facts),
            _ => Err(Invalid::Other("subject").into()),
        }
    }

    /// The discovery document.
    pub(crate) async fn discovery(&self) -> Result<Arc<Discovery>, Unavailable> {
        discover(Arc::clone(&self.remote), Arc::clone(&self.discovery), self.config.issuer.clone()).await
    }

    fn fetch_keys(&self) -> impl Future<Output = Result<KeySet, Unavailable>> + Send + use<> {
        let (remote, issuer) = (Arc::clone(&self.remote), self.config.issuer.clone());
        let discovery = Arc::clone(&self.discovery);
        async move {
            let document = discover(Arc::clone(&remote), discovery, issuer.clone()).await?;
            let uri = remote.endpoint(Document::Keys, document.jwks_uri.as_deref())?;
            let answer = remote.get(Document::Keys, uri).await?;
            let keys = KeySet::parse(&answer.body).map_err(|problem| remote.unavailable(Document::Keys, problem))?;
            if keys.is_empty() {
                tracing::warn!(issuer, "the issuer publishes no key that could be used");
            }
            Ok(keys)
        }
    }
}

async fn discover(remote: Arc<Remote>, cached: Arc<Cached<Discovery>>, issuer: String) -> Result<Arc<Discovery>, Unavailable> {
    const DOCUMENT: Document = Document::Discovery;
    let fetch = async move {
        let uri = discovery::address(&issuer).parse().map_err(|_| remote.unavailable(DOCUMENT, Problem::Insecure))?;
        let answer = remote.get(DOCUMENT, uri).await?;
        Discovery::parse(&issuer, &answer.body).map_err(|problem| remote.unavailable(DOCUMENT, problem))
    };
    cached.get(|| fetch).await
}
