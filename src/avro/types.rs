//! The types of a schema: one list in which types name each other by their place, so that a type may contain itself.

use std::collections::HashMap;

/// A type's place in the list.
pub(super) type Id = usize;

/// A type as it lies on the wire. Dates, times and timestamps are the integers that carry them.
#[derive(Debug, PartialEq)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    String,
    Bytes(Form),
    Fixed(Named, usize, Form),
    Enum(Named, Symbols),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Named, Fields),
}

/// What bytes stand for, and so what they look like in JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Base64,
    Decimal { precision: usize, scale: usize },
    Duration,
    Uuid,
}

/// Names with their namespaces.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    pub full: String,
    pub aliases: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Symbols {
    pub all: Vec<String>,
    /// Stands for those of a writer that are not among them.
    pub default: Option<String>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Fields {
    pub all: Vec<Field>,
    pub by_name: HashMap<String, usize>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub aliases: Vec<String>,
    pub of: Id,
    /// Encoded.
    pub default: Option<Vec<u8>>,
}

impl Named {
    /// Whether data written by `writer` may be read as this: namespaces don't count, as Avro has it, unless by alias.
    pub fn reads(&self, writer: &Named) -> bool {
        self.short() == writer.short() || self.aliases.contains(&writer.full)
    }

    fn short(&self) -> &str {
        self.full.rsplit_once('.').map_or(&self.full, |(_, name)| name)
    }
}

impl Type {
    /// For people.
    pub fn name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes(_) => "bytes",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Fixed(named, ..) | Self::Enum(named, _) | Self::Record(named, _) => &named.full,
        }
    }
}

/// Whether a value of the type may take no byte at all.
pub(super) fn may_be_empty(types: &[Type], id: Id) -> bool {
    /// `all` stops at the first that may not, so that what was `seen` before either may, or is being looked at.
    fn search(types: &[Type], id: Id, seen: &mut Vec<Id>) -> bool {
        match &types[id] {
            Type::Null | Type::Fixed(_, 0, _) => true,
            Type::Record(_, fields) => {
                seen.contains(&id) || {
                    seen.push(id);
                    fields.all.iter().all(|field| search(types, field.of, seen))
                }
            }
            _ => false,
        }
    }
    search(types, id, &mut Vec::new())
}
