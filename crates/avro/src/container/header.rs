//! Header of a container file.

use std::io::Read;

use serde_json::Value;

use super::{
    ContainerCodec, ContainerFault, MAGIC, SyncMarker,
    input::{CountedInput, InputFault},
};

/// Largest header, in bytes.
const LARGEST: usize = 4 << 20;
const SCHEMA: &str = "avro.schema";
const CODEC: &str = "avro.codec";

pub(super) struct ContainerHeader {
    /// JSON of the schema.
    pub(super) schema: String,
    pub(super) codec: ContainerCodec,
    pub(super) marker: SyncMarker,
}

impl ContainerHeader {
    pub(super) fn read(input: &mut CountedInput<impl Read>) -> Result<Self, ContainerFault> {
        match input.array() {
            Ok(MAGIC) => {}
            Ok(_) => return Err(ContainerFault::NoContainer),
            Err(fault) => return Err(fault.into()),
        }
        let (mut schema, mut codec) = (None, ContainerCodec::Null);
        let mut value = Vec::new();
        loop {
            let count = input.long()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                // The size of the block, which is of no use.
                input.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                let name = text(input, &mut value)?;
                let content = text(input, &mut value);
                match name.as_str() {
                    SCHEMA => schema = Some(content?),
                    CODEC => {
                        let name = content?;
                        codec = ContainerCodec::named(&name)
                            .ok_or_else(|| ContainerFault::Header(format!("there is no codec `{name}`")))?;
                    }
                    // Values that others have put in may be anything.
                    _ => match content {
                        Ok(_) | Err(ContainerFault::Header(_)) => {}
                        Err(fault) => return Err(fault),
                    },
                }
                if input.offset > LARGEST as u64 {
                    return Err(ContainerFault::Header(format!("it has more than {LARGEST} bytes")));
                }
            }
        }
        let marker = input.marker()?;
        let schema = schema.ok_or_else(|| ContainerFault::Header("it has no schema".to_owned()))?;
        Ok(Self { schema, codec, marker })
    }

    /// Returns the bytes of the header of a new file.
    pub(super) fn bytes(schema: &Value, codec: ContainerCodec, marker: SyncMarker) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        // A map's only block, of two entries.
        push_long(&mut bytes, 2);
        for text in [SCHEMA, &schema.to_string(), CODEC, codec.name()] {
            // No length of what is in memory exceeds a long.
            push_long(&mut bytes, text.len() as u64);
            bytes.extend(text.as_bytes());
        }
        push_long(&mut bytes, 0);
        bytes.extend(marker);
        bytes
    }
}

/// Reads a text. One that is not UTF-8 is read whole, and refused.
fn text(input: &mut CountedInput<impl Read>, bytes: &mut Vec<u8>) -> Result<String, ContainerFault> {
    let length = input.length(LARGEST, "a value in it is too long")?;
    input.take(length, bytes)?;
    String::from_utf8(std::mem::take(bytes)).map_err(|_| ContainerFault::Header("a text is not UTF-8".to_owned()))
}

fn push_long(bytes: &mut Vec<u8>, value: u64) {
    let mut bits = value << 1;
    while bits >= 0x80 {
        bytes.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    bytes.push(bits as u8);
}

/// Of a header.
impl From<InputFault> for ContainerFault {
    fn from(fault: InputFault) -> Self {
        match fault {
            InputFault::Io(error) => Self::Io(error),
            InputFault::End => Self::CutHeader,
            InputFault::Wrong(why) => Self::Header(why.to_owned()),
        }
    }
}
