//! A consumer's session: attached to a router until a limit is reached, it is told to stop, or the
//! router exits.

use std::{fmt, io, time::Duration};

use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use super::{background, jq::JqProgram, outputs::ConsumerOutputs};
use crate::{
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    control::{
        ControlLink, SocketPlace,
        client::{self, RouterLookup, find},
        protocol::{
            ControlRequest, Farewell, Hello, HelloAck, OutputEvent, Rejected, RouterAnswer, RouterLine, VERSION,
        },
    },
    event::Pattern,
    timer::sleep_until_due,
};

/// Longest time that a router may take to put the consumer's route into service.
const ATTACH: Duration = Duration::from_secs(60);
/// Longest time to wait until a router has taken note that the consumer leaves.
const GOODBYE: Duration = Duration::from_secs(1);
/// Pause between two tries to reach a router again.
const RECONNECT: Duration = Duration::from_secs(1);

pub(super) struct ConsumerSession {
    pub(super) place: SocketPlace,
    pub(super) key: String,
    pub(super) params: std::collections::BTreeMap<String, String>,
    pub(super) subject: Option<Pattern>,
    /// Conditions beside those of the key, checked.
    pub(super) conditions: String,
    pub(super) buffer: usize,
    pub(super) jq: Option<JqProgram>,
    pub(super) outputs: ConsumerOutputs,
    /// 0 means no limit.
    pub(super) max_events: u64,
    pub(super) timeout: Option<Duration>,
    /// True if the end of standard input stops the session (L121).
    pub(super) heeds_stdin: bool,
    pub(super) reconnect: bool,
    /// The router that was started for this consumer, if any.
    pub(super) started: Option<background::BackgroundRouter>,
    pub(super) notes: SessionNotes,
    /// Values written so far.
    pub(super) written: u64,
}

/// Reason for which a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionEnd {
    Limit,
    Timeout,
    Signal,
    /// Standard input has ended.
    Stdin,
    /// The reader of our output has closed the pipe.
    ReaderLeft,
    InputOver,
    /// The router was stopped, killed, or no longer serves the key.
    RouterGone,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limit => "limit",
            Self::Timeout => "timeout",
            Self::Signal => "signal",
            Self::Stdin => "stdin",
            Self::ReaderLeft => "reader left",
            Self::InputOver => "end of input",
            Self::RouterGone => "router gone",
        })
    }
}

/// Messages on stderr, unless `--quiet` is given.
pub(super) struct SessionNotes {
    pub(super) quiet: bool,
    pub(super) line: indicatif::ProgressBar,
}

impl SessionNotes {
    pub(super) fn say(&self, text: fmt::Arguments<'_>) {
        if !self.quiet {
            self.line.suspend(|| {
                // A failed write to stderr can't be reported anywhere else.
                let _ = io::Write::write_fmt(&mut terminal::stderr(), format_args!("[trommel] {text}\n"));
            });
        }
    }
}

impl ConsumerSession {
    /// Runs the session to its end.
    pub(super) async fn run(&mut self) -> Result<SessionEnd, CommandRefusal> {
        let began = Instant::now();
        let stopped = stopped(self.timeout).map_err(|error| {
            CommandRefusal::new(RefusalKind::Internal, "signals", format!("can't listen for signals: {error}"))
        })?;
        tokio::pin!(stopped);
        let mut link = None;
        let end = tokio::select! {
            end = self.attend(&mut link) => end?,
            end = &mut stopped => end,
        };
        if let Some(link) = link {
            leave(link).await;
        }
        self.notes.line.finish_and_clear();
        if end == SessionEnd::Stdin {
            self.notes.say(format_args!(
                "standard input has ended, which ends a consumer without bounds: keep it open, or give \
                 `--max-events` or `--timeout`"
            ));
        }
        self.notes.say(format_args!("done: {} events in {} s ({end})", self.written, began.elapsed().as_secs()));
        Ok(end)
    }

