//! `throttle`: passes at most so many events in a time, of each value of some fields.

use std::time::Duration;

use serde::Deserialize;
use trommel_filter::{Event, Failure, FromParams, Outcome, Process, Result, export, state};

struct Throttle(Written);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    limit: i64,
    #[serde(deserialize_with = "trommel_filter::duration")]
    per: Duration,
    #[serde(default)]
    by: Vec<String>,
    #[serde(default)]
    rest: Rest,
}

/// What becomes of the events beyond the limit.
#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rest {
    #[default]
    Drop,
    Bury,
}

impl FromParams for Throttle {
    type Params = Written;

    fn from_params(_key: &str, written: Written) -> Result<Self> {
        if written.limit < 1 {
            return Err(Failure::malformed(format!("`limit` is {}: at least one event has to pass", written.limit)));
        }
        Ok(Self(written))
    }
}

/// How long a passed event is remembered, at least, should it be delivered again.
const MEMORY: Duration = Duration::from_secs(600);

impl Process for Throttle {
    type Reads<'a> = Event<'a>;

    fn reads(&self) -> Vec<String> {
        let times = ["observed-at", "attempt"].map(str::to_owned);
        times.into_iter().chain(grouping::reads(&self.0.by)).collect()
    }

    fn process(&self, event: Event) -> Result<Outcome> {
        let Written { limit, per, by, rest } = &self.0;
        let passed = format!("passed/{}", grouping::identity(&event)?);
        // An event that passed, and did not arrive, passes again.
        if event.require::<u64>("attempt")? > 1 && state::get(&passed)?.is_some() {
            return Ok(Outcome::Keep);
        }
        let window = u128::from(event.require::<u64>("observed-at")?) / per.as_nanos();
        let counter = format!("count/{window}/{}", grouping::name(&event, by)?);
        if state::increment(&counter, 1, Some(per.saturating_mul(2)))? <= *limit {
            state::set(&passed, b"", Some((*per).max(MEMORY)))?;
            return Ok(Outcome::Keep);
        }
        match rest {
            Rest::Drop => Ok(Outcome::Drop),
            Rest::Bury => Err(Failure::malformed(format!("more than {limit} events in {per:?}")).code("throttled")),
        }
    }
}

export!(Throttle, state = "counts events", manifest = include_str!("../manifest.json"));

#[cfg(test)]
mod tests {
    use trommel_filter::testing::{TestEvent, TestRoute};

    use super::*;

    fn route(rest: &str) -> TestRoute<Throttle> {
        TestRoute::new(&[("by", "/user"), ("limit", "2"), ("per", "1m"), ("rest", rest)]).unwrap()
    }

    fn login(user: &str, sequence: u64, second: u64) -> TestEvent {
        let event = TestEvent::new(format!(r#"{{"user":"{user}"}}"#)).with("sequence", sequence.to_string());
        event.with("observed-at", (second * 1_000_000_000).to_string())
    }

    #[test]
    fn so_many_pass_of_each_value_in_each_time() {
        let route = route("drop");
        let kept: Vec<bool> = [("a", 0), ("a", 1), ("a", 59), ("b", 59), ("a", 60)]
            .iter()
            .zip(1..)
            .map(|((user, second), sequence)| route.process(&login(user, sequence, *second)) == Ok(Outcome::Keep))
            .collect();
        assert_eq!(kept, [true, true, false, true, true]);
    }

    #[test]
    fn what_passed_passes_again() {
        let route = route("drop");
        for sequence in 1..=2 {
            assert_eq!(route.process(&login("a", sequence, 0)), Ok(Outcome::Keep));
        }
        assert_eq!(route.process(&login("a", 2, 0).with("attempt", "2")), Ok(Outcome::Keep));
        assert_eq!(route.process(&login("a", 3, 0).with("attempt", "2")), Ok(Outcome::Drop));
    }

    #[test]
    fn the_rest_may_be_buried() {
        let route = route("bury");
        let last = (1..=3).map(|sequence| route.process(&login("a", sequence, 0))).last().unwrap();
        assert_eq!(last, Err(Failure::malformed("more than 2 events in 60s").code("throttled")));
    }

    #[test]
    fn bad_params_refuse_the_route() {
        let refused = TestRoute::<Throttle>::new(&[("limit", "0"), ("per", "1m")]).unwrap_err();
        assert_eq!(refused, Failure::malformed("`limit` is 0: at least one event has to pass"));
        let refused = TestRoute::<Throttle>::new(&[("limit", "1"), ("per", "1m"), ("rest", "keep")]).unwrap_err();
        assert_eq!(refused, Failure::malformed("param `rest` can't be `keep`: it is one of `drop`, `bury`"));
    }
}
