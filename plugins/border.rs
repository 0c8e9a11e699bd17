//! The border to the router, the same for every component of this folder: each includes this file as its module `border`
//! and says as [`Rules`] what it does itself.

use std::marker::PhantomData;

use crate::{
    exports::trommel::filter::filter::{Guest, GuestSubscription},
    trommel::filter::types::{Condition, Event, Failure, Fields, Hooks, Manifest, Outcome, Params},
};

/// What a component does for a route: its params, parsed.
pub trait Rules: Sized + 'static {
    /// Beside `normalize-params`, by which bad params refuse the route.
    const HOOKS: Hooks;
    const MATCH_READS: Fields = Fields::empty();
    const PROCESS_READS: Fields = Fields::PAYLOAD;
    const CAPABILITIES: &[&str] = &[];

    /// # Errors
    ///
    /// What is wrong with the params, for the user.
    fn new(params: &Params) -> Result<Self, String>;

    /// The params to use from then on.
    fn normalize(params: Params) -> Result<Params, Failure> {
        Self::new(&params).map_err(Failure::Malformed)?;
        Ok(params)
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        Vec::new()
    }

    fn matches(&self, _event: &Event) -> bool {
        true
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure>;
}

/// The values of the params that a component knows, empty where a route gives none.
pub fn known<'a, const N: usize>(params: &'a Params, names: [&str; N]) -> Result<[&'a str; N], String> {
    let mut values = [""; N];
    for (name, value) in params {
        let Some(at) = names.iter().position(|known| known == name) else {
            let filter = env!("CARGO_PKG_NAME");
            return Err(match names.split_last() {
                None => format!("`{filter}` has no param `{name}`: it has none at all"),
                Some((last, [])) => format!("`{filter}` has no param `{name}`: it knows `{last}`"),
                Some((last, rest)) => {
                    format!("`{filter}` has no param `{name}`: it knows `{}` and `{last}`", rest.join("`, `"))
                }
            });
        };
        values[at] = value;
    }
    Ok(values)
}

/// Exports [`Rules`].
pub struct Filter<R>(PhantomData<R>);

impl<R: Rules> Guest for Filter<R> {
    type Subscription = Subscription<R>;

    fn describe() -> Manifest {
        Manifest {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            hooks: Hooks::NORMALIZE_PARAMS | R::HOOKS,
            match_reads: R::MATCH_READS,
            process_reads: R::PROCESS_READS,
            capabilities: R::CAPABILITIES.iter().map(|&wish| wish.to_owned()).collect(),
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        R::normalize(params)
    }
}

/// The router refuses a route whose params `normalize-params` refused. Should one come here all the same, nothing goes
/// out unseen: `process` says what is wrong.
pub struct Subscription<R>(Result<R, String>);

impl<R: Rules> GuestSubscription for Subscription<R> {
    fn new(_key: String, params: Params) -> Self {
        Self(R::new(&params))
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        self.0.as_ref().map(R::conditions).unwrap_or_default()
    }

    fn matches(&self, event: Event) -> bool {
        self.0.as_ref().map_or(true, |rules| rules.matches(&event))
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        self.0.as_ref().map_err(|problem| Failure::Broken(problem.clone()))?.process(event)
    }
}

#[cfg(test)]
pub mod test {
    use super::*;

    pub fn params(params: &[(&str, &str)]) -> Params {
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// An event as the router hands it over: with these parts, if the component reads them.
    pub fn event(event_type: &str, id: &str, source_time: Option<&str>, payload: &str) -> Event {
        Event {
            event_type: event_type.to_owned(),
            id: Some(id.to_owned()),
            subject: None,
            source_time: source_time.map(str::to_owned),
            observed_at: 0,
            attempt: 1,
            headers: None,
            payload: Some(payload.as_bytes().to_vec()),
        }
    }
}
