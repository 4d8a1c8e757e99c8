//! YAML as a tree in which every node knows its line and column, read within limits.
//!
//! Aliases are expanded, merge keys (`<<`) applied. What a scalar means is left to who reads it: `8.04` is text where a version is
//! expected, and a number where a number is.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span};

use crate::error::{Code, Mark, Problem, Problems};
use crate::value::{is_null, short};
use crate::work::of_text;

/// What a text may cost. The defaults admit each of the public templates about thirty times over. Keys are at most 1024 bytes long,
/// whatever is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a text.
    pub bytes: usize,
    /// YAML nodes, aliases counted as often as they are used; a long scalar counts once for each 64 bytes.
    pub nodes: usize,
    /// Levels of lists and maps.
    pub depth: usize,
    /// Problems that are reported; those beyond it are only counted.
    pub problems: usize,
    /// Node templates of a topology.
    pub node_templates: usize,
    /// What types may pass on to others and to node templates, values that are read as their types, and calls of functions, in units
    /// as those of `nodes`: once for the text, and once more each time that values are computed.
    pub work: usize,
}

/// Bytes of a key. YAML itself allows those without a question mark as many characters. Keys are the names of everything, and copied
/// wherever something is referred to.
pub(crate) const KEY: usize = 1024;

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, nodes: 50_000, depth: 64, problems: 100, node_templates: 1000, work: 300_000 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub at: Mark,
    pub data: Data,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// A scalar. One that is not `plain` was quoted, or tagged as a string: it is text whatever it looks like.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub at: Mark,
    pub value: Node,
}

impl Node {
    /// Null: nothing, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, plain } if is_null(text, *plain))
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Node]> {
        if let Data::List(list) = &self.data { Some(list) } else { None }
    }

    pub(crate) fn map(&self) -> Option<&[Entry]> {
        if let Data::Map(map) = &self.data { Some(map) } else { None }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// What it weighs, as work.
    pub(crate) fn weight(&self) -> usize {
        match &self.data {
            Data::Scalar { text, .. } => of_text(text),
            Data::List(list) => 1 + list.iter().map(Self::weight).sum::<usize>(),
            Data::Map(map) => 1 + map.iter().map(|entry| of_text(&entry.key) + entry.value.weight()).sum::<usize>(),
        }
    }

    /// The only entry of a map with one.
    pub(crate) fn single(&self) -> Option<&Entry> {
        if let Some([entry]) = self.map() { Some(entry) } else { None }
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            _ if self.is_null() => "nothing",
            Data::Scalar { .. } => "a scalar",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }
}

/// Reads the one document of `text`. Keys that are there twice are problems of `problems`: the later one counts.
pub(crate) fn read(text: &str, limits: &Limits, problems: &mut Problems) -> Result<Node, Problem> {
    let too_large =
        |what: &str, limit: usize, at| Err(Problem::new(Code::LimitExceeded, format!("{what}: at most {limit}"), "", at));
    if text.len() > limits.bytes {
        return too_large("the text is too long (bytes)", limits.bytes, Mark::default());
    }
    let mut reader = Reader { limits, problems, stack: Vec::new(), anchors: HashMap::new(), count: 0, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let deep = matches!(error.kind(), ErrorKind::RecursionLimitExceeded);
            let code = if deep { Code::LimitExceeded } else { Code::InvalidYaml };
            let at = Mark { line: error.marker().line() as u32, column: error.marker().col() as u32 + 1 };
            Problem::new(code, error.info(), "", at)
        })?;
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                return Err(Problem::new(
                    Code::InvalidYaml,
                    "a template is one document, and here begins another",
                    "",
                    mark(&span),
                ));
            }
        }
        reader.event(event, &span)?;
    }
    Ok(reader.root.unwrap_or(Node { at: Mark::default(), data: Data::Scalar { text: String::new(), plain: true } }))
}

fn mark(span: &Span) -> Mark {
    Mark { line: span.start.line() as u32, column: span.start.col() as u32 + 1 }
}

/// A list or map that is not at its end.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value, of a map.
    key: Option<(String, Mark)>,
    /// Where the keys of a map are, and whether a merge brought them.
    keys: HashMap<String, (usize, bool)>,
    /// Of what it holds, the highest.
    height: usize,
    /// What it weighs so far, aliases expanded.
    held: usize,
}

/// What an alias stands for.
struct Anchored {
    node: Node,
    held: usize,
    height: usize,
}

