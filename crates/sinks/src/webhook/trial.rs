//! A request that tries a webhook, outside of all deliveries.

use jiff::Timestamp;
use serde_json::json;

use super::{
    request::WebhookRequest,
    store::{DeliveryId, RequestContent},
};
use crate::config::{TenantSelection, UnrenderableBody, Webhook};

/// Creates the request of an event of type `trommel.test`, or of one with the given payload.
///
/// # Errors
/// Returns an error if the webhook's body can't be made of this payload.
pub fn request(
    webhook: &Webhook,
    payload: Option<Vec<u8>>,
    now: Timestamp,
) -> Result<WebhookRequest, UnrenderableBody> {
    let id = DeliveryId::new().to_string();
    let payload = payload.unwrap_or_else(|| {
        let event = json!({ "id": id, "type": "trommel.test", "webhook": webhook.name, "timestamp": now });
        event.to_string().into_bytes()
    });
    let tenant = match &webhook.tenant {
        TenantSelection::Only(tenant) => Some(tenant.clone()),
        TenantSelection::None | TenantSelection::Any => None,
    };
    let content = RequestContent {
        event_id: id.clone(),
        event_type: "trommel.test".to_owned(),
        subject: "trommel.test".to_owned(),
        tenant,
        content_type: None,
        traceparent: None,
        payload,
    };
    WebhookRequest::new(webhook, id, content)
}
