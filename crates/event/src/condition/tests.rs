use super::{facts::REMEMBERED, *};
use crate::event::{Event, Headers, Origin};

const TIME: Duration = Duration::from_millis(10);

fn event(payload: &str) -> Event {
    let mut headers = Headers::default();
    headers.push("Kind", "card");
    headers.push("Retries", "10");
    Event {
        id: "1".into(),
        uid: Default::default(),
        event_type: "created".into(),
        subject: "orders.eu.created".into(),
        source_time: None,
        observed_at: 0,
        attempt: 1,
        headers,
        payload: payload.to_owned().into(),
        origin: Arc::new(Origin { source: "s".to_owned(), stream: "S".to_owned() }),
        sequence: 1,
    }
}

fn written(field: &str, comparison: Comparison, value: &str) -> Condition {
    Condition { field: field.to_owned(), elements: None, comparison, values: vec![value.to_owned().into()] }
}

fn conditions(lists: &[&[(&str, Comparison, &str)]]) -> Conditions {
    let lists = lists.iter().map(|list| list.iter().map(|(f, c, v)| written(f, *c, v)).collect()).collect();
    Conditions::new(lists, TIME, &PathSets::default(), &[]).unwrap()
}

fn holds(payload: &str, field: &str, comparison: Comparison, value: &str) -> bool {
    let event = event(payload);
    conditions(&[&[(field, comparison, value)]]).test(&mut EventFacts::new(&event)).unwrap()
}

use Comparison::*;

#[test]
fn fields_are_found_where_they_stand() {
    for (field, comparison, value, expected) in [
        ("subject", StartsWith, "orders.eu.", true),
        ("subject", Contains, "us", false),
        ("event-type", Equals, "created", true),
        ("header:kind", Equals, "card", true),
        ("header:none", Exists, "", false),
        ("header:none", NotEquals, "x", false),
        ("/a/b", Equals, "x", true),
        ("/a", Exists, "", true),
        ("/a", NotEquals, "x", false),
        ("/none", NotEquals, "x", false),
        ("/list/1", Equals, "2", true),
        ("/nothing", Exists, "", true),
        ("/nothing", Equals, "null", true),
        ("/yes", Equals, "true", true),
    ] {
        let payload = r#"{"a":{"b":"x"},"list":[1,2],"nothing":null,"yes":true}"#;
        assert_eq!(holds(payload, field, comparison, value), expected, "{field} {comparison:?} {value}");
    }
}

#[test]
fn numbers_compare_as_numbers_and_text_bytewise() {
    let payload = r#"{"n":10,"f":1.50,"big":9007199254740993,"s":"10","e":"a\u0062"}"#;
    for (field, comparison, value, expected) in [
        ("/n", Greater, "9", true),
        ("/n", Equals, "10.0", true),
        ("/n", Less, "9 apples", true),
        ("/n", StartsWith, "1", true),
        ("/f", Equals, "1.5", true),
        ("/f", NotEquals, "1.5", false),
        ("/big", Equals, "9007199254740992", false),
        ("/big", GreaterOrEqual, "9007199254740993", true),
        ("/s", Greater, "9", false),
        ("/s", Equals, "10.0", false),
        ("/e", Equals, "ab", true),
        ("header:retries", Greater, "9", true),
        ("header:retries", LessOrEqual, "9", false),
        ("header:retries", Equals, "10.0", false),
        ("header:kind", Less, "cash", true),
    ] {
        assert_eq!(holds(payload, field, comparison, value), expected, "{field} {comparison:?} {value}");
    }
}

