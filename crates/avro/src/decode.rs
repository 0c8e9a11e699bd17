//! Decoding of a message to JSON by a plan. Trusts nothing: neither lengths nor counts, nor that
//! the message ever ends.

use super::{
    decimal,
    fault::AvroDecodeError,
    out::{not_finite, write_base64, write_json, write_text},
    plan::{NumericType, ReadPlan, ReadStep, RecordPart, RecordPlan, StepIndex},
    time,
    types::BytesForm,
    wire::WireReader,
};

/// Deepest nesting of arrays, maps and records. Parsers of JSON take 128, some less.
pub(super) const DEEPEST: usize = 100;
/// Limit of values in one message: a fixed number, since some values take no byte, and more for
/// each of its bytes.
const VALUES: usize = 1 << 16;
const VALUES_OF_A_BYTE: usize = 128;
const MOST_VALUES: usize = 16 << 20;
/// Largest JSON that one message may become, in bytes.
const LARGEST: usize = 64 << 20;

impl ReadPlan {
    /// Reads `message` from byte `body` to its end.
    ///
    /// # Errors
    /// Every reason of [`AvroDecodeError`] that begins with `avro_`.
    pub fn decode(&self, message: &[u8], body: usize) -> Result<Vec<u8>, AvroDecodeError> {
        let mut decoding = DecodeState::new(&self.steps, message, body, 2 * message.len() + 64);
        decoding.value(self.root)?;
        match decoding.wire.left() {
            0 => Ok(decoding.out),
            left => Err(decoding.wire.fault("avro_trailing_bytes", format_args!("{left} bytes follow the value"))),
        }
    }

    /// Reads the value that begins at byte `at` of `data`, and returns where it ends.
    ///
    /// # Errors
    /// Every reason of [`AvroDecodeError`] that begins with `avro_`.
    pub fn decode_at(&self, data: &[u8], at: usize) -> Result<(Vec<u8>, usize), AvroDecodeError> {
        let mut decoding = DecodeState::new(&self.steps, data, at, 256);
        decoding.value(self.root)?;
        let end = data.len() - decoding.wire.left();
        Ok((decoding.out, end))
    }
}

struct DecodeState<'p, 'm> {
    steps: &'p [ReadStep],
    wire: WireReader<'m>,
    out: Vec<u8>,
    /// Values that may still be read.
    values: usize,
    depth: usize,
}

impl<'p, 'm> DecodeState<'p, 'm> {
    fn new(steps: &'p [ReadStep], message: &'m [u8], body: usize, capacity: usize) -> Self {
        Self {
            steps,
            wire: WireReader::new(message, body),
            out: Vec::with_capacity(capacity),
            values: VALUES.saturating_add(VALUES_OF_A_BYTE.saturating_mul(message.len())).min(MOST_VALUES),
            depth: 0,
        }
    }

    fn value(&mut self, at: StepIndex) -> Result<(), AvroDecodeError> {
        if self.values == 0 || self.out.len() > LARGEST {
            return Err(self.wire.fault("avro_too_large", "it would become far more than it is"));
        }
        self.values -= 1;
        match &self.steps[at] {
            ReadStep::Null => self.out.extend(b"null"),
            ReadStep::Boolean => match self.wire.byte()? {
                0 => self.out.extend(b"false"),
                1 => self.out.extend(b"true"),
                byte => return Err(self.wire.fault("avro_bad_boolean", format_args!("a boolean is {byte}"))),
            },
            ReadStep::Number { wire, json } => self.number(*wire, *json)?,
            ReadStep::Timestamp { wire, unit } => {
                let count = self.whole(*wire)?;
                let text = time::to_text(count, *unit).ok_or_else(|| {
                    self.wire
                        .fault("avro_bad_time", format_args!("a timestamp of {count} {unit} has no four-digit year"))
                })?;
                write_text(&mut self.out, &text);
            }
            ReadStep::Text => {
                let text = std::str::from_utf8(self.wire.prefixed()?);
                let text = text.map_err(|_| self.wire.fault("avro_not_utf8", "a text is not UTF-8"))?;
                write_text(&mut self.out, text);
            }
            ReadStep::Bytes { size, form } => {
                let bytes = match size {
                    Some(size) => self.wire.take(*size)?,
                    None => self.wire.prefixed()?,
                };
                self.bytes(bytes, *form)?;
            }
            ReadStep::Enum(symbols) => {
                let index = self.wire.int()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                match symbol {
                    Some(Ok(symbol)) => self.out.extend(symbol.as_bytes()),
                    Some(Err(why)) => return Err(self.wire.fault("avro_unresolvable", why)),
                    None => {
                        return Err(self.wire.fault("avro_bad_enum", format_args!("no symbol has the index {index}")));
                    }
                }
            }
            ReadStep::Union(branches) => {
                let index = self.wire.long()?;
                let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
                let branch = branch.ok_or_else(|| {
                    self.wire.fault("avro_bad_union", format_args!("no branch has the index {index}"))
                })?;
                self.value(*branch)?;
            }
            ReadStep::Array { item, may_be_empty } => {
                self.items(b'[', b']', *may_be_empty, |decoding| decoding.value(*item))?;
            }
            ReadStep::Map(value) => self.items(b'{', b'}', false, |decoding| {
                let name = std::str::from_utf8(decoding.wire.prefixed()?);
                let name = name.map_err(|_| decoding.wire.fault("avro_not_utf8", "a map's key is not UTF-8"))?;
                write_text(&mut decoding.out, name);
                decoding.out.push(b':');
                decoding.value(*value)
            })?,
            ReadStep::Record(record) => self.record(record)?,
            ReadStep::Unfit(why) => return Err(self.wire.fault("avro_unresolvable", why)),
        }
        Ok(())
    }

