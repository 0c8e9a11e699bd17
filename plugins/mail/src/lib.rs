//! `mail`: the mail of one mailbox, with as much of each message as is wanted (L55).

mod api;
#[path = "../../border.rs"]
mod border;

use api::Call;
use border::{Filter, Rules};
use exports::trommel::filter::lifecycle;
use serde_json::{Map, Value};
use trommel::filter::{
    api as host,
    types::{Event, Failure, Fields, Hooks, Outcome, Params},
};

wit_bindgen::generate!({
    path: "../../wit/v0.1.0",
    world: "filter-lifecycle",
    additional_derives: [PartialEq],
});

/// Folders and labels that every mailbox has, by the names that people give them.
const SYSTEM: [&str; 9] = ["INBOX", "SENT", "DRAFT", "TRASH", "SPAM", "ARCHIVED", "IMPORTANT", "FLAGGED", "OTHER"];

/// Members of a message, by the level from which on they are wanted.
const MEMBERS: [(&str, Level); 8] = [
    ("from", Level::Metadata),
    ("subject", Level::Metadata),
    ("snippet", Level::Metadata),
    ("folder_id", Level::Metadata),
    ("label_ids", Level::Metadata),
    ("body_text", Level::PlainTextFull),
    ("body_html", Level::Full),
    ("attachments", Level::Full),
];

/// How much of a message is wanted. Only for the first level nobody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Event,
    Metadata,
    PlainTextFull,
    Full,
}

impl Level {
    const ALL: [(&str, Self); 4] = [
        ("event", Self::Event),
        ("metadata", Self::Metadata),
        ("plain_text_full", Self::PlainTextFull),
        ("full", Self::Full),
    ];

    fn parse(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == word);
        match (word, found) {
            ("", _) => Ok(Self::Event),
            (_, Some((_, level))) => Ok(*level),
            _ => {
                let known = Self::ALL.map(|(name, _)| name).join("`, `");
                Err(format!("`level` can't be `{word}`: it is one of `{known}`"))
            }
        }
    }

    /// What the API calls a message with that much in it.
    fn format(self) -> &'static str {
        match self {
            Self::Event | Self::Metadata => "metadata",
            Self::PlainTextFull => "plain_text_full",
            Self::Full => "full",
        }
    }
}

struct Mail {
    /// An address; empty or `me` only before the params are normalised.
    mailbox: String,
    level: Level,
    /// The message must be in one of these...
    folders: Vec<String>,
    /// ...and have all of these.
    labels: Vec<String>,
}

impl Rules for Mail {
    const HOOKS: Hooks = Hooks::MATCHES.union(Hooks::PROCESS);
    const MATCH_READS: Fields = Fields::PAYLOAD;
    const CAPABILITIES: &[&str] = &["api"];

    fn new(params: &Params) -> Result<Self, String> {
        let [mailbox, level, folders, labels] = border::known(params, ["mailbox", "level", "folders", "labels"])?;
        Ok(Self {
            mailbox: mailbox.trim().to_owned(),
            level: Level::parse(level.trim())?,
            folders: list(folders),
            labels: list(labels),
        })
    }

    fn normalize(params: Params) -> Result<Params, Failure> {
        normalize(params, &host::call)
    }

    /// Compares the address. What can't be read passes: `process` says what is wrong with it.
    fn matches(&self, event: &Event) -> bool {
        let payload = event.payload.as_deref().and_then(|payload| serde_json::from_slice::<Value>(payload).ok());
        let address = payload.as_ref().and_then(|payload| payload.pointer("/event/mail_address")?.as_str());
        address.is_none_or(|address| address.eq_ignore_ascii_case(&self.mailbox))
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        self.deliver(&event.payload.unwrap_or_default(), &host::call)
    }
}

impl Mail {
    fn deliver(&self, payload: &[u8], call: Call<'_>) -> Result<Outcome, Failure> {
        let mut payload: Value = serde_json::from_slice(payload)
            .map_err(|error| Failure::Malformed(format!("the payload is not JSON: {error}")))?;
        let Some(Value::Object(mut mail)) = payload.get_mut("event").map(Value::take) else {
            return Err(Failure::Malformed("the payload has no object `event`".to_owned()));
        };
        if self.level > Level::Event || !self.folders.is_empty() || !self.labels.is_empty() {
            let Some(id) = mail.get("message_id").and_then(Value::as_str).filter(|id| !id.is_empty()) else {
                return Err(Failure::Malformed("the payload has no text at `/event/message_id`".to_owned()));
            };
            let mut message = api::message(call, &self.mailbox, id, self.level.format())?;
            if !self.wants(&message) {
                return Ok(Outcome::Drop);
            }
            let wanted = MEMBERS.iter().filter(|(_, level)| *level <= self.level);
            mail.extend(wanted.filter_map(|(name, _)| message.remove_entry(*name)));
        }
        Ok(Outcome::Replace(Value::Object(mail).to_string().into_bytes()))
    }

    fn wants(&self, message: &Map<String, Value>) -> bool {
        let folder = message.get("folder_id").and_then(Value::as_str);
        let labels = message.get("label_ids").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let in_folder =
            self.folders.is_empty() || folder.is_some_and(|folder| self.folders.iter().any(|f| f == folder));
        in_folder && self.labels.iter().all(|label| labels.iter().any(|there| there == label))
    }
}

/// Puts the real address in the place of `me` or nothing, so that everything else sees but one name of a mailbox.
fn normalize(mut params: Params, call: Call<'_>) -> Result<Params, Failure> {
    let rules = Mail::new(&params).map_err(Failure::Malformed)?;
    let address = match rules.mailbox.as_str() {
        "" => api::own_address(call)?,
        me if me.eq_ignore_ascii_case("me") => api::own_address(call)?,
        _ => rules.mailbox,
    };
    params.retain(|(name, _)| name != "mailbox");
    params.push(("mailbox".to_owned(), address));
    params.sort_unstable();
    Ok(params)
}

/// Names parted by commas or lines. Those that every mailbox has may be written in any case.
fn list(names: &str) -> Vec<String> {
    let names = names.split([',', '\n']).map(str::trim).filter(|name| !name.is_empty());
    let id = |name: &str| SYSTEM.iter().find(|id| id.eq_ignore_ascii_case(name)).map_or(name, |id| id).to_owned();
    names.map(id).collect()
}

/// The API tells of new mail only where somebody has asked for it.
impl lifecycle::Guest for Filter<Mail> {
    /// The token is the mailbox that was subscribed to.
    fn pre_consume(_key: String, params: Params) -> Result<Option<String>, Failure> {
        let mail = Mail::new(&params).map_err(Failure::Malformed)?;
        api::set_subscribed(&host::call, &mail.mailbox, true)?;
        Ok(Some(mail.mailbox))
    }

    fn cleanup(_key: String, _params: Params, mailbox: String) -> Result<(), Failure> {
        api::set_subscribed(&host::call, &mailbox, false)
    }
}

type Exported = Filter<Mail>;
export!(Exported);

#[cfg(test)]
mod tests;
