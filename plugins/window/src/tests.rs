use serde_json::json;
use trommel_filter::testing::{TestEvent, TestRoute};

use super::*;

const START: u64 = 1_800_000_000_000;

fn event(user: &str, amount: f64, millisecond: u64) -> TestEvent {
    let event = TestEvent::new(json!({ "user": user, "amount": amount }).to_string());
    event.with("observed-at", ((START + millisecond) * 1_000_000).to_string())
}

fn told(emissions: &[Emission]) -> Vec<Value> {
    emissions.iter().map(|emission| serde_json::from_slice(&emission.payload).unwrap()).collect()
}

fn route(more: &[(&str, &str)]) -> TestRoute<Window> {
    TestRoute::new(&[&[("by", "/user"), ("size", "10s"), ("value", "/amount")], more].concat()).unwrap()
}

#[test]
fn a_window_is_told_of_when_it_has_ended() {
    let route = route(&[]);
    for (user, amount, at) in [("a", 1.5, 0), ("b", 1.0, 5_000), ("a", -2.0, 9_999), ("a", 7.0, 10_000)] {
        assert_eq!(route.process(&event(user, amount, at)), Ok(Outcome::Drop));
    }
    assert_eq!(route.tick(START + 11_000), Ok(Vec::new()), "events may be on their way");
    let emissions = route.tick(START + 12_000).unwrap();
    let mut windows = told(&emissions);
    windows.sort_by_key(|window| window["group"]["/user"].as_str().unwrap().to_owned());
    let (from, until) = (START, START + 10_000);
    let a = json!({ "from": from, "until": until, "group": {"/user": "a"}, "count": 2, "sum": -0.5, "min": -2.0, "max": 1.5 });
    let b = json!({ "from": from, "until": until, "group": {"/user": "b"}, "count": 1, "sum": 1.0, "min": 1.0, "max": 1.0 });
    assert_eq!(windows, [a, b]);
    assert_eq!(route.tick(START + 13_000), Ok(Vec::new()), "each is told of once");
    assert_eq!(told(&route.tick(START + 22_000).unwrap())[0]["sum"], 7.0);
}

/// Its outputs may not have arrived.
#[test]
fn a_tick_that_is_repeated_says_the_same() {
    let route = route(&[]);
    route.process(&event("a", 1.0, 0)).unwrap();
    let first = route.tick(START + 12_000).unwrap();
    assert_eq!((first.len(), route.tick(START + 12_000).unwrap()), (1, first));
}

/// Of a router that was frozen, while another one went on.
#[test]
fn a_tick_that_comes_too_late_changes_nothing() {
    let route = route(&[]);
    route.process(&event("a", 1.0, 0)).unwrap();
    let told = route.tick(START + 12_000).unwrap();
    assert_eq!(route.tick(START + 11_000), Ok(Vec::new()));
    assert_eq!(route.tick(START + 12_000), Ok(told), "it may still be under way");
}

/// Not before the tick after: until then the same outputs may be wanted again.
#[test]
fn a_window_is_forgotten_at_the_tick_after() {
    let route = route(&[]);
    route.process(&event("a", 1.0, 0)).unwrap();
    route.tick(START + 12_000).unwrap();
    assert_eq!(state::keys("pane/").unwrap().len(), 1);
    route.tick(START + 13_000).unwrap();
    assert_eq!(state::keys("pane/").unwrap().len(), 0);
}

#[test]
fn failed_twice_in_ten_seconds() {
    let route = route(&[("at_least", "2"), ("slide", "5s")]);
    // 4 s apart, in no common half of a window.
    for (user, at) in [("a", 3_000), ("a", 7_000), ("b", 1_000), ("b", 12_000)] {
        route.process(&event(user, 1.0, at)).unwrap();
    }
    let windows: Vec<Value> =
        [7, 12, 17, 22, 27].iter().flat_map(|at| told(&route.tick(START + at * 1_000).unwrap())).collect();
    let said: Vec<_> =
        windows.iter().map(|w| (w["group"]["/user"].as_str().unwrap(), w["until"].as_u64().unwrap() - START)).collect();
    assert_eq!(said, [("a", 10_000)]);
}

#[test]
fn bad_params_refuse_the_route() {
    for (given, why) in [
        ([("size", "10s"), ("slide", "3s")], "`size` has to be 1 to 120 times `slide`, without a rest"),
        ([("size", "1d"), ("slide", "1s")], "`size` has to be 1 to 120 times `slide`, without a rest"),
        ([("size", "10s"), ("at_least", "x")], "param `at_least` can't be `x`: invalid digit found in string"),
    ] {
        assert_eq!(TestRoute::<Window>::new(&given).unwrap_err(), Failure::malformed(why));
    }
    assert_eq!(TestRoute::<Window>::new(&[]).unwrap_err(), Failure::malformed("the param `size` is missing"));
}

/// What a window can't add up is a dead letter, not a count.
#[test]
fn a_value_that_is_not_a_number_is_malformed() {
    let event = TestEvent::new(r#"{"user":"a","amount":"much"}"#);
    let failure = route(&[]).process(&event).unwrap_err();
    assert_eq!(failure, Failure::malformed("`/amount`: invalid type: string \"much\", expected f64"));
}
