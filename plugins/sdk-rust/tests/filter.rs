//! A filter with all that there is, written and tested as a user would.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should say where")]

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;
use trommel_filter::{
    Conditions, Emission, Failure, Fields, FromParams, Lifecycle, Matches, Normalize, Outcome, Params, Process, Result,
    Tick, api, export, field, log, state, telemetry,
    testing::{self, TestEvent, TestRoute},
};

struct Whole {
    min_amount: u64,
    region: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    min_amount: u64,
    region: Option<String>,
}

impl FromParams for Whole {
    type Params = Written;

    fn from_params(key: &str, Written { min_amount, region }: Written) -> Result<Self> {
        if min_amount == 0 {
            return Err(Failure::malformed(format!("`min_amount` of key `{key}` is 0")));
        }
        Ok(Self { min_amount, region })
    }
}

impl Conditions for Whole {
    fn condition(&self) -> String {
        [field("/amount").at_least(self.min_amount), field("header:source").exists()].join("; ")
    }
}

#[derive(Fields)]
struct Place<'a> {
    #[field("header:region")]
    region: Option<&'a str>,
}

impl Matches for Whole {
    type Reads<'a> = Place<'a>;

    fn matches(&self, place: Place) -> bool {
        self.region.is_none() || place.region == self.region.as_deref()
    }
}

#[derive(Fields)]
struct Order<'a> {
    #[field("/amount")]
    amount: u64,
    #[field("/customer")]
    customer: Cow<'a, str>,
    id: &'a str,
}

impl Process for Whole {
    type Reads<'a> = Order<'a>;

    fn sinks(&self) -> Vec<String> {
        vec!["large".to_owned()]
    }

    fn process(&self, order: Order) -> Result<Outcome> {
        let count = state::increment(&order.customer, 1, Some(Duration::from_secs(60)))?;
        telemetry::measure("orders", 1.0);
        if count > 2 {
            log::info(format_args!("{} has had enough", order.customer));
            return Ok(Outcome::Drop);
        }
        let customer: String = match api::get(&format!("/customers/{}", order.customer)) {
            Ok(customer) => customer.json()?,
            Err(api::Error::Timeout) => return Err(Failure::retry(Duration::from_secs(1), "no answer")),
            Err(error) => return Err(error.into()),
        };
        let emission = Emission::json(&(customer, order.amount))?;
        Ok(emission.sink("large").id(order.id).header("count", count.to_string()).into())
    }
}

impl Normalize for Whole {
    fn normalize(_key: &str, mut params: Params) -> Result<Params> {
        params.retain(|(name, _)| name != "old");
        Ok(params)
    }
}

impl Tick for Whole {
    const INTERVAL: &'static str = "10s";

    fn tick(&self, now: u64) -> Result<Vec<Emission>> {
        Ok(vec![Emission::json(&now)?.id(format!("tick-{now}"))])
    }
}

impl Lifecycle for Whole {
    fn pre_consume(self, key: &str) -> Result<Option<String>> {
        Ok(Some(api::post("/subscriptions", key)?.json()?))
    }

    fn cleanup(self, _key: &str, token: &str) -> Result<()> {
        api::Request::new("DELETE", &format!("/subscriptions/{token}")).send()?.success()?;
        Ok(())
    }
}

export!(
    Whole,
    api = "looks \"customers\" up",
    lifecycle,
    state = "counts their orders",
    manifest = r#"{"memory": "32MiB"}"#
);

fn whole() -> TestRoute<Whole> {
    TestRoute::new(&[("min_amount", "500"), ("old", "x"), ("region", "eu")]).unwrap()
}

fn answer(request: &api::Request) -> Result<api::Response, api::Error> {
    let said = format!("{} {} {:?}", request.method, request.path, request.body.as_ref().map(Vec::len));
    Ok(testing::response(200, serde_json::to_vec(&said).unwrap()))
}

#[test]
fn the_manifest_says_what_the_filter_has() {
    let manifest: serde_json::Value =
        serde_json::from_slice(<Whole as trommel_filter::macros::Exported>::manifest()).unwrap();
    assert_eq!(manifest["hooks"].as_array().unwrap().len(), 6);
    assert_eq!(manifest["grants"][0]["reason"], "looks \"customers\" up");
    assert_eq!((&manifest["interval"], &manifest["memory"]), (&"10s".into(), &"32MiB".into()));
}

#[test]
fn the_interest_is_that_of_the_hooks() {
    let route = whole();
    let interest = route.interest();
    assert_eq!(interest.condition, r#""/amount" >= "500"; "header:source""#);
    assert_eq!(interest.match_reads, ["header:region"]);
    assert_eq!(interest.process_reads, ["/amount", "/customer", "id"]);
    assert_eq!(interest.sinks, ["large"]);
}

#[test]
fn a_route_may_be_refused() {
    let refused = TestRoute::<Whole>::new(&[("min_amount", "0")]).unwrap_err();
    assert_eq!(refused, Failure::malformed("`min_amount` of key `key` is 0"));
    let refused = TestRoute::<Whole>::new(&[("min", "0")]).unwrap_err();
    assert_eq!(refused, Failure::malformed("`min` is not a param: there are `min_amount` and `region`"));
}

#[test]
fn match_as_code() {
    assert!(!whole().matches(&TestEvent::new("")));
    assert!(whole().matches(&TestEvent::new("").with("header:Region", "eu")));
}

#[test]
fn process_with_all_that_it_may_call() {
    testing::answer_api(answer);
    let route = whole();
    let event = TestEvent::new(r#"{"amount":700,"customer":"c"}"#).with("id", "o-1");
    let emission = |count: &str| {
        Emission::json(&("GET /customers/c None", 700)).unwrap().sink("large").id("o-1").header("count", count)
    };
    assert_eq!(route.process(&event), Ok(emission("1").into()));
    assert_eq!(route.process(&event), Ok(emission("2").into()));
    assert_eq!(testing::logged(), []);
    assert_eq!(route.process(&event), Ok(Outcome::Drop));
    let lines = testing::logged();
    assert_eq!((lines[0].level, &*lines[0].message), (log::Level::Info, "c has had enough"));
    assert_eq!(testing::measured().len(), 3);
    assert_eq!(route.tick(7), Ok(vec![Emission::new("7").id("tick-7")]));
}

#[test]
fn every_error_is_a_failure() {
    let event = TestEvent::new(r#"{"amount":700,"customer":"c"}"#);
    let failed = whole().process(&event).unwrap_err();
    let why = "the API denied the call: there is no API in this test: set one with `answer_api`";
    assert_eq!(failed, Failure::failed(why));
    testing::answer_api(|_| Err(api::Error::Timeout));
    assert_eq!(whole().process(&event), Err(Failure::retry(Duration::from_secs(1), "no answer")));
    testing::answer_api(|_| Ok(testing::response(404, "none")));
    state::set("c", b"0", None).unwrap();
    assert_eq!(whole().process(&event), Err(Failure::failed("the API answered with status 404")));
    state::set("c", b"much", None).unwrap();
    assert_eq!(whole().process(&event), Err(Failure::failed("the stored value is not the expected one")));
}

#[test]
fn the_first_consumer_and_the_last() {
    testing::answer_api(answer);
    let filter = || Whole { min_amount: 1, region: None };
    assert_eq!(filter().pre_consume("orders"), Ok(Some("POST /subscriptions Some(8)".to_owned())));
    assert_eq!(filter().cleanup("orders", "7"), Ok(()));
}
