//! Request handler: checks a request, takes its events and answers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    body::{Body, HttpBody},
    extract::{ConnectInfo, Request, State},
    http::{Method, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::StreamExt as _;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::timeout,
};

use super::{
    auth::{AdmittedClient, ClientGuard},
    door::RequestAdmission,
    headers::{ClientTrust, of_request},
    messages::BodyForm,
    refusal::{RequestRefusal, json_response},
    repeats::SeenRequests,
    stream::{IncomingMessage, StoringStream},
    tenants::AllowedTenants,
    work::TakenEvent,
};
use crate::{
    config::{self, AnswerPoint, HttpSource},
    event::{Event, Headers, Origin, check_subject},
    listener::{ClientPatience, site},
    metrics::{ConnectionMetrics, RequestMetrics},
    signature,
    source::{
        envelope::{self, SourceMessage},
        now,
    },
    stop::Stop,
};

mod lark;

pub(super) struct RequestHandler {
    settings: HttpSource,
    envelope: config::EnvelopeFormat,
    origin: Arc<Origin>,
    /// Subject of messages whose URL names none.
    subject: ByteString,
    /// Number of events so far.
    sequence: AtomicU64,
    /// Distinguishes this run from others, which also count from 1.
    run: u64,
    guard: ClientGuard,
    repeats: Arc<SeenRequests>,
    door: RequestAdmission,
    stream: Option<StoringStream>,
    metrics: Arc<RequestMetrics>,
    stop: Stop,
}

pub(super) async fn answer(
    State(desk): State<Arc<RequestHandler>>,
    ConnectInfo(patience): ConnectInfo<ClientPatience>,
    request: Request,
) -> Response {
    let _suspended = patience.suspend();
    match desk.take(request).await {
        Ok(response) => {
            desk.metrics.taken.inc();
            response
        }
        Err(refusal) => {
            desk.metrics.refuse(refusal.reason);
            let (status, reason, message) = (refusal.status.as_u16(), refusal.reason, &refusal.message);
            tracing::debug!(source = desk.origin.source, status, reason, message, "request refused");
            refusal.into_response()
        }
    }
}

impl RequestHandler {
    pub(super) fn new(
        source: &config::SourceConfig,
        settings: HttpSource,
        guard: ClientGuard,
        door: RequestAdmission,
        stream: Option<StoringStream>,
        metrics: Arc<RequestMetrics>,
        stop: Stop,
    ) -> Self {
        let subject = settings.fixed_subject.as_ref().unwrap_or(&source.name).as_str().into();
        let stream_name = format!("http://{}{}", settings.listen, settings.path);
        let origin = Arc::new(Origin { source: source.name.clone(), stream: stream_name });
        let (envelope, sequence, run) = (source.envelope.clone(), AtomicU64::new(0), fastrand::u64(..));
        let repeats = Arc::default();
        Self { settings, envelope, origin, subject, sequence, run, guard, repeats, door, stream, metrics, stop }
    }

    pub(super) fn settings(&self) -> &HttpSource {
        &self.settings
    }

    pub(super) fn connections(&self) -> Arc<ConnectionMetrics> {
        Arc::clone(&self.metrics.connections)
    }

    pub(super) fn door(&self) -> &RequestAdmission {
        &self.door
    }

    /// Logs the accepted events that are lost with the run.
    pub(super) fn give_up(&self) {
        let (source, events) = (&self.origin.source, self.door.inside());
        if events > 0 && self.settings.answer == AnswerPoint::Accepted {
            tracing::warn!(source, events, "accepted events are left unsettled and will not be resent");
        }
    }

    async fn take(&self, request: Request) -> Result<Response, RequestRefusal> {
        let (parts, body) = request.into_parts();
        if let ClientGuard::Lark(apps) = &self.guard {
            return self.take_lark(apps, &parts, body).await;
        }
        let (path_tenant, rest) = self.path_tenant(parts.uri.path())?;
        let subject = self.subject(rest)?;
        if parts.method != Method::POST {
            return Err(RequestRefusal::method());
        }
        if self.settings.is_this_machines {
            site::check_page(&parts.headers).map_err(RequestRefusal::other_site)?;
        }
        let client = self.guard.admit(&parts.headers).await?;
        let tenants = self.tenants(&client, path_tenant.as_deref())?;
        self.measure(&parts)?;
        let form = BodyForm::of(&parts.headers)?;
        let trust = ClientTrust { tenant: tenants.of_request(&parts.headers)?, head: self.guard.covers_head() };
        let headers = of_request(&parts.headers, trust)?;
        if body.size_hint().lower() > self.settings.max_body as u64 {
            return Err(self.too_large());
        }
        let (body, reading) = self.read(body).await?;
        let signed = self.guard.believe(&parts.headers, &body).await?;
        let messages = form.take_apart(headers, body, self.door.most())?;
        let count = messages.len();
        let once = match signed.map(|id| self.repeats.enter(id)).transpose()? {
            Some(None) => return Ok(self.done(count)),
            once => once.flatten(),
        };
        self.deal_with(&subject, tenants, messages, reading).await?;
        // Only now: a request that failed may be sent again with the same id.
        if let Some(once) = once {
            once.done();
        }
        Ok(self.done(count))
    }

