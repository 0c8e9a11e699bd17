use apache_avro::{Reader, Writer, types::Value};
use proptest::prelude::*;

use super::*;
use crate::{AvroSchemas, Framing, ReadVerdict, second_opinion};

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},{"name":"total","type":["null","double"],"default":null},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;
const RECORDS: [&str; 3] =
    [r#"{"id":"a","total":1.5,"at":1}"#, r#"{"id":"bb","total":null,"at":2}"#, r#"{"id":"ccc","total":3.0,"at":3}"#];

fn schema(json: &str) -> AvroSchema {
    AvroSchemas::parse(&[("order", json)]).unwrap().get("order").unwrap()
}

fn format(codec: ContainerCodec) -> ContainerFormat {
    ContainerFormat { schema: schema(ORDER), codec }
}

fn datums(schema: &AvroSchema, records: &[&str]) -> Vec<Vec<u8>> {
    let encoder = AvroSchemas::default().encoder(schema, Framing::Bare).unwrap();
    records.iter().map(|json| encoder.encode(json.as_bytes()).unwrap()).collect()
}

/// A file with a block for each of these records.
fn file(format: &ContainerFormat, records: &[&str]) -> Vec<u8> {
    let writer = ContainerWriter::new(format, *b"0123456789abcdef").unwrap();
    let mut file = writer.header().to_vec();
    for datum in datums(&format.schema, records) {
        file.extend(writer.block(&[&datum]).unwrap());
    }
    file
}

/// The records of a file as JSON, and why it ended.
fn read(file: &[u8], reader: Option<&AvroSchema>) -> (Vec<String>, Option<String>) {
    let mut records = Vec::new();
    let mut reader = match ContainerReader::open(file, reader) {
        Ok(reader) => reader,
        Err(fault) => return (records, Some(fault.to_string())),
    };
    loop {
        match reader.next_record() {
            Ok(Some(record)) => records.push(match record.json {
                Ok(json) => String::from_utf8(json).unwrap(),
                Err(RecordFault { error, written }) => format!("{error} {}", String::from_utf8_lossy(&written)),
            }),
            Ok(None) => return (records, None),
            Err(fault) => return (records, Some(fault.to_string())),
        }
    }
}

#[test]
fn files_of_every_codec_come_back() {
    for (name, codec) in ContainerCodec::ALL {
        let file = file(&format(codec), &RECORDS);
        assert_eq!(read(&file, None), (RECORDS.map(str::to_owned).to_vec(), None), "{name}");
        let theirs: Result<Vec<_>, _> = Reader::new(&file[..]).unwrap().collect();
        assert_eq!(theirs.unwrap().len(), 3, "{name}, by the crate");
    }
}

#[test]
fn files_that_the_crate_has_written_are_read() {
    for (name, codec) in ContainerCodec::ALL {
        let schema = apache_avro::Schema::parse_str(ORDER).unwrap();
        let mut writer = Writer::with_codec(&schema, Vec::new(), codec.codec()).unwrap();
        for _ in 0..2000 {
            let total = Value::Union(1, Box::new(Value::Double(1.5)));
            let fields = [("id", Value::String("a".into())), ("total", total), ("at", Value::TimestampMillis(1))];
            writer.append_value(Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).to_vec())).unwrap();
        }
        let file = writer.into_inner().unwrap();
        let (records, fault) = read(&file, None);
        assert_eq!((records.len(), fault), (2000, None), "{name}");
        assert!(records.iter().all(|record| record == RECORDS[0]), "{name}");
    }
}

