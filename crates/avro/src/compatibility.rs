//! Whether data of one schema can be read as another.

use std::collections::BTreeSet;

use apache_avro::{
    Schema,
    schema_compatibility::{Compatibility, SchemaCompatibility},
};

use super::{
    AvroSchema, TimeForm,
    plan::{ReadPlan, ReadStep, RecordPart, StepIndex},
};

/// Answer to the question whether data of a writer's schema can be read by a reader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// Whatever is written.
    All,
    /// Not everything: the reasons for what can't be.
    Some(Vec<String>),
    /// Nothing, for this reason.
    Nothing(String),
}

impl AvroSchema {
    /// Returns whether what this schema writes can be read by `reader`.
    pub fn read_by(&self, reader: &Self) -> ReadVerdict {
        match self.read_as(Some(reader), TimeForm::Integer) {
            Err(why) => ReadVerdict::Nothing(why),
            Ok(plan) => match unreadable(&plan) {
                reasons if reasons.is_empty() => ReadVerdict::All,
                reasons => ReadVerdict::Some(reasons.into_iter().collect()),
            },
        }
    }

    /// Returns whether `reader` is of the same type, by name or alias, and so meant to read it.
    pub fn is_meant_for(&self, reader: &Self) -> bool {
        self.type_name().zip(reader.type_name()).is_some_and(|(own, reader)| reader.reads(own))
    }
}

/// Returns the reasons for which values that may be written can't be read.
fn unreadable(plan: &ReadPlan) -> BTreeSet<String> {
    let (mut reasons, mut seen) = (BTreeSet::new(), vec![false; plan.steps.len()]);
    let mut open: Vec<StepIndex> = vec![plan.root];
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        match &plan.steps[at] {
            ReadStep::Unfit(why) => _ = reasons.insert(why.clone()),
            ReadStep::Enum(symbols) => reasons.extend(symbols.iter().filter_map(|symbol| symbol.clone().err())),
            ReadStep::Array { item, .. } | ReadStep::Map(item) => open.push(*item),
            ReadStep::Union(branches) => open.extend(branches),
            ReadStep::Record(record) => open.extend(record.parts.iter().filter_map(|part| match part {
                RecordPart::Member(_, at) | RecordPart::Skip(at) => Some(*at),
                RecordPart::Default(_) => None,
            })),
            ReadStep::Null
            | ReadStep::Boolean
            | ReadStep::Number { .. }
            | ReadStep::Timestamp { .. }
            | ReadStep::Text
            | ReadStep::Bytes { .. } => {}
        }
    }
    reasons
}

/// Returns the answer of the crate `apache-avro` to [`AvroSchema::read_by`].
pub fn second_opinion(writer: &AvroSchema, reader: &AvroSchema) -> ReadVerdict {
    let parsed = |schema: &AvroSchema| {
        let parsed = Schema::parse(schema.json());
        parsed.map_err(|error| ReadVerdict::Nothing(format!("it can't parse `{}`: {error}", schema.name())))
    };
    let answer = parsed(writer).and_then(|writer| {
        let can_read = SchemaCompatibility::can_read(&writer, &parsed(reader)?);
        can_read.map_err(|error| ReadVerdict::Nothing(causes(&error)))
    });
    match answer {
        Ok(Compatibility::Full) => ReadVerdict::All,
        Ok(Compatibility::Partial) => ReadVerdict::Some(Vec::new()),
        Err(verdict) => verdict,
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
