//! The event as a filter sees it.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{Failure, Result, bindings::trommel::filter::types, columns::Row};

/// One event. Beside its type, what the hook does not name in its `READS` is absent.
#[derive(Clone, Debug)]
pub struct Event<'a>(Parts<'a>);

/// The parts, one by one or where they stand in a batch.
#[derive(Clone, Debug)]
enum Parts<'a> {
    Single(Single<'a>),
    Row(Row<'a>),
}

#[derive(Clone, Debug)]
struct Single<'a> {
    event_type: &'a str,
    id: Option<&'a str>,
    subject: Option<&'a str>,
    source_time: Option<&'a str>,
    observed_at: u64,
    attempt: u32,
    headers: Option<Cow<'a, [(String, String)]>>,
    payload: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    pub fn event_type(&self) -> &'a str {
        match &self.0 {
            Parts::Single(parts) => parts.event_type,
            Parts::Row(row) => text(row.event_type()),
        }
    }

    pub fn id(&self) -> Option<&'a str> {
        match &self.0 {
            Parts::Single(parts) => parts.id,
            Parts::Row(row) => row.id().map(text),
        }
    }

    pub fn subject(&self) -> Option<&'a str> {
        match &self.0 {
            Parts::Single(parts) => parts.subject,
            Parts::Row(row) => row.subject().map(text),
        }
    }

    /// When the event happened, as its producer wrote it; absent also when the producer did not say.
    pub fn source_time(&self) -> Option<&'a str> {
        match &self.0 {
            Parts::Single(parts) => parts.source_time,
            Parts::Row(row) => row.source_time().map(text),
        }
    }

    /// When the router saw the event, in Unix nanoseconds.
    pub fn observed_at(&self) -> u64 {
        match &self.0 {
            Parts::Single(parts) => parts.observed_at,
            Parts::Row(row) => row.observed_at(),
        }
    }

    /// 1 on the first delivery.
    pub fn attempt(&self) -> u32 {
        match &self.0 {
            Parts::Single(parts) => parts.attempt,
            Parts::Row(row) => row.attempt(),
        }
    }

    /// The first value under `name`, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        match &self.0 {
            Parts::Single(parts) => {
                let mut headers = parts.headers.iter().flat_map(|headers| headers.iter());
                headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
            }
            Parts::Row(row) => {
                let mut headers = row.headers()?;
                headers.find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| text(value))
            }
        }
    }

    /// Name and value of every header, in the order in which they came.
    pub fn headers(&self) -> Option<Vec<(&str, &str)>> {
        match &self.0 {
            Parts::Single(parts) => {
                let headers = parts.headers.as_ref()?.iter();
                Some(headers.map(|(name, value)| (name.as_str(), value.as_str())).collect())
            }
            Parts::Row(row) => Some(row.headers()?.map(|(name, value)| (text(name), text(value))).collect()),
        }
    }

    pub fn payload(&self) -> Option<&'a [u8]> {
        match &self.0 {
            Parts::Single(parts) => parts.payload,
            Parts::Row(row) => row.payload(),
        }
    }

    /// The payload as text.
    ///
    /// # Errors
    /// [`Failure::Malformed`] when it is none.
    pub fn text(&self) -> Result<&'a str> {
        let text = str::from_utf8(self.read_payload()?);
        text.map_err(|error| Failure::Malformed(format!("the payload is no text: {error}")))
    }

    /// The payload as JSON of this form.
    ///
    /// # Errors
    /// [`Failure::Malformed`] when it is not.
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T> {
        let value = serde_json::from_slice(self.read_payload()?);
        value.map_err(|error| Failure::Malformed(format!("the payload is not what it should be: {error}")))
    }

    fn read_payload(&self) -> Result<&'a [u8]> {
        self.payload().ok_or_else(|| Failure::Broken("the payload is not among what is read: add it to `READS`".into()))
    }
}

/// Texts of a batch come from texts of the router.
#[expect(clippy::expect_used, reason = "the call must end, for nothing that it says could be trusted")]
fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the router hands over UTF-8")
}

/// Events for tests.
impl<'a> Event<'a> {
    /// An event on its first delivery, with nothing but its type.
    pub fn new(event_type: &'a str) -> Self {
        let (id, subject, source_time, headers, payload) = Default::default();
        let single = Single { event_type, id, subject, source_time, observed_at: 0, attempt: 1, headers, payload };
        Self(Parts::Single(single))
    }

    #[must_use]
    pub fn with_id(self, id: &'a str) -> Self {
        self.with(|parts| parts.id = Some(id))
    }

