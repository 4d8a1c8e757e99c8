//! Who someone is: users and passwords, tokens, the local operator — all to one [`Principal`].

mod backoff;
mod password;
mod policy;

pub use policy::{Permission, ROLES, Role};

use crate::{Error, SECOND};
use backoff::Backoff;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ostler_store::{NewToken, NewUser, Store, User};
use password::Passwords;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// How long a token of `POST /auth` is good.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a verified Basic credential need not be hashed again.
const VERIFIED: Duration = Duration::from_secs(60);
/// Characters of the longest user name and password.
const LONGEST: usize = 1024;

/// By which way a principal came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// None: development mode on loopback.
    Open,
    /// HTTP Basic.
    Basic,
    /// A token.
    Token,
    /// The token file of this host's data directory.
    Operator,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user's name.
    pub user: String,
    /// What he is.
    pub roles: Vec<Role>,
    /// By which way he came in.
    pub scheme: Scheme,
}

impl Principal {
    /// Nobody in particular, where the configuration says that nobody need say who he is.
    pub fn open() -> Self {
        Self { user: "anonymous".into(), roles: vec![Role::Agent], scheme: Scheme::Open }
    }

    /// An error where no role of this principal permits it.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.roles.iter().any(|role| policy::permits(*role, permission)) { Ok(()) } else { Err(Error::Forbidden) }
    }
}

/// What somebody shows.
#[derive(Clone)]
pub enum Credentials {
    /// A user name and a password.
    Password(String, SecretString),
    /// A token.
    Token(SecretString),
}

/// A new token. The secret is shown once.
pub struct Issued {
    /// What to show from now on.
    pub secret: SecretString,
    /// When it ends, microseconds since 1970, UTC.
    pub expires_at: i64,
}

/// Users, their passwords and tokens.
pub struct Identity {
    store: Store,
    passwords: Passwords,
    backoff: Backoff,
    operator: SecretString,
    /// Keyed digests of Basic credentials that were right a moment ago. The key lives as long as the process.
    verified: moka::sync::Cache<[u8; 32], Principal>,
    key: [u8; 32],
}

impl Identity {
    /// The identities of this store.
    pub fn new(store: Store) -> Self {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        Self {
            store,
            passwords: Passwords::new(),
            backoff: Backoff::new(),
            operator: random_secret(),
            verified: moka::sync::Cache::builder().max_capacity(10_000).time_to_live(VERIFIED).build(),
            key,
        }
    }

    /// The token that proves to be on this host: its owner can read the data directory. New at every start.
    pub fn operator_token(&self) -> &SecretString {
        &self.operator
    }

    /// Who shows these credentials from this address. Unknown users, wrong passwords and disabled accounts are one and the same.
    pub async fn authenticate(&self, credentials: &Credentials, from: IpAddr) -> Result<Principal, Error> {
        match credentials {
            Credentials::Token(token) => self.by_token(token, from).await,
            Credentials::Password(user, password) => self.by_password(user, password, from).await,
        }
    }

    async fn by_token(&self, token: &SecretString, from: IpAddr) -> Result<Principal, Error> {
        let token = token.expose_secret();
        if bool::from(token.as_bytes().ct_eq(self.operator.expose_secret().as_bytes())) {
            return Ok(Principal { user: "operator".into(), roles: vec![Role::Admin], scheme: Scheme::Operator });
        }
        self.backoff.admit(None, from, Instant::now())?;
        // What is looked up is a hash of a random secret: how long that takes tells nothing of it.
        let now = ostler_store::now();
        match self.store.token_find(&token_hash(token), now).await? {
            Some((token, user)) => {
                self.store.token_touch(&token.id, now, 60 * SECOND).await?;
                Ok(principal(&user, Scheme::Token))
            }
            None => {
                self.backoff.failed(None, from, Instant::now());
                Err(Error::Unauthenticated)
            }
        }
    }

    async fn by_password(&self, name: &str, password: &SecretString, from: IpAddr) -> Result<Principal, Error> {
        if name.len() > LONGEST || password.expose_secret().len() > LONGEST {
            return Err(Error::Unauthenticated);
        }
        let digest = self.keyed(name, password);
        if let Some(principal) = self.verified.get(&digest) {
            return Ok(principal);
        }
        self.backoff.admit(Some(name), from, Instant::now())?;
        let user = self.store.user_by_name(name).await?;
        let hash = user.as_ref().filter(|user| user.active).and_then(|user| user.password_hash.clone());
        let right = self.passwords.verify(password.clone(), hash).await?;
        match user {
            Some(user) if right => {
                self.backoff.succeeded(name);
                let principal = principal(&user, Scheme::Basic);
                self.verified.insert(digest, principal.clone());
                Ok(principal)
            }
            _ => {
                self.backoff.failed(Some(name), from, Instant::now());
                Err(Error::Unauthenticated)
            }
        }
    }

    /// Tells credentials apart without keeping them, even for somebody who reads this process's memory later.
    fn keyed(&self, name: &str, password: &SecretString) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(password.expose_secret());
        hasher.finalize().into()
    }

    /// A new token for whoever shows this password.
    pub async fn log_in(&self, name: &str, password: &SecretString, from: IpAddr) -> Result<Issued, Error> {
        self.by_password(name, password, from).await?;
        let Some(user) = self.store.user_by_name(name).await? else { return Err(Error::Unauthenticated) };
        let secret = random_secret();
        let life = i64::try_from(TOKEN_LIFE.as_micros()).unwrap_or(i64::MAX);
        let expires_at = ostler_store::now().saturating_add(life);
        self.store
            .token_create(&NewToken {
                user_id: user.id,
                hash: token_hash(secret.expose_secret()),
                label: "login".into(),
                scopes: Vec::new(),
                expires_at: Some(expires_at),
            })
            .await?;
        Ok(Issued { secret, expires_at })
    }

    /// Makes sure that there is an administrator: with this password, or with a new one, which is returned then.
    pub async fn first_administrator(&self, password: Option<SecretString>) -> Result<Option<SecretString>, Error> {
        if self.store.user_by_name("admin").await?.is_some() {
            return Ok(None);
        }
        let (password, made) = match password {
            Some(password) => (password, None),
            None => {
                let made = random_secret();
                (made.clone(), Some(made))
            }
        };
        match self.add_user("admin", &password, &[Role::Admin]).await {
            Ok(_) => Ok(made),
            // Another host on the same store was faster.
            Err(Error::Store(ostler_store::Error::Exists(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds a user.
    pub async fn add_user(&self, name: &str, password: &SecretString, roles: &[Role]) -> Result<User, Error> {
        if name.is_empty() || name.len() > 128 || name.contains([':', '\0']) || name.chars().any(char::is_control) {
            return Err(Error::Invalid("a user name has 1 to 128 bytes, no colon and no control characters".into()));
        }
        if password.expose_secret().len() > LONGEST {
            return Err(Error::Invalid(format!("a password has at most {LONGEST} bytes")));
        }
        let hash = self.passwords.hash(password.clone()).await?;
        let new = NewUser {
            username: name.to_owned(),
            password_hash: Some(hash),
            email: None,
            active: true,
            roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
        };
        Ok(self.store.user_create(&new).await?)
    }
}

fn principal(user: &User, scheme: Scheme) -> Principal {
    let roles = user.roles.iter().filter_map(|role| Role::parse(role)).collect();
    Principal { user: user.username.clone(), roles, scheme }
}

/// 256 random bits, in URL-safe characters.
fn random_secret() -> SecretString {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes).into()
}

fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests;
