//! Components that are loaded beside the loader: while one is compiled, other changes go into
//! service.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::pending,
};

use tokio::task::{self, JoinSet};

use crate::{
    config::FilterSettings,
    filter::{Filter, Host, LoadError},
};

type LoadResult = Result<Filter, LoadError>;

/// Components under way or loaded, at most one content for each name. A dropped one is not compiled
/// any further.
#[derive(Default)]
pub(super) struct CompilingComponents {
    tasks: JoinSet<LoadResult>,
    contents: HashMap<String, CompilingContent>,
}

struct CompilingContent {
    digest: String,
    settings: FilterSettings,
    task: task::Id,
    /// `None` while it is being loaded.
    loaded: Option<LoadResult>,
}

impl CompilingComponents {
    /// Returns the result of the content that was being loaded, once, with its digest and settings.
    /// Unless that is the current content with the current settings, loading of the current one
    /// begins, so that a file that changes faster than it can be compiled still gets into service.
    /// `None` while a content is being loaded.
    pub(super) fn take(
        &mut self,
        host: &Host,
        (digest, bytes): (&str, Vec<u8>),
        settings: &FilterSettings,
    ) -> Option<(String, FilterSettings, LoadResult)> {
        let done = match self.contents.entry(settings.name.clone()) {
            Entry::Occupied(content) if content.get().loaded.is_none() => return None,
            Entry::Occupied(content) => Some(content.remove()),
            Entry::Vacant(_) => None,
        };
        let done = done.and_then(|content| Some((content.digest, content.settings, content.loaded?)));
        if done.as_ref().is_none_or(|(of, by, _)| of != digest || by != settings) {
            let (host, given) = (host.clone(), settings.clone());
            let load = async move { host.load(&given.name, bytes, &given).await };
            let task = self.tasks.spawn(load).id();
            let (name, settings) = (settings.name.clone(), settings.clone());
            self.contents.insert(name, CompilingContent { digest: digest.to_owned(), settings, task, loaded: None });
        }
        done
    }

    pub(super) fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// Drops the contents of all names but the wanted ones, loaded or not.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.contents.retain(|name, _| is_wanted(name));
    }

    /// Waits until one more content is loaded; for ever while none is being loaded. Cancel safe.
    pub(super) async fn done(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return pending().await };
        let (task, loaded) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(LoadError::Host(error.into()))),
        };
        if let Some(content) = self.contents.values_mut().find(|content| content.task == task) {
            content.loaded = Some(loaded);
        }
    }
}
