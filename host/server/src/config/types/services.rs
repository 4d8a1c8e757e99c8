//! `[services]` and `[billing]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[services]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// How long a node of a service may take until it has an address, in seconds. Default 300.
    pub start_timeout_seconds: u64,
    /// The archive that managers fetch (`/download/ConPaaS.tar.gz`). Relative to the configuration file. Default: none.
    pub archive: Option<PathBuf>,
    /// Whether the host charges for running nodes by itself. Default true.
    pub metering: bool,
    /// The port on which managers answer. Default 443.
    pub manager_port: u16,
    /// How the names of nodes begin. Default `conpaas`.
    pub name_prefix: String,
    /// `[services.types.NAME]`: what can be started. Without a configuration file: the types of the original, on the dummy
    /// clouds.
    pub types: BTreeMap<String, ServiceType>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            start_timeout_seconds: 300,
            archive: None,
            metering: true,
            manager_port: 443,
            name_prefix: "conpaas".to_owned(),
            types: BTreeMap::new(),
        }
    }
}

/// `[services.types.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceType {
    /// The image of the manager's node, by the provider's identifier. Required.
    pub image: String,
    /// Its size, by the provider's identifier. Required.
    pub size: String,
    /// A file with the shell script that starts the manager, in the place of the usual one. Relative to the configuration file.
    pub script: Option<String>,
    /// `[services.types.NAME.clouds.CLOUD]`: image and size in this cloud, where they differ.
    pub clouds: BTreeMap<String, (String, String)>,
}

/// `[billing]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billing {
    /// Credits per node and started period. Default 1.
    pub price: u64,
    /// What is paid for at a time, in seconds. Default 3600.
    pub period_seconds: u64,
    /// Whether the machines of deployments are paid for, too, by owners who have an account here. Whose credit does not suffice
    /// gets none, and whose credit is used up has them stopped. Default false.
    pub deployments: bool,
    /// `[billing.prices.CLOUD]`: prices by size, where they differ.
    pub prices: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Default for Billing {
    fn default() -> Self {
        Self { price: 1, period_seconds: 3600, deployments: false, prices: BTreeMap::new() }
    }
}
