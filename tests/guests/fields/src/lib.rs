//! All that version 0.2 of the contract has, as its params say.
//!
//! Params: `where`, `match_reads`, `process_reads` and `sinks` are the interest, names separated by blanks. `wanted` is
//! the value of the first field that `matches` wants, any without it. `mode` is what `process` does: see [`process`].

use exports::trommel::filter::filter::{
    Event, EventBatch, Failure, Guest, GuestSubscription, Interest, Outcome, Params,
};
use trommel::filter::{
    log, state,
    types::{Cause, Change, Edit, Emission, FailureKind, Fate},
};

wit_bindgen::generate!({ path: "../../../wit/v0.2.0", world: "filter-component" });

const MANIFEST: &str = r#"{
    "name": "fields",
    "version": "1.0.0",
    "description": "All that version 0.2 has",
    "hooks": ["normalize-params", "matches", "matches-batch", "process", "process-batch"],
    "params": [
        { "name": "mode", "description": "what it does" },
        { "name": "argument" }, { "name": "where" }, { "name": "wanted" }, { "name": "sinks" }, { "name": "refuse" },
        { "name": "match_reads" }, { "name": "process_reads" }
    ],
    "grants": [{ "name": "state", "reason": "keeps values" }],
    "api": ["GET /none"],
    "memory": "16MiB"
}"#;

struct Fields;

impl Guest for Fields {
    type Subscription = Subscription;

