//! Cases in the words of `trommel plugin test`: an event, params, what the API answers, and what is
//! expected.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use trommel::{
    api::ApiClient,
    backoff::Backoff,
    condition::EventFacts,
    config::{ApiConfig, ConfigPlace, DeclaredIdentity, LimitOverrides},
    endpoint::Endpoint,
    event::{Event, Headers},
    filter::{
        CallError, CallLimits, Caller, Emission, EmissionFate, Failure, FailureCause, FailureKind, Filter,
        ProcessError, Verdict,
    },
};

use super::{
    LIMITS,
    rig::event,
    stand_in::{Reply, StandIn},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// Version of the contract that it is about: all, where it is not said.
    contract: Option<String>,
    #[serde(default)]
    event: Given,
    #[serde(default)]
    params: BTreeMap<String, String>,
    #[serde(default)]
    api: Vec<Answer>,
    pub expect: Value,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    id: Option<String>,
    event_type: Option<String>,
    subject: Option<String>,
    source_time: Option<String>,
    attempt: Option<u32>,
    #[serde(default)]
    headers: BTreeMap<String, OneOrMore>,
    payload: Option<Box<RawValue>>,
    payload_text: Option<String>,
    payload_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    call: String,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    body: Value,
}

impl Case {
    pub fn all() -> Vec<Self> {
        let text = include_str!("../../examples/languages/cases.ndjson");
        let read = |(line, text)| serde_json::from_str(text).unwrap_or_else(|error| panic!("line {line}: {error}"));
        (1..).zip(text.lines()).map(read).collect()
    }

    /// Returns whether filters of a version of the contract have to pass it.
    pub fn is_of(&self, contract: &str) -> bool {
        self.contract.as_deref().is_none_or(|own| own == contract)
    }

    fn event(&self) -> Event {
        let given = &self.event;
        let mut headers = Headers::default();
        for (name, values) in &given.headers {
            let values = match values {
                OneOrMore::One(value) => std::slice::from_ref(value),
                OneOrMore::More(values) => values,
            };
            values.iter().for_each(|value| headers.push(name.as_str(), value.as_str()));
        }
        let payload = match (&given.payload, &given.payload_text, &given.payload_base64) {
            (Some(json), None, None) => json.get().as_bytes().to_vec(),
            (None, Some(text), None) => text.as_bytes().to_vec(),
            (None, None, Some(encoded)) => BASE64_STANDARD.decode(encoded).unwrap(),
            (None, None, None) => Vec::new(),
            _ => panic!("{}: more than one payload", self.name),
        };
        let subject = given.subject.as_deref().or(given.event_type.as_deref()).unwrap_or("event");
        Event {
            id: given.id.as_deref().unwrap_or("event-1").into(),
            event_type: given.event_type.as_deref().unwrap_or(subject).into(),
            subject: subject.into(),
            source_time: given.source_time.as_deref().map(Into::into),
            observed_at: 1_767_225_600_000_000_000,
            attempt: given.attempt.unwrap_or(1),
            headers,
            payload: payload.into(),
            ..event("")
        }
    }
}

/// An API that answers what the case under way says.
pub struct Answers {
    server: StandIn,
    now: Arc<Mutex<Vec<Answer>>>,
}

impl Answers {
    pub fn new() -> Self {
        let now = Arc::<Mutex<Vec<Answer>>>::default();
        let answers = Arc::clone(&now);
        let server = StandIn::new(move |_, seen| {
            let answers = answers.lock().unwrap();
            let answer = answers.iter().find(|answer| answer.call == seen.line);
            let answer = answer.unwrap_or_else(|| panic!("nobody answers `{}`", seen.line));
            let status = match answer.status {
                None => "200 OK",
                Some(404) => "404 Not Found",
                Some(status) => panic!("no reason for {status}"),
            };
            // What was sent comes back where the case does not say another thing.
            let body = if answer.body.is_null() { seen.body.clone() } else { answer.body.to_string() };
            Reply::Answer(status, &[], body.into_bytes())
        });
        Self { server, now }
    }

