//! Values as they are written: literals with calls of functions in them.

use crate::error::{Code, Mark, Path, Problems};
use crate::value::is_null;
use crate::work::of_text;
use crate::yaml::{Data, Node};

/// A value that may have to be computed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Scalar { text: String, plain: bool },
    List(Vec<Expr>),
    Map(Vec<(String, Expr)>),
    Call(Box<Call>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub function: Function,
    pub args: Vec<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    GetInput,
    GetProperty,
    GetAttribute,
    GetArtifact,
    Concat,
    Token,
}

impl Function {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::GetInput => "get_input",
            Self::GetProperty => "get_property",
            Self::GetAttribute => "get_attribute",
            Self::GetArtifact => "get_artifact",
            Self::Concat => "concat",
            Self::Token => "token",
        }
    }

    /// What `key: args` calls. The words `concat` and `token` are also keys of maps (a credential has a token): they are calls only
    /// with the arguments of one.
    fn of(key: &str, args: &Node) -> Option<Self> {
        match key {
            "get_input" => Some(Self::GetInput),
            "get_property" => Some(Self::GetProperty),
            "get_attribute" => Some(Self::GetAttribute),
            "get_artifact" => Some(Self::GetArtifact),
            "concat" if args.list().is_some() => Some(Self::Concat),
            "token" if args.list().is_some_and(|args| args.len() == 3) => Some(Self::Token),
            _ => None,
        }
    }
}

impl Expr {
    /// Reads a value; calls that make no sense are problems.
    pub(crate) fn read(node: &Node, path: &Path<'_>, problems: &mut Problems) -> Self {
        if let Some(entry) = node.single()
            && let Some(function) = Function::of(&entry.key, &entry.value)
        {
            return Self::call(function, &entry.value, entry.at, path, problems);
        }
        match &node.data {
            Data::Scalar { text, plain } => Self::Scalar { text: text.clone(), plain: *plain },
            Data::List(list) => {
                Self::List(list.iter().enumerate().map(|(i, node)| Self::read(node, &path.item(i), problems)).collect())
            }
            Data::Map(map) => Self::Map(
                map.iter().map(|entry| (entry.key.clone(), Self::read(&entry.value, &path.key(&entry.key), problems))).collect(),
            ),
        }
    }

    fn call(function: Function, args: &Node, at: Mark, path: &Path<'_>, problems: &mut Problems) -> Self {
        let name = function.as_str();
        let list = match &args.data {
            Data::List(list) => list.iter().map(|arg| Self::read(arg, path, problems)).collect(),
            // `get_input: name`, and `get_artifact: name` by analogy.
            Data::Scalar { text, plain } if !args.is_null() => vec![Self::Scalar { text: text.clone(), plain: *plain }],
            _ => Vec::new(),
        };
        let (least, form) = match function {
            Function::GetInput => (1, "get_input: name, or [name, key or index, …]"),
            Function::GetProperty => (2, "get_property: [node, requirement or capability, property, key or index, …]"),
            Function::GetAttribute => (2, "get_attribute: [node, requirement or capability, attribute, key or index, …]"),
            Function::GetArtifact => (2, "get_artifact: [node, artifact]"),
            Function::Concat => (0, ""),
            Function::Token => (3, "token: [text, separators, index]"),
        };
        if list.len() < least {
            problems.push(Code::InvalidFunction, at, path, format_args!("{name} is written {form}"));
        } else if matches!(function, Function::GetProperty | Function::GetAttribute | Function::GetArtifact)
            && !list[..2].iter().all(|arg| matches!(arg, Self::Scalar { .. }))
        {
            problems.push(Code::InvalidFunction, at, path, format_args!("the first arguments of {name} are names"));
        }
        Self::Call(Box::new(Call { function, args: list }))
    }

    /// What it weighs, as work.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Scalar { text, .. } => of_text(text),
            Self::List(list) => 1 + list.iter().map(Self::weight).sum::<usize>(),
            Self::Map(map) => 1 + map.iter().map(|(key, value)| of_text(key) + value.weight()).sum::<usize>(),
            Self::Call(call) => 1 + call.args.iter().map(Self::weight).sum::<usize>(),
        }
    }

    /// No call in it.
    pub(crate) fn is_literal(&self) -> bool {
        match self {
            Self::Scalar { .. } => true,
            Self::List(list) => list.iter().all(Self::is_literal),
            Self::Map(map) => map.iter().all(|(_, value)| value.is_literal()),
            Self::Call(_) => false,
        }
    }

    /// It asks for nothing but inputs.
    pub(crate) fn follows_from_inputs(&self) -> bool {
        let mut only = true;
        self.calls(&mut |call| only &= matches!(call.function, Function::GetInput | Function::Concat | Function::Token));
        only
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar { text, plain } if is_null(text, *plain))
    }

    /// Every call in it, arguments included.
    pub(crate) fn calls<'a>(&'a self, each: &mut impl FnMut(&'a Call)) {
        match self {
            Self::Scalar { .. } => {}
            Self::List(list) => list.iter().for_each(|expr| expr.calls(each)),
            Self::Map(map) => map.iter().for_each(|(_, expr)| expr.calls(each)),
            Self::Call(call) => {
                each(call);
                call.args.iter().for_each(|expr| expr.calls(each));
            }
        }
    }
}

impl Call {
    /// The argument, if it is a scalar.
    pub(crate) fn word(&self, index: usize) -> Option<&str> {
        match self.args.get(index) {
            Some(Expr::Scalar { text, .. }) => Some(text),
            _ => None,
        }
    }
}
