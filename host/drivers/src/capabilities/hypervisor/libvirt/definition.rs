//! Domains as libvirt's documents: written from an order whose parts have been checked, read into what a driver may know.

use super::mark::Mark;
use super::xml::Element;
use uuid::Uuid;

/// Seconds between the guest's reports of its memory.
const MEMORY_PERIOD: &str = "5";

/// A disk as it stands in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskSource {
    pub(super) pool: String,
    /// The volume's name at the hypervisor.
    pub(super) volume: String,
    /// `qcow2`, `raw`; empty where it was not read.
    pub(super) format: String,
    /// `virtio`, `scsi`, `sata`.
    pub(super) bus: String,
    pub(super) read_only: bool,
}

/// A network card as it stands in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    /// None for a card without a network of libvirt's: user-mode networking.
    pub(super) network: Option<String>,
    pub(super) mac: Option<String>,
    pub(super) model: Option<String>,
}

/// A device of the hypervisor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Domain, bus, slot, function.
    Pci(u32, u32, u32, u32),
    /// Bus and device number.
    Usb(u32, u32),
}

/// How domains run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Kvm,
    Qemu,
    /// libvirt's own hypervisor for tests.
    Test,
}

/// What is known of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) vcpus: u32,
    pub(super) ram_mb: u64,
    pub(super) disks: Vec<DiskSource>,
    pub(super) cards: Vec<Card>,
    /// None for a domain that no Ostler made.
    pub(super) mark: Option<Mark>,
}

/// An order whose parts have been checked and looked up.
pub(super) struct Order<'a> {
    pub(super) kind: Kind,
    /// Its name at the hypervisor.
    pub(super) name: &'a str,
    pub(super) uuid: Uuid,
    pub(super) definition: &'a Definition,
    /// Its name to show.
    pub(super) title: &'a str,
    pub(super) passed: &'a [Passed],
}

/// The document of an order.
pub(super) fn write(order: &Order<'_>) -> String {
    let definition = order.definition;
    let kind = match order.kind {
        Kind::Kvm => "kvm",
        Kind::Qemu => "qemu",
        Kind::Test => "test",
    };
    let number = |value: u64| value.to_string();
    let mut domain = Element::new("domain")
        .attr("type", kind)
        .child(Element::new("name").content(order.name))
        .child(Element::new("uuid").content(order.uuid.to_string()))
        // For whoever looks with other tools. A title is one line.
        .child(Element::new("title").content(order.title.replace(['\n', '\t'], " ")));
    if let Some(mark) = &definition.mark {
        domain = domain.child(Element::new("metadata").child(mark.element()));
    }
    domain = domain
        .child(Element::new("memory").attr("unit", "MiB").content(number(definition.ram_mb)))
        .child(Element::new("vcpu").content(definition.vcpus.to_string()))
        .child(Element::new("os").child(Element::new("type").content("hvm")).child(Element::new("boot").attr("dev", "hd")))
        .child(Element::new("features").child(Element::new("acpi")).child(Element::new("apic")));
    match order.kind {
        Kind::Kvm => domain = domain.child(Element::new("cpu").attr("mode", "host-passthrough")),
        Kind::Qemu => domain = domain.child(Element::new("cpu").attr("mode", "maximum")),
        Kind::Test => {}
    }
    domain = domain.child(Element::new("clock").attr("offset", "utc"));
    for (event, action) in [("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")] {
        domain = domain.child(Element::new(event).content(action));
    }
    domain.child(devices(order)).write()
}

fn devices(order: &Order<'_>) -> Element {
    let definition = order.definition;
    let mut devices = Element::new("devices");
    let mut targets = Targets::default();
    for source in &definition.disks {
        devices = devices.child(disk(source, &targets.next(&source.bus)));
    }
    if definition.disks.iter().any(|disk| disk.bus == "scsi") {
        devices = devices.child(Element::new("controller").attr("type", "scsi").attr("model", "virtio-scsi"));
    }
    devices = devices.with(definition.cards.iter().map(card)).with(order.passed.iter().map(hostdev));
    if order.kind != Kind::Test {
        let random = Element::new("backend").attr("model", "random").content("/dev/urandom");
        devices = devices
            .child(Element::new("serial").attr("type", "pty"))
            .child(Element::new("console").attr("type", "pty"))
            .child(Element::new("memballoon").attr("model", "virtio").child(Element::new("stats").attr("period", MEMORY_PERIOD)))
            .child(Element::new("rng").attr("model", "virtio").child(random));
    }
    devices
}

/// The names of disks inside the guest: `vda`, `vdb`, … by bus.
#[derive(Default)]
struct Targets {
    virtio: u8,
    other: u8,
}

impl Targets {
    fn next(&mut self, bus: &str) -> String {
        let (prefix, count) = if bus == "virtio" { ("vd", &mut self.virtio) } else { ("sd", &mut self.other) };
        let letter = char::from(b'a'.saturating_add(*count));
        *count = count.saturating_add(1);
        format!("{prefix}{letter}")
    }
}

fn disk(source: &DiskSource, target: &str) -> Element {
    let mut disk = Element::new("disk")
        .attr("type", "volume")
        .attr("device", "disk")
        .child(
            Element::new("driver")
                .attr("name", "qemu")
                .attr("type", source.format.clone())
                // Discarded blocks are given back to the pool.
                .attr("discard", "unmap"),
        )
        .child(Element::new("source").attr("pool", source.pool.clone()).attr("volume", source.volume.clone()))
        .child(Element::new("target").attr("dev", target).attr("bus", source.bus.clone()));
    if source.read_only {
        disk = disk.child(Element::new("readonly"));
    }
    disk
}

