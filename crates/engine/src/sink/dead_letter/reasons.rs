//! Reason codes of dead letters: what each means, and what to do about it. The reference is made of
//! this table.

/// Reason code of dead letters.
#[derive(Clone, Copy, Debug)]
pub struct LetterReason {
    pub code: &'static str,
    pub meaning: &'static str,
    pub remedy: &'static str,
}

const fn reason(code: &'static str, meaning: &'static str, remedy: &'static str) -> LetterReason {
    LetterReason { code, meaning, remedy }
}

const FIX_PRODUCER: &str = "correct the producer";
const CHECK_ENVELOPE: &str = "correct the producer, or the source's `envelope`";
const CHECK_SCHEMA: &str = "compare the producer's schema with the one in `schemas/`";
const FIX_FILTER: &str = "correct the filter, then `dlq retry`";
const RAISE_LIMIT: &str = "correct the filter, or raise the limit, then `dlq retry`";

/// All reason codes, in the order in which an event can meet them.
pub const LETTER_REASONS: &[LetterReason] = &[
    // The source and its envelope.
    reason("not_utf8", "the line is not UTF-8", FIX_PRODUCER),
    reason(
        "too_large",
        "the line or the record has more than 8 MiB, or the output more bytes than the server or the stream allows",
        "raise the server's or the stream's limit, or send less",
    ),
    reason("bad_headers", "the message's headers can't be read", FIX_PRODUCER),
    reason("headers_not_utf8", "the message's headers are not UTF-8", FIX_PRODUCER),
    reason(
        "not_json",
        "the payload is not JSON, and the envelope, the key's `decode` or a filter's condition looks into it",
        CHECK_ENVELOPE,
    ),
    reason(
        "bad_field",
        "the field that the envelope names as id, type, subject or time holds an object or an array",
        CHECK_ENVELOPE,
    ),
    reason(
        "bad_subject",
        "the event's subject, or the one that a sink's template gives, is not a valid subject",
        "correct the producer, or use `{token:…}` in the sink's template",
    ),
    reason("bad_cloudevent", "it is not a valid CloudEvent 1.0", CHECK_ENVELOPE),
    reason("bad_helix_event", "it is not a valid `helix` event, or lacks id or type", CHECK_ENVELOPE),
    reason("bad_mesh_event", "it is not a valid `jb-mesh` event, or lacks its type", CHECK_ENVELOPE),
    reason("bad_ctrlplane_event", "it is not a valid `ctrlplane` event, or lacks its type", CHECK_ENVELOPE),
    reason("bad_flowcraft_event", "it is not a valid `flowcraft` event, or lacks its subject", CHECK_ENVELOPE),
    reason("bad_lark_event", "it is not a Lark event of version 2.0 or 1.0, or lacks id or type", CHECK_ENVELOPE),
    reason(
        "header_conflict",
        "body and message headers contradict each other, and the source has `verify_header`",
        "find out which of the two was forged or is stale",
    ),
    reason(
        "too_many_hops",
        "it went through 32 routers, which feed each other",
        "break the loop: a sink's subject lies in a source's stream",
    ),
    // Decoding.
    reason(
        "unknown_schema",
        "its Avro schema is neither in `schemas/*.avsc` nor in a preset, and the schema registry, if there is one, does not give it",
        "add or register the schema, then `dlq retry`",
    ),
    reason("not_avro", "it does not begin with the marker of an Avro message", "set the key's `decode` to `auto`"),
    reason("avro_too_short", "it ends before the id of its schema", FIX_PRODUCER),
    reason("avro_truncated", "it ends before its schema does", CHECK_SCHEMA),
    reason("avro_trailing_bytes", "bytes follow the value that its schema describes", CHECK_SCHEMA),
    reason("avro_bad_length", "a length or a count is negative or larger than the message", CHECK_SCHEMA),
    reason("avro_bad_varint", "an integer has more bits than its type", CHECK_SCHEMA),
    reason("avro_bad_time", "a timestamp lies outside the years 0 to 9999", FIX_PRODUCER),
    reason("avro_bad_boolean", "a boolean is neither 0 nor 1", CHECK_SCHEMA),
    reason("avro_bad_union", "a union has no branch of this index", CHECK_SCHEMA),
    reason("avro_bad_enum", "an enum has no symbol of this index", CHECK_SCHEMA),
    reason("avro_not_utf8", "a text is not UTF-8", CHECK_SCHEMA),
    reason("avro_too_deep", "values nest more than 100 levels", FIX_PRODUCER),
    reason("avro_too_large", "it has more than 16 Mi values, or becomes more than 64 MiB of JSON", FIX_PRODUCER),
    reason(
        "avro_unresolvable",
        "the written value can't be read as `reader_schema`",
        "give the new field of `reader_schema` a default, or take another version",
    ),
    // The filter.
    reason("malformed", "the filter reports that it can never process the event", FIX_PRODUCER),
    reason(
        "buried",
        "the filter buries this one of its outputs, and has sent the others",
        "see `detail` and `code`; `dlq retry` sends the output's payload through the key as an event",
    ),
    reason(
        "failed",
        "the filter failed, or asked for another try, until the key's `retry.patience` was over",
        "see `detail`; repair what the filter depends on, then `dlq retry`",
    ),
    reason("trap", "the filter trapped, twice for the same event", FIX_FILTER),
    reason("cpu_deadline", "conditions or filter computed longer than `match_cpu` or `process_cpu`", RAISE_LIMIT),
    reason("wall_deadline", "the filter took longer than `process_wall`, host calls included", RAISE_LIMIT),
    reason("memory", "the filter used up the memory of its instance", RAISE_LIMIT),
    reason("stack_overflow", "the filter used up its stack", FIX_FILTER),
    reason("output_too_large", "the filter returned more than `output` or `emissions` allow", RAISE_LIMIT),
    reason("host_calls", "the filter made twice as many host calls as `host_calls` allows", RAISE_LIMIT),
    reason("impure", "the filter called the host where only computing is allowed, as in `matches`", FIX_FILTER),
    reason("bad_output", "the filter returned what the contract does not allow", FIX_FILTER),
    reason(
        "quarantined",
        "the filter is quarantined, and its `on_quarantine` is `dead_letter`",
        "replace the component, or send SIGHUP, then `dlq retry`",
    ),
    // Outputs and sinks.
    reason(
        "schema_mismatch",
        "an output is not JSON or does not fit the key's schema",
        "correct the filter or the schema; `detail` has the place",
    ),
    reason(
        "not_before_too_far",
        "an output is not to be sent for more than a day, longer than it is held",
        "let the filter keep it in its state, and send it at a tick",
    ),
    reason(
        "avro_unencodable",
        "an output does not fit the sink's `writer_schema`",
        "correct the filter or the schema; `detail` has the place",
    ),
    reason("bad_header", "NATS can't send a header of the output", "correct the filter or the producer"),
    reason(
        "refused_by_stream",
        "the stream refused the output, and not because it is full or away",
        "see `detail` for the server's words; correct the stream or the output",
    ),
    reason(
        "sink_unavailable",
        "the sink was away for longer than its `retry.patience`, and its `on_failure` is `dead_letter`",
        "repair the destination, then `dlq retry`",
    ),
    reason(
        "bus_closed",
        "the program has closed the bus before the output was published there",
        "stop the router first, and close its buses when it has ended",
    ),
    reason(
        "refused_by_program",
        "the program of a sink of type `exec` has answered `error`",
        "see `detail` for its words; correct the program or the output",
    ),
    // Results of `dlq retry`, which reports them and stores no letter for them.
    reason("no_key", "`dlq retry`: the key does not exist any more, or has no route", "declare it again, or drop it"),
    reason("no_source", "`dlq retry`: the source does not exist any more", "declare it again, or drop it"),
    reason(
        "no_event",
        "`dlq retry`: the letter holds an output that a filter made at a tick",
        "publish its payload where it belongs, then drop it",
    ),
    reason("no_letter", "`dlq retry`: the record is not a valid dead letter", "see `dlq show`, then drop it"),
    reason(
        "unproven",
        "`dlq retry`: the letter has no valid proof: written by another program, changed, or by an earlier version",
        "look at it, then `dlq retry --accept-unproven`",
    ),
];
