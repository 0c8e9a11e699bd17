//! The messages on the control socket: JSON objects with a `type`, one a line (L89 to L93). An
//! unknown type is ignored on an open connection, and ends one that begins with it.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::operation::{Operation, OperationRefusal, OperationResult};
use crate::{
    event::GivenEvent,
    filter::Params,
    health::PartHealth,
    metrics::SourceMetrics,
    recent::{EndedEvent, RecentQuery},
};

/// Version of the protocol. A router refuses consumers of another one (L99).
pub const VERSION: &str = "v1";
/// Longest line that a router reads, in bytes.
pub const MAX_REQUEST: usize = 1 << 20;
/// Longest line that a consumer reads, in bytes: room for the largest output and its JSON encoding.
pub const MAX_ANSWER: usize = 256 << 20;

/// A request to a router.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlRequest {
    Hello(Hello),
    StatusQuery {
        /// Asks also for the most recently ended events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        events: Option<RecentQuery>,
    },
    PluginsQuery,
    /// Asks for the next event that comes in, whatever its source.
    SampleQuery,
    /// Asks for a [`FeedMessage`](crate::feed::FeedMessage) a line, from now on.
    FeedQuery,
    Shutdown {
        /// Stops even while consumers are attached.
        force: bool,
    },
    /// Asks for a change while the router runs.
    Operate {
        operation: Operation,
    },
    /// Drains the router, and asks for news until it is empty.
    Drain,
    Bye,
    #[serde(other)]
    Unknown,
}

/// The first message of a consumer: its identity and its request.
#[derive(Debug, Deserialize, Serialize)]
pub struct Hello {
    pub version: String,
    pub pid: u32,
    pub key: String,
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Pattern of the subjects that the consumer wants of the key's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Conditions beside those of the key, in the language of `where`; empty for none.
    #[serde(default, rename = "where", skip_serializing_if = "String::is_empty")]
    pub conditions: String,
    /// Frames that may wait for the consumer.
    pub buffer: usize,
}

/// A message from a router, except events ([`OutputEvent`]), whose payload is not parsed on the
/// way.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RouterAnswer {
    HelloAck(HelloAck),
    Rejected(Rejected),
    StatusResponse(RouterStatus),
    PluginsResponse {
        plugins: Vec<PluginStatus>,
    },
    SampleResponse {
        /// `None` if none came for a while.
        event: Option<GivenEvent>,
    },
    ShutdownAck {
        pid: u32,
        stopping: bool,
        /// Process ids of the consumers that prevent the stop.
        consumers: Vec<u32>,
    },
    Operated {
        result: OperationResult,
    },
    Refused(OperationRefusal),
    /// The router takes nothing new. Repeated until it is empty, or gives up what is left.
    Draining {
        in_flight: i64,
    },
    /// The drain is over.
    Drained {
        /// Events that were not done in time: they go back to their sources.
        given_back: i64,
    },
    /// Report that a source has lost or regained its connection. Best effort.
    SourceStatus {
        source: String,
        state: SourceState,
    },
    Bye {
        reason: Farewell,
        message: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct HelloAck {
    pub version: String,
    pub pid: u32,
    /// Id of the subscription: of the consumers that share it, only the first one's arrival and the
    /// last one's departure are reported upstream.
    pub subscription_id: String,
    /// True if it is the only consumer with this subscription.
    pub first_for_key: bool,
    /// The params as the key's filter has normalised them.
    pub params: Params,
}

/// Rejection of a consumer.
#[derive(Debug, Deserialize, Serialize)]
pub struct Rejected {
    pub subtype: String,
    pub message: String,
    pub hint: Option<String>,
}

/// Reason for which a router ends a connection.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Farewell {
    /// The sources have no more events.
    EndOfInput,
    /// The router was told to stop.
    Stopped,
    /// The key is gone, or does not accept the consumer's params any more.
    Lost,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct RouterStatus {
    pub pid: u32,
    pub router: String,
    pub uptime_sec: u64,
    pub generation: u64,
    pub consumers: Vec<ConsumerStatus>,
    pub sources: Vec<SourceStatus>,
    pub quarantined: Vec<String>,
    /// Health of each part. Absent from routers before this was there.
    #[serde(default)]
    pub health: Vec<PartHealth>,
    /// The most recently ended events, the newest first, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EndedEvent>>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ConsumerStatus {
    /// `None` for a client of `/tail`.
    pub pid: Option<u32>,
    pub key: String,
    pub subscription_id: String,
    /// Outputs that the route emitted for it.
    pub received: u64,
    /// Outputs dropped because they were not read in time.
    pub dropped: u64,
}

/// A component in service.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct PluginStatus {
    pub name: String,
    /// Version in its manifest.
    pub version: String,
    /// SHA-256 of its file, in hex.
    pub digest: String,
    /// Keys that use it and have a route.
    pub keys: Vec<String>,
    pub quarantined: bool,
    pub matches: u64,
    /// Mean nanoseconds of a call, over a sample; absent before the first.
    pub match_ns: Option<u64>,
    pub processes: u64,
    pub process_ns: Option<u64>,
    pub breaks: u64,
    pub reloads: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    pub name: String,
    pub state: SourceState,
    pub received: u64,
    pub in_flight: i64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    Connected,
    Disconnected,
}

