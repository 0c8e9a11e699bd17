//! Walk of an event through a route of its key: decode, conditions, `matches`, `process`, schema,
//! encoding.
//!
//! Each step is decided here and nowhere else. A lane takes them with retries and hands the outputs
//! over to its sinks; [`crate::trial`] takes each once and keeps the results, for `explain` and
//! `plugin test`.

use bytes::Bytes;
use bytestring::ByteString;
use jiff::Timestamp;

use crate::{
    avro::AvroDecodeError,
    condition::{EventFacts, Untested},
    event::{Event, Headers},
    filter::{Emission, EmissionFate, FailureCause, MatchError, RouteSubscription, Verdict},
    registry::{Key, Route, SinkTarget},
};

mod headers;

use headers::merged;
#[cfg(fuzzing)]
pub use headers::merged_for;

/// Longest time for which an output is held, in milliseconds.
const LONGEST_WAIT_MS: u64 = 24 * 3600 * 1000;

/// An event in front of a route.
#[derive(Clone, Copy)]
pub struct RouteWalk<'a> {
    pub key: &'a Key,
    pub route: &'a Route,
    /// The event as the filter sees it: see [`decoded`].
    pub event: &'a Event,
}

/// A question about an event on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Tested by the host.
    Conditions,
    Matches,
    Process,
    Tick,
}

/// Answer of conditions and `matches` about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchAnswer {
    Wanted,
    /// No list of conditions holds.
    Unfulfilled,
    /// `matches` returned false.
    Unmatched,
}

/// Error because of which none of a route's outputs can be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsendable {
    /// The reason code of the dead letter.
    pub reason: &'static str,
    pub detail: String,
}

/// An output of a route, for one of its sinks.
#[derive(Debug)]
pub struct RouteOutput<'a> {
    pub sink: &'a SinkTarget,
    /// Position among the outputs of this event and route, from 0.
    pub index: u32,
    /// Encoded as the sink wants it.
    pub payload: Bytes,
    /// Subject set by the filter; otherwise the event's subject applies.
    pub subject: Option<ByteString>,
    /// Headers of the output, if they are not the event's own.
    pub headers: Option<Headers>,
    /// Id set by the filter; otherwise the router's own applies.
    pub id: Option<ByteString>,
    /// Time before which it is not sent, in Unix milliseconds.
    pub not_before: Option<u64>,
}

/// Result of a verdict for a route.
#[derive(Debug)]
pub enum RouteResult<'a> {
    Output(RouteOutput<'a>),
    /// An emission that becomes a dead letter, and its position among the outputs.
    Buried {
        index: u32,
        payload: Bytes,
        cause: FailureCause,
    },
}

/// Returns the event that a key's filter sees. `None` if that is the event as it came.
///
/// # Errors
/// If the payload does not fit the key's `decode`.
pub fn decoded(key: &Key, event: &Event) -> Result<Option<Event>, AvroDecodeError> {
    let payload = key.decoding.as_ref().map(|decoding| decoding.payload(event)).transpose()?.flatten();
    Ok(payload.map(|payload| Event { payload, ..event.clone() }))
}

/// Returns whether an event fulfils a route's `where` and that of its key.
///
/// # Errors
/// If one of the conditions can't be tested on this event.
pub fn passes<'a>(route: &'a Route, facts: &mut EventFacts<'a>) -> Result<bool, Untested> {
    for conditions in &route.conditions {
        if !conditions.test(facts)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the first failing test of each list of the `where` that an event does not fulfil.
///
/// # Errors
/// As [`passes`].
pub fn unfulfilled<'a>(route: &'a Route, facts: &mut EventFacts<'a>) -> Result<Vec<String>, Untested> {
    for conditions in &route.conditions {
        if !conditions.test(facts)? {
            return conditions.failing(facts);
        }
    }
    Ok(Vec::new())
}

/// Tests a filter's conditions and, if they hold, calls its `matches`. `asked` is called after each
/// of them.
///
/// # Errors
/// If one of them has no answer.
pub fn match_event<'a>(
    subscription: &'a RouteSubscription,
    facts: &mut EventFacts<'a>,
    matches: impl FnOnce(&mut EventFacts<'a>) -> Result<bool, MatchError>,
    mut asked: impl FnMut(Hook),
) -> Result<MatchAnswer, MatchError> {
    let conditions = subscription.conditions();
    if !conditions.is_empty() {
        let tested = conditions.test(facts);
        asked(Hook::Conditions);
        if !tested.map_err(MatchError::Untested)? {
            return Ok(MatchAnswer::Unfulfilled);
        }
    }
    if subscription.has_matches() {
        let matched = matches(facts);
        asked(Hook::Matches);
        if !matched? {
            return Ok(MatchAnswer::Unmatched);
        }
    }
    Ok(MatchAnswer::Wanted)
}

/// Returns the reason why an event is not wanted, for people. Tests the conditions once more.
pub fn why_unwanted<'a>(route: &'a Route, facts: &mut EventFacts<'a>) -> String {
    match unfulfilled(route, facts) {
        Ok(failing) if failing.is_empty() => {}
        Ok(failing) => return format!("`where` does not hold: {}", failing.join(" | ")),
        Err(error) => return error.to_string(),
    }
    match route.subscription.as_ref().map(|subscription| subscription.conditions()) {
        None => "no filter looks at it".to_owned(),
        Some(conditions) if matches!(conditions.test(facts), Ok(true)) => "`matches` said no".to_owned(),
        Some(conditions) => match conditions.failing(facts) {
            Ok(failing) => format!("no list of conditions holds: {}", failing.join(" | ")),
            Err(error) => error.to_string(),
        },
    }
}

