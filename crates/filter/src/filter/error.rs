//! Errors at the guest's border, kept apart by type: an error returned by the guest ([`Failure`]),
//! a broken call ([`BrokenCall`]), an error of the host ([`CallFault::Host`]); and the reasons for
//! which a file is refused as a component ([`LoadError`]).

use std::{fmt, sync::Arc, time::Duration};

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::Failure;
use crate::{
    condition::{ConditionError, ExpressionError, Untested},
    config::Grant,
    event::MAX_ID,
    projection::ProjectionError,
};

/// A call that trapped, exceeded a limit or violated the contract. Its instance is gone; the filter
/// itself may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenCall {
    pub filter: Arc<str>,
    /// SHA-256 of the component's file, in hex.
    pub digest: Arc<str>,
    /// The function of the contract that was called.
    pub call: &'static str,
    pub reason: BreakReason,
    /// Error message, with the guest's innermost functions.
    pub detail: String,
}

impl fmt::Display for BrokenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of filter `{}` broke ({}): {}", self.call, self.filter, self.reason.code(), self.detail)
    }
}

impl std::error::Error for BrokenCall {}

/// Cause of a broken call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakReason {
    Trap,
    CpuDeadline,
    WallDeadline,
    Memory,
    StackOverflow,
    OutputTooLarge,
    /// The guest made more than twice as many calls to the host as its budget allows.
    HostCalls,
    /// The guest called the host, or waited, in a call that may only compute.
    Impure,
    /// The guest returned something that the contract does not allow.
    BadOutput,
}

impl BreakReason {
    /// The reason code of logs and dead letters.
    pub fn code(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::CpuDeadline => "cpu_deadline",
            Self::WallDeadline => "wall_deadline",
            Self::Memory => "memory",
            Self::StackOverflow => "stack_overflow",
            Self::OutputTooLarge => "output_too_large",
            Self::HostCalls => "host_calls",
            Self::Impure => "impure",
            Self::BadOutput => "bad_output",
        }
    }
}

/// A rule of the host that a guest violated; returned by host functions and checks, so that it ends
/// the call.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error(
        "it called `{0}`, but `matches`, `describe`, `conditions` and the constructor may call nothing but `log` \
         and `telemetry`"
    )]
    Import(String),
    #[error("it waited, but `matches`, `describe`, `conditions` and the constructor may only compute")]
    Waited,
    /// Not the guest's fault: its event waits.
    #[error("{0}")]
    StateAway(String),
    #[error("it took longer than {0:?}, calls to the host included")]
    Wall(Duration),
    #[error("it called the host {0} times for one event, twice the budget")]
    HostCalls(u32),
    #[error("{what} has {size} bytes, more than the limit of {limit}")]
    Output { what: String, size: usize, limit: usize },
    #[error("it returned {count} emissions, more than the limit of {limit}")]
    Emissions { count: usize, limit: usize },
    #[error("it answered with {found} numbers of 64 bits for {events} events")]
    Answers { found: usize, events: usize },
    #[error("it answered {found} of {events} events")]
    Outcomes { found: usize, events: usize },
    #[error("emission {index} has the subject `{subject}`: {problem}")]
    Subject { index: usize, subject: String, problem: crate::event::SubjectError },
    #[error("emission {index} has an id that is empty, longer than {MAX_ID} bytes, or has control characters")]
    OutputId { index: usize },
    #[error("emission {index} is for the sink `{sink}`, which is not among `sinks` of its `interest`")]
    Sink { index: usize, sink: String },
    #[error("edit {index} changes `{field}`: an edit changes `subject`, `header:NAME` or a JSON pointer")]
    Edit { index: usize, field: String },
    #[error("its manifest can't be read: {0}")]
    Manifest(String),
    #[error("the constructor refuses params that it took before: {0}")]
    Constructor(Failure),
}

