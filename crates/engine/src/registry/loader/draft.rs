//! Draft of the next snapshot: every key with its routes, including those of attached consumers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::sync::Semaphore;

use super::{
    Loader,
    components::{FiltersByName, fits, route_of},
    held::TenuresByRoute,
    subscriptions::MadeSubscription,
};
use crate::{
    avro::AvroEncoder,
    condition::{ConditionError, ConditionLists, Conditions},
    config::{
        self, ConfigPlace, FilterSettings, OrderBy, Problem, Severity, TypeRoute, TypeSelection, WireFormat,
        check_params, preflight,
    },
    filter::{Filter, RouteSubscription},
    registry::{
        AttachError, AttachRequest, EventDecoding, Key, KeyInterest, KeyLoad, KeyOrdering, OutputValidation, Route,
        ServedConsumer, SinkTarget, SubscriptionId,
    },
    sink::outlet::SinkQueue,
};

pub(super) struct SnapshotDraft {
    pub(super) keys: Vec<(KeyInterest, Arc<Key>)>,
    /// Result for each consumer, by name.
    pub(super) attached: HashMap<Arc<str>, Result<ServedConsumer, AttachError>>,
    pub(super) held: TenuresByRoute,
}

/// The filter of a key, with the filter's settings.
type KeyFilter<'a> = Option<(&'a Filter, &'a FilterSettings)>;

impl Loader {
    /// Makes the keys of the next snapshot for whose name `concerns` returns true, or returns all
    /// problems with them.
    pub(super) async fn draft(
        &mut self,
        registry: &config::RegistryConfig,
        filters: &FiltersByName,
        concerns: impl Fn(&str) -> bool,
    ) -> Result<SnapshotDraft, Vec<Problem>> {
        let mut draft = SnapshotDraft { keys: Vec::new(), attached: HashMap::new(), held: TenuresByRoute::new() };
        let mut problems = Vec::new();
        let known: BTreeSet<_> = registry.keys.iter().map(|key| key.name.as_str()).collect();
        for AttachRequest { name, key, .. } in self.attached.iter().filter(|one| !known.contains(&*one.key)) {
            draft.attached.insert(Arc::clone(name), Err(AttachError::UnknownKey(key.clone())));
        }
        let mut routes_by_key = HashMap::<_, Vec<_>>::new();
        for route in registry.routes.iter().filter(|route| concerns(&route.key)) {
            routes_by_key.entry(route.key.as_str()).or_default().push(route);
        }
        let before = self.registry.keys.iter();
        let before: HashMap<_, _> = before.map(|key| (key.name.clone(), (key.workers, key.buffer_size))).collect();
        for key in registry.keys.iter().filter(|key| concerns(&key.name)) {
            let filter = match &key.filter {
                Some(name) => match filters.get(name) {
                    Some(component) => {
                        let misfit = fits(&component.filter, key, &self.config).err();
                        problems.extend(misfit.map(|error| Problem::error(key.place.clone(), format!("{error:#}"))));
                        Some((&component.filter, &component.settings))
                    }
                    None => {
                        let message = format!("key `{}` can't be served: its filter `{name}` was refused", key.name);
                        problems.push(Problem::error(self.place(name), message));
                        continue;
                    }
                },
                None => None,
            };
            let mut routes = Vec::new();
            for route in routes_by_key.get(key.name.as_str()).into_iter().flatten().copied() {
                let who = format!("route `{}`", route.name);
                match self.matching(&mut draft, key, filter, route, who).await {
                    Ok((conditions, made)) => {
                        let subscription = made.map(|made| made.subscription);
                        problems.extend(missing_sinks(key, route, subscription.as_deref()));
                        let sinks = self.targets(&route.sinks, registry, &mut problems);
                        routes.push(Route { name: route.name.as_str().into(), conditions, subscription, sinks });
                    }
                    Err(error) => {
                        let message = format!("{}: {error:#}", route_of(key, route));
                        problems.push(Problem::error(route.place.clone(), message));
                    }
                }
            }
            for (route, queue, who) in self.attached_to(key, &mut draft) {
                let name = Arc::<str>::from(route.name.as_str());
                let served = match self.matching(&mut draft, key, filter, &route, who).await {
                    Ok((conditions, made)) => {
                        let (subscription, normalised) = made.map(|made| (made.subscription, made.shown)).unzip();
                        let sinks = vec![queue.into()];
                        routes.push(Route { name: Arc::clone(&name), conditions, subscription, sinks });
                        let params = normalised.unwrap_or(route.params);
                        let subscription_id = SubscriptionId::new(&key.name, &key.params, &params);
                        Ok(ServedConsumer { params, subscription_id })
                    }
                    Err(error) => Err(AttachError::Refused(format!("{error:#}"))),
                };
                draft.attached.insert(name, served);
            }
            let interest = KeyInterest::Named { subject: key.subject.clone(), event_type: key.event_type.clone() };
            let same_size = before.get(&key.name) == Some(&(key.workers, key.buffer_size));
            let key = self.key(registry, key, filter, routes, same_size);
            draft.keys.push((interest, Arc::new(key)));
        }
        for TypeRoute { key, types, sinks } in registry.type_routes.iter().filter(|route| concerns(&route.key.name)) {
            let interest = match types {
                TypeSelection::Matching(pattern) => KeyInterest::Matching(pattern.clone()),
                TypeSelection::Rest => KeyInterest::Rest,
            };
            let sinks = self.targets(sinks, registry, &mut problems);
            let conditions = match self.conditions(key, &ConditionLists::new()) {
                Ok(conditions) => conditions,
                Err(error) => {
                    problems.push(Problem::error(key.place.clone(), error.to_string()));
                    continue;
                }
            };
            let route = Route { name: key.name.as_str().into(), conditions, subscription: None, sinks };
            let same_size = !before.contains_key(&key.name);
            draft.keys.push((interest, Arc::new(self.key(registry, key, None, vec![route], same_size))));
        }
        if problems.is_empty() { Ok(draft) } else { Err(problems) }
    }