/// Checks that no output would have to wait too long.
fn check_times(verdict: &Verdict) -> Result<(), Unsendable> {
    let Verdict::Emit(emissions) = verdict else { return Ok(()) };
    for (index, then) in
        emissions.iter().enumerate().filter_map(|(index, emission)| Some((index, emission.not_before?)))
    {
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        if then.saturating_sub(now) > LONGEST_WAIT_MS {
            let detail = format!(
                "output {index} is not to be sent before {then} ms since 1970, and a router holds an output for a day \
                 at most: let the filter keep it in its state and send it at a tick"
            );
            return Err(Unsendable { reason: "not_before_too_far", detail });
        }
    }
    Ok(())
}

impl Hook {
    pub fn name(self) -> &'static str {
        match self {
            Self::Conditions => "conditions",
            Self::Matches => "matches",
            Self::Process => "process",
            Self::Tick => "tick",
        }
    }
}

impl<'a> RouteWalk<'a> {
    /// Passes each output that the route makes of a verdict to `each`: the first output for every
    /// sink that it goes to, then the next one. All are checked before the first is passed: a dead
    /// letter beside half of the outputs would double them later. Returns whether the verdict lets
    /// anything out.
    ///
    /// # Errors
    /// If an output does not fit the key's schema or can't be encoded for one of the sinks.
    pub fn outputs(&self, verdict: Verdict, mut each: impl FnMut(RouteResult<'a>)) -> Result<bool, Unsendable> {
        self.check(&verdict)?;
        check_times(&verdict)?;
        let mut encoded = self.encoded(&verdict)?.into_iter();
        // In the order in which they were encoded.
        let mut payload_for = |sink: &SinkTarget, json: &Bytes| match &sink.encoder {
            Some(_) => encoded.next().unwrap_or_default(),
            None => json.clone(),
        };
        let RouteWalk { key, route, event } = *self;
        let payload = match verdict {
            Verdict::Drop => return Ok(false),
            Verdict::Keep => event.payload.clone(),
            Verdict::Replace(payload) => payload,
            Verdict::Emit(emissions) => {
                for (index, emission) in (0..).zip(emissions) {
                    let Emission { payload, sink: chosen, id, not_before, subject, headers, fate } = emission;
                    if let EmissionFate::Bury(cause) = fate {
                        each(RouteResult::Buried { index, payload, cause });
                        continue;
                    }
                    let headers = (!headers.is_empty()).then(|| merged(&event.headers, &headers, key));
                    for sink in route.chosen(chosen.as_deref()) {
                        let payload = payload_for(sink, &payload);
                        let (subject, headers, id) = (subject.clone(), headers.clone(), id.clone());
                        let output = RouteOutput { sink, index, payload, subject, headers, id, not_before };
                        each(RouteResult::Output(output));
                    }
                }
                return Ok(true);
            }
        };
        for sink in &route.sinks {
            let payload = payload_for(sink, &payload);
            let (subject, headers, id, not_before) = Default::default();
            each(RouteResult::Output(RouteOutput { sink, index: 0, payload, subject, headers, id, not_before }));
        }
        Ok(true)
    }

    /// Checks the outputs by the key's schema, if this event is one of those to be checked.
    fn check(&self, verdict: &Verdict) -> Result<(), Unsendable> {
        let Some(validation) = self.key.validation.as_ref().filter(|validation| validation.concerns(self.event)) else {
            return Ok(());
        };
        self.each_payload(verdict, |index, payload, _| match validation.check(payload) {
            Ok(()) => Ok(()),
            Err(mismatch) => {
                Err(Unsendable { reason: "schema_mismatch", detail: format!("output {index} {mismatch}") })
            }
        })
    }

    /// Encodes the outputs for the sinks that have an encoder, output by output.
    fn encoded(&self, verdict: &Verdict) -> Result<Vec<Bytes>, Unsendable> {
        let mut encoded = Vec::new();
        if self.route.sinks.iter().any(|sink| sink.encoder.is_some()) {
            self.each_payload(verdict, |index, payload, chosen| {
                for encoder in self.route.chosen(chosen).filter_map(|sink| sink.encoder.as_ref()) {
                    let output = encoder.encode(payload).map_err(|error| Unsendable {
                        reason: "avro_unencodable",
                        detail: format!("output {index}: {error}"),
                    })?;
                    encoded.push(output.into());
                }
                Ok(())
            })?;
        }
        Ok(encoded)
    }

    /// Passes the position, the payload and the chosen sink of each output that is sent to `each`.
    fn each_payload<'v>(
        &self,
        verdict: &'v Verdict,
        mut each: impl FnMut(usize, &Bytes, Option<&'v str>) -> Result<(), Unsendable>,
    ) -> Result<(), Unsendable> {
        match verdict {
            Verdict::Drop => Ok(()),
            Verdict::Keep => each(0, &self.event.payload, None),
            Verdict::Replace(payload) => each(0, payload, None),
            Verdict::Emit(emissions) => {
                let sent = emissions.iter().enumerate().filter(|(_, emission)| emission.fate == EmissionFate::Send);
                sent.into_iter()
                    .try_for_each(|(index, emission)| each(index, &emission.payload, emission.sink.as_deref()))
            }
        }
    }
}