impl Violation {
    fn reason(&self) -> BreakReason {
        match self {
            Self::Import(_) | Self::Waited => BreakReason::Impure,
            Self::Wall(_) => BreakReason::WallDeadline,
            Self::HostCalls(_) => BreakReason::HostCalls,
            Self::Output { .. } | Self::Emissions { .. } => BreakReason::OutputTooLarge,
            _ => BreakReason::BadOutput,
        }
    }
}

/// Wasmtime's message if a guest returns more than it may. The type behind it is private to
/// wasmtime.
const TOO_MUCH_DATA: &str = "fuel allocated for hostcalls has been exhausted";

/// Classifies the error of a call. `memory_refused` is true if the guest was denied memory during
/// it.
pub(super) fn reason(error: &wasmtime::Error, memory_refused: bool) -> BreakReason {
    if let Some(violation) = error.downcast_ref::<Violation>() {
        return violation.reason();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => BreakReason::CpuDeadline,
        Some(Trap::StackOverflow) => BreakReason::StackOverflow,
        _ if memory_refused => BreakReason::Memory,
        Some(_) => BreakReason::Trap,
        None if error.chain().any(|cause| cause.to_string().contains(TOO_MUCH_DATA)) => BreakReason::OutputTooLarge,
        None => BreakReason::BadOutput,
    }
}

/// Returns the whole time limit of a call that used it up, `cpu` of computing or the wall-clock
/// limit; otherwise 0.
pub(super) fn time_used_up(error: &wasmtime::Error, cpu: Duration) -> Duration {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(Violation::Wall(wall)), _) => *wall,
        (_, Some(Trap::Interrupt)) => cpu,
        _ => Duration::ZERO,
    }
}

/// Most bytes of a guest's error message.
const LONGEST_REASON: usize = 1000;
/// Most bytes of a name given by a guest: a subject, a function.
const LONGEST_NAME: usize = 100;

/// Shortens a guest's text for logs and dead letters, which have to hold the event, too.
pub(super) fn cut_reason(text: String) -> String {
    cut(text, LONGEST_REASON)
}

pub(super) fn cut_name(text: String) -> String {
    cut(text, LONGEST_NAME)
}

/// Most bytes of a code given by a guest.
const LONGEST_CODE: usize = 64;

/// Makes a word of a guest's code: anything but lower case letters and digits becomes an
/// underscore.
pub(super) fn cut_code(code: String) -> Option<Box<str>> {
    let fit = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '_',
    };
    let word: String = code.chars().take(LONGEST_CODE).map(fit).collect();
    (!word.is_empty()).then(|| word.into())
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

/// Most functions of a backtrace that are told.
const MOST_FRAMES: usize = 8;
/// Parts of the names of functions through which Rust panics.
const PANICKING: [&str; 8] =
    ["abort", "rust_panic", "panicking", "__rust", "std::sys", "std::process", "core::option", "core::result"];

/// Formats an error without wasmtime's many-lined backtrace, but with the names of the guest's
/// innermost functions, and with what the guest logged or printed during the call.
pub(super) fn detail(error: &wasmtime::Error, last_words: &str) -> String {
    let causes: Vec<String> = match error.downcast_ref::<Violation>() {
        Some(violation) => vec![violation.to_string()],
        None => {
            error.chain().map(ToString::to_string).filter(|text| !text.starts_with("error while executing")).collect()
        }
    };
    let mut detail = cut_reason(causes.join(": "));
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let names = frames.iter().map(|frame| match frame.func_name() {
        Some(name) => cut_name(format!("{:#}", rustc_demangle::demangle(name))),
        None => format!("function {}", frame.func_index()),
    });
    // How Rust panics says nothing of where.
    let names = names.skip_while(|name| PANICKING.iter().any(|part| name.contains(part)));
    for (index, name) in names.take(MOST_FRAMES).enumerate() {
        detail.push_str(if index == 0 { ", in " } else { " < " });
        detail.push_str(&name);
    }
    if !last_words.is_empty() {
        detail.push_str("\nits last lines:\n");
        detail.push_str(last_words);
    }
    detail
}

pub(super) fn report(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into())
}

