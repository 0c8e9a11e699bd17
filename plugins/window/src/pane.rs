//! Panes: the shortest stretches of time that are counted apart, of which windows are made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trommel_filter::{Failure, Result, state};

/// The groups of one pane, by their names.
pub type Pane = BTreeMap<String, Group>;

/// What is known of the events of a group.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Group {
    /// The fields that its events agree in.
    pub group: Map<String, Value>,
    pub count: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
}

/// What is known of the values that were added up.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Values {
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

impl Group {
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.values = match (self.values, other.values) {
            (Some(one), Some(two)) => {
                Some(Values { sum: one.sum + two.sum, min: one.min.min(two.min), max: one.max.max(two.max) })
            }
            (one, two) => one.or(two),
        };
    }
}

/// Tries of workers that count in one pane at the same time.
const TRIES: usize = 6;

/// Counts an event in a pane.
///
/// # Errors
/// `failed` if the store does not take it.
pub fn count(pane: &str, name: &str, event: &Group) -> Result<()> {
    for _ in 0..TRIES {
        let old = state::get(pane)?;
        let mut groups = old.as_deref().map_or_else(|| Ok(Pane::new()), read)?;
        match groups.get_mut(name) {
            Some(group) => group.add(event),
            None => {
                groups.insert(name.to_owned(), event.clone());
            }
        }
        match state::swap(pane, old.as_deref(), &serde_json::to_vec(&groups)?, None) {
            Ok(()) => return Ok(()),
            Err(state::Error::Conflict) => {}
            Err(state::Error::TooLarge) => {
                let why = format!("a window of {} groups is too large for the store: group by less", groups.len());
                return Err(Failure::failed(why).code("window_full"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::failed("other workers count in this window: try again"))
}

/// # Errors
/// `broken` if it was written by something else.
pub fn read(pane: &[u8]) -> Result<Pane> {
    serde_json::from_slice(pane).map_err(|error| Failure::broken(format!("a window in the store: {error}")))
}
