//! Schema resolution by Avro's rules: decided once for each pair of a writer's and a reader's
//! schema.

use std::collections::HashMap;

use super::{
    fault::AvroDecodeError,
    plan::{NumericType, ReadPlan, ReadStep, RecordPart, RecordPlan, StepIndex},
    time::TimeForm,
    types::{AvroType, BytesForm, EnumSymbols, RecordField, RecordFields, TypeIndex, may_be_empty},
};

/// Resolves a writer's type against a reader's into a plan.
///
/// # Errors
/// Returns an error if nothing that is written can be read. Single values that can't be read are
/// errors when they come.
pub(super) fn resolve(
    writer: (&[AvroType], TypeIndex),
    reader: (&[AvroType], TypeIndex),
    times: TimeForm,
) -> Result<ReadPlan, String> {
    let (known, skipped) = (HashMap::new(), HashMap::new());
    let mut resolver = SchemaResolver { writer: writer.0, reader: reader.0, times, steps: Vec::new(), known, skipped };
    let root = resolver.pair(writer.1, reader.1)?;
    Ok(ReadPlan { steps: resolver.steps, root })
}

struct SchemaResolver<'t> {
    writer: &'t [AvroType],
    reader: &'t [AvroType],
    times: TimeForm,
    steps: Vec<ReadStep>,
    known: HashMap<(TypeIndex, TypeIndex), StepIndex>,
    /// Steps that read the writer's types as the writer has them.
    skipped: HashMap<(TypeIndex, TypeIndex), StepIndex>,
}

impl<'t> SchemaResolver<'t> {
    fn pair(&mut self, writer: TypeIndex, reader: TypeIndex) -> Result<StepIndex, String> {
        let (from, to) = (&self.writer[writer], &self.reader[reader]);
        if let AvroType::Union(branches) = to
            && !matches!(from, AvroType::Union(_))
        {
            return self.branch(writer, branches);
        }
        if let Some(&at) = self.known.get(&(writer, reader)) {
            return match &self.steps[at] {
                ReadStep::Unfit(why) => Err(why.clone()),
                _ => Ok(at),
            };
        }
        // Reserved before the step is built: types may contain themselves.
        let at = self.add(ReadStep::Null);
        self.known.insert((writer, reader), at);
        match self.step(writer, reader) {
            Ok(step) => {
                self.steps[at] = step;
                Ok(at)
            }
            Err(why) => {
                self.steps[at] = ReadStep::Unfit(why.clone());
                Err(why)
            }
        }
    }

