//! Envelopes of a flowcraft bus, which `trommel-bus` reads and writes.

use trommel_bus::Envelope;

use super::{EventFamily, MalformedEvent, UnencodableEvent, WireFormat};

impl EventFamily for Envelope {
    const PREFIX: &'static str = "";
    const DOMAIN: &'static str = "";

    fn name(&self) -> String {
        self.subject().to_string()
    }

    fn encode(&self, _: WireFormat) -> Result<Vec<u8>, UnencodableEvent> {
        serde_json::to_vec(self).map_err(|error| UnencodableEvent(error.to_string()))
    }

    fn decode(body: &[u8]) -> Result<Self, MalformedEvent> {
        serde_json::from_slice(body).map_err(|error| MalformedEvent::from_json(&error))
    }
}
