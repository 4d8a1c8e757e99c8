//! Elements of XML: the one form in which libvirt's documents are written and read here. Values are escaped when they are written.

use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer, XmlVersion};

/// Elements within elements that a document may have; libvirt's own have about ten.
const DEPTH: usize = 64;

/// An element with its attributes, its text (of all its text nodes together) and its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("unexpected XML: {0}")]
pub(super) struct Unreadable(String);

impl Element {
    /// An empty element. The name is ours, never somebody's value.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds an attribute.
    #[must_use]
    pub(super) fn attr(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name.to_owned(), value.into()));
        self
    }

    /// Adds an attribute where there is a value.
    #[must_use]
    pub(super) fn maybe_attr(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// Sets the text.
    #[must_use]
    pub(super) fn content(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Adds a child.
    #[must_use]
    pub(super) fn child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children.
    #[must_use]
    pub(super) fn with(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    /// The value of an attribute.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The text, with blanks.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text as a number.
    pub(super) fn number(&self) -> Option<u64> {
        self.text.trim().parse().ok()
    }

    /// The children.
    pub(super) fn children(&self) -> impl Iterator<Item = &Element> {
        self.children.iter()
    }

    /// The children of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first descendant along these names: `at("source/address")`.
    pub(super) fn at(&self, path: &str) -> Option<&Element> {
        path.split('/').try_fold(self, |element, name| element.children.iter().find(|child| child.name == name))
    }

    /// The text along these names, trimmed; none where it is empty.
    pub(super) fn text_at(&self, path: &str) -> Option<&str> {
        self.at(path).map(|element| element.text.trim()).filter(|text| !text.is_empty())
    }

    /// The same with names that have no prefixes.
    pub(super) fn without_prefixes(&self) -> Self {
        Self {
            name: self.name.rsplit(':').next().unwrap_or_default().to_owned(),
            children: self.children.iter().map(Self::without_prefixes).collect(),
            ..self.clone()
        }
    }

    /// The document.
    pub(super) fn write(&self) -> String {
        let mut writer = Writer::new(Vec::new());
        // Writing to memory does not fail.
        let _ = self.write_to(&mut writer);
        String::from_utf8(writer.into_inner()).unwrap_or_default()
    }

    fn write_to(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let attributes = self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let start = BytesStart::new(self.name.as_str()).with_attributes(attributes);
        if self.text.is_empty() && self.children.is_empty() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        if !self.text.is_empty() {
            writer.write_event(Event::Text(BytesText::new(&self.text)))?;
        }
        for child in &self.children {
            child.write_to(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(self.name.as_str())))
    }

    /// Reads a document. Names keep their prefixes; entities other than XML's own five, and documents that are too deep, are
    /// refused.
    pub(super) fn read(document: &str) -> Result<Self, Unreadable> {
        let broken = |error: &dyn std::fmt::Display| Unreadable(error.to_string());
        let mut reader = Reader::from_str(document);
        let mut open: Vec<Self> = Vec::new();
        loop {
            let closed = match reader.read_event().map_err(|e| broken(&e))? {
                Event::Start(start) if open.len() >= DEPTH => return Err(Unreadable(format!("too deep at {:?}", start.name()))),
                Event::Start(start) => {
                    open.push(Self::started(&start)?);
                    None
                }
                Event::Empty(start) => Some(Self::started(&start)?),
                Event::End(_) => open.pop(),
                Event::Text(text) => {
                    add(&mut open, &text.xml10_content());
                    None
                }
                Event::CData(text) => {
                    add(&mut open, &text.xml10_content());
                    None
                }
                Event::GeneralRef(name) => {
                    let character = match name.resolve_char_ref().map_err(|e| broken(&e))? {
                        Some(character) => character,
                        None => match name.xml10_content().as_ref() {
                            "lt" => '<',
                            "gt" => '>',
                            "amp" => '&',
                            "quot" => '"',
                            "apos" => '\'',
                            other => return Err(Unreadable(format!("unknown entity `{other}`"))),
                        },
                    };
                    add(&mut open, character.encode_utf8(&mut [0; 4]));
                    None
                }
                Event::Eof => return Err(Unreadable("it ends too early".to_owned())),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
            };
            if let Some(closed) = closed {
                match open.last_mut() {
                    Some(parent) => parent.children.push(closed),
                    None => return Ok(closed),
                }
            }
        }
    }

    fn started(start: &BytesStart<'_>) -> Result<Self, Unreadable> {
        let mut element = Self { name: start.name().as_ref().to_owned(), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| Unreadable(error.to_string()))?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| Unreadable(error.to_string()))?;
            element.attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
        }
        Ok(element)
    }
}

/// Text belongs to the innermost open element.
fn add(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// Whether a value can stand in XML 1.0 and come back as it was.
pub(super) fn fits(value: &str) -> bool {
    value.chars().all(|c| matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let nasty = ["a<b", "]]>", "&amp;", "\"'/><x y='", "<!--", "ü🐎", "a\n\tb", " blank ", "&#60;", "<?pi ?>"];
        for value in nasty {
            assert!(fits(value), "{value:?}");
            let written = Element::new("a").child(Element::new("b").content(value)).write();
            let read = Element::read(&written).unwrap();
            assert_eq!(read.at("b").unwrap().text(), value, "{written}");
            assert_eq!(read.all("b").count(), 1);
            let written = Element::new("a").attr("x", value).attr("y", "1").write();
            let read = Element::read(&written).unwrap();
            assert_eq!((read.get("x"), read.get("y")), (Some(value), Some("1")), "{written}");
        }
        for value in ["a\0b", "\u{1}", "\u{fffe}", "\r"] {
            assert!(!fits(value), "{value:?}");
        }
    }

    #[test]
    fn what_is_broken_or_unbounded_is_refused() {
        let deep = "<a>".repeat(1_000) + &"</a>".repeat(1_000);
        let bomb = "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>";
        for document in ["", "<a>", "<a><b></a>", "<a b=1/>", "<a b='&x;'/>", bomb, deep.as_str()] {
            assert!(Element::read(document).is_err(), "{document:.40}");
        }
    }

    #[test]
    fn elements_are_found_by_their_path() {
        let element = Element::read("<?xml version='1.0'?><a>\n<b><c>7</c></b><b d='e'/><!-- x --></a>\n").unwrap();
        assert_eq!(element.at("b/c").and_then(Element::number), Some(7));
        assert_eq!(element.text_at("b/c"), Some("7"));
        assert_eq!(element.text_at("b"), None);
        assert!(element.at("b/d").is_none());
        assert_eq!(element.all("b").filter_map(|b| b.get("d")).collect::<Vec<_>>(), ["e"]);
    }
}
