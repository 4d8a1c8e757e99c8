//! Domains: found by their marks, defined, deleted.

use super::definition::{Card, Definition, DiskSource, Order, write};
use super::error::Outcome;
use super::mark::Mark;
use super::names::{self, invalid};
use super::volumes::{About, shown};
use super::{Session, content, seed};
use crate::v0_1::imports::hypervisor as wit;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt::sys;
use wit::{DomainSpec, Error};

/// What the name of a network stands for that is none of libvirt's: the emulator's own, without an address that can be reached.
const USER_NETWORK: &str = "user";
/// Models of cards and buses of disks that can be asked for.
const MODELS: [&str; 6] = ["virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "vmxnet3"];
const BUSES: [&str; 3] = ["virtio", "scsi", "sata"];

/// A domain of the cloud's.
pub(super) struct Own {
    pub(super) domain: Domain,
    pub(super) uuid: Uuid,
    pub(super) definition: Arc<Definition>,
    pub(super) mark: Mark,
}

impl Session<'_> {
    /// The definition of a domain. What is remembered will do for lists.
    fn definition(&self, domain: &Domain, uuid: Uuid, remembered: bool) -> Outcome<Arc<Definition>> {
        if remembered && let Some(known) = self.shared.definition(uuid) {
            return Ok(known);
        }
        let version = self.shared.version(uuid);
        let definition = Arc::new(Definition::read(&domain.get_xml_desc(0)?)?);
        if self.open.told {
            self.shared.remember(uuid, Arc::clone(&definition), version);
        }
        Ok(definition)
    }

    /// All domains of the hypervisor, whoever made them.
    pub(super) fn everybodys(&self, remembered: bool) -> Outcome<Vec<(Domain, Uuid, Arc<Definition>)>> {
        let mut all = Vec::new();
        for domain in self.open.connect.list_all_domains(0)? {
            let uuid = domain.get_uuid()?;
            match self.definition(&domain, uuid, remembered) {
                Ok(definition) => all.push((domain, uuid, definition)),
                // Somebody deleted it meanwhile.
                Err(failure) if matches!(failure.error, Error::NotFound(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(all)
    }

    /// The mark of a definition, where it is this cloud's.
    fn mine(&self, definition: &Definition) -> Option<Mark> {
        definition.mark.clone().filter(|mark| mark.cloud == self.cloud.name)
    }

    /// The cloud's domains as they are remembered.
    pub(super) fn owned(&self) -> Outcome<Vec<Own>> {
        let own = |(domain, uuid, definition): (Domain, Uuid, Arc<Definition>)| {
            let mark = self.mine(&definition)?;
            Some(Own { domain, uuid, definition, mark })
        };
        Ok(self.everybodys(true)?.into_iter().filter_map(own).collect())
    }

    /// One domain of the cloud's, read anew.
    pub(super) fn own(&self, uuid: &str) -> Outcome<Own> {
        let absent = || Error::NotFound(format!("no domain `{}`", shown(uuid)));
        let Ok(parsed) = names::check_uuid(uuid) else { return Err(absent().into()) };
        self.lookup(parsed)?.ok_or_else(|| absent().into())
    }

    /// The definition of a domain of the cloud's, as it is remembered: for what changes nothing.
    pub(super) fn own_definition(&self, uuid: &str) -> Outcome<Arc<Definition>> {
        if let Ok(parsed) = names::check_uuid(uuid)
            && let Some(known) = self.shared.definition(parsed)
            && self.mine(&known).is_some()
        {
            return Ok(known);
        }
        Ok(self.own(uuid)?.definition)
    }

    /// The cloud's domain of this uuid, if there is one.
    fn lookup(&self, uuid: Uuid) -> Outcome<Option<Own>> {
        let domain = match Domain::lookup_by_uuid(&self.open.connect, uuid) {
            Ok(domain) => domain,
            Err(error) if error.code().to_raw() == sys::VIR_ERR_NO_DOMAIN => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let definition = self.definition(&domain, uuid, false)?;
        Ok(self.mine(&definition).map(|mark| Own { domain, uuid, definition, mark }))
    }

    /// Domains that use a volume, whoever made them.
    pub(super) fn users(&self, pool: &str, real: &str, remembered: bool) -> Outcome<Vec<Domain>> {
        let uses = |definition: &Definition| definition.disks.iter().any(|disk| disk.pool == pool && disk.volume == real);
        let users = self.everybodys(remembered)?.into_iter().filter(|(_, _, definition)| uses(definition));
        Ok(users.map(|(domain, _, _)| domain).collect())
    }

    /// The cloud's domains.
    pub(super) fn domains(&self) -> Outcome<Vec<wit::Domain>> {
        let mut domains = Vec::new();
        for own in self.owned()? {
            match self.show(&own) {
                Ok(domain) => domains.push(domain),
                Err(failure) if matches!(failure.error, Error::NotFound(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(domains)
    }

    /// One domain.
    pub(super) fn domain(&self, uuid: &str) -> Outcome<wit::Domain> {
        self.show(&self.own(uuid)?)
    }

    fn show(&self, own: &Own) -> Outcome<wit::Domain> {
        let (state, state_detail) = self.state(own)?;
        let (mark, definition) = (&own.mark, &own.definition);
        let disk = |disk: &DiskSource| {
            let name = self.driver_name(&disk.pool, &disk.volume)?;
            Some(wit::Disk {
                volume: wit::VolumeRef { pool: disk.pool.clone(), name },
                bus: Some(disk.bus.clone()),
                read_only: disk.read_only,
                owned: mark.owned.iter().any(|(pool, volume)| *pool == disk.pool && *volume == disk.volume),
            })
        };
        let nic = |card: &Card| wit::Nic {
            network: card.network.clone().unwrap_or_else(|| USER_NETWORK.to_owned()),
            mac: card.mac.clone(),
            model: card.model.clone(),
        };
        Ok(wit::Domain {
            uuid: own.uuid.to_string(),
            name: mark.name.clone(),
            token: Some(mark.token.clone()),
            state,
            state_detail,
            vcpus: definition.vcpus,
            ram_mb: definition.ram_mb,
            disks: definition.disks.iter().filter_map(disk).collect(),
            nics: definition.cards.iter().map(nic).collect(),
            labels: mark.labels.clone(),
            created_at: Some(mark.created_at),
            extra: mark.extra.clone(),
        })
    }

    /// Defines a domain and, if wanted, starts it.
    pub(super) fn create_domain(&self, spec: &DomainSpec) -> Outcome<wit::Domain> {
        let uuid = check(spec)?;
        let lock = self.shared.exclusively(&format!("domain {uuid}"));
        let _held = lock.lock();
        if let Some(own) = self.lookup(uuid)? {
            if own.mark.token != spec.token {
                return Err(Error::Conflict("a domain of this uuid has another token".to_owned()).into());
            }
            return self.show(&own);
        }
        if Domain::lookup_by_uuid(&self.open.connect, uuid).is_ok() {
            return Err(Error::Conflict("somebody else has a domain of this uuid".to_owned()).into());
        }
        let cards = spec.nics.iter().map(|nic| self.card(nic)).collect::<Outcome<Vec<_>>>()?;
        let passed = self.passed(&spec.devices)?;
        let (mut disks, mut owned) = self.disks(&spec.disks)?;
        let seeded = match &spec.seed {
            Some(seed) => Some(self.seed(spec, uuid, seed)?),
            None => None,
        };
        if let Some((pool, real, _)) = &seeded {
            owned.push((pool.clone(), real.clone()));
            // A disk and not a drive for one: cloud-init knows it by its name, and every machine type has this bus.
            let (format, bus) = ("raw".to_owned(), "virtio".to_owned());
            disks.push(DiskSource { pool: pool.clone(), volume: real.clone(), format, bus, read_only: true });
        }
        let mark = Mark {
            cloud: self.cloud.name.clone(),
            token: spec.token.clone(),
            name: spec.name.clone(),
            created_at: now(),
            to_start: spec.start,
            deleting: false,
            owned,
            labels: spec.labels.clone(),
            extra: spec.extra.clone(),
        };
        let definition = Definition { vcpus: spec.vcpus, ram_mb: spec.ram_mb, disks, cards, mark: Some(mark.clone()) };
        let name = names::domain(&spec.name, uuid);
        let order = Order { kind: self.kind()?, name: &name, uuid, definition: &definition, title: &spec.name, passed: &passed };
        let defined = Domain::define_xml(&self.open.connect, &write(&order));
        let domain = match defined {
            Ok(domain) => domain,
            Err(error) => {
                self.unseed(seeded.as_ref());
                return Err(error.into());
            }
        };
        self.shared.changed(uuid, false);
        let own = Own { domain, uuid, definition: Arc::new(definition), mark };
        if spec.start
            && let Err(failure) = self.start(&own)
        {
            // An order that failed leaves nothing; what cannot be undone now is still marked as the cloud's. A connection that
            // is lost says nothing about the start.
            if !failure.lost && own.domain.undefine().is_ok() {
                self.unseed(seeded.as_ref());
            }
            self.shared.changed(uuid, true);
            return Err(failure);
        }
        // Read anew: libvirt has chosen addresses for cards without.
        self.domain(&uuid.to_string())
    }

    /// A card of a permitted network.
    fn card(&self, nic: &wit::Nic) -> Outcome<Card> {
        if !self.cloud.settings.networks.contains(&nic.network) {
            return Err(Error::NotFound(format!("this cloud has no network `{}`", shown(&nic.network))).into());
        }
        if let Some(model) = &nic.model
            && !MODELS.contains(&model.as_str())
        {
            return Err(invalid(&format!("the model of a card is one of {}", MODELS.join(", "))));
        }
        let mac = nic.mac.as_deref().map(check_mac).transpose()?;
        let network = (nic.network != USER_NETWORK).then(|| nic.network.clone());
        Ok(Card { network, mac, model: nic.model.clone() })
    }

    /// Disks whose volumes are the cloud's, or images that the guest may only read.
    #[allow(clippy::type_complexity, reason = "the disks, and pool and name of the owned ones")]
    fn disks(&self, disks: &[wit::Disk]) -> Outcome<(Vec<DiskSource>, Vec<(String, String)>)> {
        let (mut sources, mut owned) = (Vec::new(), Vec::new());
        for disk in disks {
            let found = self.existing(&disk.volume)?;
            if found.arriving {
                return Err(Error::Conflict(format!("the content of volume `{}` is still arriving", disk.volume.name)).into());
            }
            if found.token.is_none() && (disk.owned || !disk.read_only) {
                let text = format!("volume `{}` was not made by this cloud: it can only be read", found.real);
                return Err(Error::Forbidden(text).into());
            }
            let bus = disk.bus.clone().unwrap_or_else(|| "virtio".to_owned());
            if !BUSES.contains(&bus.as_str()) {
                return Err(invalid(&format!("the bus of a disk is one of {}", BUSES.join(", "))));
            }
            let pool = disk.volume.pool.clone();
            if !disk.read_only && !self.users(&pool, &found.real, true)?.is_empty() {
                return Err(Error::Conflict(format!("volume `{}` is used by another domain", disk.volume.name)).into());
            }
            if disk.owned {
                owned.push((pool.clone(), found.real.clone()));
            }
            let format = About::read(&found.volume)?.format;
            sources.push(DiskSource { pool, volume: found.real, format, bus, read_only: disk.read_only });
        }
        Ok((sources, owned))
    }

    /// Makes the seed disk: where it is, and its pool.
    fn seed(&self, spec: &DomainSpec, uuid: Uuid, wanted: &wit::Seed) -> Outcome<(String, String, StoragePool)> {
        let bytes = wanted.user_data.len() + wanted.meta_data.len() + wanted.network_config.as_ref().map_or(0, Vec::len);
        if bytes > seed::MAX {
            return Err(invalid(&format!("a seed has at most {} bytes", seed::MAX)));
        }
        let beside = spec.disks.iter().find(|disk| disk.owned).map(|disk| &disk.volume.pool);
        let Some(pool_name) = beside.or(self.cloud.settings.pools.first()) else {
            return Err(Error::Forbidden("this cloud has no pool for a seed disk".to_owned()).into());
        };
        let pool = self.pool(pool_name)?;
        let real = names::volume(&self.cloud.name, &spec.token, &format!("{uuid}-seed.iso"));
        // One of an order that broke off may be incomplete.
        self.remove(&pool, &real)?;
        content::make(&self.open.connect, &pool, &real, &seed::image(wanted))?;
        Ok((pool_name.clone(), real, pool))
    }

    fn unseed(&self, seeded: Option<&(String, String, StoragePool)>) {
        if let Some((_, real, pool)) = seeded
            && let Err(failure) = self.remove(pool, real)
        {
            tracing::warn!(cloud = self.cloud.name, volume = real, error = ?failure.error, "a seed disk is left behind");
        }
    }

    /// Stops and removes a domain and what it owns. The domain goes last: as long as anything is left, it can be found.
    pub(super) fn delete_domain(&self, uuid: &str) -> Outcome<()> {
        let absent = self.own(uuid)?;
        let lock = self.shared.exclusively(&format!("domain {}", absent.uuid));
        let _held = lock.lock();
        let own = self.own(uuid)?;
        let domain = &own.domain;
        if !own.mark.deleting {
            // It is only shown: a mark that cannot be changed must not keep a domain alive.
            let _ = self.remark(&own, &Mark { deleting: true, ..own.mark.clone() });
        }
        if domain.is_active()? {
            match domain.destroy() {
                // It went off by itself.
                Err(error) if error.code().to_raw() != sys::VIR_ERR_OPERATION_INVALID => return Err(error.into()),
                _ => {}
            }
        }
        for (pool, real) in &own.mark.owned {
            self.remove(&self.pool(pool)?, real)?;
            self.shared.forget_labels(pool, real);
        }
        let everything =
            sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
        let undefined = domain.undefine_flags(everything).or_else(|error| match error.code().to_raw() {
            // Not every hypervisor has all of these.
            sys::VIR_ERR_INVALID_ARG | sys::VIR_ERR_NO_SUPPORT | sys::VIR_ERR_ARGUMENT_UNSUPPORTED => domain.undefine(),
            _ => Err(error),
        });
        self.shared.changed(own.uuid, true);
        Ok(undefined?)
    }

    /// Changes the mark of a domain.
    pub(super) fn remark(&self, own: &Own, mark: &Mark) -> Outcome<()> {
        let live = if own.domain.is_active()? { sys::VIR_DOMAIN_AFFECT_LIVE } else { 0 };
        let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
        let (key, flags) = (Some(super::mark::PREFIX), sys::VIR_DOMAIN_AFFECT_CONFIG | live);
        let document = mark.bare_element().write();
        let result = own.domain.set_metadata(kind, Some(&document), key, Some(super::mark::NAMESPACE), flags);
        self.shared.changed(own.uuid, false);
        Ok(result.map(drop)?)
    }
}

/// What can be said of an order without asking. Its uuid.
fn check(spec: &DomainSpec) -> Outcome<Uuid> {
    let uuid = names::check_uuid(&spec.uuid)?;
    names::check_token(&spec.token)?;
    names::check_text("a name", &spec.name, 255)?;
    names::check_text("`extra`", &spec.extra, 64 << 10)?;
    names::check_labels(&spec.labels)?;
    for (what, count, most) in
        [("disks", spec.disks.len(), 24), ("network cards", spec.nics.len(), 16), ("devices", spec.devices.len(), 16)]
    {
        if count > most {
            return Err(invalid(&format!("a domain has at most {most} {what}")));
        }
    }
    if !(1..=1024).contains(&spec.vcpus) {
        return Err(invalid("a domain has 1 to 1024 processors"));
    }
    if !(1..=16 << 20).contains(&spec.ram_mb) {
        return Err(invalid("a domain has 1 MiB to 16 TiB of memory"));
    }
    Ok(uuid)
}

/// A hardware address that one machine can have: lower case, colons, not multicast.
fn check_mac(mac: &str) -> Outcome<String> {
    let parts: Vec<_> = mac.split(':').collect();
    let hex = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let first = parts.first().and_then(|part| u8::from_str_radix(part, 16).ok());
    if parts.len() == 6 && parts.iter().all(hex) && first.is_some_and(|first| first & 1 == 0) {
        return Ok(mac.to_ascii_lowercase());
    }
    Err(invalid("a hardware address has the form 52:54:00:12:34:56, and is not multicast"))
}

/// Microseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
