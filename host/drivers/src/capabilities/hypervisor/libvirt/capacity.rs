//! What a hypervisor is and has: how it runs domains, its processors, memory, pools and devices.

use super::Session;
use super::connection::Open;
use super::definition::{Kind, Passed};
use super::error::Outcome;
use super::sys::memory;
use super::volumes::shown;
use super::xml::Element;
use crate::settings::Virtualization;
use crate::v0_1::imports::hypervisor::{Device, Error, Info};
use crate::v0_1::imports::types::Gauge;
use serde_json::json;
use virt::connect::Connect;
use virt::nodedev::NodeDevice;
use virt::sys;

/// What is asked once a connection.
#[derive(Clone, Debug)]
pub(super) struct Nature {
    /// Whether it is libvirt's hypervisor for tests.
    test: bool,
    /// Whether the processor has what KVM needs, and libvirt offers it.
    hardware: bool,
    model: String,
}

impl Nature {
    fn read(connect: &Connect) -> Outcome<Self> {
        let test = connect.get_type()?.eq_ignore_ascii_case("test");
        let capabilities = Element::read(&connect.get_capabilities()?)?;
        let model = capabilities.text_at("host/cpu/model").unwrap_or_default().to_owned();
        Ok(Self { test, hardware: !test && hardware(connect, &capabilities), model })
    }
}

/// Whether domains would run by the processor's virtualization. `/dev/kvm` alone does not say so: a kernel may offer it on a
/// processor without, and then guests crawl. On x86 the processor has to have `vmx` or `svm`; libvirt names features that a model
/// has anyhow only when it is asked to expand the model.
fn hardware(connect: &Connect, capabilities: &Element) -> bool {
    let Some(cpu) = capabilities.at("host/cpu") else { return false };
    let arch = cpu.text_at("arch").unwrap_or_default();
    let offered = capabilities
        .all("guest")
        .filter_map(|guest| guest.at("arch"))
        .any(|guest| guest.get("name") == Some(arch) && guest.all("domain").any(|domain| domain.get("type") == Some("kvm")));
    if !offered || !matches!(arch, "x86_64" | "i686") {
        return offered;
    }
    let has = |cpu: &Element| cpu.all("feature").any(|feature| matches!(feature.get("name"), Some("vmx" | "svm")));
    let expand = || {
        let all = connect.baseline_cpu(&[&cpu.write()], sys::VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES).ok()?;
        Element::read(&all).ok()
    };
    has(cpu) || expand().is_some_and(|cpu| has(&cpu))
}

impl Open {
    fn nature(&self) -> Outcome<Nature> {
        if let Some(known) = self.nature.get() {
            return Ok(known.clone());
        }
        let nature = Nature::read(&self.connect)?;
        // Two may have asked at once; they heard the same.
        Ok(self.nature.get_or_init(|| nature).clone())
    }
}

impl Session<'_> {
    /// How domains run here.
    pub(super) fn kind(&self) -> Outcome<Kind> {
        let nature = self.open.nature()?;
        Ok(match self.cloud.settings.virtualization {
            _ if nature.test => Kind::Test,
            Virtualization::Kvm => Kind::Kvm,
            Virtualization::Auto if nature.hardware => Kind::Kvm,
            Virtualization::Auto | Virtualization::Qemu => Kind::Qemu,
        })
    }

    /// What the hypervisor is and has.
    pub(super) fn describe(&self) -> Outcome<Info> {
        let connect = &self.open.connect;
        let nature = self.open.nature()?;
        let node = connect.get_node_info()?;
        let (total, free) = match memory(connect) {
            Ok(memory) => memory,
            Err(failure) if failure.lost => return Err(failure),
            // libvirt's hypervisor for tests.
            Err(_) => (node.memory, node.memory),
        };
        let mut vcpus = 0;
        for (domain, _, definition) in self.everybodys(true)? {
            if domain.is_active()? {
                vcpus += u64::from(definition.vcpus);
            }
        }
        let (mut room, mut taken) = (0, 0);
        let settings = &self.cloud.settings;
        for pool in &settings.pools {
            match self.pool(pool).and_then(|pool| Ok(pool.get_info()?)) {
                Ok(info) => (room, taken) = (room + info.capacity, taken + info.allocation),
                Err(failure) if failure.lost => return Err(failure),
                Err(failure) => {
                    tracing::warn!(cloud = self.cloud.name, pool, error = ?failure.error, "a pool of the hypervisor cannot be used");
                }
            }
        }
        let version = connect.get_hyp_version().unwrap_or(0);
        Ok(Info {
            kind: connect.get_type()?,
            version: format!("{}.{}.{}", version / 1_000_000, version / 1_000 % 1_000, version % 1_000),
            hostname: connect.get_hostname()?,
            cpu_model: if nature.model.is_empty() { node.model } else { nature.model },
            vcpus: gauge(u64::from(node.cpus), vcpus),
            ram_mb: gauge(total >> 10, total.saturating_sub(free) >> 10),
            disk_gb: gauge(room >> 30, taken >> 30),
            pools: settings
                .pools
                .iter()
                .chain(settings.image_pools.iter().filter(|pool| !settings.pools.contains(pool)))
                .cloned()
                .collect(),
            networks: settings.networks.clone(),
        })
    }

    /// The USB and PCI devices of the hypervisor. Which of them can be given to domains, the operator says.
    pub(super) fn devices(&self) -> Outcome<Vec<Device>> {
        const KINDS: u32 = sys::VIR_CONNECT_LIST_NODE_DEVICES_CAP_USB_DEV | sys::VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV;
        let listed = match self.open.connect.list_all_node_devices(KINDS) {
            Ok(listed) => listed,
            // Hypervisors without a notion of devices, or of their kinds, have none.
            Err(error) if matches!(error.code().to_raw(), sys::VIR_ERR_NO_SUPPORT | sys::VIR_ERR_INVALID_ARG) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let mut devices = Vec::new();
        for device in listed {
            let name = device.get_name()?;
            let Ok(document) = device.get_xml_desc(0) else { continue };
            let document = Element::read(&document)?;
            if let Some(device) = show(&document, &name, self.cloud.settings.devices.contains(&name)) {
                devices.push(device);
            }
        }
        Ok(devices)
    }

    /// Devices of an order, which must be permitted.
    pub(super) fn passed(&self, wanted: &[String]) -> Outcome<Vec<Passed>> {
        let mut passed = Vec::new();
        for name in wanted {
            if !self.cloud.settings.devices.contains(name) {
                return Err(Error::Forbidden(format!("device `{}` is not granted to this cloud", shown(name))).into());
            }
            let device = NodeDevice::lookup_by_name(&self.open.connect, name)?;
            let document = Element::read(&device.get_xml_desc(0)?)?;
            let address = address(&document)
                .ok_or_else(|| Error::Unsupported(format!("device `{}` is neither PCI nor USB", shown(name))))?;
            passed.push(address);
        }
        Ok(passed)
    }
}

