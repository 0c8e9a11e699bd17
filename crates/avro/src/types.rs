//! Types of a schema: one list in which types refer to each other by index, so that a type may
//! contain itself.

use std::collections::HashMap;

/// Index of a type in the list.
pub(super) type TypeIndex = usize;

/// A type as encoded on the wire. Dates, times and local timestamps are the integers that carry
/// them.
#[derive(Debug, PartialEq)]
pub(super) enum AvroType {
    Null,
    Boolean,
    Int,
    Long,
    /// A long that counts from the Unix epoch.
    Timestamp(TimeUnit),
    Float,
    Double,
    String,
    Bytes(BytesForm),
    Fixed(TypeName, usize, BytesForm),
    Enum(TypeName, EnumSymbols),
    Array(TypeIndex),
    Map(TypeIndex),
    Union(Vec<TypeIndex>),
    Record(TypeName, RecordFields),
}

/// Logical form of bytes, which decides how they look in JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum BytesForm {
    Base64,
    Decimal { precision: usize, scale: usize },
    Duration,
    Uuid,
}

/// Unit of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TimeUnit {
    Millis,
    Micros,
    Nanos,
}

/// Names with their namespaces.
#[derive(Debug, PartialEq)]
pub(super) struct TypeName {
    pub full: String,
    pub aliases: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub(super) struct EnumSymbols {
    pub all: Vec<String>,
    /// Symbol that replaces a writer's symbols that are not among these.
    pub default: Option<String>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct RecordFields {
    pub all: Vec<RecordField>,
    pub by_name: HashMap<String, usize>,
}

#[derive(Debug, PartialEq)]
pub(super) struct RecordField {
    pub name: String,
    pub aliases: Vec<String>,
    pub of: TypeIndex,
    /// Default, encoded.
    pub default: Option<Vec<u8>>,
}

impl TypeName {
    /// Returns whether data written by `writer` may be read as this: namespaces don't count, as
    /// Avro has it, unless by alias.
    pub fn reads(&self, writer: &TypeName) -> bool {
        self.short() == writer.short() || self.aliases.contains(&writer.full)
    }

    fn short(&self) -> &str {
        self.full.rsplit_once('.').map_or(&self.full, |(_, name)| name)
    }
}

impl AvroType {
    /// Returns the type's name for messages.
    pub fn name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long | Self::Timestamp(_) => "long",
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
pub(super) fn may_be_empty(types: &[AvroType], id: TypeIndex) -> bool {
    /// `all` stops at the first type that may not be empty, so every type in `seen` either may be
    /// empty or is still being searched.
    fn search(types: &[AvroType], id: TypeIndex, seen: &mut Vec<TypeIndex>) -> bool {
        match &types[id] {
            AvroType::Null | AvroType::Fixed(_, 0, _) => true,
            AvroType::Record(_, fields) => {
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
