//! The spans that outputs leave under.

use super::*;
use crate::{event::Headers, sink::double::output, telemetry::Tracer};

const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced() -> Output {
    let output = output("t", "e-1", "text");
    output.ticket.trace(Tracer::double().receive(output.ticket.event()));
    output
}

fn parents(output: &Output) -> Vec<&str> {
    let parents = output.headers().iter().filter(|(name, _)| name == TRACEPARENT);
    parents.map(|(_, parent)| &**parent).collect()
}

/// F12
#[test]
fn outputs_leave_under_the_span_that_sends_them() {
    let (mut first, mut second) = (traced(), traced());
    let _spans = [begin(&mut first, "out"), begin(&mut second, "out")];
    let [one, other] = [&first, &second].map(|output| parents(output)[0].to_owned());
    assert!(one.len() == OWN.len() && one != other, "{one} {other}");
}

#[test]
fn what_the_filter_says_of_the_trace_counts() {
    let mut headers = Headers::default();
    headers.push(TRACEPARENT, OWN);
    let mut output = Output { headers: Some(headers), ..traced() };
    let _span = begin(&mut output, "out");
    assert_eq!(parents(&output), [OWN]);
}

#[test]
fn nothing_is_made_up_where_nothing_is_recorded() {
    let mut output = output("t", "e-1", "text");
    assert!(begin(&mut output, "out").is_none() && output.headers.is_none());
}
