//! W3C trace context: the trace that an event belongs to, from its headers (F12).

use bytestring::ByteString;

use super::{
    Headers,
    identity::{TRACEPARENT, TRACESTATE},
};

/// A valid `traceparent`: `VERSION-TRACE-SPAN-FLAGS`, all in lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// Trace id, 32 digits.
    pub trace_id: &'a str,
    /// Id of the span that the event was sent in, 16 digits.
    pub span_id: &'a str,
    pub flags: u8,
}

impl<'a> TraceParent<'a> {
    /// Parses a `traceparent`; `None` if it is not valid. Future versions are read as far as this
    /// one goes, as the specification has it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (version, trace_id, span_id, flags) =
            (text.get(..2)?, text.get(3..35)?, text.get(36..52)?, text.get(53..55)?);
        let rest = &text[55..];
        let ends_well = match version {
            "00" => rest.is_empty(),
            "ff" => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let has_dashes = [2, 35, 52].iter().all(|at| text.as_bytes()[*at] == b'-');
        let is_hexadecimal = |digits: &str| digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let is_zero = |digits: &str| digits.bytes().all(|digit| digit == b'0');
        let is_valid = ends_well
            && has_dashes
            && [version, trace_id, span_id, flags].into_iter().all(is_hexadecimal)
            && !is_zero(trace_id)
            && !is_zero(span_id);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        is_valid.then_some(Self { trace_id, span_id, flags })
    }
}

/// Formats the `traceparent` of a sampled span from its ids. `None` if one of them is malformed.
pub fn traceparent(trace_id: &str, span_id: &str) -> Option<ByteString> {
    let text = format!("00-{trace_id}-{span_id}-01");
    let is_whole = TraceParent::parse(&text).is_some_and(|parent| parent.trace_id == trace_id);
    is_whole.then(|| text.into())
}

impl Headers {
    /// Removes an invalid trace context: a `traceparent` that is malformed or occurs twice, and a
    /// `tracestate` without a valid one. Returns whether there was something to remove.
    pub fn remove_invalid_trace(&mut self) -> bool {
        let mut parents = self.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case(TRACEPARENT));
        if let (Some((_, parent)), None) = (parents.next(), parents.next())
            && TraceParent::parse(parent).is_some()
        {
            return false;
        }
        let before = self.0.len();
        let is_trace = |name: &str| [TRACEPARENT, TRACESTATE].iter().any(|known| known.eq_ignore_ascii_case(name));
        self.0.retain(|(name, _)| !is_trace(name));
        self.0.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(pairs: &[(&'static str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    /// F12, with the cases of the specification's own test suite.
    #[test]
    fn a_parent_is_taken_only_as_it_is_specified() {
        let valid = |flags| Some(TraceParent { trace_id: TRACE, span_id: SPAN, flags });
        for (text, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), valid(1)),
            (format!("00-{TRACE}-{SPAN}-00"), valid(0)),
            (format!("00-{TRACE}-{SPAN}-ff"), valid(255)),
            (format!("cc-{TRACE}-{SPAN}-01"), valid(1)),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), valid(1)),
            (format!("cc-{TRACE}-{SPAN}-01.what-comes-later"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("00-{TRACE}-{SPAN}-01 "), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{TRACE}-{SPAN}-0g"), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("0-{TRACE}-{SPAN}-01"), None),
            (format!("00_{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}_{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}+01"), None),
            (format!("00-{TRACE}é{SPAN}-01"), None),
            (TRACE.to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(TraceParent::parse(&text), expected, "{text}");
        }
    }

    /// F12
    #[test]
    fn malformed_ids_make_no_parent() {
        assert_eq!(traceparent(TRACE, SPAN).as_deref(), Some(&*format!("00-{TRACE}-{SPAN}-01")));
        let (zero, shouted) = ("0".repeat(32), TRACE.to_uppercase());
        for (trace, span) in [(&TRACE[1..], SPAN), (TRACE, ""), (&zero, SPAN), (&shouted, SPAN), (SPAN, TRACE)] {
            assert_eq!(traceparent(trace, span), None, "{trace} {span}");
        }
    }

    #[test]
    fn what_is_no_trace_context_is_taken_out() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        for (pairs, left) in [
            (&[("a", "1")][..], 1),
            (&[("a", "1"), ("Traceparent", &good), ("tracestate", "v=1"), ("tracestate", "w=2")], 4),
            (&[("a", "1"), ("traceparent", "00-1-2-01"), ("TraceState", "v=1")], 1),
            (&[("traceparent", &good), ("TRACEPARENT", &good)], 0),
            (&[("tracestate", "v=1"), ("a", "1")], 1),
        ] {
            let mut headers = headers(pairs);
            assert_eq!(headers.remove_invalid_trace(), left < pairs.len(), "{pairs:?}");
            assert_eq!(headers.len(), left, "{pairs:?}");
        }
    }
}
