use std::{io::Write as _, path::Path};

use super::*;
use crate::dead_letters::LetterReader;

fn letter(n: usize) -> String {
    format!(
        r#"{{"time":"2026-03-14T08:00:00Z","reason":"trap","detail":"","id":"e{n}","event_type":"t","subject":"s","source":"o","stream":"S","sequence":{n},"attempts":1,"payload":{{"n":{n}}}}}"#
    )
}

fn append(path: &Path, text: &[u8]) {
    fs::File::options().create(true).append(true).open(path).unwrap().write_all(text).unwrap();
}

/// Ids, each with its event's id or the reason why it is not a letter.
async fn list(file: &LetterFile, from: u64) -> Vec<(u64, String)> {
    let mut reader =
        file.read(from).await.unwrap().map_or(LetterReader::Empty, |lines| LetterReader::File(Box::new(lines)));
    let mut all = Vec::new();
    while let Some(entry) = reader.next().await.unwrap() {
        all.push((entry.id, entry.letter.map_or_else(|why| why.to_string(), |letter| letter.id)));
    }
    all
}

fn named(all: &[(u64, String)]) -> Vec<&str> {
    all.iter().map(|(_, name)| &**name).collect()
}

#[tokio::test]
async fn ids_stay_while_letters_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let none = LetterFile::open(path.clone()).unwrap();
    assert_eq!(list(&none, 0).await, []);
    none.drop(vec![7]).await.unwrap();

    (0..4).for_each(|n| append(&path, format!("{}\n", letter(n)).as_bytes()));
    let file = LetterFile::open(path.clone()).unwrap();
    let before = list(&file, 0).await;
    assert_eq!(named(&before), ["e0", "e1", "e2", "e3"]);
    file.drop(vec![before[0].0, before[2].0]).await.unwrap();
    append(&path, format!("{}\n", letter(4)).as_bytes());
    let after = list(&file, 0).await;
    assert_eq!(named(&after), ["e1", "e3", "e4"]);
    assert_eq!(after[..2], [before[1].clone(), before[3].clone()]);
    file.drop(vec![before[0].0]).await.unwrap();
    assert_eq!(list(&file, 0).await, after, "what is gone is gone");

    for (from, expected) in [(before[1].0, 0), (before[1].0 - 1, 0), (before[1].0 + 1, 1), (after[2].0, 2), (9999, 3)] {
        assert_eq!(list(&file, from).await, after[expected..], "from {from}");
    }
}

#[tokio::test]
async fn what_is_no_letter_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    append(&path, b"\"{torn\"\n\n\xff\n[]\n");
    append(&path, format!("{}\n{}", letter(1), &letter(2)[..60]).as_bytes());
    let file = LetterFile::open(path.clone()).unwrap();
    let all = list(&file, 0).await;
    let foreign = "it is not written as dead letters are";
    let unfinished = "its line has no end: a router is writing it, or a crash has torn it";
    assert_eq!(named(&all), [foreign, foreign, foreign, "e1", unfinished]);

    assert!(file.drop(vec![all[4].0]).await.is_err());
    append(&path, &letter(2).as_bytes()[60..]);
    append(&path, b"\n");
    file.drop(all[..3].iter().map(|(id, _)| *id).collect()).await.unwrap();
    assert_eq!(named(&list(&file, 0).await), ["e1", "e2"], "nothing of it was touched");
}

#[tokio::test]
async fn a_line_that_is_too_long_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    append(&path, b"x");
    fs::File::options().write(true).open(&path).unwrap().set_len(MAX_LINE + 100).unwrap();
    append(&path, format!("\n{}\n", letter(1)).as_bytes());
    let all = list(&LetterFile::open(path).unwrap(), 0).await;
    assert_eq!(named(&all), [&*format!("its line has {} bytes, more than a dead letter's", MAX_LINE + 101), "e1"]);
}

/// A crash in the middle of a drop: the first byte decides.
#[tokio::test]
async fn a_letter_is_dropped_with_its_first_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    append(&path, format!("{}\n{}\n", letter(1), letter(2)).as_bytes());
    for erased in [1, 20, letter(1).len()] {
        let open = fs::File::options().write(true).open(&path).unwrap();
        open.write_all_at(&BLANK[..erased], 0).unwrap();
        assert_eq!(named(&list(&LetterFile::open(path.clone()).unwrap(), 0).await), ["e2"]);
    }
}

#[tokio::test]
async fn ids_count_for_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    append(&path, format!("{}\n", letter(1)).as_bytes());
    let file = LetterFile::open(path.clone()).unwrap();
    fs::rename(&path, folder.path().join("away")).unwrap();
    append(&path, format!("{}\n", letter(2)).as_bytes());
    assert!(matches!(file.drop(vec![0]).await, Err(LettersError::Replaced(_))));
    assert_eq!(named(&list(&LetterFile::open(path).unwrap(), 0).await), ["e2"]);
}
