//! Schema resolution by Avro's rules: decided once for each pair of a writer's and a reader's
//! schema.

use std::collections::HashMap;

use super::{
    fault::Undecodable,
    plan::{At, Numeric, Part, Plan, Record, Step},
    types::{Field, Fields, Form, Id, Symbols, Type, may_be_empty},
};

/// Resolves a writer's type against a reader's into a plan.
///
/// # Errors
/// Returns an error if nothing that is written can be read. Single values that can't be read are
/// errors when they come.
pub(super) fn resolve(writer: (&[Type], Id), reader: (&[Type], Id)) -> Result<Plan, String> {
    let (known, skipped) = (HashMap::new(), HashMap::new());
    let mut resolver = Resolver { writer: writer.0, reader: reader.0, steps: Vec::new(), known, skipped };
    let root = resolver.pair(writer.1, reader.1)?;
    Ok(Plan { steps: resolver.steps, root })
}

struct Resolver<'t> {
    writer: &'t [Type],
    reader: &'t [Type],
    steps: Vec<Step>,
    known: HashMap<(Id, Id), At>,
    /// Steps that read the writer's types as the writer has them.
    skipped: HashMap<(Id, Id), At>,
}

impl<'t> Resolver<'t> {
    fn pair(&mut self, writer: Id, reader: Id) -> Result<At, String> {
        let (from, to) = (&self.writer[writer], &self.reader[reader]);
        if let Type::Union(branches) = to
            && !matches!(from, Type::Union(_))
        {
            return self.branch(writer, branches);
        }
        if let Some(&at) = self.known.get(&(writer, reader)) {
            return match &self.steps[at] {
                Step::Unfit(why) => Err(why.clone()),
                _ => Ok(at),
            };
        }
        // Reserved before the step is built: types may contain themselves.
        let at = self.add(Step::Null);
        self.known.insert((writer, reader), at);
        match self.step(writer, reader) {
            Ok(step) => {
                self.steps[at] = step;
                Ok(at)
            }
            Err(why) => {
                self.steps[at] = Step::Unfit(why.clone());
                Err(why)
            }
        }
    }