fn card(card: &Card) -> Element {
    let mut interface = Element::new("interface").attr("type", if card.network.is_some() { "network" } else { "user" });
    if let Some(mac) = &card.mac {
        interface = interface.child(Element::new("mac").attr("address", mac.clone()));
    }
    if let Some(network) = &card.network {
        interface = interface.child(Element::new("source").attr("network", network.clone()));
    }
    interface.child(Element::new("model").attr("type", card.model.clone().unwrap_or_else(|| "virtio".to_owned())))
}

fn hostdev(device: &Passed) -> Element {
    let hex = |value: &u32| format!("{value:#x}");
    let (kind, address) = match device {
        Passed::Pci(domain, bus, slot, function) => (
            "pci",
            Element::new("address")
                .attr("domain", hex(domain))
                .attr("bus", hex(bus))
                .attr("slot", hex(slot))
                .attr("function", hex(function)),
        ),
        Passed::Usb(bus, device) => {
            ("usb", Element::new("address").attr("bus", bus.to_string()).attr("device", device.to_string()))
        }
    };
    let element = Element::new("hostdev").attr("mode", "subsystem").attr("type", kind);
    // libvirt takes a PCI device from its driver, and gives it back.
    let element = if kind == "pci" { element.attr("managed", "yes") } else { element };
    element.child(Element::new("source").child(address))
}

impl Definition {
    /// Reads a domain's document.
    pub(super) fn read(document: &str) -> Result<Self, super::xml::Unreadable> {
        let domain = Element::read(document)?;
        let disk = |disk: &Element| {
            let source = disk.at("source")?;
            Some(DiskSource {
                pool: source.get("pool")?.to_owned(),
                volume: source.get("volume")?.to_owned(),
                format: disk.at("driver").and_then(|driver| driver.get("type")).unwrap_or_default().to_owned(),
                bus: disk.at("target").and_then(|target| target.get("bus")).unwrap_or_default().to_owned(),
                read_only: disk.at("readonly").is_some(),
            })
        };
        let card = |card: &Element| Card {
            network: card.at("source").and_then(|source| source.get("network")).map(str::to_owned),
            mac: card.at("mac").and_then(|mac| mac.get("address")).map(str::to_ascii_lowercase),
            model: card.at("model").and_then(|model| model.get("type")).map(str::to_owned),
        };
        let devices = domain.at("devices");
        let devices = |name| devices.into_iter().flat_map(move |devices| devices.all(name));
        Ok(Self {
            vcpus: domain.at("vcpu").and_then(Element::number).and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            ram_mb: domain.at("memory").map_or(0, mebibytes),
            disks: devices("disk").filter_map(disk).collect(),
            cards: devices("interface").map(card).collect(),
            mark: Mark::read(&domain),
        })
    }
}

/// An amount of memory: libvirt answers in KiB, and says so.
fn mebibytes(amount: &Element) -> u64 {
    let number = amount.number().unwrap_or(0);
    match amount.get("unit") {
        Some("b" | "bytes") => number >> 20,
        Some("MiB" | "M") => number,
        Some("GiB" | "G") => number << 10,
        _ => number >> 10,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn definition() -> Definition {
        let disk = |volume: &str, bus: &str, read_only| DiskSource {
            pool: "p<&>".to_owned(),
            volume: volume.to_owned(),
            format: "qcow2".to_owned(),
            bus: bus.to_owned(),
            read_only,
        };
        let card = |network: Option<&str>, mac: Option<&str>| Card {
            network: network.map(str::to_owned),
            mac: mac.map(str::to_owned),
            model: Some("virtio".to_owned()),
        };
        Definition {
            vcpus: 3,
            ram_mb: 512,
            disks: vec![disk("a'b", "virtio", false), disk("c", "scsi", false), disk("d", "virtio", true)],
            cards: vec![card(Some("n\"n"), Some("52:54:00:00:00:01")), card(None, None)],
            mark: Some(Mark { cloud: "lab".to_owned(), token: "t".to_owned(), created_at: 1, ..Mark::default() }),
        }
    }

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let definition = definition();
        for kind in [Kind::Kvm, Kind::Qemu, Kind::Test] {
            let order = Order {
                kind,
                name: "web-1",
                uuid: Uuid::from_u128(7),
                definition: &definition,
                title: "</title><devices>\n'&\"",
                passed: &[Passed::Pci(0, 0x1f, 2, 3), Passed::Usb(1, 12)],
            };
            let document = write(&order);
            assert_eq!(Definition::read(&document).unwrap(), definition, "{document}");
            let domain = Element::read(&document).unwrap();
            assert_eq!(domain.text_at("title"), Some("</title><devices> '&\""));
            assert_eq!(domain.all("devices").count(), 1);
            let devices = domain.at("devices").unwrap();
            let targets: Vec<_> = devices.all("disk").filter_map(|disk| disk.at("target")?.get("dev")).collect();
            assert_eq!(targets, ["vda", "sda", "vdb"]);
            let address = devices.at("hostdev/source/address").unwrap();
            assert_eq!(
                ["domain", "bus", "slot", "function"].map(|part| address.get(part).unwrap()),
                ["0x0", "0x1f", "0x2", "0x3"]
            );
            assert_eq!(devices.all("serial").count(), usize::from(kind != Kind::Test));
        }
    }

    #[test]
    fn what_others_made_is_read_too() {
        let other = "<domain type='qemu'><name>x</name><memory unit='KiB'>131072</memory><vcpu placement='static'>2</vcpu>\
                     <devices><disk type='file'><source file='/etc/shadow'/></disk></devices></domain>";
        let read = Definition::read(other).unwrap();
        assert_eq!((read.vcpus, read.ram_mb, read.disks.len(), read.mark), (2, 128, 0, None));
        assert!(Definition::read("<domain").is_err());
    }
}