/// Returns whether a call failed because the host had no room for an instance.
pub(super) fn has_no_room(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
}

/// Returns whether instantiation failed because of the guest's own start code.
pub(super) fn is_from_guest(error: &wasmtime::Error) -> bool {
    error.is::<Trap>() || error.is::<Violation>()
}

/// Error of a call that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallFault {
    #[error(transparent)]
    Broke(#[from] BrokenCall),
    /// The host had no instance for the call: the event is to be retried, and the filter is not at
    /// fault.
    #[error("the filter could not be called")]
    Host(#[source] anyhow::Error),
}

/// Error because of which it is not known whether an event is wanted.
#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    /// A part of the payload is asked for that can't be read.
    #[error(transparent)]
    Untested(#[from] Untested),
    /// `matches` broke, or the host could not call it.
    #[error(transparent)]
    Fault(#[from] CallFault),
}

/// Error of a `process` call that gave no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error(transparent)]
    Said(#[from] Failure),
    /// A part of the payload is asked for that can't be read.
    #[error(transparent)]
    Unread(#[from] Untested),
    #[error(transparent)]
    Broke(BrokenCall),
    #[error("the filter could not be called")]
    Host(#[source] anyhow::Error),
    /// What the filter keeps is out of reach, for this reason: the event is to wait for it.
    #[error("{0}")]
    Away(String),
}

impl From<CallFault> for ProcessError {
    fn from(fault: CallFault) -> Self {
        match fault {
            CallFault::Broke(broken) => Self::Broke(broken),
            CallFault::Host(error) => Self::Host(error),
        }
    }
}

/// Error while a filter takes a route into service.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the filter refused the params")]
    Said(#[source] Failure),
    /// A hook for the first or the last consumer returned an error.
    #[error("`{0}` said no")]
    Hook(&'static str, #[source] Failure),
    #[error(transparent)]
    Condition(ConditionError),
    #[error("the filter's condition, {0}")]
    Expression(ExpressionError),
    /// A function reads something that no event has.
    #[error("`{0}` of the filter reads a field that there is not: {1}")]
    Reads(&'static str, ProjectionError),
    #[error(transparent)]
    Broke(BrokenCall),
    #[error("the filter could not be called")]
    Host(#[source] anyhow::Error),
}

impl From<CallFault> for CallError {
    fn from(fault: CallFault) -> Self {
        match fault {
            CallFault::Broke(broken) => Self::Broke(broken),
            CallFault::Host(error) => Self::Host(error),
        }
    }
}

/// Reason why a file was refused as a filter. The messages include the way out.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "it has {size} bytes, more than the limit of {limit}: raise `component` in the filter's limits if that is meant"
    )]
    TooLarge { size: usize, limit: usize },
    #[error("it is empty: copy the component again, best under a temporary name that is then renamed")]
    Empty,
    #[error(
        "it ends in the middle, as if it were still being written: copy it again, best under a temporary name that \
         is then renamed"
    )]
    Truncated,
    #[error("it is compiled machine code, which is never loaded: give the `.wasm` file that it was compiled from")]
    MachineCode,
    #[error("it is not WebAssembly: it starts with {found}, a component with `\\0asm`")]
    NotWasm { found: String },
    #[error("it is not a valid component")]
    Invalid(#[source] anyhow::Error),
    #[error(
        "it is a core module that can't be made a component: build it with wit-bindgen for the world \
         `trommel:filter/filter-component`"
    )]
    CoreModule(#[source] anyhow::Error),
    #[error(
        "it is not a filter: it exports {found}, not `trommel:filter/filter`; build it for the world \
         `trommel:filter/filter-component`"
    )]
    NotAFilter { found: String },
    #[error("it needs trommel:filter@{needs}, this router has {has}: {way_out}")]
    Version { needs: String, has: String, way_out: &'static str },
    #[error("it imports `{name}`, which this router does not have: {way_out}")]
    Import { name: String, way_out: &'static str },
    #[error("it does not keep the contract trommel:filter@{version}: build it anew against that version's WIT")]
    Contract {
        version: String,
        #[source]
        source: anyhow::Error,
    },
    #[error("it wants {}", wish(*.0))]
    NotGranted(Grant),
    #[error("it wants `{capability}`, which this router does not have: it has `api`, `identity` and `state`")]
    UnknownCapability { capability: String },
    #[error(
        "it imports more than this router has: build it for the world `trommel:filter/filter-component` and WASI 0.2"
    )]
    Link(#[source] anyhow::Error),
    #[error("its digest is sha256:{found}, and `[[filter]]` says sha256:{pinned}: if that is meant, write it there")]
    Digest { found: String, pinned: String },
    #[error("it has more than {limit} functions, more than a compiler should be given: build it for release")]
    Functions { limit: u64 },
    #[error(
        "its function at byte {at:#x} has too many loops or branches for its many locals, more than a compiler \
         should be given: build it for release, or split the function"
    )]
    Function { at: u64 },
    #[error(
        "its compiler wants more than {limit} of memory: raise `compile_memory` in the filter's limits if that is meant"
    )]
    CompileMemory { limit: bytesize::ByteSize },
    #[error(
        "its manifest asks for {needed} of memory, and its limit is {limit}: raise `memory` in the filter's limits if \
         that is meant"
    )]
    NeedsMemory { needed: bytesize::ByteSize, limit: bytesize::ByteSize },
    #[error("its section `trommel:manifest` {0}")]
    ManifestSection(String),
    #[error("its compiler wants more time than {limit:?}: raise `compile_cpu` in the filter's limits if that is meant")]
    CompileTime { limit: Duration },
    #[error("it could not be compiled")]
    Compile(#[source] anyhow::Error),
    #[error("it needs {0}")]
    Unsupported(&'static str),
    #[error(transparent)]
    Broke(#[from] BrokenCall),
    #[error("the host could not load it")]
    Host(#[source] anyhow::Error),
}

/// What the validator says of features that no router has, and what that means.
const UNSUPPORTED: [(&[&str], &str); 3] = [
    (
        &["component model async feature", "different function kind"],
        "functions that are lifted async, which this router does not call: build it with synchronous exports, such as by \
         `componentize-qjs --sync` or `jco componentize --backend-qjs-disable-async`",
    ),
    (
        &["gc feature", "gc types", "gc proposal", "shared-everything"],
        "WebAssembly's garbage collector (GC), which this router does not have: a compiler to plain WebAssembly brings its \
         own, as those of Go and Python do; Kotlin, Dart and others that need GC can't be filters",
    ),
    (
        &["exceptions proposal", "exceptions feature", "legacy exceptions"],
        "WebAssembly's exceptions, which this router does not have: build it without, such as by `-fno-exceptions` in C++",
    ),
];

impl LoadError {
    /// Says what a file needs, if that is why it is not valid.
    pub(super) fn in_words(self) -> Self {
        let (Self::Invalid(error)
        | Self::CoreModule(error)
        | Self::Compile(error)
        | Self::Contract { source: error, .. }) = &self
        else {
            return self;
        };
        let text = format!("{error:#}").to_lowercase();
        let meant = UNSUPPORTED.iter().find(|(said, _)| said.iter().any(|said| text.contains(said)));
        meant.map_or(self, |(_, needs)| Self::Unsupported(needs))
    }
}

fn wish(grant: Grant) -> &'static str {
    match grant {
        Grant::State => "`state`, which it was not granted: add it to `grants` of its `[[filter]]` in `filters/`",
        Grant::Identity => "`identity`, which it was not granted: add it to `grants` of its `[[filter]]` in `filters/`",
        Grant::Api => {
            "`api`, which it was not granted: add it to `grants` of its `[[filter]]` in `filters/`, and say in `[api]` \
             what is called"
        }
    }
}

impl From<CallFault> for LoadError {
    fn from(fault: CallFault) -> Self {
        match fault {
            CallFault::Broke(broken) => Self::Broke(broken),
            CallFault::Host(error) => Self::Host(error),
        }
    }
}
