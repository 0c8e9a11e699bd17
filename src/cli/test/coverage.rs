//! Parts of a router that the cases have reached.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    cli::dry_router::DryRouter,
    condition::{Conditions, EventFacts},
    registry::Route,
    walk::RouteWalk,
};

/// Keys with a route, their routes, and the tests of their conditions.
#[derive(Default)]
pub struct CaseCoverage {
    keys: BTreeMap<String, KeyCoverage>,
}

struct KeyCoverage {
    place: String,
    is_taken: bool,
    routes: BTreeMap<String, RouteCoverage>,
}

struct RouteCoverage {
    /// True if an event got past its conditions.
    is_passed: bool,
    tests: Vec<TestCoverage>,
}

/// A test of `where` or of a filter's conditions.
struct TestCoverage {
    text: String,
    has_held: bool,
    has_failed: bool,
}

/// Number of parts that were reached.
#[derive(Clone, Copy, Default, Serialize)]
pub struct ReachedParts {
    pub reached: usize,
    pub of: usize,
}

/// What the cases reached and what they did not.
#[derive(Serialize)]
pub struct CoverageReport {
    pub keys: ReachedParts,
    pub routes: ReachedParts,
    pub conditions: ReachedParts,
    /// Descriptions of the parts that were not reached.
    pub missed: Vec<String>,
}

impl CaseCoverage {
    /// Adds the parts of a router.
    pub fn add(&mut self, router: &DryRouter) {
        let snapshot = router.snapshot();
        for (name, place) in router.key_places() {
            let Some(key) = snapshot.key(&name) else { continue };
            let routes = key.routes.iter().map(|route| (route.name.to_string(), RouteCoverage::new(route))).collect();
            self.keys.entry(name).or_insert(KeyCoverage { place, is_taken: false, routes });
        }
    }

    /// Notes an event in front of a route.
    pub fn note(&mut self, RouteWalk { key, route, event }: RouteWalk<'_>) {
        let Some(known) = self.keys.get_mut(&*key.name) else { return };
        known.is_taken = true;
        let Some(known) = known.routes.get_mut(&*route.name) else { return };
        let is_decimal = |pointer: &str| key.decoding.as_ref().is_some_and(|decoding| decoding.is_decimal(pointer));
        let mut facts = EventFacts::new(event).with_decimals(&is_decimal);
        let mut begin = 0;
        for conditions in conditions(route) {
            let asked = conditions.trace(&mut facts, |position, holds| {
                if let Some(test) = known.tests.get_mut(begin + position) {
                    *(if holds { &mut test.has_held } else { &mut test.has_failed }) = true;
                }
            });
            // One that can't be tested lets nothing through either.
            if !asked.unwrap_or_default() {
                return;
            }
            begin += conditions.tests().count();
        }
        known.is_passed = true;
    }

    pub fn report(&self) -> CoverageReport {
        let mut report = CoverageReport {
            keys: ReachedParts::default(),
            routes: ReachedParts::default(),
            conditions: ReachedParts::default(),
            missed: Vec::new(),
        };
        for (name, key) in &self.keys {
            let KeyCoverage { place, is_taken, routes } = key;
            report.keys.count(*is_taken);
            if !is_taken {
                report.missed.push(format!("key `{name}` ({place}) takes no event"));
            }
            for (route, RouteCoverage { is_passed, tests }) in routes {
                report.routes.count(*is_passed);
                if *is_taken && !is_passed {
                    report.missed.push(format!("route `{route}` of key `{name}` lets no event through"));
                }
                for TestCoverage { text, has_held, has_failed } in tests {
                    report.conditions.count(*has_held && *has_failed);
                    let never = match (has_held, has_failed) {
                        (true, true) => continue,
                        (false, false) => "is never asked",
                        (true, false) => "never fails",
                        (false, true) => "never holds",
                    };
                    if *is_taken {
                        report.missed.push(format!("condition `{text}` of route `{route}` {never}"));
                    }
                }
            }
        }
        report
    }
}

impl RouteCoverage {
    fn new(route: &Route) -> Self {
        let test = |text| TestCoverage { text, has_held: false, has_failed: false };
        Self { is_passed: false, tests: conditions(route).flat_map(Conditions::tests).map(test).collect() }
    }
}

/// The conditions in front of a route, in the order in which they are tested.
fn conditions(route: &Route) -> impl Iterator<Item = &Conditions> {
    let own = route.subscription.as_ref().map(|subscription| subscription.conditions());
    route.conditions.iter().chain(own)
}

impl ReachedParts {
    fn count(&mut self, is_reached: bool) {
        self.of += 1;
        self.reached += usize::from(is_reached);
    }
}

impl CoverageReport {
    /// Share of the parts that were reached, in percent, rounded down.
    pub fn percent(&self) -> usize {
        let parts = [self.keys, self.routes, self.conditions];
        let [reached, of] =
            [parts.iter().map(|part| part.reached).sum::<usize>(), parts.iter().map(|part| part.of).sum()];
        (100 * reached).checked_div(of).unwrap_or(100)
    }

    pub fn text(&self) -> String {
        let part = |name: &str, ReachedParts { reached, of }: ReachedParts| format!("{reached} of {of} {name}");
        let parts = [part("keys", self.keys), part("routes", self.routes), part("conditions", self.conditions)];
        let mut text = format!("reached: {}\n", parts.join(", "));
        for missed in &self.missed {
            // Writing to a string can't fail.
            let _ = writeln!(text, "  {missed}");
        }
        text
    }
}
