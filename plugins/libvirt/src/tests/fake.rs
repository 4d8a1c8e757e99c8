//! A hypervisor in memory, as the capability shows it to one cloud.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ostler_driver::hypervisor_types::{
    Disk, Domain, DomainSpec, DomainState, HypervisorDouble, Info, Lease, Power, Seed, Volume, VolumeRef, VolumeSource,
    VolumeSpec, VolumeStatus,
};
use ostler_driver::{Device, Error, Force, Gauge, Measurement, Result, Sample};

pub(crate) const GIB: u64 = 1 << 30;

/// What the hypervisor says of itself.
pub(crate) fn info(pools: &[&str], networks: &[&str]) -> Info {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Info {
        kind: "Fake".to_owned(),
        version: "1.2.3".to_owned(),
        hostname: "fake.example".to_owned(),
        cpu_model: "None".to_owned(),
        vcpus: Gauge::of(8, 1),
        ram_mb: Gauge::of(16_384, 1024),
        disk_gb: Gauge::of(100, 7),
        pools: names(pools),
        networks: names(networks),
    }
}

/// What there is. Clones are the same hypervisor.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<Stage>>);

pub(crate) struct Stage {
    pub(crate) volumes: BTreeMap<(String, String), Volume>,
    pub(crate) domains: BTreeMap<String, Domain>,
    pub(crate) seeds: BTreeMap<String, Seed>,
    pub(crate) leases: BTreeMap<String, Vec<Lease>>,
    /// The next call of this name fails so.
    pub(crate) faults: BTreeMap<&'static str, Error>,
    /// Guests ignore a request to stop.
    pub(crate) deaf: bool,
    /// Copies are not done at once.
    pub(crate) slow: bool,
    pub(crate) asked: Vec<&'static str>,
}

impl Fake {
    /// One with an image that somebody put there.
    pub(crate) fn new() -> Self {
        let mut stage = Stage {
            volumes: BTreeMap::new(),
            domains: BTreeMap::new(),
            seeds: BTreeMap::new(),
            leases: BTreeMap::new(),
            faults: BTreeMap::new(),
            deaf: false,
            slow: false,
            asked: Vec::new(),
        };
        let image = Volume {
            at: VolumeRef { pool: "images".to_owned(), name: "tiny.qcow2".to_owned() },
            token: None,
            status: VolumeStatus::Ready,
            format: "qcow2".to_owned(),
            capacity_bytes: 3 * GIB / 2,
            allocation_bytes: 13 << 20,
            backing: None,
            labels: Vec::new(),
            created_at: Some(5),
        };
        stage.put(image);
        Self(Arc::new(Mutex::new(stage)))
    }

    pub(crate) fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap()
    }

    /// Makes the next call of this name fail.
    pub(crate) fn fail(&self, call: &'static str, error: Error) {
        self.stage().faults.insert(call, error);
    }

    /// The names of the volumes in the pool for disks.
    pub(crate) fn disks(&self) -> Vec<String> {
        self.stage().volumes.keys().filter(|(pool, _)| pool == "nodes").map(|(_, name)| name.clone()).collect()
    }
}

impl Stage {
    pub(crate) fn put(&mut self, volume: Volume) {
        self.volumes.insert((volume.at.pool.clone(), volume.at.name.clone()), volume);
    }

    fn call(&mut self, name: &'static str) -> Result<()> {
        self.asked.push(name);
        self.faults.remove(name).map_or(Ok(()), Err)
    }

    fn volume(&self, at: &VolumeRef) -> Result<Volume> {
        let key = (at.pool.clone(), at.name.clone());
        self.volumes.get(&key).cloned().ok_or_else(|| Error::not_found("volume", &at.name))
    }

    fn domain(&mut self, uuid: &str) -> Result<&mut Domain> {
        self.domains.get_mut(uuid).ok_or_else(|| Error::not_found("domain", uuid))
    }
}

impl HypervisorDouble for Fake {
    fn describe(&mut self) -> Result<Info> {
        self.stage().call("describe")?;
        Ok(info(&["nodes", "images"], &["nat", "lan"]))
    }

    fn domains(&mut self) -> Result<Vec<Domain>> {
        let mut stage = self.stage();
        stage.call("domains")?;
        Ok(stage.domains.values().cloned().collect())
    }

    fn get_domain(&mut self, uuid: &str) -> Result<Domain> {
        let mut stage = self.stage();
        stage.call("get_domain")?;
        stage.domain(uuid).cloned()
    }

    fn create_domain(&mut self, spec: &DomainSpec) -> Result<Domain> {
        let mut stage = self.stage();
        stage.call("create_domain")?;
        if let Some(first) = stage.domains.get(&spec.uuid) {
            return Ok(first.clone());
        }
        for disk in &spec.disks {
            stage.volume(&disk.volume)?;
        }
        if let Some(nic) = spec.nics.iter().find(|nic| !["nat", "lan"].contains(&nic.network.as_str())) {
            return Err(Error::not_found("network", &nic.network));
        }
        let number = u64::try_from(stage.domains.len()).unwrap();
        let domain = Domain {
            uuid: spec.uuid.clone(),
            name: spec.name.clone(),
            token: Some(spec.token.clone()),
            state: if spec.start { DomainState::Running } else { DomainState::ShutOff },
            state_detail: None,
            vcpus: spec.vcpus,
            ram_mb: spec.ram_mb,
            disks: spec.disks.clone(),
            nics: spec.nics.clone(),
            labels: spec.labels.clone(),
            created_at: Some(number),
            extra: spec.extra.clone(),
        };
        if let Some(seed) = &spec.seed {
            stage.seeds.insert(spec.uuid.clone(), seed.clone());
        }
        stage.domains.insert(spec.uuid.clone(), domain.clone());
        Ok(domain)
    }

