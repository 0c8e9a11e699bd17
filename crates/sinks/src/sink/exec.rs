//! Programs: one process for each route takes its outputs as NDJSON on standard input. The pipe is
//! the back-pressure.
//!
//! Outputs of one order are under way one at a time, so that what was not confirmed when a process
//! died is sent to the next one in order.

use std::{collections::HashMap, future::pending, sync::Arc};

use anyhow::anyhow;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::Instant,
};

use self::{
    child::ChildProcess,
    task::{ExecLine, ProcessTask, RouteReport},
};
use super::{Confirmation, Output, Sink, SinkRefusal, Slot};
use crate::{
    backoff::Backoff,
    config::{self, RetryPolicy},
};

mod child;
mod lines;
mod task;

/// Processes of one sink.
pub struct ExecSink {
    command: ExecCommand,
    routes: HashMap<Arc<str>, RouteProcess>,
    /// Outputs that may be under way at once: each has one report.
    capacity: usize,
    sender: mpsc::Sender<RouteReport>,
    reports: mpsc::Receiver<RouteReport>,
    tasks: JoinSet<()>,
    backoff: Backoff,
}

/// The command of a sink's processes.
struct ExecCommand {
    name: Arc<str>,
    settings: config::ExecSink,
}

/// A route's process, running or not.
struct RouteProcess {
    /// Outputs for the running process. Closed once it ends.
    outputs: Option<mpsc::Sender<ExecLine>>,
    /// No start before this time.
    rest: Option<Instant>,
    /// Rests after processes that confirmed nothing.
    backoff: Backoff,
}

impl ExecSink {
    pub fn new(name: &str, settings: &config::ExecSink, retry: RetryPolicy, capacity: usize) -> Self {
        let (sender, reports) = mpsc::channel(capacity);
        let command = ExecCommand { name: name.into(), settings: settings.clone() };
        let (routes, tasks) = (HashMap::new(), JoinSet::new());
        Self { command, routes, capacity, sender, reports, tasks, backoff: retry.backoff() }
    }

    /// Starts a route's process, unless it rests.
    fn start(&mut self, output: &Output) -> anyhow::Result<mpsc::Sender<ExecLine>> {
        while self.tasks.try_join_next().is_some() {}
        let backoff = self.backoff;
        let route = self.routes.entry(Arc::clone(&output.route));
        let route = route.or_insert_with(|| RouteProcess { outputs: None, rest: None, backoff });
        let now = Instant::now();
        if let Some(rest) = route.rest.filter(|rest| now < *rest) {
            return Err(anyhow!("the program has just ended, its next start is in {:?}", rest - now));
        }
        // Until it confirms something.
        route.rest = Some(now + route.backoff.next_wait());
        let child = ChildProcess::start(&self.command.settings, output)?;
        let (outputs, arriving) = mpsc::channel(self.capacity);
        let task = ProcessTask::new(
            (Arc::clone(&self.command.name), Arc::clone(&output.route)),
            child,
            &self.command.settings,
            arriving,
            self.sender.clone(),
        );
        self.tasks.spawn(task.run());
        route.outputs = Some(outputs.clone());
        Ok(outputs)
    }
}

impl Sink for ExecSink {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        let line = ExecLine { slot, payload: output.payload.clone() };
        let running = self.routes.get(&output.route).and_then(|route| route.outputs.clone());
        let line = match running.map(|running| running.try_send(line.clone())) {
            Some(Ok(())) => return Ok(()),
            Some(Err(TrySendError::Full(_))) => {
                return Err(SinkRefusal::Apart(anyhow!("the program has more outputs than it reads")));
            }
            Some(Err(TrySendError::Closed(line))) => line,
            None => line,
        };
        let started = self.start(output).map_err(SinkRefusal::Apart)?;
        started.try_send(line).map_err(|_| SinkRefusal::Apart(anyhow!("the program has ended at once")))
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn confirm(&mut self) -> Confirmation {
        // There always is another: the sink holds a sender.
        let Some((route, report)) = self.reports.recv().await else { return pending().await };
        if let (Confirmation::One(_), Some(route)) = (&report, self.routes.get_mut(&route)) {
            route.rest = None;
            route.backoff.reset();
        }
        report
    }

    async fn close(mut self) {
        // The processes' standard input ends with the last sender.
        self.routes.clear();
        self.reports.close();
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;