    pub fn client(&self) -> ApiClient {
        let api = ApiConfig {
            base_url: format!("http://{}/", self.server.address).parse().unwrap(),
            token: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(20),
            retries: 0,
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(1)),
            max_body: 1 << 20,
            allow_private: true,
            identity: DeclaredIdentity::default(),
            place: ConfigPlace::file("trommel.toml"),
        };
        ApiClient::new(&api).unwrap()
    }
}

/// The way of an event through one filter, in the words that cases use.
pub async fn ran(filter: &Filter, case: &Case, answers: &Answers) -> Value {
    answers.now.lock().unwrap().clone_from(&case.api);
    let path = |answer: &Answer| answer.call.split('?').next().unwrap_or_default().parse().unwrap();
    let endpoints: Vec<Endpoint> = case.api.iter().map(path).collect();
    let caller = Caller { key: "cases", route: "", endpoints: &endpoints };
    let params = match filter.normalize_params(caller, case.params.clone().into_iter().collect()).await {
        Ok(params) => params,
        Err(CallError::Said(Failure { kind: FailureKind::Malformed, cause })) => {
            return json!({ "refused": cause.detail });
        }
        Err(error) => panic!("{}: {error}", case.name),
    };
    let limits = CallLimits::new(&LIMITS, &LimitOverrides::default());
    let subscription = filter.subscribe(caller, params, limits).await.unwrap();
    let event = case.event();
    match subscription.conditions().test(&mut EventFacts::new(&event)) {
        Ok(true) => {}
        Ok(false) => return json!("dropped"),
        Err(error) => return json!({ "not_json": error.to_string() }),
    }
    if !filter.matcher().matches(&subscription, &event).unwrap() {
        return json!("dropped");
    }
    match filter.process(&subscription, &event, event.attempt).await {
        Ok(Verdict::Drop) => json!("dropped"),
        Ok(Verdict::Keep) => json!("kept"),
        Ok(Verdict::Replace(payload)) => {
            let (name, value) = payload_of(&payload);
            json!({ name.replace("payload", "replaced"): value })
        }
        Ok(Verdict::Emit(emissions)) => json!({ "emitted": emissions.iter().map(emitted).collect::<Vec<_>>() }),
        Err(ProcessError::Said(failure)) => said(&failure),
        Err(error) => panic!("{}: {error}", case.name),
    }
}

fn said(Failure { kind, cause }: &Failure) -> Value {
    let waits = |after: &Duration| {
        let mut members = json!({ "after_ms": after.as_millis() as u64, "reason": cause.detail });
        if let Some(code) = &cause.code {
            members["code"] = json!(code);
        }
        members
    };
    match kind {
        FailureKind::Malformed => json!({ "malformed": reason(cause) }),
        FailureKind::Failed => json!({ "failed": reason(cause) }),
        FailureKind::Broken => json!({ "broken": reason(cause) }),
        FailureKind::Retry(after) => json!({ "retry": waits(after) }),
        FailureKind::Defer(after) => json!({ "defer": waits(after) }),
    }
}

fn reason(FailureCause { code, detail }: &FailureCause) -> Value {
    match code {
        Some(code) => json!({ "reason": detail, "code": code }),
        None => json!(detail),
    }
}

fn emitted(emission: &Emission) -> Value {
    let (name, payload) = payload_of(&emission.payload);
    let mut members = json!({ name: payload });
    if let Some(subject) = &emission.subject {
        members["subject"] = json!(&**subject);
    }
    if let Some(sink) = &emission.sink {
        members["sink"] = json!(&**sink);
    }
    if let Some(id) = &emission.id {
        members["id"] = json!(&**id);
    }
    if let EmissionFate::Bury(cause) = &emission.fate {
        members["buried"] = reason(cause);
    }
    if !emission.headers.is_empty() {
        members["headers"] = emission.headers.iter().map(|(name, value)| json!([&**name, value.as_deref()])).collect();
    }
    members
}

/// JSON as it is, text as a string, other bytes in Base64.
fn payload_of(payload: &[u8]) -> (&'static str, Value) {
    if let Ok(json) = serde_json::from_slice(payload) {
        return ("payload", json);
    }
    match std::str::from_utf8(payload) {
        Ok(text) => ("payload_text", json!(text)),
        Err(_) => ("payload_base64", json!(BASE64_STANDARD.encode(payload))),
    }
}