    fn add(&mut self, step: Step) -> At {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// Returns the first of a reader's branches that fits; those of the same type go before
    /// promotions.
    fn branch(&mut self, writer: Id, branches: &[Id]) -> Result<At, String> {
        let from = &self.writer[writer];
        let mut ranked = branches.to_vec();
        ranked.sort_by_key(|&branch| {
            let to = &self.reader[branch];
            (from.name() != to.name(), std::mem::discriminant(from) != std::mem::discriminant(to))
        });
        let fits = ranked.into_iter().find_map(|branch| self.pair(writer, branch).ok());
        fits.ok_or_else(|| format!("no branch of the reader's union can take `{}`", from.name()))
    }

    fn step(&mut self, writer: Id, reader: Id) -> Result<Step, String> {
        let (from, to) = (&self.writer[writer], &self.reader[reader]);
        let unfit = || Err(format!("the writer's `{}` can't become the reader's `{}`", from.name(), to.name()));
        if let (Some(wire), Some(json)) = (numeric(from), numeric(to)) {
            return if wire <= json { Ok(Step::Number { wire, json }) } else { unfit() };
        }
        Ok(match (from, to) {
            (Type::Union(branches), _) => {
                let steps = branches.iter().map(|&branch| self.pair(branch, reader));
                let steps: Vec<Result<At, String>> = steps.collect();
                if let Some(Err(why)) = steps.first()
                    && steps.iter().all(Result::is_err)
                {
                    return Err(why.clone());
                }
                let steps = steps.into_iter().map(|step| step.unwrap_or_else(|why| self.add(Step::Unfit(why))));
                Step::Union(steps.collect())
            }
            (Type::Null, Type::Null) => Step::Null,
            (Type::Boolean, Type::Boolean) => Step::Boolean,
            (Type::String | Type::Bytes(_), Type::String) => Step::Text,
            (Type::String, Type::Bytes(form)) => Step::Bytes { size: None, form: *form },
            (Type::Bytes(wrote), Type::Bytes(form)) => Step::Bytes { size: None, form: same_decimal(*wrote, *form)? },
            (Type::Fixed(writer, size, wrote), Type::Fixed(reader, wanted, form))
                if reader.reads(writer) && size == wanted =>
            {
                Step::Bytes { size: Some(*size), form: same_decimal(*wrote, *form)? }
            }
            (Type::Enum(writer, wrote), Type::Enum(reader, symbols)) if reader.reads(writer) => {
                enumeration(wrote, symbols)
            }
            (Type::Array(writer), Type::Array(reader)) => {
                Step::Array { item: self.pair(*writer, *reader)?, may_be_empty: may_be_empty(self.writer, *writer) }
            }
            (Type::Map(writer), Type::Map(reader)) => Step::Map(self.pair(*writer, *reader)?),
            (Type::Record(writer, wrote), Type::Record(reader, fields)) if reader.reads(writer) => {
                self.record(wrote, &reader.full, fields)?
            }
            _ => return unfit(),
        })
    }

    fn record(&mut self, wrote: &'t Fields, record: &str, wanted: &'t Fields) -> Result<Step, String> {
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
                parts.push(Part::Member(format!("\"{}\":", field.name), at));
            } else {
                parts.push(Part::Default(self.default(record, field)?));
            }
            places[place] = member;
        }
        self.skip(&wrote.all[next..], &mut parts)?;
        Ok(Step::Record(Record { parts, order: (!in_order).then_some(places) }))
    }

    /// Reads skipped fields all the same, as the writer has them: they must be sound.
    fn skip(&mut self, fields: &[Field], parts: &mut Vec<Part>) -> Result<(), String> {
        for field in fields {
            let mut own = Resolver {
                writer: self.writer,
                reader: self.writer,
                steps: std::mem::take(&mut self.steps),
                known: std::mem::take(&mut self.skipped),
                skipped: HashMap::new(),
            };
            let at = own.pair(field.of, field.of);
            (self.steps, self.skipped) = (own.steps, own.known);
            parts.push(Part::Skip(at?));
        }
        Ok(())
    }

    fn default(&self, record: &str, field: &Field) -> Result<Vec<u8>, String> {
        let Field { name, of, default, .. } = field;
        let encoded = default
            .as_ref()
            .ok_or_else(|| format!("the reader's field `{name}` of `{record}` is not written, and has no default"))?;
        let plan = resolve((self.reader, *of), (self.reader, *of))?;
        let mut member = format!("\"{name}\":").into_bytes();
        let json = plan.decode(encoded, 0).map_err(|Undecodable { detail, .. }| detail)?;
        member.extend(json);
        Ok(member)
    }
}

fn numeric(of: &Type) -> Option<Numeric> {
    match of {
        Type::Int => Some(Numeric::Int),
        Type::Long => Some(Numeric::Long),
        Type::Float => Some(Numeric::Float),
        Type::Double => Some(Numeric::Double),
        _ => None,
    }
}

/// Checks that decimals agree in all their digits; else one number would silently become another.
fn same_decimal(wrote: Form, wanted: Form) -> Result<Form, String> {
    match (wrote, wanted) {
        (Form::Decimal { .. }, Form::Decimal { .. }) if wrote != wanted => {
            Err("the writer's decimal has another precision or scale than the reader's".to_owned())
        }
        _ => Ok(wanted),
    }
}

fn enumeration(wrote: &Symbols, wanted: &Symbols) -> Step {
    let read = |symbol: &String| {
        let known = if wanted.all.contains(symbol) { Some(symbol) } else { wanted.default.as_ref() };
        known.map(|symbol| format!("\"{symbol}\"")).ok_or_else(|| format!("the reader has no symbol `{symbol}`"))
    };
    Step::Enum(wrote.all.iter().map(read).collect())
}

/// Finds for each wanted field the one that was written: by its name, else by one of its aliases,
/// and each only once.
fn sources(wrote: &Fields, wanted: &Fields) -> Vec<Option<usize>> {
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
