//! `[api]`: the dialects.

use ostler_egress::Origin;
use url::Url;

/// `[api]`: the dialects.
#[derive(Clone, Debug, Default)]
pub struct Api {
    /// `[api.crs4]`: Orchestrator API V.1, `/api/v1`.
    pub crs4: Crs4,
    /// `[api.conpaas]`: the Director, `/`.
    pub conpaas: Conpaas,
    /// `[api.cloudedge]`: Cloud Edge, `/cloudedge` for the cloud that is named here, `/<cloud>/cloudedge` for each one.
    pub cloudedge: Dialect,
    /// `[api.indigo]`: PaaS Orchestrator, `/deployments`, `/configuration`, `/info`.
    pub indigo: Indigo,
}

/// What can be set for every dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Whether it is served. Default true.
    pub enabled: bool,
    /// A path in front of which it is served besides its own, such as `/orchestrator`. Default: none.
    pub prefix: Option<String>,
    /// The listeners on which it is served. Default all.
    pub listener: ListenerChoice,
    /// The cloud where requests name none. Default `default` if there is a cloud of this name, else none.
    pub cloud: Option<String>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { enabled: true, prefix: None, listener: ListenerChoice::All, cloud: None }
    }
}

/// `[api.crs4]`: besides what every dialect has.
#[derive(Clone, Debug, Default)]
pub struct Crs4 {
    /// What every dialect has.
    pub dialect: Dialect,
    /// Whether it is served without credentials, as the original was; on loopback addresses only. Default: in development
    /// mode only.
    pub open: bool,
    /// The base address of a remote Cistern. Default: none, the built-in assignments are used.
    pub cistern: Option<Url>,
}

/// `[api.conpaas]`: besides what every dialect has.
#[derive(Clone, Debug)]
pub struct Conpaas {
    /// What every dialect has.
    pub dialect: Dialect,
    /// Whether `/new_user` is open to everybody. Default: in development mode only.
    pub open_registration: bool,
    /// The most credit with which somebody can register. Default 50.
    pub max_initial_credit: u64,
}

impl Default for Conpaas {
    fn default() -> Self {
        Self { dialect: Dialect::default(), open_registration: false, max_initial_credit: 50 }
    }
}

/// `[api.indigo]`: besides what every dialect has.
#[derive(Clone, Debug, Default)]
pub struct Indigo {
    /// What every dialect has. With a prefix, everything below it belongs to this dialect.
    pub dialect: Dialect,
    /// Whether it is served without credentials, as the original is when its `oidc.enabled` is off; on loopback addresses only.
    /// Default: in development mode only.
    pub open: bool,
    /// Whether templates are refused for what published ones often get wrong: unknown properties, types of other versions.
    /// Default false.
    pub strict: bool,
    /// `callbacks`: whom deployments may tell what becomes of them.
    pub callbacks: Callbacks,
    /// `registries`: who is asked where to deploy. Default: nobody; the configuration of the clouds says it.
    pub registries: Registries,
}

/// `registries` of `[api.indigo]`: base URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// SLAM: agreements. It is shown the users' tokens: https, or http on loopback. Without it the others are not asked.
    pub slam: Option<Url>,
    /// The CMDB: providers, services, images, flavors.
    pub cmdb: Option<Url>,
    /// The cloud provider ranker.
    pub cpr: Option<Url>,
    /// The Zabbix wrapper: how providers fare.
    pub monitoring: Option<Url>,
    /// Whether the CMDB attaches images and flavors to services, as older ones do, and not to tenants. Default false.
    pub by_service: bool,
}

/// `callbacks` of `[api.indigo]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callbacks {
    /// Whether also addresses in private networks are told. Default false: public ones only, and loopback in development mode.
    pub allow_private: bool,
    /// Origins that are told, and no others: a literal address or `localhost` among them is acceptable wherever it is. Default:
    /// none, which means all.
    pub hosts: Vec<Origin>,
}

/// The listeners on which a dialect is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerChoice {
    /// `all`.
    #[default]
    All,
    /// `plain`: HTTP only.
    Plain,
    /// `tls`: HTTPS only.
    Tls,
}

impl ListenerChoice {
    /// Whether a listener of this kind is meant.
    pub fn includes(self, tls: bool) -> bool {
        match self {
            Self::All => true,
            Self::Plain => !tls,
            Self::Tls => tls,
        }
    }
}
