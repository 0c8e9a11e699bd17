//! Encoding of JSON by a schema: a message's by the conventions of decoding, a default's by those
//! of schemas.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::{
    decode::DEEPEST,
    json::JsonNode,
    scalars::{BytesConvention, MatchStrictness, bytes, is_float, number, whole},
    time,
    types::{AvroType, RecordFields, TypeIndex},
};

/// Limit of values tried for each byte of JSON: the branches of unions within unions could be
/// endless.
const TRIES: usize = 64;

/// Mismatch of JSON and schema, with its JSON pointer.
#[derive(Debug)]
pub(super) struct EncodeMismatch {
    pub pointer: String,
    pub why: Cow<'static, str>,
}

/// Appends `json` to `out`.
///
/// # Errors
/// The first value that does not fit. The bytes appended so far are then of no use.
pub(super) fn encode(
    types: &[AvroType],
    root: TypeIndex,
    json: &[u8],
    out: Vec<u8>,
) -> Result<Vec<u8>, EncodeMismatch> {
    let tree: JsonNode<'_> =
        serde_json::from_slice(json).map_err(|error| misfit(format!("it is not JSON: {error}")))?;
    let left = TRIES.saturating_mul(json.len() + TRIES);
    let mut encoding = EncodeState { types, texts: BytesConvention::Message, out, left, depth: 0 };
    encoding.value(root, &tree, MatchStrictness::Loose)?;
    Ok(encoding.out)
}

/// Encodes a field's default. Its bytes are strings in which each character is one byte, whatever
/// their logical type.
///
/// # Errors
/// Returns what does not fit.
pub(super) fn default(types: &[AvroType], of: TypeIndex, json: &Value) -> Result<Vec<u8>, String> {
    let tree = JsonNode::deserialize(json).map_err(|error| error.to_string())?;
    let mut encoding =
        EncodeState { types, texts: BytesConvention::Default, out: Vec::new(), left: usize::MAX >> 1, depth: 0 };
    encoding.value(of, &tree, MatchStrictness::Loose).map_err(|EncodeMismatch { pointer, why }| {
        match pointer.as_str() {
            "" => why.into_owned(),
            _ => format!("`{pointer}`: {why}"),
        }
    })?;
    Ok(encoding.out)
}

struct EncodeState<'t> {
    types: &'t [AvroType],
    texts: BytesConvention,
    out: Vec<u8>,
    /// Values that may still be tried.
    left: usize,
    depth: usize,
}

fn misfit(why: impl Into<Cow<'static, str>>) -> EncodeMismatch {
    EncodeMismatch { pointer: String::new(), why: why.into() }
}

impl EncodeMismatch {
    fn within(mut self, name: &str) -> Self {
        self.pointer.insert_str(0, &format!("/{}", name.replace('~', "~0").replace('/', "~1")));
        self
    }
}

impl<'t> EncodeState<'t> {
    fn value(&mut self, id: TypeIndex, json: &JsonNode<'_>, fit: MatchStrictness) -> Result<(), EncodeMismatch> {
        self.left = self.left.checked_sub(1).ok_or_else(|| misfit("takes too many tries at the branches of unions"))?;
        match (&self.types[id], json) {
            (AvroType::Null, JsonNode::Null) => {}
            (AvroType::Null, _) => return Err(misfit("is not null")),
            (AvroType::Boolean, JsonNode::Boolean(value)) => self.out.push(u8::from(*value)),
            (AvroType::Boolean, _) => return Err(misfit("expected boolean")),
            (AvroType::Int, _) => {
                let long = whole(json, fit).ok_or_else(|| misfit("expected int"))?;
                let int = i32::try_from(long).map_err(|_| misfit("does not fit the 32 bits of an int"))?;
                self.long(int.into());
            }
            (AvroType::Long, _) => {
                let long = whole(json, fit).ok_or_else(|| misfit("expected long"))?;
                self.long(long);
            }
            (AvroType::Timestamp(unit), JsonNode::Text(text)) if self.texts == BytesConvention::Message => {
                let count = time::from_text(text, *unit).map_err(misfit)?;
                self.long(count);
            }
            (AvroType::Timestamp(_), _) => {
                let long = whole(json, fit).ok_or_else(|| misfit("expected long or RFC 3339"))?;
                self.long(long);
            }
            (AvroType::Float, _) => {
                let number = number(json, fit).ok_or_else(|| misfit("expected float"))?;
                let float = number as f32;
                if number.is_finite()
                    && (float.is_infinite() || fit == MatchStrictness::Exact && !is_float(number, float))
                {
                    return Err(misfit("does not fit the 32 bits of a float"));
                }
                self.out.extend(float.to_le_bytes());
            }
            (AvroType::Double, _) => {
                let number = number(json, fit).ok_or_else(|| misfit("expected double"))?;
                self.out.extend(number.to_le_bytes());
            }
            (AvroType::String, JsonNode::Text(text)) => self.prefixed(text.as_bytes()),
            (AvroType::String, _) => return Err(misfit("expected string")),
            (AvroType::Bytes(form), _) => {
                let bytes = bytes(json, *form, None, self.texts).map_err(misfit)?;
                self.prefixed(&bytes);
            }
            (AvroType::Fixed(_, size, form), _) => {
                let bytes = bytes(json, *form, Some(*size), self.texts).map_err(misfit)?;
                if bytes.len() != *size {
                    return Err(misfit(format!("has {} bytes instead of {size}", bytes.len())));
                }
                self.out.extend(bytes);
            }
            (AvroType::Enum(_, symbols), JsonNode::Text(text)) => {
                let index = symbols.all.iter().position(|symbol| symbol == text);
                self.length(index.ok_or_else(|| misfit("is none of the enum's symbols"))?);
            }
            (AvroType::Enum(..), _) => return Err(misfit("expected a symbol of the enum")),
            (AvroType::Array(item), JsonNode::Array(items)) => self.nested(|encoding| {
                if !items.is_empty() {
                    encoding.length(items.len());
                    for (place, json) in items.iter().enumerate() {
                        encoding.value(*item, json, fit).map_err(|misfit| misfit.within(&place.to_string()))?;
                    }
                }
                encoding.length(0);
                Ok(())
            })?,
            (AvroType::Array(_), _) => return Err(misfit("expected array")),
            (AvroType::Map(value), JsonNode::Object(members)) => self.nested(|encoding| {
                if !members.is_empty() {
                    encoding.length(members.len());
                    for (name, json) in members {
                        encoding.prefixed(name.as_bytes());
                        encoding.value(*value, json, fit).map_err(|misfit| misfit.within(name))?;
                    }
                }
                encoding.length(0);
                Ok(())
            })?,
            (AvroType::Record(_, fields), JsonNode::Object(members)) => {
                self.nested(|encoding| encoding.record(fields, members, fit))?;
            }
            (AvroType::Map(_) | AvroType::Record(..), _) => return Err(misfit("expected object")),
            (AvroType::Union(branches), _) => self.union(branches, json, fit)?,
        }
        Ok(())
    }

