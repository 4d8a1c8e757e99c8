//! What a domain is doing, changing that, and where its guest can be reached.

use super::Session;
use super::domains::Own;
use super::error::Outcome;
use super::mark::Mark;
use super::sys::leases;
use crate::v0_1::imports::hypervisor::{DomainState as State, Error, Lease, Power};
use crate::v0_1::imports::types::Force;
use virt::network::Network;
use virt::sys;

impl Session<'_> {
    /// What a domain is doing, and why where that is worth telling.
    pub(super) fn state(&self, own: &Own) -> Outcome<(State, Option<String>)> {
        if own.mark.deleting {
            return Ok((State::Other("deleting".to_owned()), None));
        }
        let (state, reason) = own.domain.get_state()?;
        let detail = match (state, u32::try_from(reason).unwrap_or_default()) {
            (sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_IOERROR) => Some("a disk failed, or its pool is full"),
            (sys::VIR_DOMAIN_SHUTOFF, sys::VIR_DOMAIN_SHUTOFF_FAILED) => Some("the emulator failed"),
            (sys::VIR_DOMAIN_SHUTOFF, sys::VIR_DOMAIN_SHUTOFF_CRASHED) => Some("the emulator crashed"),
            _ => None,
        };
        let detail = detail.map(str::to_owned);
        Ok(match state {
            sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => match self.shared.is_stopping(own.uuid) {
                Some(true) => (State::ShuttingDown, Some("the guest was asked to stop".to_owned())),
                Some(false) => (State::Running, Some("the guest did not stop when it was asked to".to_owned())),
                None => (State::Running, detail),
            },
            sys::VIR_DOMAIN_PAUSED => (State::Paused, detail),
            sys::VIR_DOMAIN_SHUTDOWN => (State::ShuttingDown, detail),
            sys::VIR_DOMAIN_SHUTOFF if own.mark.to_start => (State::Other("to-start".to_owned()), detail),
            sys::VIR_DOMAIN_SHUTOFF => (State::ShutOff, detail),
            sys::VIR_DOMAIN_CRASHED => (State::Crashed, detail),
            sys::VIR_DOMAIN_PMSUSPENDED => (State::PmSuspended, detail),
            number => (State::Other(format!("state-{number}")), detail),
        })
    }

    /// Starts a domain, and keeps that it was.
    pub(super) fn start(&self, own: &Own) -> Outcome<()> {
        self.shared.goes_on(own.uuid);
        match own.domain.create() {
            // Another order started it.
            Err(error)
                if own.mark.to_start && error.code().to_raw() == sys::VIR_ERR_OPERATION_INVALID && own.domain.is_active()? => {}
            result => drop(result?),
        }
        if own.mark.to_start {
            self.remark(own, &Mark { to_start: false, ..own.mark.clone() })?;
        }
        Ok(())
    }

    /// Changes the power of a domain.
    pub(super) fn set_power(&self, uuid: &str, power: &Power) -> Outcome<()> {
        let found = self.own(uuid)?;
        let lock = self.shared.exclusively(&format!("domain {}", found.uuid));
        let _held = lock.lock();
        let own = self.own(uuid)?;
        let domain = &own.domain;
        if own.mark.deleting {
            return Err(Error::Conflict("the domain is being deleted".to_owned()).into());
        }
        let (state, _) = domain.get_state()?;
        let running = matches!(state, sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED);
        let off = matches!(state, sys::VIR_DOMAIN_SHUTOFF | sys::VIR_DOMAIN_CRASHED);
        let refuse = |what: &str| Err(Error::Conflict(format!("the domain is {what}")).into());
        match power {
            Power::Start if !off => return refuse("not off"),
            Power::Start => self.start(&own)?,
            Power::Stop(_) if off => return refuse("off already"),
            Power::Stop(Force::Soft) if !running => return refuse("not running"),
            Power::Stop(Force::Soft) => {
                self.shared.asked_to_stop(own.uuid);
                if let Err(error) = domain.shutdown() {
                    self.shared.goes_on(own.uuid);
                    return Err(error.into());
                }
                // The event may have come before.
                if !domain.is_active()? {
                    self.shared.goes_on(own.uuid);
                }
            }
            Power::Stop(Force::Hard) => domain.destroy()?,
            Power::Reboot(_) if !running => return refuse("not running"),
            Power::Reboot(Force::Soft) => {
                self.shared.goes_on(own.uuid);
                domain.reboot(0)?;
            }
            Power::Reboot(Force::Hard) => {
                self.shared.goes_on(own.uuid);
                match domain.reset() {
                    Err(error) if error.code().to_raw() == sys::VIR_ERR_NO_SUPPORT => {
                        domain.destroy()?;
                        domain.create()?;
                    }
                    result => drop(result?),
                }
            }
            Power::Stop(Force::Other(how)) | Power::Reboot(Force::Other(how)) => {
                return Err(Error::Unsupported(format!("`{}`: only soft and hard", super::volumes::shown(how))).into());
            }
            Power::Suspend if !running => return refuse("not running"),
            Power::Suspend => drop(domain.suspend()?),
            Power::Resume if state == sys::VIR_DOMAIN_PMSUSPENDED => drop(domain.pm_wakeup(0)?),
            Power::Resume if state != sys::VIR_DOMAIN_PAUSED => return refuse("not suspended"),
            Power::Resume => drop(domain.resume()?),
        }
        Ok(())
    }

    /// The addresses that a domain's cards were given, newest first. Leases outlive their domains, so they are matched by the
    /// cards' hardware addresses.
    pub(super) fn leases(&self, uuid: &str) -> Outcome<Vec<Lease>> {
        let definition = self.own_definition(uuid)?;
        let mut found = Vec::new();
        let mut asked: Vec<&str> = Vec::new();
        for card in &definition.cards {
            // Another network than a permitted one: the grant was withdrawn since.
            let Some(name) = card.network.as_deref().filter(|name| self.cloud.settings.networks.iter().any(|n| n == name)) else {
                continue;
            };
            if asked.contains(&name) {
                continue;
            }
            asked.push(name);
            let network = Network::lookup_by_name(&self.open.connect, name)?;
            let mine = |mac: &str| definition.cards.iter().any(|card| card.mac.as_deref() == Some(mac));
            let leased = match leases(&network) {
                // This hypervisor's networks give no leases, or are not up.
                Err(failure) if matches!(failure.error, Error::Unsupported(_) | Error::Conflict(_)) => continue,
                leased => leased?,
            };
            found.extend(leased.into_iter().filter(|lease| mine(&lease.mac)).map(|lease| Lease {
                mac: lease.mac,
                ip: lease.ip,
                network: name.to_owned(),
                hostname: lease.hostname,
                expires_at: (lease.expires > 0).then(|| lease.expires.saturating_mul(1_000_000)),
            }));
        }
        found.sort_by_key(|lease| std::cmp::Reverse(lease.expires_at.unwrap_or(u64::MAX)));
        Ok(found)
    }
}