    fn add(&mut self, step: ReadStep) -> StepIndex {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// Returns the first of a reader's branches that fits; those of the same type go before
    /// promotions.
    fn branch(&mut self, writer: TypeIndex, branches: &[TypeIndex]) -> Result<StepIndex, String> {
        let from = &self.writer[writer];
        let mut ranked = branches.to_vec();
        ranked.sort_by_key(|&branch| {
            let to = &self.reader[branch];
            (from.name() != to.name(), std::mem::discriminant(from) != std::mem::discriminant(to))
        });
        let fits = ranked.into_iter().find_map(|branch| self.pair(writer, branch).ok());
        fits.ok_or_else(|| format!("no branch of the reader's union can take `{}`", from.name()))
    }

    fn step(&mut self, writer: TypeIndex, reader: TypeIndex) -> Result<ReadStep, String> {
        let (from, to) = (&self.writer[writer], &self.reader[reader]);
        let unfit = || Err(format!("the writer's `{}` can't become the reader's `{}`", from.name(), to.name()));
        if let (TimeForm::Rfc3339, AvroType::Timestamp(unit)) = (self.times, to)
            && let Some(wire @ (NumericType::Int | NumericType::Long)) = numeric(from)
        {
            // What was written counts in the writer's unit, whatever the reader's is.
            let unit = if let AvroType::Timestamp(wrote) = from { *wrote } else { *unit };
            return Ok(ReadStep::Timestamp { wire, unit });
        }
        if let (Some(wire), Some(json)) = (numeric(from), numeric(to)) {
            return if wire <= json { Ok(ReadStep::Number { wire, json }) } else { unfit() };
        }
        Ok(match (from, to) {
            (AvroType::Union(branches), _) => {
                let steps = branches.iter().map(|&branch| self.pair(branch, reader));
                let steps: Vec<Result<StepIndex, String>> = steps.collect();
                if let Some(Err(why)) = steps.first()
                    && steps.iter().all(Result::is_err)
                {
                    return Err(why.clone());
                }
                let steps = steps.into_iter().map(|step| step.unwrap_or_else(|why| self.add(ReadStep::Unfit(why))));
                ReadStep::Union(steps.collect())
            }
            (AvroType::Null, AvroType::Null) => ReadStep::Null,
            (AvroType::Boolean, AvroType::Boolean) => ReadStep::Boolean,
            (AvroType::String | AvroType::Bytes(_), AvroType::String) => ReadStep::Text,
            (AvroType::String, AvroType::Bytes(form)) => ReadStep::Bytes { size: None, form: *form },
            (AvroType::Bytes(wrote), AvroType::Bytes(form)) => {
                ReadStep::Bytes { size: None, form: same_decimal(*wrote, *form)? }
            }
            (AvroType::Fixed(writer, size, wrote), AvroType::Fixed(reader, wanted, form))
                if reader.reads(writer) && size == wanted =>
            {
                ReadStep::Bytes { size: Some(*size), form: same_decimal(*wrote, *form)? }
            }
            (AvroType::Enum(writer, wrote), AvroType::Enum(reader, symbols)) if reader.reads(writer) => {
                enumeration(wrote, symbols)
            }
            (AvroType::Array(writer), AvroType::Array(reader)) => {
                ReadStep::Array { item: self.pair(*writer, *reader)?, may_be_empty: may_be_empty(self.writer, *writer) }
            }
            (AvroType::Map(writer), AvroType::Map(reader)) => ReadStep::Map(self.pair(*writer, *reader)?),
            (AvroType::Record(writer, wrote), AvroType::Record(reader, fields)) if reader.reads(writer) => {
                self.record(wrote, &reader.full, fields)?
            }
            _ => return unfit(),
        })
    }

    fn record(&mut self, wrote: &'t RecordFields, record: &str, wanted: &'t RecordFields) -> Result<ReadStep, String> {
        let sources = sources(wrote, wanted);
        let kept: Vec<usize> = sources.iter().flatten().copied().collect();
        let in_order = kept.is_sorted();
        let mut parts = Vec::new();
        let mut next = 0;
        // For each field the index of its member among the parts.
        let mut places = vec![0; wanted.all.len()];
        let mut fields: Vec<usize> = (0..wanted.all.len()).collect();
        if !in_order {
            fields.sort_by_key(|&field| sources[field].unwrap_or(usize::MAX));
        }
        for (member, place) in fields.into_iter().enumerate() {
            let field = &wanted.all[place];
            if let Some(source) = sources[place] {
                self.skip(&wrote.all[next..source], &mut parts)?;
                next = source + 1;
                let at = self
                    .pair(wrote.all[source].of, field.of)
                    .map_err(|why| format!("field `{}`: {why}", field.name))?;
                parts.push(RecordPart::Member(format!("\"{}\":", field.name), at));
            } else {
                parts.push(RecordPart::Default(self.default(record, field)?));
            }
            places[place] = member;
        }
        self.skip(&wrote.all[next..], &mut parts)?;
        Ok(ReadStep::Record(RecordPlan { parts, order: (!in_order).then_some(places) }))
    }

    /// Reads skipped fields all the same, as the writer has them: they must be sound.
    fn skip(&mut self, fields: &[RecordField], parts: &mut Vec<RecordPart>) -> Result<(), String> {
        for field in fields {
            let mut own = SchemaResolver {
                writer: self.writer,
                reader: self.writer,
                times: TimeForm::Integer,
                steps: std::mem::take(&mut self.steps),
                known: std::mem::take(&mut self.skipped),
                skipped: HashMap::new(),
            };
            let at = own.pair(field.of, field.of);
            (self.steps, self.skipped) = (own.steps, own.known);
            parts.push(RecordPart::Skip(at?));
        }
        Ok(())
    }

    fn default(&self, record: &str, field: &RecordField) -> Result<Vec<u8>, String> {
        let RecordField { name, of, default, .. } = field;
        let encoded = default
            .as_ref()
            .ok_or_else(|| format!("the reader's field `{name}` of `{record}` is not written, and has no default"))?;
        let plan = resolve((self.reader, *of), (self.reader, *of), self.times)?;
        let mut member = format!("\"{name}\":").into_bytes();
        let json = plan.decode(encoded, 0).map_err(|AvroDecodeError { detail, .. }| detail)?;
        member.extend(json);
        Ok(member)
    }
}

fn numeric(of: &AvroType) -> Option<NumericType> {
    match of {
        AvroType::Int => Some(NumericType::Int),
        AvroType::Long | AvroType::Timestamp(_) => Some(NumericType::Long),
        AvroType::Float => Some(NumericType::Float),
        AvroType::Double => Some(NumericType::Double),
        _ => None,
    }
}

/// Checks that decimals agree in all their digits; else one number would silently become another.
fn same_decimal(wrote: BytesForm, wanted: BytesForm) -> Result<BytesForm, String> {
    match (wrote, wanted) {
        (BytesForm::Decimal { .. }, BytesForm::Decimal { .. }) if wrote != wanted => {
            Err("the writer's decimal has another precision or scale than the reader's".to_owned())
        }
        _ => Ok(wanted),
    }
}

fn enumeration(wrote: &EnumSymbols, wanted: &EnumSymbols) -> ReadStep {
    let read = |symbol: &String| {
        let known = if wanted.all.contains(symbol) { Some(symbol) } else { wanted.default.as_ref() };
        known.map(|symbol| format!("\"{symbol}\"")).ok_or_else(|| format!("the reader has no symbol `{symbol}`"))
    };
    ReadStep::Enum(wrote.all.iter().map(read).collect())
}

/// Finds for each wanted field the one that was written: by its name, else by one of its aliases,
/// and each only once.
fn sources(wrote: &RecordFields, wanted: &RecordFields) -> Vec<Option<usize>> {
    let mut sources: Vec<Option<usize>> =
        wanted.all.iter().map(|field| wrote.by_name.get(&field.name).copied()).collect();
    for (place, field) in wanted.all.iter().enumerate() {
        if sources[place].is_none() {
            let mut written = field.aliases.iter().filter_map(|alias| wrote.by_name.get(alias).copied());
            sources[place] = written.find(|source| !sources.contains(&Some(*source)));
        }
    }
    sources
}
