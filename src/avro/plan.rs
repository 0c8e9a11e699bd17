//! How data of one schema is read as another has it: steps that name each other by their place, so that types may
//! contain themselves.

use super::types::Form;

/// How data of one schema is read.
#[derive(Debug)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub root: At,
}

/// A step's place in its plan.
pub(super) type At = usize;

/// What is done about a value on the wire.
#[derive(Debug)]
pub(super) enum Step {
    Null,
    Boolean,
    Number {
        wire: Numeric,
        json: Numeric,
    },
    /// Bytes that are text, too.
    Text,
    Bytes {
        size: Option<usize>,
        form: Form,
    },
    /// The symbols in JSON. Those that the reader has not, and no default for, say so.
    Enum(Vec<Result<String, String>>),
    Array {
        item: At,
        may_be_empty: bool,
    },
    Map(At),
    Union(Vec<At>),
    Record(Record),
    /// It may be written, and can't be read.
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
    /// The members as the reader wants them, each as its place among those of the parts. `None` when that is the order
    /// that they come in.
    pub order: Option<Vec<usize>>,
}

#[derive(Debug)]
pub(super) enum Part {
    /// A field's name in JSON with its colon, and its value.
    Member(String, At),
    /// A field that the reader has not.
    Skip(At),
    /// A member as it stands.
    Default(Vec<u8>),
}
