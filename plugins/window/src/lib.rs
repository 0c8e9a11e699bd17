//! `window`: counts events in windows of time, adds up a value of theirs, and says at the end of
//! each window what came in.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trommel_filter::{Emission, Event, Failure, FromParams, Outcome, Process, Result, Tick, export, state};

mod pane;
#[cfg(test)]
mod tests;

use pane::{Group, Values};

struct Window {
    /// Milliseconds.
    size: u64,
    /// Milliseconds between the ends of two windows, and of a pane.
    slide: u64,
    by: Vec<String>,
    value: Option<String>,
    at_least: u64,
    /// Keeps what different routes of a key count apart.
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "trommel_filter::duration")]
    size: Duration,
    #[serde(default, deserialize_with = "optional")]
    slide: Option<Duration>,
    #[serde(default)]
    by: Vec<String>,
    value: Option<String>,
    #[serde(default = "one")]
    at_least: u64,
    #[serde(default)]
    name: String,
}

fn one() -> u64 {
    1
}

fn optional<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    trommel_filter::duration(deserializer).map(Some)
}

/// Most panes of a window: all of them are read at every tick.
const MOST_PANES: u64 = 120;

impl FromParams for Window {
    type Params = Written;

    fn from_params(_key: &str, Written { size, slide, by, value, at_least, name }: Written) -> Result<Self> {
        let slide = slide.unwrap_or(size);
        let [size, slide] = [size, slide].map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        if !size.is_multiple_of(slide) || size / slide > MOST_PANES {
            let why = format!("`size` has to be 1 to {MOST_PANES} times `slide`, without a rest");
            return Err(Failure::malformed(why));
        }
        Ok(Self { size, slide, by, value, at_least, name })
    }
}

impl Process for Window {
    type Reads<'a> = Event<'a>;

    fn reads(&self) -> Vec<String> {
        let value = self.value.iter().cloned();
        ["observed-at".to_owned()].into_iter().chain(grouping::reads(&self.by)).chain(value).collect()
    }

    /// The event itself goes no further: what it counts for comes at the end of its window.
    fn process(&self, event: Event) -> Result<Outcome> {
        let mut own = Group { count: 1, ..Group::default() };
        for field in &self.by {
            let value = match field.starts_with('/') {
                true => event.get::<Value>(field)?,
                false => event.get::<String>(field)?.map(Value::from),
            };
            own.group.insert(field.clone(), value.unwrap_or_default());
        }
        if let Some(field) = &self.value
            && let Some(value) = event.get::<f64>(field)?
        {
            own.values = Some(Values { sum: value, min: value, max: value });
        }
        let at = event.require::<u64>("observed-at")? / 1_000_000;
        let pane = format!("{}{}", self.prefix(), at - at % self.slide);
        pane::count(&pane, &grouping::name(&event, &self.by)?, &own)?;
        Ok(Outcome::Drop)
    }
}

/// How far the windows have been told of.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
struct Progress {
    /// Ends up to here were told of, and have arrived.
    arrived: u64,
    /// Ends up to here were told of by the tick at `tick`.
    told: u64,
    tick: u64,
}

/// How long after its end a window waits for events that are still on their way, in milliseconds.
const GRACE: u64 = 2_000;

impl Tick for Window {
    const INTERVAL: &'static str = "1s";

    fn tick(&self, now: u64) -> Result<Vec<Emission>> {
        let (place, prefix) = (format!("told/{}", self.name), self.prefix());
        let known = state::get(&place)?;
        let mut progress: Progress = known.as_deref().map(serde_json::from_slice).transpose()?.unwrap_or_default();
        // A call that was held up, while another router went on.
        if now < progress.tick {
            return Ok(Vec::new());
        }
        // A tick whose outputs have not all arrived comes again with its time, also after a crash.
        if progress.tick != now {
            let told = now.saturating_sub(GRACE) / self.slide * self.slide;
            progress = Progress { arrived: progress.told, told: told.max(progress.told), tick: now };
        }
        let starts = state::keys(&prefix)?.into_iter();
        let starts = starts.filter_map(|key| Some((key[prefix.len()..].parse::<u64>().ok()?, key)));
        // A pane whose last window has arrived is safe to forget.
        let (over, open): (Vec<_>, Vec<_>) = starts.partition(|(start, _)| start + self.size <= progress.arrived);
        let over: Vec<_> = over.into_iter().map(|(_, key)| key).take(MOST_FORGOTTEN).collect();
        if !over.is_empty() {
            state::delete_many(&over)?;
        }
        let (starts, keys): (Vec<u64>, Vec<String>) = open.into_iter().unzip();
        let emissions = self.windows(&progress, starts.into_iter().zip(state::get_many(&keys)?))?;
        state::swap(&place, known.as_deref(), &serde_json::to_vec(&progress)?, None)?;
        Ok(emissions)
    }
}

/// Most panes that one tick forgets: in a store that routers share each is a request to the server.
const MOST_FORGOTTEN: usize = 64;

/// One output.
#[derive(Serialize)]
struct Told<'a> {
    /// Unix milliseconds.
    from: u64,
    until: u64,
    #[serde(flatten)]
    group: &'a Group,
}

impl Window {
    /// What the names of its panes begin with.
    fn prefix(&self) -> String {
        format!("pane/{}/", self.name)
    }

    /// The windows that ended and have not arrived.
    fn windows(
        &self,
        progress: &Progress,
        panes: impl Iterator<Item = (u64, Option<Vec<u8>>)>,
    ) -> Result<Vec<Emission>> {
        let mut windows = BTreeMap::<(u64, String), Group>::new();
        for (start, pane) in panes {
            let Some(pane) = pane else { continue };
            let pane = pane::read(&pane)?;
            let ends = (1..=self.size / self.slide).map(|panes| start + panes * self.slide);
            for end in ends.filter(|end| (progress.arrived + 1..=progress.told).contains(end)) {
                for (name, group) in &pane {
                    let own = || Group { group: group.group.clone(), ..Group::default() };
                    windows.entry((end, name.clone())).or_insert_with(own).add(group);
                }
            }
        }
        let wanted = windows.into_iter().filter(|(_, group)| group.count >= self.at_least);
        wanted
            .map(|((end, name), group)| {
                let told = Told { from: end.saturating_sub(self.size), until: end, group: &group };
                // The same each time that it is told.
                Ok(Emission::json(&told)?.id(format!("window/{}/{end}/{name}", self.name)))
            })
            .collect()
    }
}

export!(Window, state = "counts events", manifest = include_str!("../manifest.json"));
