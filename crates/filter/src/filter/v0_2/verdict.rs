//! Outcomes of version 0.2, checked and made verdicts. Edits are applied here, so that the rest of
//! the router sees whole outputs only.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::types;
use crate::{
    event::Event,
    filter::{
        Emission, EmissionFate, Failure, FailureKind, Verdict,
        error::{Violation, cut_name},
        outputs::OutputLimits,
        subscription::RouteSubscription,
    },
    json::{self, JsonEdit, JsonOutline},
};

type Answer = Result<types::Outcome, types::Failure>;

/// Makes the verdict of an answer about an event, with what was noted of its payload. A failure
/// also if the event is not one that the edits can be made on.
pub(super) fn of(
    answer: Answer,
    subscription: &RouteSubscription,
    event: (&Event, &JsonOutline),
    limits: OutputLimits,
) -> Result<Result<Verdict, Failure>, Violation> {
    let outcome = match answer {
        Ok(outcome) => outcome,
        Err(failure) => return Ok(Err(failure.into())),
    };
    Ok(Ok(match outcome {
        types::Outcome::Drop => Verdict::Drop,
        types::Outcome::Keep => Verdict::Keep,
        types::Outcome::Replace(payload) => {
            limits.check_payload(payload.len())?;
            Verdict::Replace(payload.into())
        }
        types::Outcome::Edit(edits) => return edited(edits, event, limits),
        types::Outcome::Emit(list) => of_emissions(list, subscription, limits)?,
    }))
}

/// Makes the verdict that sends these outputs.
pub(super) fn of_emissions(
    list: Vec<types::Emission>,
    subscription: &RouteSubscription,
    limits: OutputLimits,
) -> Result<Verdict, Violation> {
    if list.is_empty() {
        return Ok(Verdict::Drop);
    }
    limits.check_count(list.len())?;
    let emission = |(index, written)| {
        let emission = emission(index, written, subscription.sinks())?;
        limits.check(index, &emission).map(|()| emission)
    };
    Ok(Verdict::Emit(list.into_iter().enumerate().map(emission).collect::<Result<_, _>>()?))
}

fn emission(index: usize, written: types::Emission, sinks: &[Arc<str>]) -> Result<Emission, Violation> {
    let types::Emission { payload, sink, id, not_before, subject, headers, fate } = written;
    let known = |sink: String| match sinks.iter().find(|known| ***known == *sink) {
        Some(known) => Ok(Arc::clone(known)),
        None => Err(Violation::Sink { index, sink: cut_name(sink) }),
    };
    Ok(Emission {
        payload: payload.into(),
        sink: sink.map(known).transpose()?,
        id: id.map(Into::into),
        not_before,
        subject: subject.map(Into::into),
        headers: headers.into_iter().map(|(name, value)| (name.into(), value.map(Into::into))).collect(),
        fate: match fate {
            types::Fate::Send => EmissionFate::Send,
            types::Fate::Bury(cause) => EmissionFate::Bury(cause.into()),
        },
    })
}

/// Makes the changes, each where it belongs.
fn edited(
    edits: Vec<types::Edit>,
    (event, outline): (&Event, &JsonOutline),
    limits: OutputLimits,
) -> Result<Result<Verdict, Failure>, Violation> {
    let mut in_payload = SmallVec::<[JsonEdit<'_>; 8]>::new();
    let mut subject = None;
    let mut headers = Vec::new();
    for (index, types::Edit { field, change }) in edits.iter().enumerate() {
        let refused = || Violation::Edit { index, field: cut_name(field.clone()) };
        let text = |value: &[u8]| str::from_utf8(value).map(ByteString::from).map_err(|_| refused());
        if field.starts_with('/') || field.is_empty() {
            in_payload.push(match change {
                types::Change::Set(value) => JsonEdit::Set(field, value),
                types::Change::Remove => JsonEdit::Remove(field),
                types::Change::Rename(name) => JsonEdit::Rename(field, name),
            });
            continue;
        }
        match (field.strip_prefix("header:"), change) {
            (None, types::Change::Set(value)) if field == "subject" => subject = Some(text(value)?),
            (Some(name), types::Change::Set(value)) => headers.push((name.into(), Some(text(value)?))),
            (Some(name), types::Change::Remove) => headers.push((name.into(), None)),
            _ => return Err(refused()),
        }
    }
    let payload = if in_payload.is_empty() {
        event.payload.clone()
    } else {
        match json::edited_along(&event.payload, outline, &in_payload) {
            Ok(edited) => Bytes::from(edited),
            Err(error) => return Ok(Err(Failure::new(FailureKind::Malformed, error.to_string()))),
        }
    };
    if subject.is_none() && headers.is_empty() {
        limits.check_payload(payload.len())?;
        return Ok(Ok(Verdict::Replace(payload)));
    }
    let emission = Emission { subject, headers, ..Emission::new(payload) };
    limits.check(0, &emission)?;
    Ok(Ok(Verdict::Emit(vec![emission])))
}