    /// Attaches and receives; with `--reconnect`, again each time the router has gone.
    async fn attend(&mut self, link: &mut Option<ControlLink>) -> Result<SessionEnd, CommandRefusal> {
        let link = link.insert(self.reach().await?);
        let stdin = closed(self.heeds_stdin);
        tokio::pin!(stdin);
        loop {
            let end = match self.attach(link).await {
                // Standard input counts only once attached: if it is closed from the start, a
                // refusal must still be reported.
                Ok(()) => tokio::select! {
                    end = self.receive(link) => end,
                    () = &mut stdin => SessionEnd::Stdin,
                },
                Err(SessionTrouble::Refused(refusal)) => return Err(refusal),
                Err(SessionTrouble::Gone) if !self.reconnect => return Err(self.never_ready().await),
                Err(SessionTrouble::Gone) => SessionEnd::RouterGone,
            };
            if end != SessionEnd::RouterGone || !self.reconnect {
                return Ok(end);
            }
            self.notes.say(format_args!("trying to reach a router again"));
            *link = loop {
                sleep(RECONNECT).await;
                match self.reach().await {
                    Ok(link) => break link,
                    Err(refusal) => self.notes.say(format_args!("not yet: {}", refusal.message)),
                }
            };
        }
    }

    /// Connects to the running router, or starts one.
    async fn reach(&mut self) -> Result<ControlLink, CommandRefusal> {
        match find(&self.place).await {
            Ok(RouterLookup::Running(link)) => Ok(link),
            Ok(RouterLookup::NotRunning) => {
                self.notes.say(format_args!("no router runs: starting one in the background"));
                let (link, started) = background::start(&self.place).await?;
                self.started = started;
                Ok(link)
            }
            Ok(RouterLookup::Orphan(pid)) => {
                let pid = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
                let message = format!("a router runs{pid}, but its control socket is gone");
                Err(CommandRefusal::new(RefusalKind::Precondition, "orphan", message)
                    .hint("stop it with `trommel stop --force`, or by its process id"))
            }
            Err(error) => Err(CommandRefusal::new(
                RefusalKind::Network,
                "control_socket",
                format!("can't reach the router: {error}"),
            )),
        }
    }

    /// Returns the refusal for a router that exited before the consumer was attached. If it was
    /// started for this consumer, the end of its log is the hint.
    async fn never_ready(&mut self) -> CommandRefusal {
        let refusal =
            CommandRefusal::new(RefusalKind::Network, "router_gone", "the router ended before events could come");
        match &mut self.started {
            Some(router) => refusal.hint(router.last_words().await),
            None => refusal,
        }
    }

    async fn attach(&mut self, link: &mut ControlLink) -> Result<(), SessionTrouble> {
        let hello = ControlRequest::Hello(Hello {
            version: VERSION.to_owned(),
            pid: std::process::id(),
            key: self.key.clone(),
            params: self.params.clone(),
            subject: self.subject.as_ref().map(ToString::to_string),
            conditions: self.conditions.clone(),
            buffer: self.buffer,
        });
        link.writer.send(&hello).await.map_err(|_| SessionTrouble::Gone)?;
        let line = link.reader.next_within(ATTACH).await.map_err(|_| SessionTrouble::Gone)?;
        match RouterLine::parse(&line) {
            Ok(RouterLine::Answer(RouterAnswer::HelloAck(HelloAck { .. }))) => {
                // A stable line: programs wait for it (L119).
                self.notes.say(format_args!("ready key={}", self.key));
                self.count();
                Ok(())
            }
            Ok(RouterLine::Answer(RouterAnswer::Rejected(Rejected { subtype, message, hint }))) => {
                let kind = if subtype == "params" || subtype == "unknown_key" {
                    RefusalKind::Validation
                } else {
                    RefusalKind::Precondition
                };
                let refusal = CommandRefusal::new(kind, "rejected", message);
                Err(SessionTrouble::Refused(hint.into_iter().fold(refusal, CommandRefusal::hint)))
            }
            Ok(RouterLine::Answer(RouterAnswer::Bye { message, .. })) => {
                self.notes.say(format_args!("the router says goodbye: {message}"));
                Err(SessionTrouble::Gone)
            }
            other => {
                let message = format!("the router's answer is not understood: {other:?}");
                Err(SessionTrouble::Refused(CommandRefusal::new(RefusalKind::Network, "protocol", message)))
            }
        }
    }

