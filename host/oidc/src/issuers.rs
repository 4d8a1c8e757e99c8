//! All issuers, and what is remembered of their tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moka::sync::Cache;
use sha2::{Digest, Sha256};

use crate::config::IssuerConfig;
use crate::error::{ConfigError, Error, Invalid, brief};
use crate::identity::Identity;
use crate::issuer::{ANSWER_TERM, Issuer};
use crate::token::Jwt;

/// How many tokens are remembered, and for how long at most. Whether what is remembered still counts is decided by [`Clock`].
const MOST_TOKENS: u64 = 10_000;
const LONGEST_MEMORY: Duration = Duration::from_secs(120);

/// For how long it is remembered that a token is not good, in microseconds.
const REFUSAL_TERM: i64 = 5_000_000;

/// Tells the time in microseconds since 1970 UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What is known of one token. Locked while somebody asks for it, so that nobody asks twice.
type Slot = Arc<tokio::sync::Mutex<Option<Known>>>;

struct Known {
    outcome: Result<Arc<Identity>, Invalid>,
    /// Counts before this time, in microseconds.
    until: i64,
}

/// The issuers whose tokens are accepted. Clones share everything.
#[derive(Clone)]
pub struct Issuers {
    issuers: Arc<[Issuer]>,
    /// By the SHA-256 of the token.
    tokens: Cache<[u8; 32], Slot>,
    clock: Clock,
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.issuers.iter().map(|issuer| &issuer.config)).finish()
    }
}

impl Issuers {
    /// The issuers of these configurations. Nothing is sent before the first token needs it.
    ///
    /// # Errors
    /// [`ConfigError`]; among them one for being called outside a Tokio runtime, on which the connections live.
    pub fn new(configs: Vec<IssuerConfig>) -> Result<Self, ConfigError> {
        let system = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        };
        Self::with_clock(configs, Arc::new(system))
    }

    /// As [`Issuers::new`], with a clock of its own.
    ///
    /// # Errors
    /// As [`Issuers::new`].
    pub fn with_clock(configs: Vec<IssuerConfig>, clock: Clock) -> Result<Self, ConfigError> {
        for (index, config) in configs.iter().enumerate() {
            if configs.iter().take(index).any(|other| other.issuer == config.issuer) {
                return Err(ConfigError::Twice(config.issuer.clone()));
            }
        }
        let issuers = configs.into_iter().map(|config| Issuer::new(config, Arc::clone(&clock))).collect::<Result<_, _>>()?;
        let tokens = Cache::builder().max_capacity(MOST_TOKENS).time_to_live(LONGEST_MEMORY).build();
        Ok(Self { issuers, tokens, clock })
    }

    /// Whose token this is, if it is good for us.
    ///
    /// What was found out is remembered for a minute, and not beyond the token's `exp`; a refusal by an issuer for 5 s. Leeway
    /// applies to a token that is presented after its `exp`, not to what is remembered.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the token is not good. [`Error::Unavailable`] if that cannot be told, because the issuer cannot be
    /// asked for something that is needed to tell it.
    pub async fn verify(&self, token: &str) -> Result<Arc<Identity>, Error> {
        // Reading it comes first: most of what is no good ends here, without a place in memory.
        let jwt = Jwt::parse(token)?;
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(slot) = self.tokens.get(&digest)
            && let Some(outcome) = self.known(slot.lock().await.as_ref())
        {
            return Ok(outcome?);
        }
        let verified = match &jwt {
            Some(jwt) => {
                let issuer = self.issuer(&jwt.issuer).ok_or_else(|| Invalid::UnknownIssuer(brief(&jwt.issuer)))?;
                Some((issuer, issuer.verify(jwt).await?))
            }
            None if self.issuers.iter().all(|issuer| issuer.introspects().is_none()) => return Err(Invalid::Opaque.into()),
            None => None,
        };
        let slot = self.tokens.get_with(digest, Slot::default);
        let mut slot = slot.lock().await;
        if let Some(outcome) = self.known(slot.as_ref()) {
            return Ok(outcome?);
        }
        let outcome = match verified {
            Some((issuer, identity)) => issuer.complete(token, identity, true).await,
            None => self.look_up(token).await,
        };
        let outcome = match outcome {
            Ok(identity) => Ok(Arc::new(identity)),
            Err(Error::Invalid(invalid)) => Err(invalid),
            Err(error @ Error::Unavailable(_)) => return Err(error),
        };
        let now = (self.clock)();
        let until = match &outcome {
            Ok(identity) => identity.expires_at.min(now.saturating_add(ANSWER_TERM)),
            Err(_) => now.saturating_add(REFUSAL_TERM),
        };
        *slot = Some(Known { outcome: outcome.clone(), until });
        Ok(outcome?)
    }

    fn known(&self, known: Option<&Known>) -> Option<Result<Arc<Identity>, Invalid>> {
        known.filter(|known| (self.clock)() < known.until).map(|known| known.outcome.clone())
    }

    /// The configured issuer of this name.
    pub(crate) fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.config.issuer == name)
    }

    /// Asks every issuer that can be asked, in the order of the configuration, until one knows the token.
    async fn look_up(&self, token: &str) -> Result<Identity, Error> {
        let mut failure = Error::Invalid(Invalid::Inactive);
        for issuer in self.issuers.iter() {
            let Some(credentials) = issuer.introspects() else {
                continue;
            };
            match issuer.look_up(token, credentials).await {
                Ok(identity) => return issuer.complete(token, identity, false).await,
                Err(Error::Invalid(Invalid::Inactive)) => {}
                // Known there, and no good.
                Err(error @ Error::Invalid(_)) => return Err(error),
                // Another one may know it; if none does, this one might have.
                Err(error @ Error::Unavailable(_)) => failure = error,
            }
        }
        Err(failure)
    }
}