    /// Tenants that a client may send for: the source's own setting overrides the client's, and the
    /// URL's must be one of the client's.
    fn tenants<'a>(
        &'a self,
        client: &'a AdmittedClient<'a>,
        path_tenant: Option<&'a str>,
    ) -> Result<AllowedTenants<'a>, RequestRefusal> {
        if let Some(fixed) = &self.settings.tenant {
            return Ok(AllowedTenants::Always(fixed));
        }
        Ok(match (client, path_tenant) {
            (AdmittedClient::Any, None) => AllowedTenants::Any,
            (AdmittedClient::OneOf(tenants), None) => AllowedTenants::OneOf(tenants),
            (AdmittedClient::Tenant(own), None) => AllowedTenants::Always(own),
            (AdmittedClient::OneOf(tenants), Some(tenant)) if tenants.iter().all(|own| own != tenant) => {
                return Err(RequestRefusal::foreign_tenant());
            }
            (AdmittedClient::Tenant(own), Some(tenant)) if own != tenant => {
                return Err(RequestRefusal::foreign_tenant());
            }
            (_, Some(tenant)) => AllowedTenants::Always(tenant),
        })
    }

    /// Splits a URL's path into the tenant that it names, if it does, and what follows.
    fn path_tenant<'a>(&self, path: &'a str) -> Result<(Option<String>, &'a str), RequestRefusal> {
        let not_found = || RequestRefusal::not_found(&self.settings);
        let rest = path.strip_prefix(&self.settings.path).ok_or_else(not_found)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(not_found());
        }
        if !self.settings.tenant_in_path {
            return Ok((None, rest));
        }
        let rest = rest.strip_prefix('/').unwrap_or_default();
        let (tenant, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let tenant = percent_decode_str(tenant).decode_utf8().map_err(|_| not_found())?;
        let is_tenant = !tenant.is_empty() && tenant.bytes().all(|byte| byte.is_ascii_graphic());
        if is_tenant { Ok((Some(tenant.into_owned()), rest)) } else { Err(not_found()) }
    }

    /// Response to a request that was taken.
    fn done(&self, count: usize) -> Response {
        let (status, what) = match self.settings.answer {
            AnswerPoint::Accepted => (StatusCode::ACCEPTED, "accepted"),
            AnswerPoint::Settled => (StatusCode::OK, "settled"),
            AnswerPoint::Stored(_) => (StatusCode::ACCEPTED, "stored"),
        };
        json_response(status, &json!({ what: count }))
    }

    /// Takes, stores or settles a request's messages, as the answer promises. There may be none.
    async fn deal_with(
        &self,
        subject: &ByteString,
        tenants: AllowedTenants<'_>,
        messages: Vec<(Headers, Bytes)>,
        reading: Option<OwnedSemaphorePermit>,
    ) -> Result<(), RequestRefusal> {
        if messages.is_empty() {
            return Ok(());
        }
        let kept = if self.stream.is_some() { messages.clone() } else { Vec::new() };
        let events = self.events(subject, tenants, messages)?;
        let places = self.door.admit(&events)?;
        drop(reading);
        if let Some(stream) = &self.stream {
            let incoming =
                kept.into_iter().zip(events).map(|((headers, body), event)| IncomingMessage { headers, body, event });
            return stream.store(incoming.collect()).await;
        }
        let waits = self.settings.answer == AnswerPoint::Settled;
        let mut waiting = Vec::new();
        let mut taken = Vec::with_capacity(events.len());
        for (event, place) in events.into_iter().zip(places) {
            let waits = waits.then(|| {
                let (sender, receiver) = oneshot::channel();
                waiting.push(receiver);
                sender
            });
            taken.push(TakenEvent { event, waits, place });
        }
        self.door.enter(taken)?;
        settled(waiting).await
    }

    /// Refuses a head that is too large: it is kept with every event of the request.
    fn measure(&self, parts: &Parts) -> Result<(), RequestRefusal> {
        let line = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
        let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        if line + fields.sum::<usize>() > self.settings.max_head {
            Err(RequestRefusal::head(self.settings.max_head))
        } else {
            Ok(())
        }
    }

    /// Subject from the URL behind the path, or the configured one.
    fn subject(&self, rest: &str) -> Result<ByteString, RequestRefusal> {
        let rest = rest.strip_prefix('/').unwrap_or_default();
        if rest.is_empty() {
            return Ok(self.subject.clone());
        }
        if self.settings.fixed_subject.is_some() {
            return Err(RequestRefusal::not_found(&self.settings));
        }
        if !self.guard.covers_head() {
            return Err(RequestRefusal::unsigned_subject(&self.settings.path));
        }
        let tokens = rest.replace('/', ".");
        let subject =
            percent_decode_str(&tokens).decode_utf8().map_err(|error| RequestRefusal::bad("bad_subject", error))?;
        let bad = |error| RequestRefusal::bad("bad_subject", format!("subject `{subject}`, after the path: {error}"));
        check_subject(&subject).map_err(bad)?;
        Ok(subject.into_owned().into())
    }

    /// Reads the body and reserves its room. Refuses if it is too large or too slow, too much is
    /// being read already, or the router stops.
    async fn read(&self, body: Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), RequestRefusal> {
        let mut stop = self.stop.clone();
        let read = tokio::select! {
            biased;
            // First: a router that stops takes no body, even one that is complete.
            () = stop.draining() => return Err(RequestRefusal::stopping()),
            read = timeout(self.settings.timeout, self.read_all(body)) => read,
        };
        read.map_err(|_| RequestRefusal::slow(self.settings.timeout))?
    }

    async fn read_all(&self, body: Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), RequestRefusal> {
        let (mut parts, mut read, mut room) = (body.into_data_stream(), BytesMut::new(), None);
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| RequestRefusal::bad("bad_body", error))?;
            if read.len() + part.len() > self.settings.max_body {
                return Err(self.too_large());
            }
            let more = self.door.read(part.len())?;
            match &mut room {
                Some(room) => OwnedSemaphorePermit::merge(room, more),
                none => *none = Some(more),
            }
            read.extend_from_slice(&part);
        }
        Ok((read.freeze(), room))
    }

    fn too_large(&self) -> RequestRefusal {
        let message = format!("the body has more than {} bytes, which is the limit here", self.settings.max_body);
        RequestRefusal::too_large("too_large", message)
    }

    /// Events of a request's messages: all of them are valid, or none is taken.
    fn events(
        &self,
        subject: &ByteString,
        tenants: AllowedTenants<'_>,
        messages: Vec<(Headers, Bytes)>,
    ) -> Result<Vec<Event>, RequestRefusal> {
        let count = messages.len();
        if count > self.door.most() {
            return Err(RequestRefusal::too_many(self.door.most()));
        }
        let event = |(number, (headers, body)): (usize, (Headers, Bytes))| {
            let id = match headers.get(signature::ID) {
                Some(id) if count == 1 => id.clone(),
                Some(id) => format!("{id}:{number}").into(),
                None => xid::new().to_string().into(),
            };
            let event = self.event(subject.clone(), id, headers, body);
            let event = event.and_then(|event| tenants.hold(event, self.stream.is_some()));
            event.map_err(|refusal| refusal.of_event(number, count))
        };
        (1..).zip(messages).map(event).collect()
    }

    fn event(
        &self,
        subject: ByteString,
        id: ByteString,
        headers: Headers,
        body: Bytes,
    ) -> Result<Event, RequestRefusal> {
        let message = SourceMessage {
            subject,
            headers,
            payload: body,
            observed_at: now(),
            attempt: 1,
            origin: Arc::clone(&self.origin),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            incarnation: self.run,
        };
        let event = Event { id, ..message.into_event() };
        envelope::open_event(&self.envelope, event)
            .map_err(|refused| RequestRefusal::bad(refused.1.reason, &refused.1.detail))
    }
}

/// Waits until all are settled. Cancel safe: they are settled all the same.
async fn settled(waiting: Vec<oneshot::Receiver<Result<(), &'static str>>>) -> Result<(), RequestRefusal> {
    let count = waiting.len();
    let mut dead = Vec::new();
    for settled in waiting {
        if let Err(reason) = settled.await.map_err(|_| RequestRefusal::given_back())? {
            dead.push(reason);
        }
    }
    match dead.first() {
        Some(reason) => Err(RequestRefusal::dead(reason, dead.len(), count)),
        None => Ok(()),
    }
}
