//! Plan for reading data of one schema as another: steps refer to each other by index, so that
//! types may contain themselves.

use super::types::{BytesForm, TimeUnit};

/// Plan for reading data of one schema.
#[derive(Debug)]
pub(super) struct ReadPlan {
    pub steps: Vec<ReadStep>,
    pub root: StepIndex,
}

/// Index of a step in its plan.
pub(super) type StepIndex = usize;

/// Step of a plan: how one value on the wire is read.
#[derive(Debug)]
pub(super) enum ReadStep {
    Null,
    Boolean,
    Number {
        wire: NumericType,
        json: NumericType,
    },
    /// A timestamp that is read as RFC 3339.
    Timestamp {
        wire: NumericType,
        unit: TimeUnit,
    },
    /// A string, or bytes that are read as one.
    Text,
    Bytes {
        size: Option<usize>,
        form: BytesForm,
    },
    /// The symbols in JSON. A symbol that the reader lacks, without a default for it, is an error.
    Enum(Vec<Result<String, String>>),
    Array {
        item: StepIndex,
        may_be_empty: bool,
    },
    Map(StepIndex),
    Union(Vec<StepIndex>),
    Record(RecordPlan),
    /// A value that may be written but can't be read.
    Unfit(String),
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum NumericType {
    Int,
    Long,
    Float,
    Double,
}

#[derive(Debug)]
pub(super) struct RecordPlan {
    pub parts: Vec<RecordPart>,
    /// Order of the members for the reader, each as its index among those of the parts. `None` if
    /// that is the order in which they come.
    pub order: Option<Vec<usize>>,
}

#[derive(Debug)]
pub(super) enum RecordPart {
    /// A field: its name in JSON with the colon, and its value.
    Member(String, StepIndex),
    /// A field that the reader lacks.
    Skip(StepIndex),
    /// A default member, encoded as JSON.
    Default(Vec<u8>),
}
