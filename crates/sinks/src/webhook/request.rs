//! The request of a delivery: the stored payload, or the body that its webhook has in place of it.

use bytes::Bytes;

use super::store::RequestContent;
use crate::config::{BodyFacts, UnrenderableBody, Webhook};

/// A request's body and metadata.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// Identifies the delivery; stays the same when it is sent again.
    pub id: String,
    /// JSON if there is none.
    pub content_type: Option<String>,
    /// The span in which the output was stored.
    pub traceparent: Option<String>,
    pub payload: Bytes,
}

impl WebhookRequest {
    /// Creates the request of a delivery.
    ///
    /// # Errors
    /// Returns an error if the webhook's body can't be made of this payload.
    pub fn new(webhook: &Webhook, id: String, content: RequestContent) -> Result<Self, UnrenderableBody> {
        let RequestContent { event_id, event_type, subject, tenant, content_type, traceparent, payload } = content;
        let Some(template) = &webhook.body else {
            return Ok(Self { id, content_type, traceparent, payload: payload.into() });
        };
        let facts = BodyFacts {
            event_type: &event_type,
            subject: &subject,
            tenant: tenant.as_deref().unwrap_or_default(),
            event_id: &event_id,
            delivery_id: &id,
            payload: &payload,
        };
        let body = template.render(&facts, webhook.routing_key.as_deref())?;
        Ok(Self { id, content_type: None, traceparent, payload: body.into() })
    }
}
