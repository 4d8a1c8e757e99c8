//! A template as text again, changed in one place: `removal_list` is a request, and not kept.

use crate::error::{Mode, Problems};
use crate::yaml::{Data, Limits, Node, read};

/// `text` without the `removal_list` of any node, as YAML; aliases are expanded and comments are gone. A text without one comes back
/// as it is, and so does one that is not YAML.
pub fn without_removal_lists(text: &str, limits: &Limits) -> String {
    let mut problems = Problems::new(Mode::Lenient, limits);
    if !text.contains("removal_list") {
        return text.to_owned();
    }
    let Ok(mut file) = read(text, limits, &mut problems) else { return text.to_owned() };
    let path = ["topology_template", "node_templates"];
    let nodes = path.iter().try_fold(&mut file, |node, key| child(node, key));
    if let Some(Node { data: Data::Map(nodes), .. }) = nodes {
        for entry in nodes {
            let path = ["capabilities", "scalable", "properties"];
            let properties = path.iter().try_fold(&mut entry.value, |node, key| child(node, key));
            if let Some(Node { data: Data::Map(properties), .. }) = properties {
                properties.retain(|entry| entry.key != "removal_list");
            }
        }
    }
    let mut out = String::new();
    emit(&file, 0, &mut out);
    out
}

fn child<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Data::Map(map) = &mut node.data else { return None };
    map.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
}

/// Block style throughout. `out` ends where the value of a key or an item begins.
fn emit(node: &Node, indent: usize, out: &mut String) {
    let newline = |out: &mut String| {
        if !out.is_empty() {
            out.push('\n');
        }
        out.extend(std::iter::repeat_n(' ', indent));
    };
    match &node.data {
        Data::Scalar { text, plain } => {
            let scalar = if *plain && safe(text) { text.clone() } else { quoted(text) };
            if !scalar.is_empty() && !out.is_empty() {
                out.push(' ');
            }
            out.push_str(&scalar);
        }
        Data::List(list) if list.is_empty() => out.push_str(" []"),
        Data::Map(map) if map.is_empty() => out.push_str(" {}"),
        Data::List(list) => {
            for node in list {
                newline(out);
                out.push('-');
                emit(node, indent + 2, out);
            }
        }
        Data::Map(map) => {
            for entry in map {
                newline(out);
                let key = if safe(&entry.key) && !entry.key.is_empty() { entry.key.clone() } else { quoted(&entry.key) };
                out.push_str(&key);
                out.push(':');
                emit(&entry.value, indent + 2, out);
            }
        }
    }
    if indent == 0 {
        out.push('\n');
    }
}

/// Whether a plain scalar means the same in block style on one line.
fn safe(text: &str) -> bool {
    let start = text.chars().next().is_none_or(|c| c.is_alphanumeric() || "/_.~".contains(c));
    let number =
        text.starts_with(['-', '+']) && text.len() > 1 && text[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (start || number)
        && !text.starts_with("...")
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !text.contains(" #")
        && !text.contains(|c: char| c.is_control() || c == '\u{85}' || c == '\u{2028}' || c == '\u{2029}' || c == '\u{feff}')
}

/// In double quotes. JSON's escapes are YAML's, too.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// A tree without its places.
    fn shape(node: &Node) -> String {
        match &node.data {
            Data::Scalar { text, plain } => format!("{plain}:{text:?}"),
            Data::List(list) => format!("[{}]", list.iter().map(shape).collect::<Vec<_>>().join(",")),
            Data::Map(map) => {
                format!(
                    "{{{}}}",
                    map.iter().map(|entry| format!("{:?}={}", entry.key, shape(&entry.value))).collect::<Vec<_>>().join(",")
                )
            }
        }
    }

    fn tree(text: &str) -> Node {
        let mut problems = Problems::new(Mode::Strict, &Limits::default());
        let node = read(text, &Limits::default(), &mut problems).unwrap_or_else(|problem| panic!("{problem}:\n{text}"));
        problems.finish().unwrap();
        node
    }

    fn written(text: &str) -> String {
        let mut out = String::new();
        emit(&tree(text), 0, &mut out);
        out
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let table = [
            "a: 1",
            "a: '1'",
            "a: -1.5",
            "a: +7",
            "a:",
            "a: ''",
            "a: []",
            "a: {}",
            "[]",
            "text",
            "- a\n- - b\n  - c: d\n    e: [ { f: g }, h ]\n- {}",
            "a: { b: { c: { d: [ e, [ f ] ] } } }",
            "'a: b': \"c: d\"\n'#x': '# y'\n'': e\n'- z': '- y'\n'@': '`'\n'!t': '&a'",
            "a: |\n  one\n   two\n\n  three\nb: >-\n  four\n  five\nc: \"tab\\t end \"",
            "a: &x { b: 1 }\nc: *x\nd: { <<: *x, e: 2 }",
            "a: http://host:80/path#part\nb: 10:30\nc: é 漢 \u{1F600}\nd: 'it''s'\ne: yes\nf: ~\ng: '~'\nh: .5",
            "a: { concat: [ 'http://', get_attribute: [ s, public_address, 0 ], ':', 80 ] }",
        ];
        for text in table {
            let out = written(text);
            // A plain scalar may be quoted when it is text anyway.
            let quoted = |shape: String| shape.replace("true:", "").replace("false:", "");
            assert_eq!(quoted(shape(&tree(&out))), quoted(shape(&tree(text))), "{text}\n{out}");
            assert_eq!(written(&out), out, "{text}");
        }
        for text in ["a: 1", "a: -1.5", "a: +7", "a:", "a: yes", "a: ~", "a: '1'", "a: '~'", "a: 1.10"] {
            assert_eq!(shape(&tree(&written(text))), shape(&tree(text)), "{text}");
        }
    }
}
