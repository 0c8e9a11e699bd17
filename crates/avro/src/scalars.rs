//! Encoding of JSON scalars.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{decimal, json::JsonNode, types::BytesForm};

/// Convention for strings that represent bytes: a message's, as decoding writes them, or a
/// default's, in which each character is one byte, whatever the logical type.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum BytesConvention {
    Message,
    Default,
}

/// Strictness of the match. The branches of a union are tried exactly first: without promotions,
/// and records with all their fields and no others.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum MatchStrictness {
    Exact,
    Loose,
}

/// Encodes a JSON value as bytes of this form.
///
/// # Errors
/// Returns what is wrong.
pub(super) fn bytes(
    json: &JsonNode<'_>,
    form: BytesForm,
    size: Option<usize>,
    texts: BytesConvention,
) -> Result<Vec<u8>, Cow<'static, str>> {
    match (json, form) {
        (JsonNode::Text(text), _) if texts == BytesConvention::Default => {
            let bytes: Option<Vec<u8>> = text.chars().map(|each| u8::try_from(each).ok()).collect();
            bytes.ok_or_else(|| "has characters that stand for no byte".into())
        }
        (JsonNode::Text(text), BytesForm::Base64) => {
            STANDARD.decode(text.as_bytes()).map_err(|_| "is not base64".into())
        }
        (JsonNode::Text(text), BytesForm::Decimal { precision, scale }) => {
            decimal::from_text(text, precision, scale, size).map_err(Into::into)
        }
        (JsonNode::Text(text), BytesForm::Uuid) => uuid(text).ok_or_else(|| "expected a UUID".into()),
        (JsonNode::Object(members), BytesForm::Duration) if texts == BytesConvention::Message => duration(members)
            .ok_or_else(|| "expected a duration: whole `months`, `days` and `millis`, of 32 bits each".into()),
        (_, BytesForm::Duration) => Err("expected an object with a duration".into()),
        _ => Err("expected a string for bytes".into()),
    }
}

/// Returns a number as an integer. Loosely, `2.0` is one too, within the range where a double holds
/// every integer.
pub(super) fn whole(json: &JsonNode<'_>, fit: MatchStrictness) -> Option<i64> {
    match json {
        JsonNode::Integer(value) => Some(*value),
        JsonNode::Number(value)
            if fit == MatchStrictness::Loose && value.fract() == 0.0 && value.abs() < (1_u64 << 53) as f64 =>
        {
            Some(*value as i64)
        }
        _ => None,
    }
}

pub(super) fn number(json: &JsonNode<'_>, fit: MatchStrictness) -> Option<f64> {
    match json {
        JsonNode::Number(value) => Some(*value),
        JsonNode::Integer(value) if fit == MatchStrictness::Loose => Some(*value as f64),
        JsonNode::Text(text) => match text.as_ref() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Returns whether the number is what `float` looks like in JSON. Equality is not enough:
/// 85899345920 is a float, but is written as 85899350000, which is another number.
pub(super) fn is_float(number: f64, float: f32) -> bool {
    float.to_string().parse() == Ok(number)
}

fn uuid(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|&place| text[place] != b'-') {
        return None;
    }
    let digits = text.iter().filter(|byte| **byte != b'-').map(|byte| char::from(*byte).to_digit(16));
    let digits: Option<Vec<u32>> = digits.collect();
    let digits = digits.filter(|digits| digits.len() == 32)?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

fn duration(members: &[(Cow<'_, str>, JsonNode<'_>)]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(12);
    for part in ["months", "days", "millis"] {
        let (_, json) = members.iter().rev().find(|(name, _)| name == part)?;
        bytes.extend(u32::try_from(whole(json, MatchStrictness::Loose)?).ok()?.to_le_bytes());
    }
    Some(bytes)
}
