//! `dedupe`: passes the first of the events that agree in some fields, and drops those that follow
//! within a time.

use std::time::Duration;

use serde::Deserialize;
use trommel_filter::{Event, Failure, FromParams, Outcome, Process, Result, export, state};

struct Dedupe {
    by: Vec<String>,
    within: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    by: Vec<String>,
    #[serde(deserialize_with = "trommel_filter::duration")]
    within: Duration,
}

impl FromParams for Dedupe {
    type Params = Written;

    fn from_params(_key: &str, Written { by, within }: Written) -> Result<Self> {
        if by.is_empty() {
            return Err(Failure::malformed("`by` names no field: write `/order/id`, `header:NAME` or their like"));
        }
        Ok(Self { by, within })
    }
}

/// Tries of two workers that find a value new at the same time.
const TRIES: usize = 3;

impl Process for Dedupe {
    type Reads<'a> = Event<'a>;

    fn reads(&self) -> Vec<String> {
        grouping::reads(&self.by)
    }

    fn process(&self, event: Event) -> Result<Outcome> {
        for field in &self.by {
            // What can't be compared is not a repeat.
            if event.bytes(field)?.is_none() {
                return Ok(Outcome::Keep);
            }
        }
        let (name, own) = (grouping::name(&event, &self.by)?, grouping::identity(&event)?);
        for _ in 0..TRIES {
            match state::get(&name)? {
                // The first itself, delivered again: it has not arrived yet.
                Some(first) if first == own.as_bytes() => return Ok(Outcome::Keep),
                Some(_) => return Ok(Outcome::Drop),
                None => match state::swap(&name, None, own.as_bytes(), Some(self.within)) {
                    Ok(()) => return Ok(Outcome::Keep),
                    Err(state::Error::Conflict) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Err(Failure::failed("another worker changes the store"))
    }
}

export!(Dedupe, state = "remembers what was seen", manifest = include_str!("../manifest.json"));

#[cfg(test)]
mod tests {
    use trommel_filter::testing::{TestEvent, TestRoute};

    use super::*;

    fn route(by: &str) -> TestRoute<Dedupe> {
        TestRoute::new(&[("by", by), ("within", "1h")]).unwrap()
    }

    fn order(id: &str, sequence: u64) -> TestEvent {
        TestEvent::new(format!(r#"{{"id":"{id}"}}"#)).with("sequence", sequence.to_string())
    }

    #[test]
    fn the_first_of_a_value_passes() {
        let route = route("/id");
        assert_eq!(route.process(&order("a", 1)), Ok(Outcome::Keep));
        assert_eq!(route.process(&order("a", 2)), Ok(Outcome::Drop));
        assert_eq!(route.process(&order("b", 3)), Ok(Outcome::Keep));
    }

    /// Its output did not arrive: dropping it now would lose it.
    #[test]
    fn the_first_passes_however_often_it_is_delivered() {
        let route = route("/id");
        assert_eq!(route.process(&order("a", 1)), Ok(Outcome::Keep));
        assert_eq!(route.process(&order("a", 1).with("attempt", "2")), Ok(Outcome::Keep));
    }

    #[test]
    fn routes_and_fields_are_kept_apart() {
        let route = route("/id, header:region");
        let of = |sequence, region| order("a", sequence).with("header:region", region);
        assert_eq!(route.process(&of(1, "eu")), Ok(Outcome::Keep));
        assert_eq!(route.process(&of(2, "us")), Ok(Outcome::Keep));
        assert_eq!(route.process(&of(3, "eu").with("route", "other")), Ok(Outcome::Keep));
        assert_eq!(route.process(&of(4, "eu")), Ok(Outcome::Drop));
    }

    #[test]
    fn an_event_without_the_field_is_not_a_repeat() {
        let route = route("/none");
        assert_eq!(route.process(&order("a", 1)), Ok(Outcome::Keep));
        assert_eq!(route.process(&order("a", 2)), Ok(Outcome::Keep));
    }

    #[test]
    fn bad_params_refuse_the_route() {
        for (by, within, why) in [
            ("", "1h", "`by` names no field: write `/order/id`, `header:NAME` or their like"),
            ("/a", "soon", "param `within` can't be `soon`: a time is written as `500ms`, `10s`, `5m`, `1h` or `1d`"),
        ] {
            let refused = TestRoute::<Dedupe>::new(&[("by", by), ("within", within)]).unwrap_err();
            assert_eq!(refused, Failure::malformed(why));
        }
    }
}