    fn describe() -> String {
        MANIFEST.to_owned()
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

struct Subscription(Params);

impl Subscription {
    fn param(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    fn words(&self, name: &str) -> Vec<String> {
        self.param(name).split_whitespace().map(str::to_owned).collect()
    }

    fn wants(&self, first: Option<&[u8]>) -> bool {
        let wanted = self.param("wanted");
        if self.param("mode") == "log" && log::enabled(log::Level::Info) {
            log::write(log::Level::Info, "asked", &[("first".to_owned(), text(first))]);
        }
        if self.param("mode") == "trap-batch" && first == Some(b"\"poison\"") {
            unreachable!("poison");
        }
        wanted.is_empty() || text(first) == wanted
    }

    fn process(&self, event: &[Option<&[u8]>], count: usize) -> Result<Outcome, Failure> {
        let argument = self.param("argument");
        match self.param("mode") {
            // The values, one a line, `-` for those that are not there.
            "echo" => {
                let values: Vec<_> = event.iter().map(|value| text(*value)).collect();
                Ok(Outcome::Replace(values.join("\n").into()))
            }
            // How many events came in one call.
            "count" => Ok(Outcome::Replace(count.to_string().into())),
            "drop" => Ok(Outcome::Drop),
            // A line each: `FIELD set VALUE`, `FIELD remove`, `FIELD rename NAME`.
            "edit" => Ok(Outcome::Edit(argument.lines().map(edit).collect())),
            // A line each: `PAYLOAD SINK ID SUBJECT HEADER CODE`, `-` for none.
            "emit" => Ok(Outcome::Emit(argument.lines().map(emission).collect())),
            "malformed" => Err(failure(FailureKind::Malformed, argument)),
            "retry" => Err(failure(FailureKind::Retry(10), argument)),
            "failed" => Err(failure(FailureKind::Failed, argument)),
            "broken" => Err(failure(FailureKind::Broken, argument)),
            // Until the count of calls for this event is reached.
            "defer" => match state::increment(&text(event[0]), 1, None) {
                Ok(calls) if calls.to_string() == argument => Ok(Outcome::Keep),
                Ok(_) => Err(failure(FailureKind::Defer(50), "not yet")),
                Err(error) => Err(failure(FailureKind::Failed, &format!("{error:?}"))),
            },
            "state" => Ok(Outcome::Replace(states().into())),
            // A call of the store a line, `{}` for the first field; the answers, one a line.
            "store" => {
                let first = text(event.first().copied().flatten());
                let lines: Vec<_> = argument.lines().map(|line| stored(&line.replace("{}", first.trim_matches('"')))).collect();
                Ok(Outcome::Replace(lines.join("\n").into()))
            }
            _ => Ok(Outcome::Keep),
        }
    }
}

fn states() -> String {
    let said = [
        format!("{:?}", state::swap("a", None, b"1", None)),
        format!("{:?}", state::swap("a", None, b"2", None)),
        format!("{:?}", state::swap("a", Some(b"1"), b"2", None)),
        format!("{:?}", state::increment("a", 3, None)),
        format!("{:?}", state::keys("")),
        format!("{:?}", state::keys("b")),
    ];
    said.join("\n")
}

/// Makes one call of the store: its name and arguments, separated by blanks, `-` for none.
fn stored(line: &str) -> String {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let words: Vec<_> = words.map(|word| (word != "-").then_some(word)).collect();
    let word = |at: usize| words.get(at).copied().flatten();
    let (key, ttl) = (word(0).unwrap_or_default(), |at| word(at).and_then(|word| word.parse().ok()));
    let shown = |value: Option<Vec<u8>>| text(value.as_deref());
    match name {
        "get" => format!("{:?}", state::get(key).map(shown)),
        "get-many" => {
            let keys: Vec<_> = words.iter().map(|word| word.unwrap_or_default().to_owned()).collect();
            format!("{:?}", state::get_many(&keys).map(|values| values.into_iter().map(shown).collect::<Vec<_>>()))
        }
        "set" => format!("{:?}", state::set(key, word(1).unwrap_or_default().as_bytes(), ttl(2))),
        "set-many" => {
            let pair = |word: &Option<&str>| {
                let (key, value) = word.unwrap_or_default().split_once('=').unwrap_or_default();
                (key.to_owned(), value.into())
            };
            format!("{:?}", state::set_many(&words.iter().map(pair).collect::<Vec<_>>(), None))
        }
        "delete-many" => {
            let keys: Vec<_> = words.iter().map(|word| word.unwrap_or_default().to_owned()).collect();
            format!("{:?}", state::delete_many(&keys))
        }
        "fill" => format!("{:?}", state::set(key, &vec![b'x'; ttl(1).unwrap_or_default() as usize], ttl(2))),
        "delete" => format!("{:?}", state::delete(key)),
        "keys" => {
            let sorted = |mut keys: Vec<String>| {
                keys.sort();
                keys
            };
            format!("{:?}", state::keys(key).map(sorted))
        }
        "increment" => format!("{:?}", state::increment(key, 1, ttl(1))),
        "swap" => {
            let (old, new) = (word(1).map(str::as_bytes), word(2).unwrap_or_default().as_bytes());
            format!("{:?}", state::swap(key, old, new, ttl(3)))
        }
        _ => format!("no call `{line}`"),
    }
}

fn text(value: Option<&[u8]>) -> String {
    value.map_or("-".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

fn failure(kind: FailureKind, text: &str) -> Failure {
    let (code, detail) = text.split_once(' ').unwrap_or((text, ""));
    Failure { kind, cause: Cause { code: Some(code.to_owned()), detail: detail.to_owned() } }
}

fn edit(line: &str) -> Edit {
    let (field, change) = line.split_once(' ').unwrap_or((line, ""));
    let change = match change.split_once(' ') {
        Some(("set", value)) => Change::Set(value.into()),
        Some(("rename", name)) => Change::Rename(name.to_owned()),
        _ => Change::Remove,
    };
    Edit { field: field.to_owned(), change }
}

fn emission(line: &str) -> Emission {
    let mut words = line.split(' ').map(|word| (word != "-").then(|| word.to_owned()));
    let mut next = || words.next().flatten();
    let payload = next().unwrap_or_default().into();
    let (sink, id, subject, header, code) = (next(), next(), next(), next(), next());
    let headers = header.map(|header| match header.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (header, None),
    });
    let fate = match code {
        Some(code) => Fate::Bury(Cause { code: Some(code), detail: "no use".to_owned() }),
        None => Fate::Send,
    };
    Emission { payload, sink, id, not_before: None, subject, headers: headers.into_iter().collect(), fate }
}

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Result<Self, Failure> {
        let own = Self(params);
        match own.param("refuse") {
            "" => Ok(own),
            why => Err(Failure {
                kind: FailureKind::Malformed,
                cause: Cause { code: None, detail: why.to_owned() },
            }),
        }
    }

    fn interest(&self) -> Interest {
        Interest {
            condition: self.param("where").to_owned(),
            match_reads: self.words("match_reads"),
            process_reads: self.words("process_reads"),
            sinks: self.words("sinks"),
        }
    }

    fn matches(&self, event: Event) -> bool {
        self.wants(event.first().and_then(Option::as_deref))
    }

    fn matches_batch(&self, events: EventBatch) -> Vec<u64> {
        let rows = rows(&events);
        let mut answers = vec![0; rows.len().div_ceil(64)];
        for (index, row) in rows.iter().enumerate() {
            answers[index / 64] |= u64::from(self.wants(row.first().copied().flatten())) << (index % 64);
        }
        answers
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let event: Vec<_> = event.iter().map(Option::as_deref).collect();
        self.process(&event, 1)
    }

    fn tick(&self, _now: u64) -> Result<Vec<Emission>, Failure> {
        Ok(Vec::new())
    }

    fn process_batch(&self, events: EventBatch) -> Vec<Result<Outcome, Failure>> {
        let rows = rows(&events);
        if self.param("mode") == "short" {
            return Vec::new();
        }
        rows.iter().map(|row| self.process(row, rows.len())).collect()
    }
}

/// The values of the fields of each event.
fn rows(EventBatch { arena, index }: &EventBatch) -> Vec<Vec<Option<&[u8]>>> {
    let number = |at: usize| {
        let bytes = index[at * 4..][..4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    assert_eq!(number(0), 2, "the layout");
    let (events, fields) = (number(1), number(2));
    let value = |at: usize| match number(at) {
        0xffff_ffff => None,
        offset => Some(&arena[offset..][..number(at + 1)]),
    };
    (0..events).map(|event| (0..fields).map(|field| value(3 + 2 * (event * fields + field))).collect()).collect()
}

export!(Fields);