    #[must_use]
    pub fn with_subject(self, subject: &'a str) -> Self {
        self.with(|parts| parts.subject = Some(subject))
    }

    #[must_use]
    pub fn with_source_time(self, source_time: &'a str) -> Self {
        self.with(|parts| parts.source_time = Some(source_time))
    }

    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        self.with(|parts| parts.attempt = attempt)
    }

    /// Adds one header to those that are there.
    #[must_use]
    pub fn with_header(self, name: &str, value: &str) -> Self {
        let header = (name.to_owned(), value.to_owned());
        self.with(|parts| parts.headers.get_or_insert_default().to_mut().push(header))
    }

    #[must_use]
    pub fn with_payload(self, payload: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.with(|parts| parts.payload = Some(payload.as_ref()))
    }

    fn with(mut self, set: impl FnOnce(&mut Single<'a>)) -> Self {
        if let Parts::Single(parts) = &mut self.0 {
            set(parts);
        }
        self
    }
}

impl<'a> From<Row<'a>> for Event<'a> {
    fn from(row: Row<'a>) -> Self {
        Self(Parts::Row(row))
    }
}

impl<'a> From<&'a types::Event> for Event<'a> {
    fn from(event: &'a types::Event) -> Self {
        Self(Parts::Single(Single {
            event_type: &event.event_type,
            id: event.id.as_deref(),
            subject: event.subject.as_deref(),
            source_time: event.source_time.as_deref(),
            observed_at: event.observed_at,
            attempt: event.attempt,
            headers: event.headers.as_deref().map(Cow::Borrowed),
            payload: event.payload.as_deref(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_absent_until_they_are_given() {
        let event = Event::new("created");
        assert_eq!((event.event_type(), event.attempt()), ("created", 1));
        assert_eq!((event.id(), event.subject(), event.source_time(), event.headers()), (None, None, None, None));
        let Err(Failure::Broken(why)) = event.text() else { panic!("there is no payload") };
        assert!(why.contains("`READS`"), "{why}");
    }

    #[test]
    fn the_first_header_of_a_name_counts_whatever_its_case() {
        let event = Event::new("created").with_header("Region", "eu").with_header("region", "us");
        assert_eq!(event.header("REGION"), Some("eu"));
        assert_eq!(event.header("absent"), None);
        assert_eq!(event.headers().unwrap(), [("Region", "eu"), ("region", "us")]);
    }

    #[test]
    fn payloads_that_are_not_what_they_should_be_are_malformed() {
        let event = Event::new("created").with_payload(r#"{"amount":-1}"#);
        assert_eq!(event.json::<serde_json::Value>().unwrap()["amount"], -1);
        let Err(Failure::Malformed(why)) = event.json::<Vec<u8>>() else { panic!("it is no list") };
        assert!(why.starts_with("the payload is not what it should be: invalid type: map"), "{why}");
        assert!(matches!(Event::new("created").with_payload(b"\xff").text(), Err(Failure::Malformed(_))));
    }

    /// As the router lays out two events, the second with nothing but its type.
    #[test]
    fn a_row_of_a_batch_reads_like_an_event_alone() {
        const NONE: [u32; 2] = [u32::MAX, 0];
        let arena = "id-1createdorders.eu{}aä".as_bytes();
        let first = [[0, 4], [4, 7], [11, 9], NONE, [20, 2], [1, 1], [7, 0]];
        let second = [NONE, [4, 7], NONE, NONE, NONE, [0, 0], [1, u32::MAX]];
        let mut index = vec![1, 2, 15, 34];
        index.extend(first.concat());
        index.push(1);
        index.extend(second.concat());
        index.push(0);
        index.extend([22, 1, 23, 2]);
        let index: Vec<u8> = index.into_iter().flat_map(u32::to_le_bytes).collect();
        let columns = crate::columns::Columns::new(arena, &index);
        let event = Event::from(columns.row(0));
        assert_eq!((event.event_type(), event.id(), event.subject()), ("created", Some("id-1"), Some("orders.eu")));
        assert_eq!((event.source_time(), event.payload()), (None, Some(&b"{}"[..])));
        assert_eq!((event.observed_at(), event.attempt()), ((1 << 32) + 1, 7));
        assert_eq!((event.header("A"), event.headers()), (Some("ä"), Some(vec![("a", "ä")])));
        let event = Event::from(columns.row(1));
        assert_eq!((event.event_type(), event.id(), event.payload(), event.headers()), ("created", None, None, None));
    }
}