impl SourceState {
    pub fn of(metrics: &SourceMetrics) -> Self {
        if metrics.connected.get() == 0 { Self::Disconnected } else { Self::Connected }
    }
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        })
    }
}

/// One output.
#[derive(Debug, Deserialize)]
pub struct OutputEvent<'a> {
    /// Number of the output on this connection, from 1: a jump shows how many were dropped (L97).
    pub seq: u64,
    #[serde(borrow)]
    pub event_id: Cow<'a, str>,
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub subject: Cow<'a, str>,
    /// Empty where the event has none (L92).
    #[serde(borrow)]
    pub source_time: Cow<'a, str>,
    /// RFC 3339, to the nanosecond.
    #[serde(borrow)]
    pub observed_at: Cow<'a, str>,
    /// A payload that is not JSON is a string, and one that is not UTF-8 is `{"base64":".."}`.
    #[serde(borrow)]
    pub payload: &'a RawValue,
}

/// A line from a router.
#[derive(Debug)]
pub enum RouterLine<'a> {
    Event(OutputEvent<'a>),
    Answer(RouterAnswer),
}

impl<'a> RouterLine<'a> {
    /// # Errors
    /// Returns an error if it is not a JSON object with a `type`, or lacks a field of its type.
    pub fn parse(line: &'a [u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct LineKind<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
        }
        let LineKind { kind } = serde_json::from_slice(line)?;
        match &*kind {
            "event" => serde_json::from_slice(line).map(Self::Event),
            _ => serde_json::from_slice(line).map(Self::Answer),
        }
    }
}

/// The part of an event's line before its number and its payload.
#[derive(Serialize)]
#[serde(tag = "type", rename = "event")]
pub struct EventHeading<'a> {
    pub event_id: &'a str,
    pub event_type: &'a str,
    pub subject: &'a str,
    pub source_time: &'a str,
    pub observed_at: &'a str,
}

/// End of an event's line, after its payload.
pub const EVENT_END: &[u8] = b"}\n";

impl EventHeading<'_> {
    /// Beginning of the line, up to its number.
    pub fn begin(&self) -> Vec<u8> {
        // Strings can't fail to be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.pop();
        line
    }
}

/// Continues a line from [`EventHeading::begin`], up to its payload.
pub fn number(line: &mut Vec<u8>, seq: u64) {
    line.extend_from_slice(format!(",\"seq\":{seq},\"payload\":").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_there_and_back() {
        let heading = EventHeading {
            event_id: "e\"1",
            event_type: "t",
            subject: "s",
            source_time: "2025-12-31T23:59:59Z",
            observed_at: "2026-01-01T00:00:00Z",
        };
        let mut line = heading.begin();
        number(&mut line, 7);
        line.extend_from_slice(br#"{"n": 1.0}"#);
        line.extend_from_slice(EVENT_END);
        let RouterLine::Event(read) = RouterLine::parse(&line).unwrap() else { unreachable!("{line:?}") };
        assert_eq!((read.seq, &*read.event_id, read.payload.get()), (7, "e\"1", r#"{"n": 1.0}"#));
        let OutputEvent { event_type, subject, source_time, observed_at, .. } = read;
        let fields = [event_type, subject, source_time, observed_at];
        assert_eq!(fields, ["t", "s", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"]);
    }

    #[test]
    fn unknown_types_are_told_from_nonsense() {
        let request = |text: &str| serde_json::from_str::<ControlRequest>(text);
        assert!(matches!(request(r#"{"type":"news","x":1}"#), Ok(ControlRequest::Unknown)));
        assert!(matches!(RouterLine::parse(br#"{"type":"news"}"#), Ok(RouterLine::Answer(RouterAnswer::Unknown))));
        assert!(request("[]").is_err());
        assert!(RouterLine::parse(b"{}").is_err());
    }
}
