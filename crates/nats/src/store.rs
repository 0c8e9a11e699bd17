//! Publishing messages unchanged, into any stream that takes them.

use async_nats::{HeaderMap, HeaderValue, Subject, header};
use bytes::Bytes;

use super::{ApiError, Connection, PublishPosition};

impl Connection {
    /// Publishes a message with an id by which the stream drops repeats, and waits until it is
    /// stored. After an error, or if the future is dropped, the message may or may not be stored.
    ///
    /// # Errors
    /// Returns [`ApiError::NoResponders`] if no stream takes it.
    pub async fn store(
        &self,
        subject: Subject,
        mut headers: HeaderMap,
        id: &str,
        payload: Bytes,
    ) -> Result<PublishPosition, ApiError> {
        let failed = |error| ApiError::Failed(subject.to_string(), error);
        let id: HeaderValue = id.parse().map_err(|_| failed(anyhow::anyhow!("id {id:?} holds line breaks")))?;
        headers.insert(header::NATS_MESSAGE_ID, id);
        let request = async_nats::Request::new().headers(headers).payload(payload);
        let answer = self.ask(subject.to_string(), request).await?;
        serde_json::from_value(answer).map_err(|error| failed(error.into()))
    }
}
