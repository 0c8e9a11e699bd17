//! OpenTelemetry collector, which takes spans as protocol buffers over HTTP (OTLP/HTTP).

use std::time::{Duration, SystemTime};

use anyhow::{anyhow, bail};
use bytes::Bytes;
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::{Resource, trace::SpanData};
use prost::Message;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use crate::{
    backoff::Backoff,
    config,
    outgoing::{self, retry_after},
};

/// Waits between the tries of one batch.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// Most bytes of an answer that are read. The text of a refusal is not longer.
const MAX_ANSWER: usize = 64 << 10;

pub(super) struct SpanCollector {
    http: reqwest::Client,
    traces: Url,
    timeout: Duration,
    resource: ResourceAttributesWithSchema,
}

/// Failed try.
struct FailedExport {
    error: anyhow::Error,
    again: bool,
    /// Pause that the collector asks for.
    pause: Option<Duration>,
}

impl SpanCollector {
    /// # Errors
    /// Returns an error if the client can't be built.
    pub(super) fn new(settings: &config::TelemetryConfig, resource: &Resource) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let mut value: HeaderValue = value.parse()?;
            value.set_sensitive(true);
            headers.insert(name.parse::<HeaderName>()?, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let mut traces = settings.otlp.clone();
        traces.set_path(&format!("{}/v1/traces", traces.path().trim_end_matches('/')));
        // Most collectors run nearby, so private addresses are allowed.
        let http = outgoing::client(true).default_headers(headers).build()?;
        Ok(Self { http, traces, timeout: settings.timeout, resource: resource.into() })
    }

    /// Hands spans over. Tries again, within the timeout, if the collector can't take them now.
    ///
    /// # Errors
    /// Returns an error if not all of them were taken.
    pub(super) async fn take(&self, spans: Vec<SpanData>) -> anyhow::Result<()> {
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let request = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let until = Instant::now() + self.timeout;
        let mut backoff = BACKOFF;
        let mut last = anyhow!("the collector did not answer within {:?}", self.timeout);
        loop {
            let Ok(tried) = timeout_at(until, self.exchange(request.clone())).await else { return Err(last) };
            let Err(FailedExport { error, again, pause }) = tried else { return Ok(()) };
            let wait = backoff.next_wait();
            let pause = pause.unwrap_or(wait);
            if !again || Instant::now().checked_add(pause).is_none_or(|next| next >= until) {
                return Err(error);
            }
            last = error;
            sleep(pause).await;
        }
    }

    async fn exchange(&self, request: Bytes) -> Result<(), FailedExport> {
        let unreachable =
            |error: reqwest::Error| FailedExport { error: error.without_url().into(), again: true, pause: None };
        let mut response = self.http.post(self.traces.clone()).body(request).send().await.map_err(unreachable)?;
        let answer = read(&mut response).await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return accepted(&answer).map_err(|error| FailedExport { error, again: false, pause: None });
        }
        // Statuses that the protocol declares retryable.
        let again = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        let pause = retry_after::pause(response.headers(), SystemTime::now());
        Err(FailedExport { error: anyhow!("the collector answers `{status}`"), again, pause })
    }
}

/// Reads an answer, up to the chunk that reaches the limit.
async fn read(response: &mut Response) -> reqwest::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while answer.len() < MAX_ANSWER
        && let Some(chunk) = response.chunk().await?
    {
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// Checks a success for rejected spans. An answer without such a message counts as a whole success.
fn accepted(answer: &[u8]) -> anyhow::Result<()> {
    let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|response| response.partial_success);
    match partial {
        Some(partial) if partial.rejected_spans > 0 => {
            bail!("the collector refuses {} of them: {}", partial.rejected_spans, partial.error_message)
        }
        _ => Ok(()),
    }
}
