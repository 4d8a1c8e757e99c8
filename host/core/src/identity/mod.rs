//! Who someone is: users and passwords, tokens, client certificates, the local operator — all to one [`Principal`].

mod accounts;
mod backoff;
mod grants;
mod issuers;
mod mail;
mod password;
mod policy;
mod turns;
mod users;

pub use accounts::{AccountChange, NewAccount, NewUserMade, PLATFORM_ROLES, platform_role};
pub use grants::SEAL_KEY;
pub use issuers::{Algorithm, ClientCredentials, Exchange, Introspection, IssuerConfig, Trusted};
pub use mail::{Letter, Mail};
pub use policy::{PERMISSIONS, Permission, ROLES, Role};
pub(crate) use users::digest;
pub use users::{Changes, Registration, TokenOrder, parse_roles};

use crate::{Error, SECOND};
use backoff::Backoff;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use ostler_ca::Role as CertificateRole;
use ostler_store::{NewToken, Store, User};
use password::Passwords;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// How long a token of `POST /auth` is good.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a verified Basic credential need not be hashed again.
const VERIFIED: Duration = Duration::from_secs(60);
/// How often a user can be sent a new password.
const BETWEEN_RESETS: Duration = Duration::from_secs(60);
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
    /// A client certificate of our authority.
    Certificate {
        /// What it was issued as.
        role: CertificateRole,
        /// The service that it was issued for, of a manager and an agent.
        service: Option<i64>,
    },
}

/// A user's identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The store's.
    pub id: String,
    /// The number, which certificates carry.
    pub number: i64,
}

/// A person as an issuer of tokens knows him; of local accounts the issuer is this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The issuer's identifier, a URL.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// Where he belongs.
    pub organisation: Option<String>,
    /// His groups; none where the token says nothing of groups.
    pub groups: Option<Vec<String>>,
    /// What the token is good for (`offline_access`, …); none for whoever did not come with a token of an issuer.
    pub scopes: Option<Vec<String>>,
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
    /// The account, of whoever has one.
    pub account: Option<Account>,
    /// What a token is good for, where it is good for less than its user.
    pub scopes: Option<Vec<Permission>>,
    /// The person, as his token of an issuer has it.
    pub person: Option<Person>,
}

impl Principal {
    /// Somebody without an account.
    pub fn new(user: impl Into<String>, roles: Vec<Role>, scheme: Scheme) -> Self {
        Self { user: user.into(), roles, scheme, account: None, scopes: None, person: None }
    }

    /// Nobody in particular, where the configuration says that nobody need say who he is.
    pub fn open() -> Self {
        Self::new("anonymous", vec![Role::Agent], Scheme::Open)
    }

    /// The host itself, for what it does by itself.
    pub(crate) fn host() -> Self {
        Self::new("host", vec![Role::Admin], Scheme::Operator)
    }

    fn of(user: &User, scheme: Scheme) -> Self {
        let roles = user.roles.iter().filter_map(|role| Role::parse(role)).collect();
        let account = Some(Account { id: user.id.clone(), number: user.number });
        Self { user: user.username.clone(), roles, scheme, account, scopes: None, person: None }
    }