#[test]
fn any_list_passes_with_all_of_its_tests() {
    let event = event(r#"{"n":10}"#);
    let test = |lists: &[&[(&str, Comparison, &str)]]| conditions(lists).test(&mut EventFacts::new(&event)).unwrap();
    assert!(test(&[]));
    assert!(test(&[&[]]));
    assert!(test(&[&[("/n", Greater, "99")], &[("/n", Greater, "9"), ("event-type", Exists, "")]]));
    assert!(!test(&[&[("/n", Greater, "9"), ("/n", Less, "9")]]));
}

#[test]
fn only_a_look_into_the_payload_needs_json() {
    let event = event("plain text");
    assert!(holds("plain text", "subject", Exists, ""));
    let lists = conditions(&[&[("event-type", Equals, "other"), ("/a", Exists, "")]]);
    assert_eq!(lists.test(&mut EventFacts::new(&event)), Ok(false));
    let lists = conditions(&[&[("/a", Exists, "")]]);
    assert_eq!(lists.test(&mut EventFacts::new(&event)), Err(Untested::NotJson { pointer: "/a".to_owned() }));
}

#[test]
fn a_walk_is_made_once_for_all_routes_that_ask_the_same() {
    let event = event(r#"{"n":10,"m":1}"#);
    let pointers = PathSets::default();
    let route = |value| {
        let tests = vec![written("/n", Greater, value), written("/m", Exists, "")];
        Conditions::new(vec![tests], TIME, &pointers, &[]).unwrap()
    };
    let (one, two) = (route("9"), route("11"));
    let mut facts = EventFacts::new(&event);
    assert_eq!(one.test(&mut facts), Ok(true));
    assert_eq!(two.test(&mut facts), Ok(false));
    assert_eq!((facts.known.len(), facts.values.len()), (1, 2));
}

#[test]
fn more_sets_than_are_remembered_are_answered_too() {
    let members: Vec<_> = (0..3 * REMEMBERED).map(|n| format!("\"m{n}\":{n}")).collect();
    let event = event(&format!("{{{}}}", members.join(",")));
    let pointers = PathSets::default();
    let route = |n: usize| {
        let tests = vec![written(&format!("/m{n}"), Equals, &n.to_string()), written("/m0", Equals, "0")];
        Conditions::new(vec![tests], TIME, &pointers, &[]).unwrap()
    };
    let routes: Vec<_> = (0..members.len()).map(route).collect();
    let mut facts = EventFacts::new(&event);
    for _ in 0..2 {
        assert!(routes.iter().all(|route| route.test(&mut facts).unwrap()));
    }
    assert_eq!((facts.known.len(), facts.values.len()), (REMEMBERED, 2 * REMEMBERED - 1));
}

#[test]
fn sets_that_nobody_uses_go() {
    let pointers = PathSets::default();
    let set = |n: usize| pointers.get([&format!("/{n}").parse().unwrap()].into_iter()).unwrap();
    for n in 0..1000 {
        set(n);
    }
    assert!(pointers.len() <= 2);
    let used: Vec<_> = (0..100).map(set).collect();
    assert!(Arc::ptr_eq(&used[7], &set(7)));
}

#[test]
fn the_last_of_members_with_one_name_counts() {
    for (payload, expected) in [
        (r#"{"n":1,"n":1000000}"#, false),
        (r#"{"n":1000000,"n":1}"#, true),
        (r#"{"n":1,"\u006e":1000000}"#, false),
        (r#"{"n":1,"n":null}"#, false),
    ] {
        assert_eq!(holds(payload, "/n", LessOrEqual, "500"), expected, "{payload}");
    }
    let payload = r#"{"a":{"b":1},"a":{"c":2}}"#;
    assert!(!holds(payload, "/a/b", Exists, "") && holds(payload, "/a/c", Exists, ""));
}

/// Avro's decimals are strings in JSON; the schema tells which strings are decimals.
#[test]
fn decimals_compare_as_numbers() {
    let event = event(r#"{"price":"9.99","text":"9.99"}"#);
    let is_decimal = |pointer: &str| pointer == "/price";
    for (field, comparison, value, expected) in [
        ("/price", GreaterOrEqual, "10", false),
        ("/price", Less, "10", true),
        ("/price", Equals, "9.990", true),
        ("/price", StartsWith, "9.9", true),
        ("/price", Less, "a", true),
        ("/text", GreaterOrEqual, "10", true),
        ("/text", Equals, "9.990", false),
    ] {
        let conditions = conditions(&[&[(field, comparison, value)]]);
        let mut facts = EventFacts::new(&event).with_decimals(&is_decimal);
        assert_eq!(conditions.test(&mut facts), Ok(expected), "{field} {comparison:?} {value}");
    }
}

/// Testing an event costs no more than a walk through its payload and the time given to its tests.
#[test]
fn tests_have_a_budget() {
    let many = |count| vec![vec![written("/a", Exists, ""); count]];
    assert!(Conditions::new(many(MOST_TESTS), TIME, &PathSets::default(), &[]).is_ok());
    let refused = Conditions::new(many(MOST_TESTS + 1), TIME, &PathSets::default(), &[]).unwrap_err();
    assert_eq!(refused, ConditionError::TooMany(MOST_TESTS + 1));

    let event = event(&format!(r#"{{"a":"{}"}}"#, "a".repeat(1 << 20)));
    let test = |count, time| {
        let tests = (0..count).map(|n| vec![written("/a", Contains, &format!("b{n}"))]).collect();
        Conditions::new(tests, time, &PathSets::default(), &[]).unwrap().test(&mut EventFacts::new(&event))
    };
    assert_eq!(test(3, Duration::ZERO), Ok(false), "a few tests are always made");
    assert_eq!(test(9, TIME), Ok(false));
    let error = test(11, TIME).unwrap_err();
    assert_eq!((error.code(), error), ("cpu_deadline", Untested::TooMuch(10_000_000)));
}

#[test]
fn a_field_that_no_condition_tests_is_refused() {
    for (field, start) in [
        ("", "`` is not a field"),
        ("total", "`total` is not a field, write `/total` for a member of the payload"),
        ("payload", "a condition tests no whole payload"),
        ("key", "`key` is the same for all events"),
        ("route", "`route` is the same for all events"),
    ] {
        let lists = vec![vec![written(field, Exists, "")]];
        let error = Conditions::new(lists, TIME, &PathSets::default(), &[]).unwrap_err().to_string();
        assert!(error.starts_with(start), "{field}: {error}");
    }
}

#[test]
fn fields_beside_the_payload_are_tested_too() {
    let mut event = event("not JSON");
    event.headers.push("tenant", "acme");
    event.headers.push("Content-Type", "text/plain");
    (event.attempt, event.sequence, event.observed_at) = (2, 10, 1_700_000_000_000_000_000);
    for (expression, expected) in [
        ("tenant == acme; attempt > 1", true),
        ("tenant == acme; attempt > 2", false),
        ("attempt == 2.0; attempt in [1, 2e0]", true),
        ("sequence > 9; sequence <= 10", true),
        ("sequence ^= 1", true),
        ("observed-at >= 1.7e18; observed-at < 1700000000000000001", true),
        ("id == 1; source == s; stream == S; type == created", true),
        ("id == 1.0", false),
        ("content-type $= plain; !source-time", true),
        ("source-time", false),
    ] {
        let conditions = Conditions::new(parse(expression).unwrap(), TIME, &PathSets::default(), &[]).unwrap();
        assert_eq!(conditions.test(&mut EventFacts::new(&event)).unwrap(), expected, "{expression}");
    }
    let shown =
        Conditions::new(parse("type == a; sequence").unwrap(), TIME, &PathSets::default(), &[]).unwrap().shown();
    assert_eq!(shown, ["event-type == \"a\"; sequence exists"]);
}

#[test]
fn lists_ends_expressions_and_patterns_are_compared() {
    let payload = r#"{"a":"x.pdf","n":2.0,"nothing":null,"list":[1]}"#;
    let event = event(payload);
    for (expression, expected) in [
        ("/a $= .pdf", true),
        ("/a $= pdf.", false),
        ("/n in [1, 2]", true),
        ("/n in [1, 20]", false),
        ("/n not in [1, 3]", true),
        ("/none not in [1]", false),
        ("/list in [1]", false),
        ("!/none", true),
        ("!/nothing", false),
        ("!/list", false),
        ("! header:none", true),
        ("!header:kind", false),
        ("/a matches \"^x[.]\"", true),
        ("/a matches ^y", false),
        ("subject fits orders.*.created", true),
        ("subject fits orders.*", false),
        ("header:retries in [9, 10.0]", false),
    ] {
        let conditions = Conditions::new(parse(expression).unwrap(), TIME, &PathSets::default(), &[]).unwrap();
        assert_eq!(conditions.test(&mut EventFacts::new(&event)).unwrap(), expected, "{expression}");
    }
    for expression in ["/a matches \"(x\"", "subject fits a..b"] {
        assert!(checked(expression).unwrap_err().contains(" is not a "), "{expression}");
    }
}

/// An expression whose time could grow with the text's square is bounded by the text looked at.
#[test]
fn expressions_use_up_the_time_of_the_tests() {
    let payload = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let lists = vec![(0..100).map(|_| written("/a", Matches, "(x+x+)+y|x")).collect()];
    let conditions = Conditions::new(lists, Duration::ZERO, &PathSets::default(), &[]).unwrap();
    assert!(matches!(conditions.test(&mut EventFacts::new(&event(&payload))), Err(Untested::TooMuch(_))));
}

fn passes(payload: &str, expression: &str) -> bool {
    let event = event(payload);
    let conditions = Conditions::new(parse(expression).unwrap(), TIME, &PathSets::default(), &[]).unwrap();
    conditions.test(&mut EventFacts::new(&event)).unwrap()
}

#[test]
fn ranges_hold_numbers_from_the_first_to_the_last() {
    let payload = r#"{"n":5,"f":5.00,"s":"5","w":true,"list":[5]}"#;
    for (expression, expected) in [
        ("/n in [5..9]", true),
        ("/n in [1..5.0]", true),
        ("/n in [5.01..9]", false),
        ("/n in [..4, 6..]", false),
        ("/n in [..4, 5, 6..]", true),
        ("/n not in [..4, 6..]", true),
        ("/n not in [5..5]", false),
        ("/f in [5..5]", true),
        // A text of the payload is no number, a header that is one is.
        ("/s in [1..9]", false),
        ("/s not in [1..9]", true),
        ("/w in [..9]", false),
        ("/list in [1..9]", false),
        ("/none not in [1..9]", false),
        ("header:retries in [9..11]", true),
        ("header:kind in [..11]", false),
        ("sequence in [1..1]", true),
    ] {
        assert_eq!(passes(payload, expression), expected, "{expression}");
    }
}

#[test]
fn any_and_all_test_the_elements_of_an_array() {
    let payload = r#"{"tags":["new","e\u0075"],"lines":[{"q":5,"of":{"a":1}},{"q":12},{"q":null}],"none":[],"one":7}"#;
    for (expression, expected) in [
        ("any /tags/* == eu", true),
        ("any /tags/* == us", false),
        ("all /tags/* in [new, eu, us]", true),
        ("all /tags/* != eu", false),
        ("any /lines/*/q > 10", true),
        ("any /lines/*/q in [6..11]", false),
        ("all /lines/*/q", true),
        ("any /lines/*/of/a == 1", true),
        // An element without the member fails.
        ("all /lines/*/of/a == 1", false),
        ("any /lines/*", true),
        ("any /lines/* == 5", false),
        ("any /none/*", false),
        ("all /none/* == 1", true),
        // What is not there, or no array, has no elements.
        ("all /absent/* == 1", false),
        ("all /one/* == 7", false),
        ("any /tags/* == eu; any /lines/*/q == 12", true),
    ] {
        assert_eq!(passes(payload, expression), expected, "{expression}");
    }
}

#[test]
fn elements_that_are_decimals_compare_as_numbers() {
    let event = event(r#"{"lines":[{"price":"9.50"},{"price":"10.00"}]}"#);
    let is_decimal = |pointer: &str| pointer.starts_with("/lines/") && pointer.ends_with("/price");
    for (expression, expected) in [("any /lines/*/price > 9.75", true), ("all /lines/*/price in [9..9.9]", false)] {
        let conditions = Conditions::new(parse(expression).unwrap(), TIME, &PathSets::default(), &[]).unwrap();
        let mut facts = EventFacts::new(&event).with_decimals(&is_decimal);
        assert_eq!(conditions.test(&mut facts), Ok(expected), "{expression}");
        assert!(!passes(r#"{"lines":[{"price":"9.50"},{"price":"10.00"}]}"#, expression), "{expression}");
    }
}

#[test]
fn elements_that_are_not_json_are_told_and_long_arrays_are_bounded() {
    let broken = event(r#"{"a":[1,tru,3]}"#);
    let conditions = Conditions::new(parse("all /a/* > 0").unwrap(), TIME, &PathSets::default(), &[]).unwrap();
    assert!(matches!(conditions.test(&mut EventFacts::new(&broken)), Err(Untested::NotJson { .. })));

    let long = event(&format!(r#"{{"a":[{}1]}}"#, "0,".repeat(10_000)));
    let lists = parse(&["all /a/* == 0"; 6].join("||")).unwrap();
    let conditions = Conditions::new(lists, Duration::ZERO, &PathSets::default(), &[]).unwrap();
    assert!(matches!(conditions.test(&mut EventFacts::new(&long)), Err(Untested::TooMuch(_))));
}

#[test]
fn tests_of_elements_are_shown_as_they_are_written() {
    let conditions =
        Conditions::new(parse("all /a/*/b in [1..5, x, ..9]").unwrap(), TIME, &PathSets::default(), &[]).unwrap();
    assert_eq!(conditions.shown(), [r#"all /a/*/b in 1..5, "x", ..9"#]);
}

/// What cases reach is told by the tests that are asked, in the order of their texts.
#[test]
fn a_trace_answers_as_a_test_does_and_tells_each_test_that_is_asked() {
    let conditions =
        Conditions::new(parse("/n > 5; /n < 8 || /vip || /n == 0; !/vip").unwrap(), TIME, &PathSets::default(), &[]);
    let conditions = conditions.unwrap();
    let texts: Vec<_> = conditions.tests().collect();
    for (payload, expected) in [
        (r#"{"n":6}"#, vec![("/n > \"5\"", true), ("/n < \"8\"", true)]),
        (r#"{"n":9,"vip":1}"#, vec![("/n > \"5\"", true), ("/n < \"8\"", false), ("/vip exists", true)]),
        (
            r#"{"n":0}"#,
            vec![("/n > \"5\"", false), ("/vip exists", false), ("/n == \"0\"", true), ("/vip does not exist", true)],
        ),
        (r#"{"n":1}"#, vec![("/n > \"5\"", false), ("/vip exists", false), ("/n == \"0\"", false)]),
    ] {
        let (event, mut asked) = (event(payload), Vec::new());
        let mut facts = EventFacts::new(&event);
        let holds = conditions.trace(&mut facts, |position, holds| asked.push((&*texts[position], holds)));
        assert_eq!(asked, expected, "{payload}");
        assert_eq!(holds, conditions.test(&mut EventFacts::new(&event)), "{payload}");
    }
}