    fn number(&mut self, wire: NumericType, json: NumericType) -> Result<(), AvroDecodeError> {
        let double = match wire {
            NumericType::Int | NumericType::Long => {
                let whole = self.whole(wire)?;
                match json {
                    NumericType::Float => return self.float(whole as f32),
                    NumericType::Double => whole as f64,
                    NumericType::Int | NumericType::Long => {
                        self.out.extend(itoa::Buffer::new().format(whole).as_bytes());
                        return Ok(());
                    }
                }
            }
            NumericType::Float => {
                let float = f32::from_le_bytes(self.wire.array()?);
                if json == NumericType::Float {
                    return self.float(float);
                }
                float.into()
            }
            NumericType::Double => f64::from_le_bytes(self.wire.array()?),
        };
        if double.is_finite() {
            write_json(&mut self.out, &double);
        } else {
            self.out.extend(not_finite(double));
        }
        Ok(())
    }

    fn whole(&mut self, wire: NumericType) -> Result<i64, AvroDecodeError> {
        if wire == NumericType::Int { self.wire.int().map(i64::from) } else { self.wire.long() }
    }

    /// Writes a float with its own digits, not with those that it would have as a double.
    fn float(&mut self, float: f32) -> Result<(), AvroDecodeError> {
        if float.is_finite() {
            write_json(&mut self.out, &float);
        } else {
            self.out.extend(not_finite(float.into()));
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8], form: BytesForm) -> Result<(), AvroDecodeError> {
        self.out.push(b'"');
        match (form, bytes) {
            (BytesForm::Decimal { scale, .. }, _) => {
                let text = decimal::to_text(bytes, scale);
                let text = text.ok_or_else(|| {
                    self.wire.fault("avro_too_large", format_args!("a decimal has {} bytes", bytes.len()))
                })?;
                self.out.extend(text.as_bytes());
            }
            (BytesForm::Uuid, _) => {
                for (place, byte) in bytes.iter().enumerate() {
                    if let 4 | 6 | 8 | 10 = place {
                        self.out.push(b'-');
                    }
                    self.out.extend([byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
                }
            }
            (BytesForm::Duration, [a, b, c, d, e, f, g, h, i, j, k, l]) => {
                self.out.pop();
                let parts =
                    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(|part| u32::from_le_bytes(part.map(|byte| *byte)));
                let [months, days, millis] = parts;
                self.out.extend(format!(r#"{{"months":{months},"days":{days},"millis":{millis}}}"#).as_bytes());
                return Ok(());
            }
            _ => write_base64(&mut self.out, bytes),
        }
        self.out.push(b'"');
        Ok(())
    }

    fn items(
        &mut self,
        open: u8,
        close: u8,
        may_be_empty: bool,
        mut item: impl FnMut(&mut Self) -> Result<(), AvroDecodeError>,
    ) -> Result<(), AvroDecodeError> {
        self.enter()?;
        self.out.push(open);
        let begin = self.out.len();
        loop {
            let (count, end) = self.wire.block(may_be_empty)?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                if self.out.len() > begin {
                    self.out.push(b',');
                }
                item(self)?;
            }
            self.wire.ends_block(end)?;
        }
        self.out.push(close);
        self.depth -= 1;
        Ok(())
    }

    fn record(&mut self, record: &'p RecordPlan) -> Result<(), AvroDecodeError> {
        self.enter()?;
        self.out.push(b'{');
        let begin = self.out.len();
        match &record.order {
            None => self.parts(&record.parts, &mut |out| {
                if out.len() > begin {
                    out.push(b',');
                }
            })?,
            Some(order) => {
                let mut begins = Vec::with_capacity(order.len() + 1);
                self.parts(&record.parts, &mut |out| begins.push(out.len() - begin))?;
                let members = self.out.split_off(begin);
                begins.push(members.len());
                for &place in order {
                    if self.out.len() > begin {
                        self.out.push(b',');
                    }
                    self.out.extend(&members[begins[place]..begins[place + 1]]);
                }
            }
        }
        self.out.push(b'}');
        self.depth -= 1;
        Ok(())
    }

    /// Reads the parts of a record. Calls `before` each member.
    fn parts(&mut self, parts: &'p [RecordPart], before: &mut dyn FnMut(&mut Vec<u8>)) -> Result<(), AvroDecodeError> {
        for part in parts {
            match part {
                RecordPart::Member(name, value) => {
                    before(&mut self.out);
                    self.out.extend(name.as_bytes());
                    self.value(*value)?;
                }
                RecordPart::Skip(value) => {
                    let end = self.out.len();
                    self.value(*value)?;
                    self.out.truncate(end);
                }
                RecordPart::Default(member) => {
                    before(&mut self.out);
                    self.out.extend(member);
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<(), AvroDecodeError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wire.fault("avro_too_deep", format_args!("values nest more than {DEEPEST} times")));
        }
        Ok(())
    }
}
