//! Formatting of a dead letter for people and programs.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Write},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    dead_letters::{DeadLetter, NoLetter, StoredLetter},
    json::{self, JsonPayload},
    signature::LetterProof,
    text,
};

pub(super) const TITLE: &str =
    "        ID  TIME                 REASON                KEY                       EVENT TYPE                DETAIL";
/// Shown in place of a reason if the record is not a dead letter.
pub(super) const NO_LETTER: &str = "no letter";
/// Longest part of a detail that the table shows, in characters.
const SHOWN: usize = 120;

/// Writes a line of the table.
pub(super) fn line(entry: &StoredLetter, proof: LetterProof, out: &mut impl Write) -> io::Result<()> {
    let (reason, key, event_type, detail) = match &entry.letter {
        Ok(letter) => (&*letter.reason, &*letter.key, &*letter.event_type, Cow::Borrowed(&*letter.detail)),
        Err(why) => (NO_LETTER, "", "", why.to_string().into()),
    };
    let or_dash = |text| if str::is_empty(text) { Cow::Borrowed("-") } else { text::line(text) };
    let time = entry.time().map_or_else(|| "-".to_owned(), shown);
    let (reason, key, event_type) = (text::line(reason), or_dash(key), or_dash(event_type));
    let unproven = if entry.letter.is_ok() && proof != LetterProof::Proven { "unproven: " } else { "" };
    let detail: String = text::line(&detail).chars().take(SHOWN).collect();
    writeln!(out, "{:>10}  {time:<19}  {reason:<20}  {key:<24}  {event_type:<24}  {unproven}{detail}", entry.id)
}

/// Writes a JSON object on a line: the record as it is stored, between the letter's id and
/// `proven`. The last member of a name counts, so that a record can't claim to be proven.
pub(super) fn json(entry: &StoredLetter, proof: LetterProof, out: &mut impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct OtherRecord<'a> {
        letter: u64,
        no_letter: String,
        #[serde(flatten)]
        record: JsonPayload<'a>,
    }
    let mut line = Vec::with_capacity(entry.record.len() + 32);
    match &entry.letter {
        Ok(_) => {
            write!(line, "{{\"letter\":{},", entry.id)?;
            let record = entry.record.trim_ascii();
            let members = record.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
            json::append(&mut line, members.unwrap_or_default());
            write!(line, ",\"proven\":{}}}", proof == LetterProof::Proven)?;
        }
        Err(why) => {
            let other = OtherRecord { letter: entry.id, no_letter: chain(why), record: JsonPayload::of(&entry.record) };
            json::append(&mut line, &serde_json::to_vec(&other)?);
        }
    }
    line.push(b'\n');
    out.write_all(&line)
}

/// Formats everything that is known of a dead letter, for people.
pub(super) fn whole(entry: &StoredLetter, proof: LetterProof) -> String {
    let mut text = LetterLines(format!("dead letter {}\n", entry.id));
    let payload = match &entry.letter {
        Ok(letter) => {
            text.letter(letter);
            match proof.check() {
                Ok(()) => text.value("proof", "this router wrote it"),
                Err(why) => text.value("proof", &format!("unproven: {why}")),
            }
            if let Some(bytes) = letter.payload_bytes {
                let place = format!("message {} of stream `{}`", letter.sequence, text::line(&letter.stream));
                text.value("payload", &format!("{bytes} bytes, too large for a letter: {place} holds them"));
                return text.0;
            }
            entry.payload()
        }
        Err(why) => {
            text.value("why", &format!("no dead letter: {}", chain(why)));
            Ok(entry.record.clone())
        }
    };
    match payload {
        Ok(payload) => {
            text.value("payload", &format!("{} bytes", payload.len()));
            let shown = match JsonPayload::of(&payload) {
                JsonPayload::Json(json) => String::from_utf8_lossy(&json::pretty(json.get().as_bytes())).into_owned(),
                JsonPayload::Text(text) => text.to_owned(),
                JsonPayload::Bytes(base64) => base64,
            };
            text.0.push('\n');
            text.0.push_str(&text::lines(&shown));
        }
        Err(why) => text.value("payload", &chain(&why)),
    }
    text.0
}

struct LetterLines(String);

impl LetterLines {
    fn letter(&mut self, letter: &DeadLetter) {
        let filter = match &*letter.filter_digest {
            "" => letter.filter.clone(),
            digest => format!("{} ({digest})", letter.filter),
        };
        let origin = format!("{}, {} in {}", letter.source, letter.sequence, letter.stream);
        for (name, value) in [
            ("time", letter.time.to_string().as_str()),
            ("reason", &letter.reason),
            ("code", &letter.code),
            ("detail", &letter.detail),
            ("key", &letter.key),
            ("route", &letter.route),
            ("filter", &filter),
            ("sink", &letter.sink),
            ("tries", &count(letter.tries)),
            ("event", &letter.id),
            ("event type", &letter.event_type),
            ("subject", &letter.subject),
            ("source time", letter.source_time.as_deref().unwrap_or_default()),
            ("source", &origin),
            ("deliveries", &count(letter.attempts)),
        ] {
            self.value(name, value);
        }
        for (name, value) in &letter.headers {
            self.value("header", &format!("{name}: {value}"));
        }
    }

    /// Adds a line, unless the value is empty, which means unknown.
    fn value(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            // Writing to a string can't fail.
            let _ = fmt::Write::write_fmt(&mut self.0, format_args!("  {name:<12} {}\n", text::line(value)));
        }
    }
}

fn count(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

fn chain(why: &NoLetter) -> String {
    match std::error::Error::source(why) {
        Some(source) => format!("{why}: {source}"),
        None => why.to_string(),
    }
}

pub(super) fn counted(letters: u64) -> String {
    if letters == 1 { "1 dead letter".to_owned() } else { format!("{letters} dead letters") }
}

fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
