//! Plan for reading data of one schema as another: steps refer to each other by index, so that
//! types may contain themselves.

use super::types::Form;

/// Plan for reading data of one schema.
#[derive(Debug)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub root: At,
}

/// Index of a step in its plan.
pub(super) type At = usize;

/// Step of a plan: how one value on the wire is read.
#[derive(Debug)]
pub(super) enum Step {
    Null,
    Boolean,
    Number {
        wire: Numeric,
        json: Numeric,
    },
    /// A string, or bytes that are read as one.
    Text,
    Bytes {
        size: Option<usize>,
        form: Form,
    },
    /// The symbols in JSON. A symbol that the reader lacks, without a default for it, is an error.
    Enum(Vec<Result<String, String>>),
    Array {
        item: At,
        may_be_empty: bool,
    },
    Map(At),
    Union(Vec<At>),
    Record(Record),
    /// A value that may be written but can't be read.
    Unfit(String),
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum Numeric {
    Int,
    Long,
    Float,
    Double,
}

#[derive(Debug)]
pub(super) struct Record {
    pub parts: Vec<Part>,
    /// Order of the members for the reader, each as its index among those of the parts. `None` if
    /// that is the order in which they come.
    pub order: Option<Vec<usize>>,
}

#[derive(Debug)]
pub(super) enum Part {
    /// A field: its name in JSON with the colon, and its value.
    Member(String, At),
    /// A field that the reader lacks.
    Skip(At),
    /// A default member, encoded as JSON.
    Default(Vec<u8>),
}
