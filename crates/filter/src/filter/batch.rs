//! Columns: many events in two flat buffers, in the layouts of the contract's `event-batch`.

use super::{EventFields, interest::EventReads, subscription::RouteSubscription};
use crate::{condition::EventFacts, event::Event, json::JsonOutline};

/// Layout of version 0.1.1 of the contract, with a row of fixed parts for each event.
const LAYOUT: u32 = 1;
/// Layout of version 0.2, with the fields that were asked for.
const FIELDS_LAYOUT: u32 = 2;
/// Numbers of a row.
const STRIDE: u32 = 15;
/// Bytes of a number.
const NUMBER: usize = size_of::<u32>();
const ABSENT: [u32; 2] = [u32::MAX, 0];
/// Most bytes handed over at once, so that a batch needs little of a guest's memory.
const LARGEST: usize = 256 << 10;

/// The events of one call. Reused, so that filling it does not allocate once it has grown.
#[derive(Debug, Default)]
pub(super) struct EventColumns {
    arena: Vec<u8>,
    index: Vec<u8>,
    headers: Vec<u8>,
    notes_outlines: bool,
    /// What was noted of the payloads on the way to the fields, event by event.
    outlines: Vec<JsonOutline>,
}

impl EventColumns {
    /// Creates columns for events whose payloads may be edited.
    pub(super) fn for_edits() -> Self {
        Self { notes_outlines: true, ..Self::default() }
    }

    /// Replaces the content with the parts that are read of as many events as fit, from the first
    /// on. Returns their number: 0 if the first alone is too large.
    pub(super) fn fill<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>, reads: EventFields) -> usize {
        self.arena.clear();
        self.headers.clear();
        self.index.clear();
        // The zeros are replaced below, once the count and the place of the headers are known.
        write(&mut self.index, [LAYOUT, 0, STRIDE, 0]);
        let mut count = 0_u32;
        let mut last_type = ABSENT;
        for event in events {
            if self.arena.len() + size(event, reads) > LARGEST {
                break;
            }
            last_type = self.event_type(event.event_type.as_bytes(), last_type);
            self.row(event, reads, last_type);
            count += 1;
        }
        let table = number(self.index.len() / NUMBER);
        self.index[NUMBER..][..NUMBER].copy_from_slice(&count.to_le_bytes());
        self.index[3 * NUMBER..][..NUMBER].copy_from_slice(&table.to_le_bytes());
        self.index.append(&mut self.headers);
        count as usize
    }

    /// Replaces the content with the fields that are read of as many events as fit, from the first
    /// on. Returns their number: 0 if the first alone is too large, or has no such fields.
    pub(super) fn fill_fields<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a Event>,
        subscription: &'a RouteSubscription,
        reads: &'a EventReads,
    ) -> usize {
        self.arena.clear();
        self.index.clear();
        self.outlines.clear();
        write(&mut self.index, [FIELDS_LAYOUT, 0, number(reads.fields.len())]);
        let mut count = 0_u32;
        for event in events {
            let facts = EventFacts::new(event);
            let mut facts = if self.notes_outlines { facts.with_outline() } else { facts };
            let Ok(values) = subscription.values(reads, &mut facts, event.attempt) else { break };
            let size: usize = values.iter().flatten().map(|value| value.len()).sum();
            if self.arena.len() + size > LARGEST {
                break;
            }
            for value in &values {
                let part = self.part(value.as_deref());
                write(&mut self.index, part);
            }
            self.outlines.push(facts.into_outline());
            count += 1;
        }
        self.index[NUMBER..][..NUMBER].copy_from_slice(&count.to_le_bytes());
        count as usize
    }

    pub(super) fn arena(&self) -> &[u8] {
        &self.arena
    }

    pub(super) fn index(&self) -> &[u8] {
        &self.index
    }

    pub(super) fn outlines(&self) -> &[JsonOutline] {
        &self.outlines
    }

    fn row(&mut self, event: &Event, reads: EventFields, event_type: [u32; 2]) {
        let id = self.part(reads.id.then_some(event.id.as_bytes()));
        let subject = self.part(reads.subject.then_some(event.subject.as_bytes()));
        let source_time = event.source_time.as_deref().filter(|_| reads.source_time);
        let source_time = self.part(source_time.map(str::as_bytes));
        let payload = self.part(reads.payload.then_some(&event.payload));
        let observed_at = [event.observed_at as u32, (event.observed_at >> 32) as u32];
        let headers = if reads.headers { self.headers(event) } else { ABSENT };
        for pair in [id, event_type, subject, source_time, payload, observed_at] {
            write(&mut self.index, pair);
        }
        write(&mut self.index, [event.attempt]);
        write(&mut self.index, headers);
    }

    /// Position of the event type. Neighbours often have the same type and then share it, so that a
    /// guest decodes it only once.
    fn event_type(&mut self, event_type: &[u8], last: [u32; 2]) -> [u32; 2] {
        let [offset, length] = last.map(|number| number as usize);
        if self.arena.get(offset..offset.wrapping_add(length)) == Some(event_type) {
            return last;
        }
        self.part(Some(event_type))
    }

    fn headers(&mut self, event: &Event) -> [u32; 2] {
        let first = number(self.headers.len() / (4 * NUMBER));
        for (name, value) in event.headers.iter() {
            for text in [name, value] {
                let part = self.part(Some(text.as_bytes()));
                write(&mut self.headers, part);
            }
        }
        [first, number(event.headers.len())]
    }

    fn part(&mut self, bytes: Option<&[u8]>) -> [u32; 2] {
        let Some(bytes) = bytes else { return ABSENT };
        let offset = number(self.arena.len());
        self.arena.extend_from_slice(bytes);
        [offset, number(bytes.len())]
    }
}

