//! A filter with all that there is, written and tested as a user would.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should say where")]

use std::time::Duration;

use serde::Deserialize;
use trommel_filter::{
    Condition, Conditions, Emission, Event, Failure, Fields, Lifecycle, Matches, Normalize, Outcome, Params, Process,
    Result, api, export, field, log, state, testing,
};

#[derive(Deserialize)]
struct Whole {
    min_amount: u64,
    region: Option<String>,
}

#[derive(Deserialize)]
struct Order<'a> {
    amount: u64,
    customer: &'a str,
}

impl Conditions for Whole {
    fn conditions(&self) -> Vec<Vec<Condition>> {
        vec![vec![field("/amount").at_least(self.min_amount), field("header:source").exists()]]
    }
}

impl Matches for Whole {
    const READS: Fields = Fields::HEADERS;

    fn matches(&self, event: &Event) -> bool {
        self.region.is_none() || event.header("region") == self.region.as_deref()
    }
}

impl Process for Whole {
    const READS: Fields = Fields::PAYLOAD.union(Fields::ID);

    fn process(&self, event: &Event) -> Result<Outcome> {
        let order: Order = event.json()?;
        let count = state::add(order.customer, 1, Some(Duration::from_secs(60)))?;
        if count > 2 {
            log::info(format_args!("{} has had enough", order.customer));
            return Ok(Outcome::Drop);
        }
        let customer = match api::call("GET", &format!("/customers/{}", order.customer), None) {
            Ok(customer) => customer,
            Err(api::Error::Timeout) => return Err(Failure::Retry(Duration::from_secs(1), "no answer".into())),
            Err(error) => return Err(error.into()),
        };
        let emission = Emission::json(&(customer, order.amount))?;
        Ok(Outcome::Emit(vec![emission.with_subject("large").with_header("count", count.to_string())]))
    }
}

impl Normalize for Whole {
    fn normalize(key: &str, mut params: Params) -> Result<Params> {
        params.push(("key".into(), key.into()));
        Ok(params)
    }
}

impl Lifecycle for Whole {
    fn pre_consume(self, key: &str) -> Result<Option<String>> {
        Ok(Some(api::call("POST", "/subscriptions", Some(key))?))
    }

    fn cleanup(self, _key: &str, token: &str) -> Result<()> {
        api::call("DELETE", &format!("/subscriptions/{token}"), None)?;
        Ok(())
    }
}

export!(Whole, api, state, lifecycle);

fn whole() -> Whole {
    testing::filter(&[("min_amount", "500"), ("region", "eu")]).unwrap()
}

#[test]
fn match_as_data_and_as_code() {
    let conditions = whole().conditions();
    assert_eq!((&*conditions[0][0].field, &*conditions[0][0].value), ("/amount", "500"));
    let event = Event::new("order.created");
    assert!(!whole().matches(&event));
    assert!(whole().matches(&event.with_header("Region", "eu")));
}

#[test]
fn process_with_all_that_it_may_call() {
    testing::answer_api(|method, path, body| Ok(format!("{method} {path} {body:?}")));
    let event = Event::new("order.created").with_id("o-1").with_payload(r#"{"amount":700,"customer":"c"}"#);
    let emission = |count: &str| {
        Emission::json(&("GET /customers/c None", 700)).unwrap().with_subject("large").with_header("count", count)
    };
    assert_eq!(whole().process(&event), Ok(Outcome::Emit(vec![emission("1")])));
    assert_eq!(whole().process(&event), Ok(Outcome::Emit(vec![emission("2")])));
    assert_eq!(testing::logged(), []);
    assert_eq!(whole().process(&event), Ok(Outcome::Drop));
    assert_eq!(testing::logged(), [(log::Level::Info, "c has had enough".to_owned())]);
}

#[test]
fn every_error_is_a_failure() {
    let event = Event::new("order.created").with_payload(r#"{"amount":700,"customer":"c"}"#);
    let Err(Failure::Failed(why)) = whole().process(&event) else { panic!("there is no API") };
    assert!(why.starts_with("the API denied the call: there is no API in this test"), "{why}");
    testing::answer_api(|_, _, _| Err(api::Error::Timeout));
    assert_eq!(whole().process(&event), Err(Failure::Retry(Duration::from_secs(1), "no answer".into())));
    state::set("c", b"much", None).unwrap();
    assert_eq!(whole().process(&event), Err(Failure::Failed("what is stored is no number".into())));
    let other = Event::new("order.created").with_payload("{}");
    assert!(matches!(whole().process(&other), Err(Failure::Malformed(_))));
}

#[test]
fn the_first_consumer_and_the_last() {
    testing::answer_api(|method, path, body| Ok(format!("{method} {path} {body:?}")));
    assert_eq!(whole().pre_consume("orders"), Ok(Some("POST /subscriptions Some(\"orders\")".to_owned())));
    assert_eq!(whole().cleanup("orders", "7"), Ok(()));
    assert_eq!(Whole::normalize("orders", Vec::new()), Ok(vec![("key".into(), "orders".into())]));
}