    fn union(
        &mut self,
        branches: &'t [TypeIndex],
        json: &JsonNode<'_>,
        fit: MatchStrictness,
    ) -> Result<(), EncodeMismatch> {
        let (begin, depth) = (self.out.len(), self.depth);
        let fits: &[MatchStrictness] = if fit == MatchStrictness::Exact {
            &[MatchStrictness::Exact]
        } else {
            &[MatchStrictness::Exact, MatchStrictness::Loose]
        };
        let mut only = None;
        for &fit in fits {
            for (index, &branch) in branches.iter().enumerate() {
                self.length(index);
                match self.value(branch, json, fit) {
                    Ok(()) => return Ok(()),
                    Err(misfit) if matches!(self.types[branch], AvroType::Null) => drop(misfit),
                    Err(misfit) => only = Some(misfit),
                }
                self.out.truncate(begin);
                self.depth = depth;
            }
        }
        // The mismatch with the only branch of a nullable type is the more precise one.
        let values = branches.iter().filter(|branch| !matches!(self.types[**branch], AvroType::Null)).count();
        Err(only.filter(|_| values == 1 || self.left == 0).unwrap_or_else(|| misfit("fits no branch of the union")))
    }

    fn record(
        &mut self,
        fields: &'t RecordFields,
        members: &[(Cow<'_, str>, JsonNode<'_>)],
        fit: MatchStrictness,
    ) -> Result<(), EncodeMismatch> {
        let pairs = fields.all.iter().zip(members);
        if members.len() == fields.all.len() && pairs.clone().all(|(field, (name, _))| field.name == *name) {
            for (field, (name, json)) in pairs {
                self.value(field.of, json, fit).map_err(|misfit| misfit.within(name))?;
            }
            return Ok(());
        }
        let mut found = vec![None; fields.all.len()];
        for (name, json) in members {
            match fields.by_name.get(name.as_ref()) {
                // Of several members with one name the last counts, as usual.
                Some(place) => found[*place] = Some(json),
                None if fit == MatchStrictness::Exact => return Err(misfit("has other members than the record")),
                None => {}
            }
        }
        for (field, json) in fields.all.iter().zip(found) {
            match (json, &field.default) {
                (Some(json), _) => self.value(field.of, json, fit).map_err(|misfit| misfit.within(&field.name))?,
                (None, Some(default)) if fit == MatchStrictness::Loose => self.out.extend(default),
                (None, _) => return Err(misfit("is missing").within(&field.name)),
            }
        }
        Ok(())
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Result<(), EncodeMismatch>) -> Result<(), EncodeMismatch> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(misfit(format!("nests more than {DEEPEST} times")));
        }
        inner(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn long(&mut self, value: i64) {
        let mut bits = ((value << 1) ^ (value >> 63)) as u64;
        while bits >= 0x80 {
            self.out.push(bits as u8 | 0x80);
            bits >>= 7;
        }
        self.out.push(bits as u8);
    }

    /// Writes a length. No length of what is in memory exceeds a long.
    fn length(&mut self, length: usize) {
        self.long(length as i64);
    }

    fn prefixed(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend(bytes);
    }
}