fn write<const N: usize>(index: &mut Vec<u8>, numbers: [u32; N]) {
    index.extend_from_slice(numbers.map(u32::to_le_bytes).as_flattened());
}

/// Converts an offset or a count, which [`LARGEST`] keeps far below `u32::MAX`.
fn number(length: usize) -> u32 {
    length as u32
}

/// Most bytes that the event can add to the arena; headers count with their numbers, too.
fn size(event: &Event, reads: EventFields) -> usize {
    let texts = [
        (true, event.event_type.len()),
        (reads.id, event.id.len()),
        (reads.subject, event.subject.len()),
        (reads.source_time, event.source_time.as_ref().map_or(0, |time| time.len())),
        (reads.payload, event.payload.len()),
    ];
    let size: usize = texts.iter().filter(|(read, _)| *read).map(|(_, length)| length).sum();
    let headers = event.headers.iter().filter(|_| reads.headers);
    size + headers.map(|(name, value)| name.len() + value.len() + 4 * NUMBER).sum::<usize>()
}

#[cfg(test)]
mod rows;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::{collection::vec, option, prelude::*};

    use super::{rows::Row, *};
    use crate::event::Origin;

    fn any_event() -> impl Strategy<Value = Event> {
        let text = || "\\PC{0,5}";
        let headers = vec((text(), text()), 0..3);
        let texts = ("[ab]{0,1}", text(), text(), option::of(text()));
        (texts, headers, vec(any::<u8>(), 0..9), any::<u64>(), any::<u32>()).prop_map(
            |((event_type, id, subject, source_time), headers, payload, observed_at, attempt)| Event {
                id: id.into(),
                uid: Default::default(),
                event_type: event_type.into(),
                subject: subject.into(),
                source_time: source_time.map(Into::into),
                observed_at,
                attempt,
                headers: headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
                payload: payload.into(),
                origin: Arc::new(Origin { source: "s".to_owned(), stream: "S".to_owned() }),
                sequence: 1,
            },
        )
    }

    fn any_fields() -> impl Strategy<Value = EventFields> {
        any::<[bool; 5]>().prop_map(|[id, subject, source_time, headers, payload]| EventFields {
            id,
            subject,
            source_time,
            headers,
            payload,
        })
    }

    fn bytes(text: &str) -> &[u8] {
        text.as_bytes()
    }

    fn check(row: Row<'_>, event: &Event, reads: EventFields) {
        assert_eq!(row.event_type(), bytes(&event.event_type));
        assert_eq!(row.id(), reads.id.then_some(bytes(&event.id)));
        assert_eq!(row.subject(), reads.subject.then_some(bytes(&event.subject)));
        let source_time = event.source_time.as_deref().filter(|_| reads.source_time);
        assert_eq!(row.source_time(), source_time.map(bytes));
        assert_eq!(row.payload(), reads.payload.then_some(&event.payload[..]));
        assert_eq!((row.observed_at(), row.attempt()), (event.observed_at, event.attempt));
        let headers = || event.headers.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
        assert_eq!(row.headers().map(Iterator::collect::<Vec<_>>), reads.headers.then(headers));
    }

    proptest! {
        #[test]
        fn what_is_laid_out_reads_the_same(events in vec(any_event(), 0..70), reads in any_fields()) {
            let mut columns = EventColumns::default();
            for _ in 0..2 {
                prop_assert_eq!(columns.fill(&events, reads), events.len());
                let read = rows::Columns::new(columns.arena(), columns.index());
                prop_assert_eq!(read.len(), events.len());
                for (position, event) in events.iter().enumerate() {
                    check(read.row(position), event, reads);
                }
            }
        }
    }

    fn event(payload: usize) -> Event {
        Event {
            id: "1".into(),
            uid: Default::default(),
            event_type: "created".into(),
            subject: "s".into(),
            source_time: None,
            observed_at: 0,
            attempt: 1,
            headers: Default::default(),
            payload: vec![0; payload].into(),
            origin: Arc::new(Origin { source: "s".to_owned(), stream: "S".to_owned() }),
            sequence: 1,
        }
    }

    const PAYLOAD: EventFields =
        EventFields { id: false, subject: false, source_time: false, headers: false, payload: true };

    #[test]
    fn no_more_is_taken_than_is_handed_over_at_once() {
        let mut columns = EventColumns::default();
        let half = LARGEST / 2;
        assert_eq!(columns.fill(&[event(half), event(half - 100), event(half)], PAYLOAD), 2);
        assert_eq!(columns.index()[NUMBER..][..NUMBER], [2, 0, 0, 0]);
        assert_eq!(columns.fill(&[event(LARGEST)], PAYLOAD), 0);
        assert_eq!(columns.fill(&[event(LARGEST)], EventFields::default()), 1, "what is not read is not counted");
    }

    #[test]
    fn neighbours_of_one_type_share_it() {
        let mut columns = EventColumns::default();
        assert_eq!(columns.fill(&[event(0), event(0), Event { event_type: "x".into(), ..event(0) }], PAYLOAD), 3);
        assert_eq!(columns.arena(), b"createdx");
    }
}