    /// An error where no role of this principal permits it, or a token is not good for it.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        let within = self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&permission));
        let permitted = within && self.roles.iter().any(|role| policy::permits(*role, permission));
        if permitted { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// The account. An error for those who have none.
    pub fn account(&self) -> Result<&Account, Error> {
        self.account.as_ref().ok_or(Error::Forbidden)
    }
}

/// What somebody shows.
#[derive(Clone)]
pub enum Credentials {
    /// A user name and a password.
    Password(String, SecretString),
    /// A token.
    Token(SecretString),
    /// A client certificate that TLS has verified, DER.
    Certificate(Vec<u8>),
}

/// A new token. The secret is shown once.
pub struct Issued {
    /// By which it can be revoked.
    pub id: String,
    /// What to show from now on.
    pub secret: SecretString,
    /// When it ends, microseconds since 1970, UTC.
    pub expires_at: Option<i64>,
}

/// Users, their passwords and tokens.
pub struct Identity {
    store: Store,
    passwords: Passwords,
    backoff: Backoff,
    operator: SecretString,
    /// Keyed digests of Basic credentials that were right a moment ago, for the user as he was then. The key lives as long as the
    /// process.
    verified: moka::sync::Cache<[u8; 32], i64>,
    key: [u8; 32],
    /// Whoever shows the same credentials at the same time.
    turns: turns::Turns,
    trust: Option<issuers::Trust>,
    seal: Option<grants::Seal>,
    /// Tokens for acting on behalf of persons who are not there.
    held: moka::sync::Cache<String, grants::Held>,
    mail: Option<Arc<dyn Mail>>,
    /// Numbers of users who were sent a new password a moment ago.
    resets: moka::sync::Cache<i64, ()>,
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
            turns: turns::Turns::default(),
            trust: None,
            seal: None,
            held: grants::held(),
            mail: None,
            resets: moka::sync::Cache::builder().max_capacity(10_000).time_to_live(BETWEEN_RESETS).build(),
        }
    }

    /// With a way to send mail.
    #[must_use]
    pub fn mailing(self, mail: Arc<dyn Mail>) -> Self {
        Self { mail: Some(mail), ..self }
    }

    /// The token that proves to be on this host: its owner can read the data directory. New at every start.
    pub fn operator_token(&self) -> &SecretString {
        &self.operator
    }

    /// Who shows these credentials from this address. Unknown users, wrong passwords and disabled accounts are one and the same.
    pub async fn authenticate(&self, credentials: &Credentials, from: IpAddr) -> Result<Principal, Error> {
        match credentials {
            Credentials::Token(token) => self.by_token(token, from).await,
            Credentials::Password(user, password) => {
                let user = self.by_password(user, password, from).await?;
                Ok(Principal::of(&user, Scheme::Basic))
            }
            Credentials::Certificate(der) => self.by_certificate(der).await,
        }
    }

    async fn by_token(&self, shown: &SecretString, from: IpAddr) -> Result<Principal, Error> {
        let token = shown.expose_secret();
        if bool::from(token.as_bytes().ct_eq(self.operator.expose_secret().as_bytes())) {
            return Ok(Principal::new("operator", vec![Role::Admin], Scheme::Operator));
        }
        self.backoff.check(from, Instant::now())?;
        // What is looked up is a hash of a random secret: how long that takes tells nothing of it.
        let now = ostler_store::now();
        // Ours have no dots, those that issuers sign have two.
        let ours = if token.contains('.') { None } else { self.store.token_find(&token_hash(token), now).await? };
        match (ours, &self.trust) {
            (Some((token, user)), _) => {
                self.store.token_touch(&token.id, now, 60 * SECOND).await?;
                let scopes = token.scopes.iter().filter_map(|scope| Permission::parse(scope)).collect();
                let scopes = Some(scopes).filter(|_| !token.scopes.is_empty());
                Ok(Principal { scopes, ..Principal::of(&user, Scheme::Token) })
            }
            (None, Some(trust)) => self.by_issuer(trust, shown, from).await,
            (None, None) => {
                self.backoff.failed(from, Instant::now());
                Err(Error::Unauthenticated)
            }
        }
    }

    /// The chain was verified by TLS. What decides is our own record of it: who has it, and whether it still counts.
    async fn by_certificate(&self, der: &[u8]) -> Result<Principal, Error> {
        let claims = ostler_ca::claims(der).map_err(|_| Error::Unauthenticated)?;
        let Some((record, Some(user))) = self.store.certificate_find(&claims.serial).await? else {
            return Err(Error::Unauthenticated);
        };
        let as_recorded = claims.role.is_some_and(|role| role.as_str() == record.role)
            && claims.uid == Some(user.number)
            && claims.service.unwrap_or_default() == record.locator.unwrap_or_default();
        let (Some(role), true) = (claims.role, as_recorded) else { return Err(Error::Unauthenticated) };
        if record.revoked_at.is_some() || record.not_after <= ostler_store::now() || !user.active {
            return Err(Error::Unauthenticated);
        }
        let principal = Principal::of(&user, Scheme::Certificate { role, service: record.service_id });
        // What a machine holds is good for that machine's work, never for what its owner may do.
        Ok(match role {
            CertificateRole::User => principal,
            CertificateRole::Manager => Principal { roles: vec![Role::ServiceManager], ..principal },
            CertificateRole::Agent | CertificateRole::Frontend => Principal { roles: Vec::new(), ..principal },
        })
    }

    async fn by_password(&self, name: &str, password: &SecretString, from: IpAddr) -> Result<User, Error> {
        if name.len() > LONGEST || password.expose_secret().len() > LONGEST || name.contains('\0') {
            return Err(Error::Unauthenticated);
        }
        let digest = self.keyed(name, password);
        if let Some(user) = self.remembered(&digest, name).await? {
            return Ok(user);
        }
        // The same from many connections is one guess, and one hash: the others wait for its verdict.
        let _turn = self.turns.take(digest).await;
        if let Some(user) = self.remembered(&digest, name).await? {
            return Ok(user);
        }
        let attempt = self.backoff.admit(name, from, Instant::now())?;
        let user = self.store.user_by_name(name).await?;
        let hash = user.as_ref().filter(|user| user.active && is_good_still(user)).and_then(|user| user.password_hash.clone());
        let verdict = self.passwords.verify(password.clone(), hash).await?;
        let (Some(user), true) = (user, verdict.right) else {
            attempt.failed(Instant::now());
            return Err(Error::Unauthenticated);
        };
        attempt.succeeded();
        if verdict.outdated {
            // The password is right, whatever becomes of this; the next time is another chance.
            if let Err(error) = self.rehash(&user, password).await {
                tracing::debug!(user = user.username, %error, "a password could not be hashed anew");
            }
        } else {
            self.verified.insert(digest, user.updated_at);
        }
        Ok(user)
    }

    /// The user whose credentials these were a moment ago, if they still are.
    async fn remembered(&self, digest: &[u8; 32], name: &str) -> Result<Option<User>, Error> {
        let Some(version) = self.verified.get(digest) else { return Ok(None) };
        let user = self.store.user_by_name(name).await?;
        Ok(user.filter(|user| (user.active, user.updated_at) == (true, version) && is_good_still(user)))
    }

    /// The parameters have risen since the hash was made, and this is the moment when the password is known.
    async fn rehash(&self, user: &User, password: &SecretString) -> Result<(), Error> {
        let Some(old) = &user.password_hash else { return Ok(()) };
        let new = self.passwords.hash(password.clone()).await?;
        if self.store.user_rehash(&user.id, old, &new).await? {
            tracing::info!(user = user.username, "a password was hashed anew, with the present parameters");
        }
        Ok(())
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

    /// The user who shows this password.
    pub async fn check_password(&self, name: &str, password: &SecretString, from: IpAddr) -> Result<User, Error> {
        self.by_password(name, password, from).await
    }

    /// A new token for whoever shows this password.
    pub async fn log_in(&self, name: &str, password: &SecretString, from: IpAddr) -> Result<Issued, Error> {
        let user = self.by_password(name, password, from).await?;
        self.issue_token(&user.id, "login", &[], Some(TOKEN_LIFE)).await
    }

    async fn issue_token(
        &self,
        user_id: &str,
        label: &str,
        scopes: &[Permission],
        life: Option<Duration>,
    ) -> Result<Issued, Error> {
        let secret = random_secret();
        let life = life.map(|life| i64::try_from(life.as_micros()).unwrap_or(i64::MAX));
        let expires_at = life.map(|life| ostler_store::now().saturating_add(life));
        let token = NewToken {
            user_id: user_id.to_owned(),
            hash: token_hash(secret.expose_secret()),
            label: label.to_owned(),
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            expires_at,
        };
        let id = self.store.token_create(&token).await?.id;
        Ok(Issued { id, secret, expires_at })
    }

    /// Makes sure that there is an administrator: with this password, or with a new one, which is returned then.
    pub async fn first_administrator(&self, password: Option<SecretString>) -> Result<Option<SecretString>, Error> {
        if self.store.user_by_name("admin").await?.is_some() || self.store.has_administrator().await? {
            return Ok(None);
        }
        let (password, made) = match password {
            Some(password) => (password, None),
            None => {
                let made = random_secret();
                (made.clone(), Some(made))
            }
        };
        let admin = Registration { password: password.clone(), ..Registration::named("admin") };
        match self.create(&admin, &[Role::Admin], 0).await {
            Ok(_) => Ok(made),
            // Another host on the same store was faster.
            Err(Error::Taken(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Role, user's number and service of a certificate of ours, where it says all of them. For the look at a peer whose chain was
/// verified.
pub fn certificate_claims(der: &[u8]) -> Option<(CertificateRole, i64, i64)> {
    let claims = ostler_ca::claims(der).ok()?;
    Some((claims.role?, claims.uid?, claims.service?))
}

/// Whether a user's password has not ended by itself.
fn is_good_still(user: &User) -> bool {
    user.password_expires_at.is_none_or(|end| end > ostler_store::now())
}

/// 256 random bits, in URL-safe characters.
pub(crate) fn random_secret() -> SecretString {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes).into()
}

fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests;
