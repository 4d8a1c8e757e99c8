//! How services are configured.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Types of services by name.
pub type Catalogue = BTreeMap<String, ServiceType>;

/// A type of service that can be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceType {
    /// What its manager runs on, where the cloud is not named in `clouds`.
    pub machine: Machine,
    /// What its manager runs on, by cloud.
    pub clouds: BTreeMap<String, Machine>,
    /// A shell script that starts the manager, in the place of the usual one. `@TYPE@`, `@SERVICE@` and `@ROOT@` are replaced.
    pub script: Option<String>,
}

/// What a node is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The image, by the provider's identifier.
    pub image: String,
    /// The size, by the provider's identifier.
    pub size: String,
}

impl ServiceType {
    /// What it runs on in this cloud.
    pub fn machine(&self, cloud: &str) -> &Machine {
        self.clouds.get(cloud).unwrap_or(&self.machine)
    }
}

/// Who can become a user without an administrator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Nobody.
    #[default]
    Closed,
    /// Whoever comes.
    Open,
}

/// How services are configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What can be started.
    pub catalogue: Catalogue,
    /// The cloud where a request names none.
    pub cloud: String,
    /// By which address managers reach this server, without a path.
    pub director: Url,
    /// How long a node may take until it has an address.
    pub start_timeout: Duration,
    /// Who can register.
    pub registration: Registration,
    /// The most credit with which somebody can register.
    pub max_initial_credit: i64,
    /// Whether nodes are paid for by the hour without their manager's doing.
    pub metering: bool,
    /// The archive that managers fetch.
    pub archive: Option<PathBuf>,
    /// The port on which managers answer.
    pub manager_port: u16,
    /// How nodes of services are called: the beginning of their names.
    pub prefix: String,
}

/// The types of the original, for clouds whose image and size have these identifiers: something to try out without machines.
pub fn sample_catalogue(image: &str, size: &str) -> Catalogue {
    const TYPES: [&str; 11] =
        ["galera", "hadoop", "helloworld", "htc", "java", "mysql", "php", "scalaris", "selenium", "taskfarm", "xtreemfs"];
    let machine = Machine { image: image.to_owned(), size: size.to_owned() };
    TYPES.iter().map(|name| ((*name).to_owned(), ServiceType { machine: machine.clone(), ..ServiceType::default() })).collect()
}
