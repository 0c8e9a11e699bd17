//! State of a running source towards its consumer, without I/O.
//!
//! A phase holds what is not known or not done yet, in the order in which the server is asked for
//! it: whether the consumer exists, what has changed about it, and what it has delivered that did
//! not arrive. The variants stand for the first two. The third, `CatchUp`, goes on under each of
//! them.
//!
//! ```text
//!            Doubted
//!   Known ───────────────► Asking ───┐ Doubted, Asked, Unanswered
//!    ▲ ◄────────────────── ▲ ◄───────┘
//!    │      Answered,      │
//!    │      StartedOver    │
//!    │                     │
//!    └──────── Lost ───────┘
//!      Found    ▲      Found, with a question that is open
//!               └── Gone, from anywhere
//!
//!           MissedDelivery
//!   Done ───────────────────► Reading
//!    ▲ ◄───────────────────── ▲
//!    │     Read, the last;    │ TakenOver, with messages to read
//!    │     StartedOver        │
//!    └────────────────── TakingOver ◄── MustTakeOver, from anywhere
//!      TakenOver, without
//! ```
//!
//! - In `Known`, and in `Asking` for `Routine` or `NoMessages`, messages are taken. In `Asking` for
//!   `Reconnect` or `Rewind` they wait for the answer: earlier deliveries may be lost or void, and
//!   later messages would overtake them.
//! - A doubt that comes while a question is under way makes it due once more, as the answer may be
//!   older than the doubt. The first answer does what the strongest reason asks for, so that the
//!   second question is a `Routine` one.
//! - In `Lost`, messages that have arrived are still taken, and no more are pulled: if the stream
//!   is gone too, they are the last copies.
//! - `StartedOver` means that deliveries of the earlier consumer are void, and with them what was
//!   to be read. That is all that any doubt could ask for.
//! - A request that fails leaves its phase as it is, with the question due again. Recovery repeats
//!   it after its backoff.

/// What is known of the consumer, and what has to be caught up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConsumerPhase {
    /// Nothing is asked about the consumer.
    Known(CatchUp),
    /// The server is to be asked about the consumer, or is being asked.
    Asking(InfoRequest, CatchUp),
    /// The consumer is gone and has to be found or created again. A question that was open holds
    /// messages back until then as it did before.
    Lost(Option<InfoRequest>, CatchUp),
}

/// What stands between a source and new messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CatchUp {
    Done,
    /// Messages are read from the stream first.
    Reading,
    /// Earlier deliveries are taken over first. Then comes what there may be to read.
    TakingOver,
}

/// Question about the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InfoRequest {
    pub(super) reason: AskReason,
    /// True if it has to be asked: it was not yet, it failed, or there was a doubt since.
    is_due: bool,
}

/// Reason to ask about the consumer. A later one includes what an earlier one asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AskReason {
    /// The consumer may have changed.
    Routine,
    /// No message has come for a while.
    NoMessages,
    /// The connection was made anew.
    Reconnect,
    /// The stream holds other messages than before.
    Rewind,
}

/// What was heard of the server or the connection, or was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PhaseInput {
    Doubted(AskReason),
    /// The request for the consumer's info has left.
    Asked,
    Unanswered,
    Answered,
    Gone,
    /// The consumer is there again. `StartedOver` follows.
    Found,
    StartedOver,
    /// Messages have to be read from the stream.
    MissedDelivery,
    /// One message was read, or can't be.
    Read {
        is_last: bool,
    },
    MustTakeOver,
    TakenOver {
        has_readings: bool,
    },
}

/// Request to the server that a phase needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeededRequest {
    Find,
    Ask,
    TakeOver,
    Read,
}

