//! The reply subject of a delivered message: it describes the delivery, and a message published on
//! it settles it.

use async_nats::Subject;

/// Position of a delivery in its stream and consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryPosition {
    /// 1 on the first delivery.
    pub attempt: u32,
    /// Sequence in the stream.
    pub sequence: u64,
    /// Number of the delivery, counted by the consumer.
    pub delivery: u64,
}

/// All that a reply subject contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyFields {
    pub position: DeliveryPosition,
    /// Time at which the message was stored, in Unix nanoseconds.
    pub stored_at: i64,
    /// Messages that the consumer has still to deliver after it.
    pub pending: u64,
}

impl ReplyFields {
    /// Reads `$JS.ACK.STREAM.CONSUMER.attempt.sequence.delivery.time.pending`, or the longer form
    /// with domain and account before the stream. `None` for any other subject.
    pub fn of(reply: &str) -> Option<Self> {
        let reply = reply.strip_prefix("$JS.ACK.")?;
        let tokens = reply.split('.');
        let skip = match tokens.clone().count() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut numbers = tokens.skip(skip);
        let position = DeliveryPosition {
            attempt: numbers.next()?.parse().ok()?,
            sequence: numbers.next()?.parse().ok()?,
            delivery: numbers.next()?.parse().ok()?,
        };
        Some(Self { position, stored_at: numbers.next()?.parse().ok()?, pending: numbers.next()?.parse().ok()? })
    }
}

impl DeliveryPosition {
    /// Reads the position from a reply subject; `None` for any other subject.
    pub fn of(reply: &str) -> Option<Self> {
        ReplyFields::of(reply).map(|delivered| delivered.position)
    }

    /// The subject on which the server takes the settlement of a delivery that never reached us.
    pub fn reply(&self, stream: &str, consumer: &str) -> Subject {
        let Self { attempt, sequence, delivery } = self;
        format!("$JS.ACK.{stream}.{consumer}.{attempt}.{sequence}.{delivery}.0.0").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let expected = Some(DeliveryPosition { attempt: 2, sequence: 17, delivery: 19 });
        for reply in [
            "$JS.ACK.ORDERS.trommel.2.17.19.1700000000000000000.4",
            "$JS.ACK.hub.ACCHASH.ORDERS.trommel.2.17.19.1700000000000000000.4",
            "$JS.ACK.hub.ACCHASH.ORDERS.trommel.2.17.19.1700000000000000000.4.random",
        ] {
            assert_eq!(DeliveryPosition::of(reply), expected, "{reply}");
            let delivered = ReplyFields::of(reply).unwrap();
            assert_eq!((delivered.stored_at, delivered.pending), (1_700_000_000_000_000_000, 4), "{reply}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let position = DeliveryPosition { attempt: 1, sequence: u64::MAX, delivery: 0 };
        assert_eq!(DeliveryPosition::of(&position.reply("S", "C")), Some(position));
    }

    #[test]
    fn other_subjects_are_not_taken_for_one() {
        for reply in ["", "_INBOX.a.b", "$JS.ACK.S.C.1.2.3", "$JS.ACK.S.C.one.2.3.4.5", "$JS.ACK.S.C.-1.2.3.4.5"] {
            assert_eq!(DeliveryPosition::of(reply), None, "{reply}");
        }
    }
}