#[test]
fn a_reader_s_schema_has_its_fields_and_names() {
    let reader = schema(
        r#"{"type":"record","name":"Order","fields":[{"name":"currency","type":"string","default":"EUR"},
        {"name":"key","aliases":["id"],"type":"string"}]}"#,
    );
    let (records, fault) = read(&file(&format(ContainerCodec::Null), &RECORDS[..1]), Some(&reader));
    assert_eq!((records, fault), (vec![r#"{"currency":"EUR","key":"a"}"#.to_owned()], None));
    let other = schema(r#"{"type":"record","name":"Other","fields":[]}"#);
    let (_, fault) = read(&file(&format(ContainerCodec::Null), &RECORDS[..1]), Some(&other));
    assert!(fault.unwrap().contains("can't be read as `order`"));
}

/// The others of its block are read.
#[test]
fn a_record_that_the_reader_can_t_take_is_told_apart() {
    let reader = schema(
        r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"total","type":"double"}]}"#,
    );
    let (records, fault) = read(&file(&format(ContainerCodec::Null), &RECORDS), Some(&reader));
    assert_eq!(fault, None);
    assert_eq!(records[0], r#"{"id":"a","total":1.5}"#);
    assert!(records[1].starts_with("avro_unresolvable"), "{}", records[1]);
    assert!(records[1].ends_with(RECORDS[1]), "{}", records[1]);
    assert_eq!(records[2], r#"{"id":"ccc","total":3.0}"#);
}

#[test]
fn a_file_that_was_cut_is_read_to_the_last_whole_block() {
    for (name, codec) in ContainerCodec::ALL {
        let whole = file(&format(codec), &RECORDS);
        let ends: Vec<_> = (0..=3).map(|records| file(&format(codec), &RECORDS[..records]).len()).collect();
        for cut in 0..whole.len() {
            let (records, fault) = read(&whole[..cut], None);
            let blocks = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(records.len(), blocks.saturating_sub(1), "{name}, cut at {cut}");
            assert_eq!(fault.is_none(), ends.contains(&cut), "{name}, cut at {cut}: {fault:?}");
        }
    }
}

#[test]
fn what_claims_to_be_large_takes_no_memory() {
    let writer = ContainerWriter::new(&format(ContainerCodec::Null), [7; 16]).unwrap();
    let with = |block: &[u8]| [writer.header(), block].concat();
    // One record in 4 GiB, in 15 MiB that are not there, and 2^62 records in no bytes.
    let (_, fault) = read(&with(&[2, 0x80, 0x80, 0x80, 0x80, 0x20]), None);
    assert!(fault.unwrap().contains("more than 16 MiB"));
    let (_, fault) = read(&with(&[2, 0x80, 0x80, 0x80, 0x0f]), None);
    assert!(fault.unwrap().contains("ends in it"));
    let many = [&[0xfe; 8][..], &[0x7f, 0], &[7; 16]].concat();
    let (_, fault) = read(&with(&many), None);
    assert!(fault.unwrap().contains("in 0 bytes"));
    // A bomb.
    let zeros = vec![0; 64 << 20];
    let bomb = ContainerWriter::new(&format(ContainerCodec::Zstandard), [7; 16]).unwrap();
    let block = bomb.block(&[&zeros]).unwrap();
    let (_, fault) = read(&[bomb.header(), &block].concat(), None);
    assert!(fault.unwrap().contains("can't be decompressed"));
}

/// Where a reader that follows the data would run out of stack.
#[test]
fn records_that_nest_without_end_are_refused() {
    let list = schema(r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#);
    let writer = ContainerWriter::new(&ContainerFormat { schema: list, codec: ContainerCodec::Null }, [7; 16]).unwrap();
    let block = writer.block(&[&[2; 1 << 20]]).unwrap();
    let (records, fault) = read(&[writer.header(), &block].concat(), None);
    assert_eq!(records.len(), 0);
    assert!(fault.unwrap().contains("nest more than"));
}

#[test]
fn types_of_other_files_are_in_the_header() {
    let item = r#"{"type":"record","name":"Item","namespace":"shop","fields":[{"name":"sku","type":"string"}]}"#;
    let basket = r#"{"type":"record","name":"Basket","fields":[
        {"name":"first","type":["null","shop.Item"]},{"name":"all","type":{"type":"array","items":"shop.Item"}}]}"#;
    let schemas = AvroSchemas::parse(&[("item", item), ("basket", basket)]).unwrap();
    let format = ContainerFormat { schema: schemas.get("basket").unwrap(), codec: ContainerCodec::Null };
    let json = r#"{"first":{"sku":"a"},"all":[{"sku":"b"}]}"#;
    let file = file(&format, &[json]);
    assert_eq!(read(&file, None), (vec![json.to_owned()], None));
    assert_eq!(Reader::new(&file[..]).unwrap().count(), 1);
    let alone = schema(&format.schema.json().to_string());
    assert_eq!(alone.fingerprint(), format.schema.fingerprint());
    assert_eq!(format.schema.read_by(&alone), ReadVerdict::All);
    assert_eq!(second_opinion(&format.schema, &alone), ReadVerdict::All);
}

#[test]
fn the_sound_part_ends_with_a_whole_block() {
    let format = format(ContainerCodec::Deflate);
    let whole = file(&format, &RECORDS);
    let ends: Vec<_> = (0..=3).map(|records| file(&format, &RECORDS[..records]).len() as u64).collect();
    let folder = tempfile::tempdir().unwrap();
    let part = |bytes: &[u8], format: &ContainerFormat| {
        let path = folder.path().join("a.avro");
        std::fs::write(&path, bytes).unwrap();
        sound_part(&std::fs::File::open(path).unwrap(), format)
    };
    for cut in 0..=whole.len() {
        let wanted = match ends.iter().rev().find(|end| **end <= cut as u64) {
            Some(&length) => ContainerTail::Whole { length, marker: *b"0123456789abcdef" },
            None => ContainerTail::Empty,
        };
        assert_eq!(part(&whole[..cut], &format).unwrap(), wanted, "cut at {cut}");
    }
    let closed = |bytes: &[u8], format: &ContainerFormat| match part(bytes, format) {
        Ok(ContainerTail::Closed(why)) => why,
        other => panic!("{other:?}"),
    };
    let snappy = ContainerFormat { codec: ContainerCodec::Snappy, ..format.clone() };
    assert!(closed(&whole, &snappy).contains("codec `deflate`"));
    let other = ContainerFormat { schema: schema("\"int\""), ..format.clone() };
    assert!(closed(&whole, &other).contains("another schema"));
    assert!(closed(&[&whole[..], &[0; 4096]].concat(), &format).contains("another marker"));
    assert!(matches!(part(b"{\"a\":1}\n", &format), Err(ContainerFault::NoContainer)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing panics, and what is read before the damage is as it was written.
    #[test]
    fn garbled_files_end_with_an_error_or_a_record(codec in 0..6_usize, at in any::<prop::sample::Index>(), byte: u8) {
        let mut garbled = file(&format(ContainerCodec::ALL[codec].1), &RECORDS);
        let at = at.index(garbled.len());
        garbled[at] = byte;
        let (records, _) = read(&garbled, None);
        prop_assert!(records.len() <= 300);
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300), has_header: bool) {
        let head = if has_header { file(&format(ContainerCodec::Null), &[]) } else { MAGIC.to_vec() };
        read(&[head, bytes].concat(), None);
    }
}
