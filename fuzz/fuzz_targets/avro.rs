//! Any bytes are a message or refused, and what is read comes back as it was read.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trommel::avro::{AvroDecoder, AvroEncoder, AvroSchemas, Framing, TimeForm};

const SCHEMAS: [(&str, &str); 4] = [
    (
        "all",
        r#"{"type":"record","name":"All","fields":[
            {"name":"boolean","type":"boolean"},{"name":"int","type":"int"},{"name":"float","type":"float"},
            {"name":"double","type":"double"},{"name":"bytes","type":"bytes"},
            {"name":"fixed","type":{"type":"fixed","name":"F","size":2}},
            {"name":"enum","type":{"type":"enum","name":"E","symbols":["A","B"]}},
            {"name":"decimal","type":{"type":"bytes","logicalType":"decimal","precision":1000,"scale":2}},
            {"name":"uuid","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}},
            {"name":"duration","type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"}}]}"#,
    ),
    (
        "tree",
        r#"{"type":"record","name":"Tree","fields":[{"name":"leaf","type":["null","long","string"]},
            {"name":"twigs","type":{"type":"array","items":"Tree"}},
            {"name":"by_name","type":{"type":"map","values":["null","Tree"]}}]}"#,
    ),
    (
        "unions",
        r#"{"type":"array","items":["null","float","double","int","long","bytes","string",
            {"type":"record","name":"A","fields":[{"name":"x","type":["null","A"]}]},
            {"type":"record","name":"B","fields":[{"name":"x","type":["B","null","int"]},{"name":"y","type":"int","default":1}]},
            {"type":"map","values":"boolean"}]}"#,
    ),
    ("empty", r#"{"type":"array","items":{"type":"array","items":{"type":"record","name":"N","fields":[]}}}"#),
];

struct Peer {
    header: Vec<u8>,
    encoder: AvroEncoder,
    decoder: AvroDecoder,
}

static PEERS: LazyLock<Vec<Peer>> = LazyLock::new(|| {
    let schemas = AvroSchemas::parse(&SCHEMAS).unwrap();
    let peer = |(name, _): &(&str, &str)| {
        let schema = schemas.get(name).unwrap();
        let header = [&[0xc3, 0x01][..], &schema.fingerprint().to_le_bytes()].concat();
        let encoder = schemas.encoder(&schema, Framing::SingleObject).unwrap();
        Peer { header, encoder, decoder: schemas.decoder(None, TimeForm::Integer) }
    };
    SCHEMAS.iter().map(peer).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let Peer { header, encoder, decoder } = &PEERS[usize::from(*choice) % PEERS.len()];
    let _refused = decoder.decode(data);
    // How much a message may become depends on its length, and ours are the shortest.
    let read = |message: &[u8]| match decoder.decode(message) {
        Err(refused) if refused.reason == "avro_too_large" => None,
        read => Some(read.unwrap()),
    };
    if let Ok(message) = encoder.encode(body) {
        read(&message);
    }
    if let Ok(json) = decoder.decode(&[header, body].concat()) {
        match encoder.encode(&json) {
            Ok(again) => assert!(read(&again).is_none_or(|again| again == json), "{}", String::from_utf8_lossy(&json)),
            // Read as it came, and not written.
            Err(misfit) if misfit.to_string().contains("more digits than the schema allows") => {}
            Err(misfit) => panic!("{misfit}: {}", String::from_utf8_lossy(&json)),
        }
    }
});
