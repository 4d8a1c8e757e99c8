//! The types that templates may use without defining them, and the imports that stand for them. Nothing is fetched.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use crate::error::{Code, Error, Mode, Problems};
use crate::types::Types;
use crate::value::short;
use crate::yaml::{Data, Limits, Node, read};

/// The normative types of TOSCA Simple Profile in YAML 1.0.
const NORMATIVE: &str = include_str!("catalogue/normative.yaml");
/// The types of the INDIGO-DataCloud templates.
const INDIGO: &str = include_str!("catalogue/indigo.yaml");
/// Files that the bundled types stand for, wherever they are said to be.
const BUNDLED: [&str; 6] = [
    "custom_types.yaml",
    "custom_types.yml",
    "indigo_custom_types",
    "tosca-normative-types",
    "normative-types.yml",
    "tosca_simple_yaml_1_0",
];

/// Types by their names, and the names of files that bring them.
#[derive(Debug, Clone)]
pub struct Catalogue {
    types: Arc<Types>,
    files: Vec<String>,
}

static STANDARD: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut catalogue = Catalogue { types: Arc::default(), files: BUNDLED.map(str::to_owned).into() };
    for text in [NORMATIVE, INDIGO] {
        catalogue = match catalogue.with("", text) {
            Ok(catalogue) => catalogue,
            Err(error) => faulty(&error),
        };
    }
    catalogue
});

/// The bundled types are part of the program, as its code is: without them no template means what it says.
#[expect(clippy::panic, reason = "a program that was built wrong; a test reads the bundled types")]
fn faulty(error: &Error) -> ! {
    panic!("the bundled types: {error}")
}

impl Catalogue {
    /// The normative types and those of the INDIGO templates.
    pub fn standard() -> Self {
        STANDARD.clone()
    }

    /// With the types of a file besides. Imports of a file whose name or address ends with `file` stand for it; types that are there
    /// already are replaced for those who derive from them in this file and for templates.
    ///
    /// # Errors
    /// [`Error::Template`] with all that is wrong with the file.
    pub fn with(&self, file: &str, text: &str) -> Result<Self, Error> {
        let limits = Limits { bytes: 8 << 20, nodes: 400_000, work: 2_400_000, ..Limits::default() };
        let mut problems = Problems::new(Mode::Strict, &limits);
        let node = match read(text, &limits, &mut problems) {
            Ok(node) => node,
            Err(problem) => return Err(problems.fatal(problem)),
        };
        let mut types = Types::over(self.types.clone());
        types.define(&node, &mut problems);
        problems.finish()?;
        let mut files = self.files.clone();
        if !file.is_empty() {
            files.push(file.to_owned());
        }
        Ok(Self { types: Arc::new(types), files })
    }

    pub(crate) fn types(&self) -> Arc<Types> {
        self.types.clone()
    }

    /// Imports in all their forms: a name or an address, `name: address`, `name: {file, repository}`, `{file, repository}`; in a list
    /// or as a map.
    pub(crate) fn check_imports(&self, file: &Node, repositories: &HashSet<&str>, problems: &mut Problems) {
        let Some(imports) = file.get("imports") else { return };
        match &imports.data {
            Data::List(list) => list.iter().for_each(|node| self.import(node, repositories, problems)),
            Data::Map(map) => map.iter().for_each(|entry| self.target(&entry.value, Some(&entry.key), repositories, problems)),
            Data::Scalar { .. } if imports.is_null() => {}
            Data::Scalar { .. } => self.target(imports, None, repositories, problems),
        }
    }

    fn import(&self, node: &Node, repositories: &HashSet<&str>, problems: &mut Problems) {
        match node.map() {
            Some(_) if node.get("file").is_some() => self.target(node, None, repositories, problems),
            Some(map) => map.iter().for_each(|entry| self.target(&entry.value, Some(&entry.key), repositories, problems)),
            None => self.target(node, None, repositories, problems),
        }
    }

    fn target(&self, node: &Node, name: Option<&str>, repositories: &HashSet<&str>, problems: &mut Problems) {
        if let Some(repository) = node.get("repository").and_then(Node::text).filter(|name| !repositories.contains(name)) {
            let message = format_args!("no repository is called '{}'", short(repository));
            problems.push(Code::UnknownRepository, node.at, "imports", message);
        }
        let Some(address) = node.text().or_else(|| node.get("file").and_then(Node::text)) else {
            let message = format_args!("an import names a file, and here is {}", node.kind());
            return problems.push(Code::SyntaxError, node.at, "imports", message);
        };
        let path = address.split(['?', '#']).next().unwrap_or(address).trim_end_matches('/');
        let known = |file: &String| path == file || path.strip_suffix(file.as_str()).is_some_and(|rest| rest.ends_with('/'));
        let by_name = name.is_some_and(|name| self.files.iter().any(|file| file == name));
        if !by_name && !self.files.iter().any(known) {
            let address = short(address);
            let message =
                format_args!("'{address}' is not in the catalogue of types, and nothing is fetched; its types are not known");
            problems.push(Code::UnknownImport, node.at, "imports", message);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_bundled_types_have_no_problem() {
        let mut catalogue = Catalogue { types: Arc::default(), files: Vec::new() };
        for text in [NORMATIVE, INDIGO] {
            catalogue = catalogue.with("", text).unwrap();
        }
    }
}
