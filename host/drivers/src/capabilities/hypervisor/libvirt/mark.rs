//! The mark of a domain: whose it is and what it was ordered with, in an element of its own namespace in the domain's `<metadata>`.

use super::xml::Element;

/// The namespace.
pub(super) const NAMESPACE: &str = "urn:ostler:hypervisor:1";
/// The prefix under which it is written.
pub(super) const PREFIX: &str = "ostler";
const NAME: &str = "ostler:domain";

/// What a domain's mark says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The cloud whose it is.
    pub(super) cloud: String,
    /// The host's token for the node.
    pub(super) token: String,
    /// The name to show.
    pub(super) name: String,
    /// When it was made: microseconds since 1970.
    pub(super) created_at: u64,
    /// It is to be started, and was not yet.
    pub(super) to_start: bool,
    /// It is being deleted.
    pub(super) deleting: bool,
    /// The volumes that are deleted with it: pool and name at the hypervisor.
    pub(super) owned: Vec<(String, String)>,
    /// Labels.
    pub(super) labels: Vec<(String, String)>,
    /// The driver's JSON object.
    pub(super) extra: String,
}

impl Mark {
    /// The element for `<metadata>`.
    pub(super) fn element(&self) -> Element {
        self.content(Element::new(NAME).attr("xmlns:ostler", NAMESPACE))
    }

    /// The same as libvirt wants it for a change: it adds namespace and prefix itself.
    pub(super) fn bare_element(&self) -> Element {
        self.content(Element::new("domain"))
    }

    fn content(&self, element: Element) -> Element {
        let flag = |is: bool| is.then_some("yes");
        let volume =
            |(pool, name): &(String, String)| Element::new("volume").attr("pool", pool.clone()).attr("name", name.clone());
        let label = |(key, value): &(String, String)| {
            Element::new("label")
                .child(Element::new("key").content(key.clone()))
                .child(Element::new("value").content(value.clone()))
        };
        let mut element = element
            .attr("cloud", self.cloud.clone())
            .attr("token", self.token.clone())
            .attr("created", self.created_at.to_string())
            .maybe_attr("to-start", flag(self.to_start))
            .maybe_attr("deleting", flag(self.deleting))
            .child(Element::new("name").content(self.name.clone()))
            .with(self.owned.iter().map(volume))
            .with(self.labels.iter().map(label));
        if !self.extra.is_empty() {
            element = element.child(Element::new("extra").content(self.extra.clone()));
        }
        element
    }

    /// The mark in a domain's document. A document that has none, or a broken one, is nobody's.
    pub(super) fn read(domain: &Element) -> Option<Self> {
        let marks = |element: &&Element| {
            let Some((prefix, "domain")) = element.name.split_once(':') else { return false };
            element.get(&format!("xmlns:{prefix}")) == Some(NAMESPACE)
        };
        // After a change libvirt shows the parts under the prefix too.
        let mark = domain.at("metadata")?.children().find(marks)?.without_prefixes();
        let pair = |label: &Element| Some((label.at("key")?.text().to_owned(), label.at("value")?.text().to_owned()));
        let volume = |volume: &Element| Some((volume.get("pool")?.to_owned(), volume.get("name")?.to_owned()));
        Some(Self {
            cloud: mark.get("cloud")?.to_owned(),
            token: mark.get("token")?.to_owned(),
            name: mark.at("name")?.text().to_owned(),
            created_at: mark.get("created")?.parse().ok()?,
            to_start: mark.get("to-start").is_some(),
            deleting: mark.get("deleting").is_some(),
            owned: mark.all("volume").map(volume).collect::<Option<_>>()?,
            labels: mark.all("label").map(pair).collect::<Option<_>>()?,
            extra: mark.at("extra").map(|extra| extra.text().to_owned()).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn mark() -> Mark {
        Mark {
            cloud: "lab".to_owned(),
            token: "t".to_owned(),
            name: "</name><name>'&\"]]>".to_owned(),
            created_at: 7,
            to_start: true,
            deleting: false,
            owned: vec![("default".to_owned(), "ostler+lab+t+a".to_owned())],
            labels: vec![("a=\"1\"/><b".to_owned(), "x\ny & z".to_owned()), (String::new(), String::new())],
            extra: r#"{"a":"<b>"}"#.to_owned(),
        }
    }

    #[test]
    fn a_mark_comes_back_as_it_was() {
        let written = Element::new("domain").child(Element::new("metadata").child(mark().element())).write();
        assert_eq!(Mark::read(&Element::read(&written).unwrap()), Some(mark()));
        // Under another prefix it is the same.
        let other = written.replace("ostler:domain", "o:domain").replace("xmlns:ostler", "xmlns:o");
        assert_ne!(other, written);
        assert_eq!(Mark::read(&Element::read(&other).unwrap()), Some(mark()));
        // As libvirt shows what it was given for a change.
        let other = ["name", "label", "key", "value", "volume", "extra"].iter().fold(written.clone(), |text, part| {
            text.replace(&format!("<{part}>"), &format!("<ostler:{part}>"))
                .replace(&format!("</{part}>"), &format!("</ostler:{part}>"))
                .replace(&format!("<{part} "), &format!("<ostler:{part} "))
        });
        assert!(other.contains("<ostler:label><ostler:key>") && other.contains("<ostler:volume pool="), "{other}");
        assert_eq!(Mark::read(&Element::read(&other).unwrap()), Some(mark()));
    }

    #[test]
    fn what_is_no_mark_of_ours_is_nobodys() {
        let written = Element::new("domain").child(Element::new("metadata").child(mark().element())).write();
        for (from, to) in
            [(NAMESPACE, "urn:else"), ("cloud=", "loud="), ("created=\"7\"", "created=\"x\""), ("metadata", "description")]
        {
            let document = written.replace(from, to);
            assert_ne!(document, written, "{from}");
            assert_eq!(Mark::read(&Element::read(&document).unwrap()), None, "{from}");
        }
    }
}
