//! Writer of the parts that a container file is made of.

use apache_avro::{Codec, Schema, Writer, types::Value};

use super::{ContainerFormat, SyncMarker, header::ContainerHeader};

/// Maker of a file's header and blocks.
#[derive(Debug)]
pub struct ContainerWriter {
    header: Vec<u8>,
    schema: Schema,
    codec: Codec,
    marker: SyncMarker,
}

impl ContainerWriter {
    /// # Errors
    /// Returns why the crate `apache-avro`, and so perhaps other readers, can't parse the schema.
    pub fn new(format: &ContainerFormat, marker: SyncMarker) -> Result<Self, String> {
        let ContainerFormat { schema, codec } = format;
        let header = ContainerHeader::bytes(schema.json(), *codec, marker);
        let schema = Schema::parse(schema.json())
            .map_err(|error| format!("the Avro schema `{}` is of no use to other readers: {error}", schema.name()))?;
        Ok(Self { header, schema, codec: codec.codec(), marker })
    }

    /// Returns the header, with which a file begins.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Makes a block of records, each encoded by the schema already.
    ///
    /// # Errors
    /// Returns why they can't be compressed.
    pub fn block(&self, datums: &[&[u8]]) -> Result<Vec<u8>, String> {
        let size: usize = datums.iter().map(|datum| datum.len()).sum();
        // Into memory: the crate does not look how much of a write was taken. The header was
        // written before, and one block takes all.
        let writer = Writer::builder().schema(&self.schema).writer(Vec::new()).codec(self.codec).marker(self.marker);
        let block = writer.has_header(true).block_size(size + 1).build().and_then(|mut writer| {
            for datum in datums {
                // The crate writes the bytes of a fixed as they are, whatever the schema says.
                writer.unvalidated_append_value(Value::Fixed(datum.len(), datum.to_vec()))?;
            }
            writer.into_inner()
        });
        block.map_err(|error| format!("can't write an Avro block: {error}"))
    }
}
