//! `mail`: the mail of one mailbox, with as much of each message as is wanted (L55).

mod api;

use serde::Deserialize;
use serde_json::{Map, Value};
use trommel_filter::{
    Failure, Fields, FromParams, Lifecycle, Matches, Normalize, Outcome, Params, Process, Result, export,
};

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

    fn parse(word: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == word);
        match (word, found) {
            ("", _) => Ok(Self::Event),
            (_, Some((_, level))) => Ok(*level),
            _ => {
                let known = Self::ALL.map(|(name, _)| name).join("`, `");
                Err(Failure::malformed(format!("`level` can't be `{word}`: it is one of `{known}`")))
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

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    mailbox: String,
    level: String,
    folders: String,
    labels: String,
}

impl FromParams for Mail {
    type Params = Written;

    fn from_params(_key: &str, Written { mailbox, level, folders, labels }: Written) -> Result<Self> {
        let (mailbox, level) = (mailbox.trim().to_owned(), Level::parse(level.trim())?);
        Ok(Self { mailbox, level, folders: list(&folders), labels: list(&labels) })
    }
}

/// Puts the real address in the place of `me` or nothing, so that everything else sees but one name of a mailbox.
impl Normalize for Mail {
    fn normalize(key: &str, mut params: Params) -> Result<Params> {
        let of = |name| params.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value).to_owned();
        let [mailbox, level] = ["mailbox", "level"].map(of);
        let mail = Self::from_params(key, Written { mailbox, level, ..Written::default() })?;
        let address = match mail.mailbox.as_str() {
            "" => api::own_address()?,
            me if me.eq_ignore_ascii_case("me") => api::own_address()?,
            _ => mail.mailbox,
        };
        params.retain(|(name, _)| name != "mailbox");
        params.push(("mailbox".to_owned(), address));
        params.sort_unstable();
        Ok(params)
    }
}

#[derive(Fields)]
struct Address {
    #[field("/event/mail_address")]
    address: Option<Value>,
}

impl Matches for Mail {
    type Reads<'a> = Address;

    /// Compares the address. What is none passes: `process` says what is wrong with it.
    fn matches(&self, Address { address }: Address) -> bool {
        let address = address.as_ref().and_then(Value::as_str);
        address.is_none_or(|address| address.eq_ignore_ascii_case(&self.mailbox))
    }
}

#[derive(Fields)]
struct Received {
    #[field("/event")]
    mail: Option<Value>,
}

impl Process for Mail {
    type Reads<'a> = Received;

    fn process(&self, Received { mail }: Received) -> Result<Outcome> {
        let Some(Value::Object(mut mail)) = mail else {
            return Err(Failure::malformed("the payload has no object `event`"));
        };
        if self.level > Level::Event || !self.folders.is_empty() || !self.labels.is_empty() {
            let Some(id) = mail.get("message_id").and_then(Value::as_str).filter(|id| !id.is_empty()) else {
                return Err(Failure::malformed("the payload has no text at `/event/message_id`"));
            };
            let mut message = api::message(&self.mailbox, id, self.level.format())?;
            if !self.wants(&message) {
                return Ok(Outcome::Drop);
            }
            let wanted = MEMBERS.iter().filter(|(_, level)| *level <= self.level);
            mail.extend(wanted.filter_map(|(name, _)| message.remove_entry(*name)));
        }
        Outcome::replace_json(&mail)
    }
}

impl Mail {
    fn wants(&self, message: &Map<String, Value>) -> bool {
        let folder = message.get("folder_id").and_then(Value::as_str);
        let labels = message.get("label_ids").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let in_folder =
            self.folders.is_empty() || folder.is_some_and(|folder| self.folders.iter().any(|f| f == folder));
        in_folder && self.labels.iter().all(|label| labels.iter().any(|there| there == label))
    }
}

/// Names parted by commas or lines. Those that every mailbox has may be written in any case.
fn list(names: &str) -> Vec<String> {
    let names = names.split([',', '\n']).map(str::trim).filter(|name| !name.is_empty());
    let id = |name: &str| SYSTEM.iter().find(|id| id.eq_ignore_ascii_case(name)).map_or(name, |id| id).to_owned();
    names.map(id).collect()
}

/// The API tells of new mail only where somebody has asked for it.
impl Lifecycle for Mail {
    /// The token is the mailbox that was subscribed to.
    fn pre_consume(self, _key: &str) -> Result<Option<String>> {
        api::set_subscribed(&self.mailbox, true)?;
        Ok(Some(self.mailbox))
    }

    fn cleanup(self, _key: &str, mailbox: &str) -> Result<()> {
        api::set_subscribed(mailbox, false)
    }
}

export!(Mail, api = "asks for messages, and for events of new mail", lifecycle);

#[cfg(test)]
mod tests;
