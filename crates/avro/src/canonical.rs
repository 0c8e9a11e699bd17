//! Parsing Canonical Form of a schema, and its fingerprint for message headers.

use std::fmt::Write as _;

use super::types::{AvroType, TypeIndex};

/// Fingerprint of the empty text.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

/// Computes the fingerprint CRC-64-AVRO (Rabin) of the schema's Parsing Canonical Form.
pub(super) fn fingerprint(types: &[AvroType], root: TypeIndex) -> u64 {
    rabin(canonical(types, root).as_bytes())
}

/// Returns the Parsing Canonical Form: full names, no defaults, aliases, documentation or logical
/// types. It contains no character that JSON escapes.
pub(super) fn canonical(types: &[AvroType], root: TypeIndex) -> String {
    let mut form = CanonicalForm { types, defined: vec![false; types.len()], text: String::new() };
    form.write(root);
    form.text
}

struct CanonicalForm<'t> {
    types: &'t [AvroType],
    defined: Vec<bool>,
    text: String,
}

impl CanonicalForm<'_> {
    fn write(&mut self, id: TypeIndex) {
        let of = &self.types[id];
        match of {
            AvroType::Array(item) => self.container("array", "items", *item),
            AvroType::Map(value) => self.container("map", "values", *value),
            AvroType::Union(branches) => self.list(branches, |form, branch| form.write(*branch)),
            AvroType::Record(..) | AvroType::Enum(..) | AvroType::Fixed(..) if !self.defined[id] => {
                self.defined[id] = true;
                self.define(of);
            }
            _ => self.quoted(of.name()),
        }
    }

    fn define(&mut self, of: &AvroType) {
        self.text += "{\"name\":";
        self.quoted(of.name());
        match of {
            AvroType::Record(_, fields) => {
                self.text += ",\"type\":\"record\",\"fields\":";
                self.list(&fields.all, |form, field| {
                    form.text += "{\"name\":";
                    form.quoted(&field.name);
                    form.text += ",\"type\":";
                    form.write(field.of);
                    form.text.push('}');
                });
            }
            AvroType::Enum(_, symbols) => {
                self.text += ",\"type\":\"enum\",\"symbols\":";
                self.list(&symbols.all, |form, symbol| form.quoted(symbol));
            }
            AvroType::Fixed(_, size, _) => {
                // Writing to a String does not fail.
                let _written = write!(self.text, ",\"type\":\"fixed\",\"size\":{size}");
            }
            _ => {}
        }
        self.text.push('}');
    }

    fn container(&mut self, kind: &str, member: &str, id: TypeIndex) {
        let _written = write!(self.text, "{{\"type\":\"{kind}\",\"{member}\":");
        self.write(id);
        self.text.push('}');
    }

    fn list<T>(&mut self, all: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.text.push('[');
        for (place, each) in all.iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            one(self, each);
        }
        self.text.push(']');
    }

    fn quoted(&mut self, name: &str) {
        self.text.push('"');
        self.text += name;
        self.text.push('"');
    }
}

fn rabin(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |print, &byte| {
        let mixed = (print ^ u64::from(byte)) & 0xff;
        let folded = (0..8).fold(mixed, |bits, _| (bits >> 1) ^ (EMPTY * (bits & 1)));
        (print >> 8) ^ folded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of the specification.
    #[test]
    fn the_fingerprint_of_null() {
        assert_eq!(fingerprint(&[AvroType::Null], 0), 0x63dd_24e7_cc25_8f8a);
    }
}
