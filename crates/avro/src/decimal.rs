//! Decimals: on the wire an integer in two's complement, in JSON a string with a decimal point.

use num_bigint::BigInt;

/// Largest encoded number, in bytes: far more than the digits that a schema may ask for take.
const LARGEST: usize = 1024;

/// Formats a decimal as text. `None` if it is too large.
pub(super) fn to_text(bytes: &[u8], scale: usize) -> Option<String> {
    if bytes.len() > LARGEST {
        return None;
    }
    let number = BigInt::from_signed_bytes_be(bytes).to_string();
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number.as_str()),
    };
    let digits = format!("{digits:0>least$}", least = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// Encodes a decimal in the fewest bytes, or in exactly `size`.
///
/// # Errors
/// Returns what is wrong.
pub(super) fn from_text(
    text: &str,
    precision: usize,
    scale: usize,
    size: Option<usize>,
) -> Result<Vec<u8>, &'static str> {
    const NONE: &str = "expected a decimal such as `12.34`";
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.is_empty() || fraction.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(NONE);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > scale {
        return Err("has more digits after the point than the schema allows");
    }
    let digits = format!("{whole}{fraction:0<scale$}");
    let digits = digits.trim_start_matches('0');
    if digits.len() > precision {
        return Err("has more digits than the schema allows");
    }
    let number = if digits.is_empty() { Some(BigInt::ZERO) } else { BigInt::parse_bytes(digits.as_bytes(), 10) };
    let number = number.ok_or(NONE)?;
    let number = if negative { -number } else { number };
    let bytes = number.to_signed_bytes_be();
    let Some(size) = size else { return Ok(bytes) };
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
    let room = size.checked_sub(bytes.len()).ok_or("takes more bytes than the schema allows")?;
    Ok([vec![sign; room], bytes].concat())
}