    /// Makes the conditions of a route: those of its key, and its own.
    fn conditions(&self, key: &config::KeyConfig, own: &ConditionLists) -> Result<Vec<Conditions>, ConditionError> {
        let time = key.limits.match_cpu.unwrap_or(self.config.limits.match_cpu);
        let lists = [&key.conditions, own].into_iter().filter(|lists| !lists.is_empty());
        lists.map(|lists| Conditions::new(lists.clone(), time, self.host.paths(), &[])).collect()
    }

    /// Makes the targets of a route: its sinks, each with its encoder.
    fn targets(
        &self,
        sinks: &[String],
        registry: &config::RegistryConfig,
        problems: &mut Vec<Problem>,
    ) -> Vec<SinkTarget> {
        let mut targets = Vec::new();
        for name in sinks {
            let Some(queue) = self.sinks.get(name) else { continue };
            let sink = self.config.sinks.iter().find(|sink| sink.name == *name);
            let encoder = match sink.and_then(|sink| encoder(sink, registry)) {
                Some(Ok(encoder)) => Some(encoder),
                Some(Err(problem)) => {
                    // Reported once, however many routes lead there.
                    if !problems.contains(&problem) {
                        problems.push(*problem);
                    }
                    continue;
                }
                None => None,
            };
            targets.push(SinkTarget { encoder, ..queue.clone().into() });
        }
        targets
    }

    /// Makes the routes of the consumers attached to the key whose params it accepts, if the
    /// identity is the one that it needs; the others are refused.
    fn attached_to(
        &self,
        key: &config::KeyConfig,
        draft: &mut SnapshotDraft,
    ) -> Vec<(config::RouteConfig, SinkQueue, String)> {
        let mut routes = Vec::new();
        let lacking = preflight(key, &self.config.identity(), &key.place);
        let lacking = lacking.into_iter().map(|lack| lack.problem).find(|problem| problem.severity == Severity::Error);
        for one in self.attached.iter().filter(|one| one.key == key.name) {
            if let Some(problem) = &lacking {
                draft.attached.insert(Arc::clone(&one.name), Err(AttachError::Refused(problem.message.clone())));
                continue;
            }
            match check_params(&key.name, &key.params, &one.params) {
                Ok(params) => {
                    let (name, key, secrets) = (one.name.to_string(), key.name.clone(), key.secrets());
                    let place = ConfigPlace::file(&self.config.dir);
                    routes.push((
                        config::RouteConfig {
                            name,
                            key,
                            conditions: one.conditions.clone(),
                            params,
                            secrets,
                            sinks: Vec::new(),
                            place,
                        },
                        one.queue.clone(),
                        one.who.clone(),
                    ));
                }
                Err(problems) => {
                    draft.attached.insert(Arc::clone(&one.name), Err(AttachError::Params(problems)));
                }
            }
        }
        routes
    }