impl ConsumerPhase {
    /// Returns the phase that follows.
    pub(super) fn after(self, input: PhaseInput) -> Self {
        let (request, catch_up) = (self.request(), self.catch_up());
        match input {
            PhaseInput::Doubted(reason) => self.with_request(Some(InfoRequest::doubted(request, reason))),
            PhaseInput::Asked => self.with_request(request.map(|request| InfoRequest { is_due: false, ..request })),
            PhaseInput::Unanswered => self.with_request(request.map(|request| InfoRequest { is_due: true, ..request })),
            PhaseInput::Answered => self.with_request(request.and_then(InfoRequest::answered)),
            PhaseInput::Gone => Self::Lost(request, catch_up),
            PhaseInput::Found => Self::present(request, catch_up),
            PhaseInput::StartedOver => {
                let phase = self.with_request(request.and_then(InfoRequest::answered));
                if catch_up == CatchUp::Reading { phase.with_catch_up(CatchUp::Done) } else { phase }
            }
            PhaseInput::MissedDelivery if catch_up == CatchUp::Done => self.with_catch_up(CatchUp::Reading),
            PhaseInput::Read { is_last: true } if catch_up == CatchUp::Reading => self.with_catch_up(CatchUp::Done),
            PhaseInput::MissedDelivery | PhaseInput::Read { .. } => self,
            PhaseInput::MustTakeOver => self.with_catch_up(CatchUp::TakingOver),
            PhaseInput::TakenOver { has_readings: true } => self.with_catch_up(CatchUp::Reading),
            PhaseInput::TakenOver { has_readings: false } => self.with_catch_up(CatchUp::Done),
        }
    }

    /// Returns the request that the phase needs, unless it is under way.
    pub(super) fn needs(self) -> Option<NeededRequest> {
        match self {
            Self::Lost(..) => Some(NeededRequest::Find),
            Self::Asking(InfoRequest { is_due: true, .. }, _) => Some(NeededRequest::Ask),
            Self::Asking(_, catch_up) | Self::Known(catch_up) => match catch_up {
                CatchUp::TakingOver => Some(NeededRequest::TakeOver),
                CatchUp::Reading => Some(NeededRequest::Read),
                CatchUp::Done => None,
            },
        }
    }

    /// Returns whether messages that have arrived may be taken.
    pub(super) fn takes_messages(self) -> bool {
        let is_held = self.request().is_some_and(|request| request.reason >= AskReason::Reconnect);
        self.catch_up() == CatchUp::Done && !is_held
    }

    /// Returns whether messages may be asked for.
    pub(super) fn pulls_messages(self) -> bool {
        !self.is_lost() && self.takes_messages()
    }

    pub(super) fn is_lost(self) -> bool {
        matches!(self, Self::Lost(..))
    }

    pub(super) fn is_taking_over(self) -> bool {
        self.catch_up() == CatchUp::TakingOver
    }

    /// Returns the reason of the question that is open.
    pub(super) fn reason(self) -> Option<AskReason> {
        self.request().map(|request| request.reason)
    }

    fn request(self) -> Option<InfoRequest> {
        match self {
            Self::Known(_) => None,
            Self::Asking(request, _) => Some(request),
            Self::Lost(request, _) => request,
        }
    }

    fn catch_up(self) -> CatchUp {
        let (Self::Known(catch_up) | Self::Asking(_, catch_up) | Self::Lost(_, catch_up)) = self;
        catch_up
    }

    /// Phase of a consumer that exists.
    fn present(request: Option<InfoRequest>, catch_up: CatchUp) -> Self {
        request.map_or(Self::Known(catch_up), |request| Self::Asking(request, catch_up))
    }

    fn with_request(self, request: Option<InfoRequest>) -> Self {
        match self {
            Self::Lost(_, catch_up) => Self::Lost(request, catch_up),
            Self::Known(catch_up) | Self::Asking(_, catch_up) => Self::present(request, catch_up),
        }
    }

    fn with_catch_up(self, catch_up: CatchUp) -> Self {
        match self {
            Self::Known(_) => Self::Known(catch_up),
            Self::Asking(request, _) => Self::Asking(request, catch_up),
            Self::Lost(request, _) => Self::Lost(request, catch_up),
        }
    }
}

impl InfoRequest {
    fn doubted(open: Option<Self>, reason: AskReason) -> Self {
        Self { reason: open.map_or(reason, |open| open.reason.max(reason)), is_due: true }
    }

    /// Returns what is left to ask when this was answered.
    fn answered(self) -> Option<Self> {
        self.is_due.then_some(Self { reason: AskReason::Routine, is_due: true })
    }
}

#[cfg(test)]
mod tests;
