//! What a program that embeds a router needs: `use trommel::prelude::*`.
//!
//! A checked configuration comes from [`folder`], a running router from [`app::start`]. Its
//! [`ProgramParts`] are the buses, sinks and sources that the program brings.

pub use crate::{
    ack::Outcome,
    app::{self, ProgramParts, RouterControls, RunError, RunningRouter},
    bus::{Bus, BusClosed, BusSubscription, DropReason, Envelope, Observation, OverflowPolicy, PublishReport},
    config::{Config, Problems},
    event::{Event, Headers, Origin, Pattern, Uid},
    folder,
    pipeline::Intake,
    sink::{Confirmation, Output, Sink, SinkRefusal, Slot},
    source::Source,
    stop::Stop,
    summary::RunSummary,
};
