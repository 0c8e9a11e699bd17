//! Encoding of JSON scalars.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{decimal, json::Json, types::Form};

/// Convention for strings that represent bytes: a message's, as decoding writes them, or a
/// default's, in which each character is one byte, whatever the logical type.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Texts {
    Message,
    Default,
}

/// Strictness of the match. The branches of a union are tried exactly first: without promotions,
/// and records with all their fields and no others.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fit {
    Exact,
    Loose,
}

/// Encodes a JSON value as bytes of this form.
///
/// # Errors
/// Returns what is wrong.
pub(super) fn bytes(
    json: &Json<'_>,
    form: Form,
    size: Option<usize>,
    texts: Texts,
) -> Result<Vec<u8>, Cow<'static, str>> {
    match (json, form) {
        (Json::Text(text), _) if texts == Texts::Default => {
            let bytes: Option<Vec<u8>> = text.chars().map(|each| u8::try_from(each).ok()).collect();
            bytes.ok_or_else(|| "has characters that stand for no byte".into())
        }
        (Json::Text(text), Form::Base64) => STANDARD.decode(text.as_bytes()).map_err(|_| "is not base64".into()),
        (Json::Text(text), Form::Decimal { precision, scale }) => {
            decimal::from_text(text, precision, scale, size).map_err(Into::into)
        }
        (Json::Text(text), Form::Uuid) => uuid(text).ok_or_else(|| "expected a UUID".into()),
        (Json::Object(members), Form::Duration) if texts == Texts::Message => duration(members)
            .ok_or_else(|| "expected a duration: whole `months`, `days` and `millis`, of 32 bits each".into()),
        (_, Form::Duration) => Err("expected an object with a duration".into()),
        _ => Err("expected a string for bytes".into()),
    }
}

/// Returns a number as an integer. Loosely, `2.0` is one too, within the range where a double holds
/// every integer.
pub(super) fn whole(json: &Json<'_>, fit: Fit) -> Option<i64> {
    match json {
        Json::Integer(value) => Some(*value),
        Json::Number(value) if fit == Fit::Loose && value.fract() == 0.0 && value.abs() < (1_u64 << 53) as f64 => {
            Some(*value as i64)
        }
        _ => None,
    }
}

pub(super) fn number(json: &Json<'_>, fit: Fit) -> Option<f64> {
    match json {
        Json::Number(value) => Some(*value),
        Json::Integer(value) if fit == Fit::Loose => Some(*value as f64),
        Json::Text(text) => match text.as_ref() {
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

fn duration(members: &[(Cow<'_, str>, Json<'_>)]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(12);
    for part in ["months", "days", "millis"] {
        let (_, json) = members.iter().rev().find(|(name, _)| name == part)?;
        bytes.extend(u32::try_from(whole(json, Fit::Loose)?).ok()?.to_le_bytes());
    }
    Some(bytes)
}
