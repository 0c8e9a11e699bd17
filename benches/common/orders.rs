//! The events that `relay` and `peers` have in their first stream.

use async_nats::jetstream::Context;

/// Publishes under way at once, as in the router.
pub const WINDOW: usize = 1024;
pub const SUBJECTS: usize = 100;

/// Publishes so many orders of about `size` bytes to `in.0` and up.
pub async fn publish(context: &Context, events: usize, size: usize) {
    let mut acks = Vec::new();
    for number in 0..events {
        acks.push(context.publish(subject(number), order(number, size).into()).await.unwrap());
        if acks.len() == WINDOW {
            for ack in acks.drain(..) {
                ack.await.unwrap();
            }
        }
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

pub fn subject(number: usize) -> String {
    format!("in.{}", number % SUBJECTS)
}

/// An order of about `size` bytes; every second one is `"half":"yes"`.
pub fn order(number: usize, size: usize) -> String {
    let half = if number.is_multiple_of(2) { "yes" } else { "no" };
    let customer = number % SUBJECTS;
    let mut payload = format!(r#"{{"number":{number},"half":"{half}","customer":{{"id":{customer}}},"lines":["#);
    for line in 0.. {
        if payload.len() + 40 > size {
            break;
        }
        let comma = if line > 0 { "," } else { "" };
        payload.push_str(&format!(r#"{comma}{{"sku":"sku-{line}","quantity":{line}}}"#));
    }
    payload + r#"],"last":"yes"}"#
}
