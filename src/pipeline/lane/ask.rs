//! What a route's conditions and `matches` say of an event, for which nobody has to be waited.

use super::{
    matchers::Matchers,
    process::{broke, returned},
    work::{At, Said},
};
use crate::{
    filter::{Facts, Fault, Subscription, Verdict},
    show,
    telemetry::Stage,
};

/// Asks a route's conditions and `matches`. `known` is what they say, where that was asked ahead.
pub(super) fn ask<'a>(matchers: &mut Matchers, at: At<'a>, known: Option<bool>, facts: &mut Facts<'a>) -> Said {
    let (Some(filter), Some(subscription)) = (&at.key.filter, &at.route.subscription) else {
        return Said::Verdict(Verdict::Keep, 0);
    };
    if filter.is_quarantined() {
        return Said::Quarantined("the filter is quarantined".to_owned(), 0);
    }
    let mut span = at.stage(Stage::Match);
    let asked = match known {
        Some(known) => Ok(Ok(known)),
        None => subscription
            .conditions()
            .test(facts)
            .map(|passed| if passed { matchers.matches(filter, subscription, at.event) } else { Ok(false) }),
    };
    span.note("trommel.matched", matches!(asked, Ok(Ok(true))));
    match asked {
        Ok(Ok(true)) if subscription.has_process() => Said::Process,
        Ok(Ok(true)) => Said::Verdict(Verdict::Keep, 0),
        Ok(Ok(false)) => {
            if show::is_on() {
                at.show_dropped(&why(subscription, facts));
            }
            Said::No
        }
        Ok(Err(Fault::Broke(broken))) => broke(at, filter, &broken, 0),
        Ok(Err(Fault::Host(error))) => returned(at, 0, &error),
        Err(error) => Said::Dead(error.code(), error.to_string(), 0),
    }
}

/// Why a route's conditions and `matches` turned an event away, for who watches.
fn why<'a>(subscription: &'a Subscription, facts: &mut Facts<'a>) -> String {
    let conditions = subscription.conditions();
    match conditions.test(facts) {
        Ok(true) => "`matches` said no".to_owned(),
        _ => match conditions.failing(facts) {
            Ok(failing) => format!("no list of conditions holds: {}", failing.join(" | ")),
            Err(error) => error.to_string(),
        },
    }
}
