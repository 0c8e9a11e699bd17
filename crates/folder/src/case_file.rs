//! Files of cases, `tests/*.toml` in a router's folder: read, and written with what came out. What
//! surrounds a changed value, comments too, stays as it is.

use std::{
    fs, io,
    path::{self, Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::{
    case_end::{CaseEnd, array, expected_end, header_fields, one_payload},
    config::{ConfigPlace, Problem, Problems},
    document::TomlDocument,
    endpoint::Endpoint,
    event::Headers,
    json,
    listing::{FolderFiles, files},
    problem::ProblemReport,
    table::{GivenValue, TomlTable},
    toml_value::{set, toml_value},
};

/// Folder of the cases in a router's folder.
const TESTS: &str = "tests";

/// A file of cases. They run in order, in one router.
#[derive(Debug)]
pub struct CaseFile {
    /// Path, relative to the router's folder if it lies there.
    pub path: PathBuf,
    /// Answers of the API in every case, and before the first.
    pub api: Vec<CaseAnswer>,
    pub cases: Vec<RouterCase>,
    full: PathBuf,
    document: DocumentMut,
}

/// A message, and what is expected to come of it.
#[derive(Debug)]
pub struct RouterCase {
    pub name: String,
    pub place: ConfigPlace,
    pub input: CaseInput,
    pub api: Vec<CaseAnswer>,
    /// `None` if nothing is expected yet: an update adds it.
    pub expect: Option<Vec<CaseEnd>>,
}

#[derive(Debug)]
pub enum CaseInput {
    Message(Box<ArrivingMessage>),
    Tick(CaseTick),
}

/// A message as it arrives at a source.
#[derive(Clone, Debug, Default)]
pub struct ArrivingMessage {
    /// Name of the source; `None` for the only one.
    pub source: Option<String>,
    pub subject: Option<String>,
    pub headers: Headers,
    pub payload: Bytes,
    /// Time at which it was stored, or at which the router sees it.
    pub time: Option<Timestamp>,
    /// Position in the stream or file; the number of the case without one.
    pub sequence: Option<u64>,
}

/// A call by the clock.
#[derive(Clone, Debug)]
pub struct CaseTick {
    pub key: String,
    /// `None` for the key's only route.
    pub route: Option<String>,
    pub time: Option<Timestamp>,
}

/// Response of an API, the same for every such call.
#[derive(Clone, Debug)]
pub struct CaseAnswer {
    /// Method and path with query, `GET /users/1`, behind `NAME: ` for an API with a name.
    pub call: String,
    pub status: u16,
    pub body: String,
    /// Where its call is written, if that is in a file of a router's cases.
    pub place: Option<ConfigPlace>,
}

/// Change of what a case expects.
pub enum EndUpdate {
    /// The end at this position stays.
    Keep(usize),
    /// The end at this position gets these fields.
    Change(usize, CaseEnd),
    Add(CaseEnd),
}

impl CaseAnswer {
    /// Name of the API, if it has one.
    pub fn api(&self) -> Option<&str> {
        self.call.split_once(": ").map(|(api, _)| api).filter(|api| !api.is_empty())
    }

    /// Method and path with query.
    pub fn path(&self) -> &str {
        self.call.split_once(": ").map_or(&self.call, |(_, call)| call)
    }
}

impl CaseFile {
    /// Returns the paths of the files in a router's folder, sorted.
    ///
    /// # Errors
    /// Returns an error if the folder of the cases can't be listed.
    pub fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
        let names = files(&dir.join(TESTS), "toml")?;
        Ok(names.into_iter().map(|name| Path::new(TESTS).join(name)).collect())
    }

    /// Reads a file. A relative path begins in the router's folder.
    ///
    /// # Errors
    /// Returns all problems of the file.
    pub fn read(dir: &Path, file: &Path) -> Result<Self, Problems> {
        let files = FolderFiles { dir: dir.to_owned(), texts: None };
        let path = match path::absolute(dir) {
            Ok(dir) => file.strip_prefix(dir).unwrap_or(file),
            Err(_) => file,
        };
        let report = ProblemReport::default();
        let document = TomlDocument::open(&files, path, &report);
        let read = document.as_ref().and_then(|document| {
            document.read(|table| (table.tables("api", answer), table.tables("case", router_case)))
        });
        let parsed = document.as_ref().and_then(|document| document.text().parse().ok());
        let (read, _) = report.conclude(read)?;
        let (api, cases) = read;
        let problem = |message: &str| Problems::new(vec![Problem::error(ConfigPlace::file(path), message)]);
        let cases: Vec<_> = cases.into_iter().flatten().collect();
        if cases.is_empty() {
            return Err(problem("the file has no `[[case]]`"));
        }
        // Two readers of one library: what one takes, the other does.
        let document = parsed.ok_or_else(|| problem("the file can't be read"))?;
        let api = api.into_iter().flatten().collect();
        Ok(Self { path: path.to_owned(), api, cases, full: dir.join(path), document })
    }

    /// Creates a file of recorded messages and the ends that they had. It is written by
    /// [`Self::save`].
    pub fn recorded<'a>(
        path: &Path,
        cases: impl Iterator<Item = (&'a str, &'a ArrivingMessage, &'a [CaseEnd])>,
    ) -> Self {
        let mut tables = ArrayOfTables::new();
        for (name, message, ends) in cases {
            let mut case = Table::new();
            case.insert("name", value(name));
            case.insert("event", Item::Table(message.table()));
            case.insert("expect", array(ends.iter().map(CaseEnd::table)));
            tables.push(case);
        }
        let mut document = DocumentMut::new();
        document.insert("case", Item::ArrayOfTables(tables));
        let (api, cases) = Default::default();
        Self { path: path.to_owned(), api, cases, full: path.to_owned(), document }
    }

    /// Changes what the case at this position expects.
    pub fn expect(&mut self, position: usize, updates: Vec<EndUpdate>) {
        let case = self.document.get_mut("case").and_then(tables).and_then(|cases| cases.get_mut(position));
        let Some(case) = case else { return };
        let old: Vec<Table> = match case.get_mut("expect").and_then(tables) {
            Some(old) => old.iter().cloned().collect(),
            None => Vec::new(),
        };
        let kept = |position: usize| old.get(position).cloned().unwrap_or_default();
        let new: Vec<Table> = updates
            .into_iter()
            .map(|update| match update {
                EndUpdate::Keep(position) => kept(position),
                EndUpdate::Change(position, end) => {
                    let mut table = kept(position);
                    end.write(&mut table);
                    table
                }
                EndUpdate::Add(end) => end.table(),
            })
            .collect();
        set(case, "expect", array(new.into_iter()));
    }

    /// Writes the file, at once. One that is there keeps its permissions, and a link to it stays.
    ///
    /// # Errors
    /// Returns an error if it can't be written.
    pub fn save(&self) -> io::Result<()> {
        let (full, permissions) = match self.full.canonicalize() {
            Ok(full) => {
                let permissions = fs::metadata(&full)?.permissions();
                (full, Some(permissions))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (self.full.clone(), None),
            Err(error) => return Err(error),
        };
        let mut temporary = full.clone().into_os_string();
        temporary.push(".tmp");
        fs::write(&temporary, self.document.to_string())?;
        if let Some(permissions) = permissions {
            fs::set_permissions(&temporary, permissions)?;
        }
        fs::rename(&temporary, &full)
    }
}

/// The tables of an array, which may be written inline.
fn tables(item: &mut Item) -> Option<&mut ArrayOfTables> {
    if let Some(inline) = item.as_array() {
        let tables = inline.iter().filter_map(|one| Some(one.as_inline_table()?.clone().into_table()));
        *item = Item::ArrayOfTables(tables.collect());
    }
    item.as_array_of_tables_mut()
}

impl ArrivingMessage {
    fn table(&self) -> Table {
        let mut table = Table::new();
        let mut text = |name: &str, text: Option<&str>| {
            if let Some(text) = text {
                table.insert(name, value(text));
            }
        };
        text("source", self.source.as_deref());
        text("subject", self.subject.as_deref());
        text("time", self.time.map(|time| time.to_string()).as_deref());
        match std::str::from_utf8(&self.payload) {
            Ok("") => {}
            Ok(payload) if json::check(payload.as_bytes()).is_ok() && payload.trim() == payload => {
                text("payload", Some(payload));
            }
            Ok(payload) => text("payload_text", Some(payload)),
            Err(_) => text("payload_base64", Some(&BASE64_STANDARD.encode(&self.payload))),
        }
        if let Some(sequence) = self.sequence.and_then(|sequence| i64::try_from(sequence).ok()) {
            table.insert("sequence", value(sequence));
        }
        if let Some(headers) = toml_value(&header_fields(&self.headers)).filter(|_| !self.headers.is_empty()) {
            table.insert("headers", Item::Value(headers));
        }
        table
    }
}

fn router_case(table: &mut TomlTable<'_>) -> Option<RouterCase> {
    let place = table.place();
    let name = table.text("name");
    let message = table.table("event", arriving_message);
    let tick = table.table("tick", case_tick);
    let api = table.tables("api", answer).into_iter().flatten().collect();
    let has_expectations = table.has("expect");
    let expect: Vec<_> = table.tables("expect", expected_end).into_iter().flatten().collect();
    let input = match (message, tick) {
        (Some(_), Some(_)) => {
            table.error(place, "a case has an `event` or a `tick`, not both", None);
            return None;
        }
        (_, Some(tick)) => CaseInput::Tick(tick?),
        (Some(message), None) => CaseInput::Message(Box::new(message?)),
        (None, None) => {
            let hint = r#"say what arrives: `event = { subject = "orders.created", payload = '{"amount":5}' }`"#;
            table.error(place, "the case has no `event`", Some(hint.to_owned()));
            return None;
        }
    };
    let name = name.unwrap_or_else(|| format!("line {}", place.position.map_or(0, |position| position.line)));
    Some(RouterCase { name, place, input, api, expect: has_expectations.then_some(expect) })
}

fn arriving_message(table: &mut TomlTable<'_>) -> Option<ArrivingMessage> {
    let source = table.text("source");
    let subject = table.text("subject");
    let mut headers = Headers::default();
    for (name, given) in table.map("headers").into_iter().flatten() {
        match given.value {
            GivenValue::One(value) => headers.push(name.value, value),
            GivenValue::Many(values) => values.into_iter().for_each(|value| headers.push(name.value.as_str(), value)),
        }
    }
    let json = table.json_text("payload").map(Bytes::from);
    let text = table.text("payload_text").map(Bytes::from);
    let bytes = table.parsed("payload_base64", |text| BASE64_STANDARD.decode(text)).map(Bytes::from);
    let time = table.time("time");
    let sequence = table.count_from("sequence", 1);
    one_payload(table)?;
    let payload = json.or(text).or(bytes).unwrap_or_default();
    Some(ArrivingMessage { source, subject, headers, payload, time, sequence })
}

fn case_tick(table: &mut TomlTable<'_>) -> Option<CaseTick> {
    let key = table.required("key", TomlTable::text);
    let route = table.text("route");
    let time = table.time("time");
    Some(CaseTick { key: key?, route, time })
}

fn answer(table: &mut TomlTable<'_>) -> Option<CaseAnswer> {
    let call = table.required("call", |table, name| {
        table.parsed(name, |text| {
            let path = text.split_once('?').map_or(text, |(path, _)| path);
            path.parse::<Endpoint>().map(|_| text.to_owned())
        })
    });
    let status = table.count_from("status", 200).unwrap_or(200);
    if status > 599 {
        table.error(table.place_of("status"), format!("`status` can't be `{status}`: it must be at most 599"), None);
    }
    let json = table.json_text("body");
    let body = json.or_else(|| table.text("body_text")).unwrap_or_default();
    Some(CaseAnswer { call: call?, status, body, place: Some(table.place_of("call")) })
}