    async fn receive(&mut self, link: &mut ControlLink) -> SessionEnd {
        let mut last = 0;
        loop {
            let line = match link.reader.next().await {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.notes.say(format_args!("the router closed the connection unexpectedly"));
                    return SessionEnd::RouterGone;
                }
                Err(error) => {
                    self.notes.say(format_args!("the connection to the router broke: {error}"));
                    return SessionEnd::RouterGone;
                }
            };
            match RouterLine::parse(&line) {
                Ok(RouterLine::Event(event)) => {
                    // Only a step forward is a gap: events may arrive out of order (L97).
                    if event.seq > last + 1 && last > 0 || last == 0 && event.seq > 1 {
                        let lost = event.seq - last - 1;
                        self.notes.say(format_args!("{lost} events were dropped: this consumer reads too slowly"));
                    }
                    last = last.max(event.seq);
                    if let Some(end) = self.take(&event).await {
                        return end;
                    }
                }
                Ok(RouterLine::Answer(RouterAnswer::Bye { reason, message })) => {
                    self.notes.say(format_args!("the router says goodbye: {message}"));
                    return if reason == Farewell::EndOfInput { SessionEnd::InputOver } else { SessionEnd::RouterGone };
                }
                Ok(RouterLine::Answer(RouterAnswer::SourceStatus { source, state })) => {
                    self.notes.say(format_args!("source {source}: {state}"));
                }
                Ok(RouterLine::Answer(_)) => {}
                Err(error) => self.notes.say(format_args!("a line from the router is not understood: {error}")),
            }
        }
    }

    /// Writes the outputs of an event. Returns an end if this was the last one.
    async fn take(&mut self, event: &OutputEvent<'_>) -> Option<SessionEnd> {
        let payload = event.payload.get().as_bytes();
        let Some(mut jq) = self.jq.take() else { return self.write(payload).await };
        let end = self.write_results(&mut jq, event).await;
        self.jq = Some(jq);
        end
    }

    async fn write_results(&mut self, jq: &mut JqProgram, event: &OutputEvent<'_>) -> Option<SessionEnd> {
        let failed = |error: &dyn fmt::Display| format!("event `{}`: --jq: {error}", event.event_id.escape_debug());
        if let Err(error) = jq.begin(event.payload.get().as_bytes()).await {
            self.notes.say(format_args!("{}", failed(&error)));
        }
        while let Some(result) = jq.next().await {
            match result {
                Ok(line) => {
                    if let Some(end) = self.write(&line).await {
                        return Some(end);
                    }
                }
                Err(error) => self.notes.say(format_args!("{}", failed(&error))),
            }
        }
        None
    }

    /// Updates the count on the live line.
    fn count(&self) {
        let events = if self.written == 1 { "event" } else { "events" };
        self.notes.line.set_message(format!("{} {events} of {}", self.written, self.key));
    }

    async fn write(&mut self, json: &[u8]) -> Option<SessionEnd> {
        match self.outputs.write(json).await {
            Ok(()) => self.written += 1,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Some(SessionEnd::ReaderLeft),
            // Not counted: the next one may succeed (L122).
            Err(error) => self.notes.say(format_args!("an output can't be written: {error}")),
        }
        self.count();
        (self.max_events > 0 && self.written == self.max_events).then_some(SessionEnd::Limit)
    }
}

/// Says goodbye and waits until the router has closed the connection, so that the next consumer
/// does not find this one attached.
async fn leave(mut link: ControlLink) {
    let heard = async {
        link.writer.send(&ControlRequest::Bye).await?;
        while link.reader.next().await?.is_some() {}
        io::Result::Ok(())
    };
    // A router that has exited or is too busy detects the closed connection by itself.
    let _ = timeout(GOODBYE, heard).await;
}

enum SessionTrouble {
    Refused(CommandRefusal),
    Gone,
}

/// Resolves with the first reason to stop that comes neither from the router nor from standard
/// input.
fn stopped(timeout: Option<Duration>) -> io::Result<impl Future<Output = SessionEnd>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // A time beyond the clock's range never comes.
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => SessionEnd::Signal,
            _ = terminate.recv() => SessionEnd::Signal,
            () = sleep_until_due(end) => SessionEnd::Timeout,
        }
    })
}

/// Resolves at the end of standard input; never, if `is_heeded` is false.
async fn closed(is_heeded: bool) {
    if !is_heeded {
        std::future::pending::<()>().await;
    }
    let (mut stdin, mut rest) = (tokio::io::stdin(), [0; 4096]);
    while let Ok(1..) = stdin.read(&mut rest).await {}
}

/// Returns whether a router runs, for a dry run.
pub(super) async fn runs(place: &SocketPlace) -> bool {
    matches!(find(place).await, Ok(RouterLookup::Running(_))) || client::is_locked(place).unwrap_or(false)
}
