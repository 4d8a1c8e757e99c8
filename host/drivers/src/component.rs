//! From bytes to a component that may run: is it one, is it signed, does it fit the contract, what does it ask for.

use crate::capabilities;
use crate::engine::{MAX_MEMORY, Runtime, digest};
use crate::error::LoadError;
use crate::guest::Guest;
use crate::settings::CloudSettings;
use crate::v0_1::bindings::CloudDriverPre;
use ed25519_dalek::{Signature, VerifyingKey};
use std::sync::Arc;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};
use wasmtime::component::Linker;

/// What the export that makes a component a driver is called, without its version.
const EXPORT: &str = "ostler:driver/driver";
/// The generations of the contract that this host can run.
const GENERATIONS: &str = "0.1";

/// What every component has to fulfil, whoever uses it.
#[derive(Clone, Debug)]
pub struct LoadPolicy {
    /// Bytes of the largest component.
    pub max_bytes: usize,
    /// Keys of which one must have signed.
    pub trusted_keys: Vec<VerifyingKey>,
    /// Whether unsigned components are refused.
    pub require_signature: bool,
}

impl Default for LoadPolicy {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, trusted_keys: Vec::new(), require_signature: false }
    }
}

/// What vouches for a component.
#[derive(Clone, Debug)]
pub enum Seal {
    /// It is part of this program.
    Builtin,
    /// A detached Ed25519 signature over its bytes, if there is one.
    Signature(Option<Vec<u8>>),
}

/// A component that has been verified and compiled.
pub struct Package {
    /// The driver's name: what clouds refer to.
    pub driver: String,
    /// `sha256:<hex>` of the bytes.
    pub digest: String,
    /// Bytes.
    pub size: usize,
    /// The version of the contract it was built against.
    pub contract: String,
    /// Its imports, with versions, sorted.
    pub imports: Vec<String>,
    /// Whether a trusted key has signed it.
    pub signed: bool,
    pub(crate) pre: Arc<CloudDriverPre<Guest>>,
}

impl std::fmt::Debug for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Package").field("driver", &self.driver).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// The linker, made once: what a cloud may use of it is checked in [`check_imports`].
pub(crate) fn linker(runtime: &Runtime) -> Result<Linker<Guest>, LoadError> {
    let mut linker = Linker::new(runtime.engine());
    capabilities::link(&mut linker).map_err(|error| LoadError::Compile(format!("{error:#}")))?;
    Ok(linker)
}

/// Verifies and compiles. Blocks for as long as the compiler takes.
pub(crate) fn load(
    runtime: &Runtime,
    linker: &Linker<Guest>,
    policy: &LoadPolicy,
    driver: &str,
    wasm: &[u8],
    seal: &Seal,
) -> Result<Package, LoadError> {
    if wasm.len() > policy.max_bytes {
        return Err(LoadError::TooLarge { size: wasm.len(), limit: policy.max_bytes });
    }
    let digest = digest(wasm);
    let signed = match seal {
        Seal::Builtin => true,
        Seal::Signature(signature) => verify(policy, wasm, signature.as_deref())?,
    };
    validate(wasm)?;
    let component = runtime.compile(wasm, &digest)?;
    let ty = component.component_type();
    let mut imports: Vec<String> = ty.imports(runtime.engine()).map(|(name, _)| name.to_owned()).collect();
    imports.sort_unstable();
    for import in &imports {
        if let Some(reason) = unknown(import) {
            return Err(LoadError::Import { cloud: "*".into(), import: import.clone(), reason });
        }
    }
    let exports: Vec<String> = ty.exports(runtime.engine()).map(|(name, _)| name.to_owned()).collect();
    let contract = contract(&exports)?;
    let pre = linker.instantiate_pre(&component).map_err(|error| misfit(&imports, &format!("{error:#}")))?;
    let pre = CloudDriverPre::new(pre).map_err(|error| LoadError::Export(format!("{EXPORT}@{contract}: {error:#}")))?;
    Ok(Package { driver: driver.to_owned(), digest, size: wasm.len(), contract, imports, signed, pre: Arc::new(pre) })
}

/// Whether one of the trusted keys has signed these bytes; an error where that is required, or the signature is wrong.
fn verify(policy: &LoadPolicy, wasm: &[u8], signature: Option<&[u8]>) -> Result<bool, LoadError> {
    let Some(signature) = signature else {
        if policy.require_signature {
            return Err(LoadError::Signature(
                "none was given, and the configuration requires one (drivers.require_signature)".into(),
            ));
        }
        return Ok(false);
    };
    let signature = Signature::from_slice(signature)
        .map_err(|_| LoadError::Signature(format!("an Ed25519 signature has 64 bytes, this one has {}", signature.len())))?;
    if policy.trusted_keys.is_empty() {
        return if policy.require_signature {
            Err(LoadError::Signature("no key is trusted (drivers.trusted_keys)".into()))
        } else {
            Ok(false)
        };
    }
    if policy.trusted_keys.iter().any(|key| key.verify_strict(wasm, &signature).is_ok()) {
        return Ok(true);
    }
    Err(LoadError::Signature("it does not come from any trusted key, or the component was changed after signing".into()))
}