    fn delete_domain(&mut self, uuid: &str) -> Result<()> {
        let mut stage = self.stage();
        stage.call("delete_domain")?;
        let domain = stage.domain(uuid)?.clone();
        for Disk { volume, owned, .. } in domain.disks {
            if owned {
                stage.volumes.remove(&(volume.pool, volume.name));
            }
        }
        stage.domains.remove(uuid);
        Ok(())
    }

    fn set_power(&mut self, uuid: &str, power: &Power) -> Result<()> {
        let mut stage = self.stage();
        stage.call("set_power")?;
        let deaf = stage.deaf;
        let domain = stage.domain(uuid)?;
        let off = matches!(&domain.state, DomainState::ShutOff) || domain.state == DomainState::Other("to-start".to_owned());
        domain.state = match (power, &domain.state) {
            (Power::Start, _) if off => DomainState::Running,
            (Power::Stop(Force::Soft), DomainState::Running) if deaf => DomainState::ShuttingDown,
            (Power::Stop(_), DomainState::Running) | (Power::Stop(Force::Hard), DomainState::Paused) => DomainState::ShutOff,
            (Power::Reboot(_), DomainState::Running) | (Power::Resume, DomainState::Paused) => DomainState::Running,
            (Power::Suspend, DomainState::Running) => DomainState::Paused,
            (_, state) => return Err(Error::Conflict(format!("not while {state:?}"))),
        };
        Ok(())
    }

    fn leases(&mut self, uuid: &str) -> Result<Vec<Lease>> {
        let mut stage = self.stage();
        stage.call("leases")?;
        stage.domain(uuid)?;
        Ok(stage.leases.get(uuid).cloned().unwrap_or_default())
    }

    fn get_samples(&mut self, uuids: &[String]) -> Result<Vec<Sample>> {
        let mut stage = self.stage();
        stage.call("get_samples")?;
        let wanted = stage.domains.keys().filter(|uuid| uuids.is_empty() || uuids.contains(uuid));
        let values = || vec![Measurement::gauge("cpu-utilization", "percent", 1.0)];
        Ok(wanted.map(|uuid| Sample { node_id: uuid.clone(), at: 1, values: values() }).collect())
    }

    fn volumes(&mut self, pool: &str) -> Result<Vec<Volume>> {
        let mut stage = self.stage();
        stage.call("volumes")?;
        Ok(stage.volumes.values().filter(|volume| volume.at.pool == pool).cloned().collect())
    }

    fn get_volume(&mut self, at: &VolumeRef) -> Result<Volume> {
        let mut stage = self.stage();
        stage.call("get_volume")?;
        stage.volume(at)
    }

    fn create_volume(&mut self, spec: &VolumeSpec) -> Result<Volume> {
        let mut stage = self.stage();
        stage.call("create_volume")?;
        if let Some(first) = stage.volumes.values().find(|volume| volume.token.as_ref() == Some(&spec.token)) {
            return Ok(first.clone());
        }
        let (backing, least) = match &spec.source {
            VolumeSource::Empty => (None, 0),
            VolumeSource::Linked(source) => (Some(source.clone()), stage.volume(source)?.capacity_bytes),
            VolumeSource::Copied(source) => (None, stage.volume(source)?.capacity_bytes),
            VolumeSource::Staged(name) if name == "ready" => (None, GIB),
            VolumeSource::Staged(name) => return Err(Error::not_found("staged image", name)),
            VolumeSource::Url(_) => return Err(Error::unsupported("images")),
        };
        let slow = stage.slow && matches!(spec.source, VolumeSource::Copied(_) | VolumeSource::Staged(_));
        let volume = Volume {
            at: spec.at.clone(),
            token: Some(spec.token.clone()),
            status: if slow { VolumeStatus::Importing(None) } else { VolumeStatus::Ready },
            format: "qcow2".to_owned(),
            capacity_bytes: spec.capacity_bytes.unwrap_or(least),
            allocation_bytes: 0,
            backing,
            labels: spec.labels.clone(),
            created_at: None,
        };
        stage.put(volume.clone());
        Ok(volume)
    }

    fn delete_volume(&mut self, at: &VolumeRef) -> Result<()> {
        let mut stage = self.stage();
        stage.call("delete_volume")?;
        stage.volume(at)?;
        let used = |domain: &Domain| domain.disks.iter().any(|disk| disk.volume == *at);
        if stage.domains.values().any(used) {
            return Err(Error::Conflict("a domain uses it".to_owned()));
        }
        if stage.volumes.values().any(|volume| volume.backing.as_ref() == Some(at)) {
            return Err(Error::Conflict("a linked clone uses it".to_owned()));
        }
        stage.volumes.remove(&(at.pool.clone(), at.name.clone()));
        Ok(())
    }

    fn devices(&mut self) -> Result<Vec<Device>> {
        self.stage().call("devices")?;
        let text = |text: &str| text.to_owned();
        Ok(vec![Device {
            kind: text("pci"),
            class: text("network"),
            vendor: text("v"),
            product: text("p"),
            extra: text(r#"{"id":"pci_0000_00_00_0"}"#),
        }])
    }
}
