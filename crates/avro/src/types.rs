//! Types of a schema: one list in which types refer to each other by index, so that a type may
//! contain itself.

use std::collections::HashMap;

/// Index of a type in the list.
pub(super) type Id = usize;

/// A type as encoded on the wire. Dates, times and timestamps are the integers that carry them.
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

/// Logical form of bytes, which decides how they look in JSON.
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
    /// Symbol that replaces a writer's symbols that are not among these.
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
    /// Default, encoded.
    pub default: Option<Vec<u8>>,
}

impl Named {
    /// Returns whether data written by `writer` may be read as this: namespaces don't count, as
    /// Avro has it, unless by alias.
    pub fn reads(&self, writer: &Named) -> bool {
        self.short() == writer.short() || self.aliases.contains(&writer.full)
    }

    fn short(&self) -> &str {
        self.full.rsplit_once('.').map_or(&self.full, |(_, name)| name)
    }
}

impl Type {
    /// Returns the type's name for messages.
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

/// Returns whether a value of the type may take no byte at all.
pub(super) fn may_be_empty(types: &[Type], id: Id) -> bool {
    /// `all` stops at the first type that may not be empty, so every type in `seen` either may be
    /// empty or is still being searched.
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
