use proptest::prelude::*;

use super::*;

fn place(sink: &str, has_id: bool) -> OutputPlace {
    OutputPlace {
        source: "in".into(),
        key: "k".into(),
        route: "r".into(),
        sink: sink.into(),
        webhook: String::new(),
        has_id,
    }
}

fn event(sequence: u64) -> Event {
    let mut event = crate::event::GivenEvent::default().event().unwrap();
    event.sequence = sequence;
    event.uid = Uid::at(&event.origin, sequence, 1);
    event.observed_at = sequence * 1_000_000_000;
    event
}

/// The output of an event.
fn expect(recording: &OutputRecording, place: OutputPlace, sequence: u64, digest: OutputDigest) {
    recording.output(place, &event(sequence), 0, digest, 0);
}

fn payload(text: &str) -> OutputDigest {
    OutputDigest::message("s", text.as_bytes())
}

fn retry(_: &str) -> OnFailure {
    OnFailure::Retry
}

fn settle(table: &OutputTable, letters: &LetterIndex, policy: fn(&str) -> OnFailure) -> (VerifyTotals, Vec<String>) {
    let mut findings = Vec::new();
    let totals = table.settle(letters, policy, |finding| {
        findings.push(match finding {
            VerifyFinding::MissingOutput { sequence, .. } => format!("gap {sequence}"),
            VerifyFinding::MissingLetter { sequence, reason, .. } => format!("no letter {sequence} {reason}"),
            VerifyFinding::Double { sequence, times, .. } => format!("double {sequence} {times}"),
        });
    });
    (totals, findings)
}

fn letter(sequence: u64, key: &str, route: &str, sink: &str) -> crate::dead_letters::DeadLetter {
    let record = serde_json::json!({
        "time": "2026-03-14T08:00:00Z", "reason": "r", "detail": "", "id": "", "event_type": "", "subject": "",
        "source": "in", "stream": "", "sequence": sequence, "attempts": 1, "uid": event(sequence).uid.to_string(),
        "key": key, "route": route, "sink": sink,
    });
    crate::dead_letters::DeadLetter::parse(record.to_string().as_bytes()).unwrap()
}

#[test]
fn equal_payloads_are_told_apart_by_their_number() {
    let recording = OutputRecording::default();
    for (sequence, text) in [(1, "same"), (2, "same"), (3, "same"), (4, "other")] {
        expect(&recording, place("plain", false), sequence, payload(text));
    }
    let mut table = recording.into_table();
    for text in ["same", "other", "other", "stranger"] {
        table.find(payload(text));
    }
    let (totals, findings) = settle(&table, &LetterIndex::default(), retry);
    assert_eq!(findings, ["gap 2", "gap 3", "double 4 2"]);
    assert_eq!((totals.outputs, totals.at_sinks, totals.gaps, totals.doubles), (4, 2, 2, 1));
}

/// An event that its producer repeats has one id, and its outputs may be there once or as often as
/// it came.
#[test]
fn repeats_under_one_id_may_be_dropped_or_not() {
    for (found, expected) in [(0, vec!["gap 1", "gap 2"]), (1, vec![]), (2, vec![]), (3, vec!["double 1 3"])] {
        let recording = OutputRecording::default();
        let id = OutputDigest::message_id("id");
        [1, 2].into_iter().for_each(|sequence| expect(&recording, place("out", true), sequence, id));
        let mut table = recording.into_table();
        (0..found).for_each(|_| table.find(id));
        assert_eq!(settle(&table, &LetterIndex::default(), retry).1, expected);
    }
}