    /// Makes what decides about an event in a route: its conditions, and its subscription.
    async fn matching(
        &mut self,
        draft: &mut SnapshotDraft,
        key: &config::KeyConfig,
        filter: KeyFilter<'_>,
        route: &config::RouteConfig,
        who: String,
    ) -> anyhow::Result<(Vec<Conditions>, Option<MadeSubscription>)> {
        let conditions = self.conditions(key, &route.conditions)?;
        let Some((filter, settings)) = filter else { return Ok((conditions, None)) };
        let made = self.subscriptions.make(filter, settings, key, route).await?;
        self.hold(draft, key, filter, route, who, &made.shown).await?;
        Ok((conditions, Some(made)))
    }

    fn key(
        &self,
        registry: &config::RegistryConfig,
        key: &config::KeyConfig,
        filter: KeyFilter<'_>,
        routes: Vec<Route>,
        same_size: bool,
    ) -> Key {
        let (workers, buffer) = self.places(key, same_size);
        let settings = filter.map(|(_, settings)| settings);
        let current = self.snapshots.borrow().key(&key.name).cloned();
        let is_encoded = routes.iter().flat_map(|route| &route.sinks).any(|sink| sink.encoder.is_some());
        // Payloads that are not read stay as they came.
        let is_tested = routes.iter().any(|route| !route.conditions.is_empty());
        let is_read =
            key.decode != WireFormat::Raw || filter.is_some() || key.schema.is_some() || is_encoded || is_tested;
        Key {
            name: key.name.as_str().into(),
            ordering: match &key.order_by {
                OrderBy::None => KeyOrdering::None,
                OrderBy::Field(field) => KeyOrdering::By(field.clone()),
            },
            workers,
            buffer,
            load: match current {
                Some(current) => Arc::clone(&current.load),
                None => Arc::new(KeyLoad::new(self.metrics.key(&key.name))),
            },
            retry: key.retry,
            schema_requests: self.schema_requests.clone(),
            decoding: is_read.then(|| EventDecoding::new(&key.decode, key.times, &registry.avro)),
            on_quarantine: settings.map(|settings| settings.on_quarantine).unwrap_or_default(),
            sets_identity: settings.is_some_and(|settings| settings.grants.contains(&config::Grant::Identity)),
            filter: filter.map(|(filter, _)| filter.clone()),
            validation: OutputValidation::new(key.schema.as_ref(), key.validate),
            routes,
            subject: key.subject.clone(),
            is_isolated: key.is_isolated,
            is_paused: self.paused.contains(&key.name),
            metrics: self.metrics.key(&key.name),
        }
    }

    /// Returns the permits for working and for waiting: those of the generation in force while
    /// their numbers are unchanged, so that permits taken there count here too.
    fn places(&self, key: &config::KeyConfig, same_size: bool) -> (Arc<Semaphore>, Arc<Semaphore>) {
        match self.snapshots.borrow().key(&key.name) {
            Some(current) if same_size => (Arc::clone(&current.workers), Arc::clone(&current.buffer)),
            _ => (Arc::new(Semaphore::new(key.workers.get())), Arc::new(Semaphore::new(key.buffer_size.get()))),
        }
    }
}

/// Names the sinks that a filter's outputs choose and the route does not feed.
fn missing_sinks(
    key: &config::KeyConfig,
    route: &config::RouteConfig,
    subscription: Option<&RouteSubscription>,
) -> impl Iterator<Item = Problem> {
    let chosen = subscription.into_iter().flat_map(RouteSubscription::sinks);
    chosen.filter(|name| route.sinks.iter().all(|sink| **sink != ***name)).map(|name| {
        let has = config::quoted(route.sinks.iter().map(String::as_str), "and");
        let message = format!(
            "{}: its filter chooses the sink `{}`, but the route feeds {has}",
            route_of(key, route),
            name.escape_debug()
        );
        Problem::error(route.place.clone(), message).hint("add it to the route's `sinks`".to_owned())
    })
}

/// Makes the encoder of a sink's outputs, if it has one.
fn encoder(sink: &config::SinkConfig, registry: &config::RegistryConfig) -> Option<Result<AvroEncoder, Box<Problem>>> {
    let config::AvroEncoding { schema: name, framing, place, .. } = sink.encode.as_ref()?;
    let schema = match sink.container() {
        Some(format) => Ok(format.schema.clone()),
        None => config::avro_schema(&registry.avro, name, place),
    };
    let encoder = |schema| {
        registry.avro.encoder(&schema, *framing).ok_or_else(|| {
            let problem = Problem::error(place.clone(), format!("the Avro schema `{name}` has no id"));
            problem.hint(format!("give it one in `[avro]`, as in `ids = {{ \"7\" = \"{name}\" }}`")).into()
        })
    };
    Some(schema.and_then(encoder))
}
