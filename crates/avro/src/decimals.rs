//! Positions of decimals in decoded JSON, where they are strings like any others.

use super::{
    AvroSchema, ParsedSchema,
    codec::AvroDecoder,
    types::{AvroType, BytesForm, TypeIndex},
};

impl AvroDecoder {
    /// Returns whether a value at this JSON pointer is, or may be, a decimal: by the reader's
    /// schema, or by any writer's.
    pub fn is_decimal(&self, pointer: &str) -> bool {
        self.0.shapes.iter().any(|schema| schema.has_decimal(pointer))
    }
}

impl AvroSchema {
    fn has_decimal(&self, pointer: &str) -> bool {
        let ParsedSchema { types, root, .. } = &*self.0;
        let mut at = branches(types, *root);
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            at = at.into_iter().filter_map(|id| inner(types, id, &name)).flat_map(|id| branches(types, id)).collect();
            // Dedup bounds the walk: branches of unions may be of the same types over and over.
            at.sort_unstable();
            at.dedup();
        }
        let is_decimal = |id: &TypeIndex| {
            matches!(
                &types[*id],
                AvroType::Bytes(BytesForm::Decimal { .. }) | AvroType::Fixed(_, _, BytesForm::Decimal { .. })
            )
        };
        at.iter().any(is_decimal)
    }
}

/// Returns the types that a value of the type may have.
fn branches(types: &[AvroType], id: TypeIndex) -> Vec<TypeIndex> {
    match &types[id] {
        AvroType::Union(branches) => branches.clone(),
        _ => vec![id],
    }
}

/// Returns the type of the value under a name, or at an index, in a value of the type.
fn inner(types: &[AvroType], id: TypeIndex, name: &str) -> Option<TypeIndex> {
    match &types[id] {
        AvroType::Record(_, fields) => fields.by_name.get(name).map(|place| fields.all[*place].of),
        AvroType::Map(value) => Some(*value),
        AvroType::Array(item) => name.bytes().all(|byte| byte.is_ascii_digit()).then_some(*item),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::{AvroSchemas, TimeForm};

    #[test]
    fn decimals_are_found_wherever_they_stand() {
        let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#;
        let fixed = r#"{"type":"fixed","name":"F","size":8,"logicalType":"decimal","precision":10}"#;
        let schema = format!(
            r#"{{"type":"record","name":"R","fields":[
                {{"name":"price","type":{decimal}}},
                {{"name":"maybe","type":["null",{decimal}]}},
                {{"name":"fixed","type":{fixed}}},
                {{"name":"text","type":"string"}},
                {{"name":"lines","type":{{"type":"array","items":{{"type":"map","values":["null",{decimal},"R"]}}}}}}
            ]}}"#
        );
        let schemas = AvroSchemas::parse(&[("R", &schema), ("text", r#""string""#)]).unwrap();
        for reader in [None, schemas.get("R")] {
            let decoder = schemas.decoder(reader.as_ref(), TimeForm::Integer);
            for pointer in ["/price", "/maybe", "/fixed", "/lines/0/any", "/lines/7/any/maybe"] {
                assert!(decoder.is_decimal(pointer), "{pointer}");
            }
            for pointer in ["", "/text", "/none", "/price/0", "/lines", "/lines/x/any", "/lines/0", "/lines/0/any/text"]
            {
                assert!(!decoder.is_decimal(pointer), "{pointer}");
            }
        }
        assert!(
            !schemas.decoder(schemas.get("text").as_ref(), TimeForm::Integer).is_decimal("/price"),
            "what is read counts"
        );
    }
}
