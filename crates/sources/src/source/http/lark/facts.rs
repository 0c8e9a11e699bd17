//! Facts of a request's body that decide whether it is trusted.

use bytes::Bytes;
use bytestring::ByteString;

use super::{RequestRefusal, json};

/// Values of the body; `None` if one is absent or not text.
#[derive(Debug, Default)]
pub(super) struct RequestFacts {
    /// Encrypted body inside the body.
    pub(super) encrypted: Option<ByteString>,
    pub(super) token: Option<ByteString>,
    pub(super) event_id: Option<ByteString>,
    pub(super) app_id: Option<ByteString>,
    pub(super) tenant_key: Option<ByteString>,
    kind: Option<ByteString>,
    challenge: Option<ByteString>,
}

impl RequestFacts {
    /// Reads a body in either version.
    ///
    /// # Errors
    /// Returns an error if it is not an object in JSON, or has one of the values twice: readers
    /// differ in which they take.
    pub(super) fn of(body: &Bytes) -> Result<Self, RequestRefusal> {
        let mut facts = Self::default();
        facts.add("", body, body)?;
        Ok(facts)
    }

    /// The challenge, if the request is a verification of the URL.
    pub(super) fn challenge(&self) -> Option<&ByteString> {
        self.challenge.as_ref().filter(|_| self.kind.as_deref() == Some("url_verification"))
    }

    fn add(&mut self, path: &str, object: &[u8], body: &Bytes) -> Result<(), RequestRefusal> {
        let members = json::members(object).map_err(|error| RequestRefusal::bad("not_json", error))?;
        let members = members.ok_or_else(|| RequestRefusal::bad("not_json", "the body is not an object"))?;
        for (name, value) in members {
            let place = match (path, &*name) {
                ("", "header" | "event") if value.starts_with('{') => {
                    self.add(&name, value.as_bytes(), body)?;
                    continue;
                }
                ("", "encrypt") => &mut self.encrypted,
                ("", "type") => &mut self.kind,
                ("", "challenge") => &mut self.challenge,
                ("" | "header", "token") => &mut self.token,
                ("", "uuid") | ("header", "event_id") => &mut self.event_id,
                ("header" | "event", "app_id") => &mut self.app_id,
                ("header" | "event", "tenant_key") => &mut self.tenant_key,
                _ => continue,
            };
            if !value.starts_with('"') {
                continue;
            }
            let text = json::text(value).map_err(|_| RequestRefusal::bad("not_json", "a string has a wrong escape"))?;
            if place.as_ref().is_some_and(|known| **known != *text) {
                let message = format!("the body has two values of `{name}`");
                return Err(RequestRefusal::bad("ambiguous", message));
            }
            *place = Some(json::share(body, text));
        }
        Ok(())
    }
}
