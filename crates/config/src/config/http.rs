//! A listener that receives events, as a source.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use super::{ConfigPlace, EventField, KeptIn, SubjectPlaceholder, TextTemplate};

/// A listener that receives events.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSource {
    pub listen: SocketAddr,
    /// Path without a trailing slash, so empty for the root.
    pub path: String,
    /// True if the path is followed by the tenant of a request's events.
    pub tenant_in_path: bool,
    /// Subject of all messages. Without one, the rest of the URL after the path is the subject.
    pub fixed_subject: Option<String>,
    /// `None` accepts events from every client.
    pub auth: Option<ClientAuth>,
    /// True if only local clients may send events, without authentication. Requests that browsers
    /// make for other sites are refused.
    pub is_this_machines: bool,
    /// Value of the header `tenant` of all events.
    pub tenant: Option<String>,
    pub answer: AnswerPoint,
    pub rate: Option<RateLimit>,
    /// Rate of each tenant.
    pub tenant_rate: Option<RateLimit>,
    /// Bytes of one request.
    pub max_body: usize,
    /// Bytes of one request's head.
    pub max_head: usize,
    /// Clients that may be connected at once.
    pub connections: usize,
    /// Longest time for a request's head, counted from when it could begin, for its body, and for
    /// an answer.
    pub timeout: Duration,
    /// Position of its declaration, for problems found later with its secrets.
    pub place: ConfigPlace,
}

impl HttpSource {
    /// Returns whether tenants share the listener, so that none may keep the others out.
    pub fn is_shared(&self) -> bool {
        self.tenant_in_path || self.tenant_rate.is_some() || matches!(self.auth, Some(ClientAuth::Tenants(_)))
    }
}

/// Authentication of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A bearer token.
    Token(KeptIn),
    /// Bearer tokens, each of which may be bound to tenants.
    Clients(Vec<HttpClient>),
    /// Bearer tokens of tenants, each of whom sends its own events.
    Tenants(KeptIn),
    /// Signatures as in Standard Webhooks, made with any of these secrets.
    Signature(Vec<KeptIn>),
    /// Requests of Lark's open platform, for these apps.
    Lark(Vec<LarkApp>),
}

/// A Lark app whose events are taken. It has an encrypt key or a verification token at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LarkApp {
    /// End of its URL, behind the source's path.
    pub app_id: String,
    /// Keys that encrypt and sign its requests, new and old.
    pub encrypt_keys: Vec<KeptIn>,
    /// Tokens in the bodies of its requests, new and old.
    pub tokens: Vec<KeptIn>,
}

/// A client that is identified by its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClient {
    pub token: KeptIn,
    /// Tenants whose events it may send, at least one; `None` for those of any tenant.
    pub tenants: Option<Vec<String>>,
}

/// The point at which a request is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerPoint {
    /// Its events are in the router's memory.
    Accepted,
    /// Every sink has confirmed, or the dead letter is stored.
    Settled,
    /// A stream has stored the messages, under this subject. The router does not process them
    /// further.
    Stored(TextTemplate<SubjectPlaceholder<EventField>>),
}

/// Rate limit in events per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub events: NonZeroU32,
    /// Events that may arrive at once.
    pub burst: NonZeroU32,
}