#[test]
fn a_letter_accounts_for_what_it_is_about() {
    for (about, accounts) in [
        (["k", "r", "out"], true),
        (["k", "r", ""], true),
        (["k", "", ""], true),
        (["", "", ""], true),
        (["k", "r", "another"], false),
        (["k", "another", ""], false),
        (["another", "", ""], false),
    ] {
        let recording = OutputRecording::default();
        expect(&recording, place("out", true), 1, OutputDigest::message_id("id"));
        let mut letters = LetterIndex::default();
        letters.add(&letter(1, about[0], about[1], about[2]));
        // A letter of another event.
        letters.add(&letter(2, "", "", ""));
        let (totals, _) = settle(&recording.into_table(), &letters, retry);
        assert_eq!((totals.in_letters, totals.gaps), if accounts { (1, 0) } else { (0, 1) }, "{about:?}");
    }
}

#[test]
fn an_event_that_should_be_dead_has_a_letter_or_is_a_gap() {
    let recording = OutputRecording::default();
    for (sequence, reason) in [(1, "malformed"), (2, "malformed"), (3, "quarantined")] {
        recording.letter(place("", true), &event(sequence), reason);
    }
    let mut letters = LetterIndex::default();
    letters.add(&letter(1, "k", "r", ""));
    let (totals, findings) = settle(&recording.into_table(), &letters, retry);
    assert_eq!(findings, ["no letter 2 malformed"]);
    assert_eq!((totals.in_letters, totals.unchecked.values().sum::<u64>()), (1, 1));
}

#[test]
fn what_a_sink_may_have_dropped_is_no_gap() {
    let recording = OutputRecording::default();
    [9, 10]
        .into_iter()
        .for_each(|sequence| expect(&recording, place("out", true), sequence, payload(&sequence.to_string())));
    let mut table = recording.into_table();
    table.keeps_since("another", u32::MAX, "why".into());
    table.keeps_since("out", 10, "later".into());
    table.keeps_since("out", 5, "earlier".into());
    let (totals, findings) = settle(&table, &LetterIndex::default(), retry);
    assert_eq!((findings, totals.unchecked), (vec!["gap 10".to_owned()], BTreeMap::from([("later".to_owned(), 1)])));
    let (totals, findings) = settle(&table, &LetterIndex::default(), |_| OnFailure::Skip);
    assert_eq!((findings.len(), totals.gaps, totals.unchecked.len()), (0, 0, 2));
}

proptest! {
    /// Each output, expected or found, is at its sink, in the letters or a gap, and is counted
    /// once.
    #[test]
    fn every_output_is_counted_once(
        expected in prop::collection::vec((0_u8..6, any::<bool>()), 0..40),
        found in prop::collection::vec(0_u8..8, 0..40),
        dead in prop::collection::btree_set(0_u64..40, 0..10),
    ) {
        let recording = OutputRecording::default();
        for (sequence, (payload_of, has_id)) in (0..).zip(&expected) {
            // Outputs with ids and without have no digests in common.
            let name = format!("{payload_of}");
            let digest = if *has_id { OutputDigest::message_id(&name) } else { payload(&name) };
            expect(&recording, place(if *has_id { "out" } else { "plain" }, *has_id), sequence, digest);
        }
        let mut table = recording.into_table();
        found.iter().for_each(|found| table.find(payload(&format!("{found}"))));
        let mut letters = LetterIndex::default();
        dead.iter().for_each(|sequence| letters.add(&letter(*sequence, "", "", "")));
        let (totals, findings) = settle(&table, &letters, retry);
        prop_assert_eq!(totals.outputs, expected.len() as u64);
        prop_assert_eq!(totals.outputs, totals.at_sinks + totals.in_letters + totals.gaps);
        prop_assert_eq!(findings.len() as u64, totals.gaps + totals.doubles);
        let plain = |wanted: u8| expected.iter().filter(|(name, has_id)| *name == wanted && !has_id).count();
        let times = |wanted: u8| found.iter().filter(|name| **name == wanted).count();
        prop_assert_eq!(totals.at_sinks as usize, (0..6).map(|name| plain(name).min(times(name))).sum::<usize>());
        let is_double = |name: &u8| plain(*name) > 0 && times(*name) > plain(*name);
        prop_assert_eq!(totals.doubles as usize, (0..6).filter(is_double).count());
    }
}