fn gauge(total: u64, used: u64) -> Gauge {
    Gauge { total: Some(total), used: Some(used) }
}

fn capability<'a>(device: &'a Element, kind: &str) -> Option<&'a Element> {
    device.all("capability").find(|capability| capability.get("type") == Some(kind))
}

/// Where a device is, as a domain's document wants it.
fn address(device: &Element) -> Option<Passed> {
    let number = |capability: &Element, name: &str| u32::try_from(capability.at(name)?.number()?).ok();
    if let Some(pci) = capability(device, "pci") {
        return Some(Passed::Pci(number(pci, "domain")?, number(pci, "bus")?, number(pci, "slot")?, number(pci, "function")?));
    }
    let usb = capability(device, "usb_device")?;
    Some(Passed::Usb(number(usb, "bus")?, number(usb, "device")?))
}

fn show(device: &Element, name: &str, granted: bool) -> Option<Device> {
    let (kind, part) = match (capability(device, "pci"), capability(device, "usb_device")) {
        (Some(pci), _) => ("pci", pci),
        (None, usb) => ("usb", usb?),
    };
    // The name of a vendor or product, or its number where the hypervisor has no list of names.
    let named = |what: &str| {
        let element = part.at(what)?;
        let text = element.text().trim();
        Some(if text.is_empty() { element.get("id").unwrap_or_default().to_owned() } else { text.to_owned() })
    };
    let identifier = |what: &str| part.at(what).and_then(|element| element.get("id")).unwrap_or_default();
    let address = match address(device)? {
        Passed::Pci(domain, bus, slot, function) => format!("{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"),
        Passed::Usb(bus, device) => format!("{bus}:{device}"),
    };
    let extra = json!({
        "id": name, "address": address, "assignable": granted,
        "vendor_id": identifier("vendor"), "product_id": identifier("product"),
    });
    Some(Device {
        kind: kind.to_owned(),
        class: class(part.text_at("class").unwrap_or_default()).to_owned(),
        vendor: named("vendor").unwrap_or_default(),
        product: named("product").unwrap_or_default(),
        extra: extra.to_string(),
    })
}

/// The name of a PCI class (PCI Code and ID Assignment Specification); USB devices of libvirt's have none.
fn class(code: &str) -> &'static str {
    match code.get(..4) {
        Some("0x00") => "unclassified",
        Some("0x01") => "mass storage",
        Some("0x02") => "network",
        Some("0x03") => "display",
        Some("0x04") => "multimedia",
        Some("0x05") => "memory",
        Some("0x06") => "bridge",
        Some("0x07") => "communication",
        Some("0x08") => "system",
        Some("0x09") => "input",
        Some("0x0c") => "serial bus",
        Some("0x0d") => "wireless",
        Some("0x12") => "accelerator",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn devices_are_shown_with_their_addresses() {
        let pci = "<device><name>pci_0000_00_1f_2</name><capability type='pci'><class>0x020000</class><domain>0</domain>\
                   <bus>0</bus><slot>31</slot><function>2</function><product id='0x1041'>Virtio network device</product>\
                   <vendor id='0x1af4'/></capability></device>";
        let device = Element::read(pci).unwrap();
        assert_eq!(address(&device), Some(Passed::Pci(0, 0, 31, 2)));
        let device = show(&device, "pci_0000_00_1f_2", true).unwrap();
        assert_eq!((device.kind.as_str(), device.class.as_str()), ("pci", "network"));
        assert_eq!((device.vendor.as_str(), device.product.as_str()), ("0x1af4", "Virtio network device"));
        let extra: serde_json::Value = serde_json::from_str(&device.extra).unwrap();
        assert_eq!((&extra["address"], &extra["assignable"]), (&json!("0000:00:1f.2"), &json!(true)));
        let usb = "<device><capability type='usb_device'><bus>1</bus><device>12</device><product id='0x1'>Stick</product>\
                   <vendor id='0x2'>Nobody</vendor></capability></device>";
        assert_eq!(address(&Element::read(usb).unwrap()), Some(Passed::Usb(1, 12)));
        assert!(show(&Element::read("<device><capability type='net'/></device>").unwrap(), "x", false).is_none());
    }
}
