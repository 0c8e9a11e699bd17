//! Log lines of the filters under test.

use std::{
    fmt::{self, Write as _},
    mem,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    registry,
    util::SubscriberInitExt as _,
};

use crate::poison::ignore_poison;

/// Lines that filters have logged or printed since they were taken last.
#[derive(Clone, Default)]
pub struct FilterLines(Arc<Mutex<Vec<String>>>);

impl FilterLines {
    /// Starts to keep lines. Fails silently if the process has a log already.
    pub fn start() -> Self {
        let lines = Self::default();
        let _ = registry().with(lines.clone()).try_init();
        lines
    }

    pub fn take(&self) -> Vec<String> {
        mem::take(&mut *ignore_poison(self.0.lock()))
    }
}

impl<S: Subscriber> Layer<S> for FilterLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "filter" {
            return;
        }
        let mut line = LineText(format!("{:<5} ", event.metadata().level().as_str()));
        event.record(&mut line);
        ignore_poison(self.0.lock()).push(line.0);
    }
}

/// The message of a line, and how many lines were dropped.
struct LineText(String);

impl Visit for LineText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            "dropped" => write!(self.0, "{value:?} "),
            _ => Ok(()),
        };
    }
}
