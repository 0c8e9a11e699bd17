//! Container files: whole blocks and nothing else, whatever a crash has left.

use super::*;
use crate::avro::{
    AvroSchema, AvroSchemas, Framing,
    container::{ContainerCodec, ContainerFormat, ContainerReader},
};

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
const ORDER_V2: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"string"},{"name":"total","type":"double","default":0}]}"#;

fn schema(text: &str) -> AvroSchema {
    AvroSchemas::parse(&[("order", text)]).unwrap().get("order").unwrap()
}

fn format(text: &str) -> ContainerFormat {
    ContainerFormat { schema: schema(text), codec: ContainerCodec::Deflate }
}

/// Sink's file in a folder of its own.
struct ContainerRig {
    folder: TempDir,
    format: ContainerFormat,
    upkeep: FileUpkeep,
}

impl ContainerRig {
    fn new(upkeep: FileUpkeep) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), format: format(ORDER), upkeep }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("out.avro")
    }

    fn open(&self) -> AppendedFile {
        AppendedFile::open(self.path(), self.upkeep, Some(&self.format)).unwrap()
    }

    /// Opens the file, writes a block with these ids, and closes it.
    fn store(&self, ids: &[&str]) {
        self.store_in(&mut self.open(), ids);
    }

    fn store_in(&self, file: &mut AppendedFile, ids: &[&str]) {
        let encoder = AvroSchemas::default().encoder(&self.format.schema, Framing::Bare).unwrap();
        let encode = |id: &&str| encoder.encode(serde_json::json!({ "id": id }).to_string().as_bytes()).unwrap();
        let datums: Vec<_> = ids.iter().map(encode).collect();
        let mut buffers = ChunkBuffers::new(&RecordSettings::default());
        file.store(datums.iter().map(Vec::as_slice), &mut buffers, SystemTime::now()).unwrap();
    }

    /// The ids in a file that is whole.
    fn ids(&self, path: &Path) -> Vec<String> {
        let mut reader = ContainerReader::open(fs::File::open(path).unwrap(), Some(&schema(ORDER))).unwrap();
        let mut ids = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            let json: serde_json::Value = serde_json::from_slice(&record.json.unwrap()).unwrap();
            ids.push(json["id"].as_str().unwrap().to_owned());
        }
        ids
    }

    fn rotated(&self) -> Vec<Vec<String>> {
        let files = rotation::rotated_files(&self.path()).unwrap();
        files.iter().map(|file| self.ids(file)).collect()
    }
}

#[test]
fn blocks_are_appended_over_restarts_behind_one_header() {
    let rig = ContainerRig::new(FileUpkeep::default());
    let mut file = rig.open();
    rig.store_in(&mut file, &["a", "b"]);
    rig.store_in(&mut file, &["c"]);
    drop(file);
    rig.store(&["d"]);
    assert_eq!(rig.ids(&rig.path()), ["a", "b", "c", "d"]);
}

/// Whatever part of the last block a crash has left, the next run writes behind the last whole one.
#[test]
fn a_block_torn_anywhere_is_cut_off() {
    let rig = ContainerRig::new(FileUpkeep::default());
    rig.store(&["a", "b"]);
    let before = fs::read(rig.path()).unwrap().len();
    rig.store(&["lost"]);
    let whole = fs::read(rig.path()).unwrap();
    for cut in 0..=whole.len() {
        fs::write(rig.path(), &whole[..cut]).unwrap();
        rig.store(&["c"]);
        let wanted: &[&str] = match cut {
            _ if cut == whole.len() => &["a", "b", "lost", "c"],
            _ if cut >= before => &["a", "b", "c"],
            _ => &["c"],
        };
        assert_eq!(rig.ids(&rig.path()), wanted, "cut at {cut} of {}", whole.len());
    }
    assert_eq!(rig.rotated().len(), 0);
}

#[test]
fn a_file_that_is_cut_while_it_is_open_is_mended() {
    let rig = ContainerRig::new(FileUpkeep::default());
    let mut file = rig.open();
    rig.store_in(&mut file, &["a"]);
    let len = fs::metadata(rig.path()).unwrap().len();
    rig.store_in(&mut file, &["b"]);
    fs::File::options().write(true).open(rig.path()).unwrap().set_len(len + 3).unwrap();
    rig.store_in(&mut file, &["c"]);
    assert_eq!(rig.ids(&rig.path()), ["a", "c"]);
    fs::remove_file(rig.path()).unwrap();
    rig.store_in(&mut file, &["d"]);
    assert_eq!(rig.ids(&rig.path()), ["d"]);
}

#[test]
fn each_rotated_file_is_whole() {
    let rig = ContainerRig::new(FileUpkeep { max_size: Some(1), ..FileUpkeep::default() });
    let mut file = rig.open();
    for id in ["a", "b", "c"] {
        rig.store_in(&mut file, &[id]);
    }
    assert_eq!(rig.rotated(), [["a"], ["b"]]);
    assert_eq!(rig.ids(&rig.path()), ["c"]);
}

#[test]
fn what_nothing_can_be_added_to_is_moved_away() {
    let mut rig = ContainerRig::new(FileUpkeep::default());
    rig.store(&["a"]);
    rig.format = format(ORDER_V2);
    rig.store(&["b"]);
    assert_eq!((rig.rotated(), rig.ids(&rig.path())), (vec![vec!["a".to_owned()]], vec!["b".to_owned()]));
    let mut file = fs::read(rig.path()).unwrap();
    file.extend([0; 100]);
    fs::write(rig.path(), file).unwrap();
    rig.store(&["c"]);
    assert_eq!(rig.ids(&rig.path()), ["c"]);
    assert_eq!(rotation::rotated_files(&rig.path()).unwrap().len(), 2);
}

#[test]
fn a_file_of_lines_is_not_written_to() {
    let rig = ContainerRig::new(FileUpkeep::default());
    fs::write(rig.path(), "{\"id\":\"a\"}\n").unwrap();
    let error = AppendedFile::open(rig.path(), rig.upkeep, Some(&rig.format)).err().unwrap();
    assert!(format!("{error:#}").contains("it is no Avro container file"), "{error:#}");
    assert_eq!(fs::read_to_string(rig.path()).unwrap(), "{\"id\":\"a\"}\n");
}