struct Reader<'a> {
    limits: &'a Limits,
    problems: &'a mut Problems,
    stack: Vec<Open>,
    /// By the parser's numbers.
    anchors: HashMap<usize, Anchored>,
    count: usize,
    root: Option<Node>,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let at = mark(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let weight = of_text(&text);
                let string = tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let data = Data::Scalar { text: Cow::into_owned(text), plain: style == ScalarStyle::Plain && !string };
                self.count(weight, at)?;
                self.done(Node { at, data }, anchor, weight, 0)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Node { at, data: Data::List(Vec::new()) }, anchor),
            Event::MappingStart(_, anchor, _) => self.open(Node { at, data: Data::Map(Vec::new()) }, anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Ok(()) };
                self.done(open.node, open.anchor, open.held, open.height + 1)
            }
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(Problem::new(Code::InvalidYaml, "an alias inside of what it stands for", "", at));
                };
                let (held, height) = (anchored.held, anchored.height);
                // Before the copy is made. Aliases of aliases are deeper than what the text shows.
                self.count(held, at)?;
                self.depth(height, at)?;
                let node = Node { at, data: self.anchors[&anchor].node.data.clone() };
                self.done(node, 0, held, height)
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, more: usize, at: Mark) -> Result<(), Problem> {
        self.count += more;
        if self.count > self.limits.nodes {
            let message = format!("too many YAML nodes, aliases expanded: at most {}", self.limits.nodes);
            return Err(Problem::new(Code::LimitExceeded, message, "", at));
        }
        Ok(())
    }

    fn depth(&self, more: usize, at: Mark) -> Result<(), Problem> {
        if self.stack.len() + more > self.limits.depth {
            let message = format!("lists and maps are nested too deeply: at most {} levels", self.limits.depth);
            return Err(Problem::new(Code::LimitExceeded, message, "", at));
        }
        Ok(())
    }

    fn open(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.depth(1, node.at)?;
        self.count(1, node.at)?;
        self.stack.push(Open { node, anchor, key: None, keys: HashMap::new(), height: 0, held: 1 });
        Ok(())
    }

    /// A node is complete: it goes where it belongs.
    fn done(&mut self, node: Node, anchor: usize, held: usize, height: usize) -> Result<(), Problem> {
        if anchor != 0 {
            // What is kept for aliases costs memory, too.
            self.count(held, node.at)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), held, height });
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.height = open.height.max(height);
        open.held += held;
        match &mut open.node.data {
            Data::List(list) => list.push(node),
            Data::Map(map) => match open.key.take() {
                None => match node.data {
                    Data::Scalar { text, .. } if text.len() > KEY => {
                        return Err(Problem::new(Code::LimitExceeded, format!("a key is longer than {KEY} bytes"), "", node.at));
                    }
                    Data::Scalar { text, .. } => open.key = Some((text, node.at)),
                    _ => {
                        return Err(Problem::new(
                            Code::SyntaxError,
                            format!("a key is a scalar, not {}", node.kind()),
                            "",
                            node.at,
                        ));
                    }
                },
                Some((key, _)) if key == "<<" => merge(map, &mut open.keys, node)?,
                Some((key, at)) => match open.keys.get(&key) {
                    Some(&(index, merged)) => {
                        if !merged {
                            let first = map[index].at.line;
                            let message = format_args!("the key '{}' is there twice, first on line {first}", short(&key));
                            self.problems.push(Code::DuplicateKey, at, "", message);
                        }
                        map[index] = Entry { key, at, value: node };
                    }
                    None => {
                        open.keys.insert(key.clone(), (map.len(), false));
                        map.push(Entry { key, at, value: node });
                    }
                },
            },
            Data::Scalar { .. } => {}
        }
        Ok(())
    }
}

/// `<<: *other` or a list of such: what is not there already. What comes later in the text replaces it without a word.
fn merge(map: &mut Vec<Entry>, keys: &mut HashMap<String, (usize, bool)>, node: Node) -> Result<(), Problem> {
    let at = node.at;
    let maps = match node.data {
        Data::List(list) => list,
        data => vec![Node { at, data }],
    };
    for node in maps {
        let Data::Map(entries) = node.data else {
            return Err(Problem::new(Code::SyntaxError, format!("'<<' merges maps, not {}", node.kind()), "", at));
        };
        for entry in entries {
            if !keys.contains_key(&entry.key) {
                keys.insert(entry.key.clone(), (map.len(), true));
                map.push(entry);
            }
        }
    }
    Ok(())
}