/// Names the import that the linker could not satisfy: of another generation, with a function that this host lacks, or part of
/// a capability that this build does not have.
fn misfit(imports: &[String], reason: &str) -> LoadError {
    match imports.iter().find(|import| reason.contains(&format!("`{import}`"))) {
        Some(import) => LoadError::Import {
            cloud: "*".into(),
            import: import.clone(),
            reason: format!("which this host does not provide in this form: {reason}"),
        },
        None => LoadError::Export(format!("an import does not fit: {reason}")),
    }
}

/// Checks every byte before the compiler sees any: it trusts what it is given more than it should.
fn validate(wasm: &[u8]) -> Result<(), LoadError> {
    match Parser::new(0).parse_all(wasm).next() {
        Some(Ok(Payload::Version { encoding: Encoding::Component, .. })) => {}
        Some(Ok(Payload::Version { .. })) => {
            return Err(LoadError::NotAComponent(
                "this is a core module; build for the target wasm32-wasip2, or wrap it with `wasm-tools component new`".into(),
            ));
        }
        Some(Err(error)) => return Err(LoadError::NotAComponent(error.message().to_owned())),
        _ => return Err(LoadError::NotAComponent("the file is empty".into())),
    }
    let features = WasmFeatures::default();
    Validator::new_with_features(features)
        .validate_all(wasm)
        .map(drop)
        .map_err(|error| LoadError::NotAComponent(format!("{} (at byte {})", error.message(), error.offset())))
}

/// The version of the contract that a component exports.
fn contract(exports: &[String]) -> Result<String, LoadError> {
    let found = exports.iter().find_map(|export| export.strip_prefix(EXPORT)?.strip_prefix('@'));
    let Some(version) = found else {
        let exports = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
        return Err(LoadError::Export(format!("it must export {EXPORT}@{GENERATIONS}.x, and exports {exports}")));
    };
    if version.strip_prefix(GENERATIONS).is_some_and(|rest| rest.starts_with('.')) {
        return Ok(version.to_owned());
    }
    Err(LoadError::Export(format!("it exports {EXPORT}@{version}; this host runs {GENERATIONS}.x")))
}

/// An import's name without its version.
fn interface(import: &str) -> &str {
    import.split_once('@').map_or(import, |(name, _)| name)
}

/// Why the host cannot provide an import at all.
fn unknown(import: &str) -> Option<String> {
    let name = interface(import);
    let known = name.starts_with("wasi:cli/")
        || name.starts_with("wasi:io/")
        || name.starts_with("wasi:clocks/")
        || name.starts_with("wasi:random/")
        || name.starts_with("wasi:filesystem/")
        || name.starts_with("wasi:sockets/")
        || matches!(name, "wasi:http/types" | "wasi:http/outgoing-handler")
        || matches!(
            name,
            "ostler:driver/types"
                | "ostler:driver/config"
                | "ostler:driver/secrets"
                | "ostler:driver/log"
                | "ostler:driver/state"
                | "ostler:driver/cache"
                | "ostler:driver/hypervisor"
        );
    (!known).then(|| "which this host does not provide".into())
}

/// Refuses what the component asks for and the operator has not granted to this cloud.
pub(crate) fn check_imports(package: &Package, cloud: &CloudSettings) -> Result<(), LoadError> {
    let grants = &cloud.grants;
    for import in &package.imports {
        let reason = match interface(import) {
            "wasi:http/types" | "wasi:http/outgoing-handler" if grants.http.is_empty() => {
                format!("which is not granted: name the origins it may call in clouds.{}.grants.http", cloud.name)
            }
            "ostler:driver/hypervisor" if grants.hypervisor.is_none() => {
                format!("which is not granted: name the connection in clouds.{}.grants.hypervisor", cloud.name)
            }
            "ostler:driver/hypervisor" if !capabilities::hypervisor::AVAILABLE => {
                "and this build has no libvirt: build it with the feature `libvirt`".into()
            }
            "ostler:driver/state" if !grants.state => withdrawn(cloud, "state"),
            "ostler:driver/cache" if !grants.cache => withdrawn(cloud, "cache"),
            "ostler:driver/config" if !grants.config => withdrawn(cloud, "config"),
            "ostler:driver/secrets" if !grants.secrets => withdrawn(cloud, "secrets"),
            "ostler:driver/log" if !grants.log => withdrawn(cloud, "log"),
            _ => continue,
        };
        return Err(LoadError::Import { cloud: cloud.name.clone(), import: import.clone(), reason });
    }
    if cloud.limits.memory > MAX_MEMORY {
        return Err(LoadError::Unknown(format!("cloud `{}`: limits.memory_mb is at most {}", cloud.name, MAX_MEMORY >> 20)));
    }
    Ok(())
}

fn withdrawn(cloud: &CloudSettings, grant: &str) -> String {
    format!("which clouds.{}.grants.{grant} = false withdraws", cloud.name)
}
