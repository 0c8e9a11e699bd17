//! trommel: an event router between JetStream subscriptions and output sinks that runs WebAssembly
//! components on every event.
//!
//! The data flows one way. A [`source`] turns messages into [`event`]s and hands each to its
//! [`pipeline::Intake`], together with the duty to settle it ([`ack`]). Lanes take the events
//! through the keys of the [`registry`] in force: conditions, `matches` and `process` of a
//! [`filter`], then the queues of the [`sink`]s. When every sink has confirmed, the duty is done
//! and the source acknowledges. [`app`] assembles a router from a checked [`config`]. A program
//! that embeds a router publishes to it on a [`bus`].

pub mod avro;
pub mod backoff;
pub mod bus;
pub mod endpoint;
pub mod event;
pub mod field;
pub mod json;
pub mod outgoing;
pub mod ownership;
pub mod poison;
pub mod schema;
pub mod signature;
pub mod text;
pub mod timer;

pub mod ack;
pub mod fate;
pub mod metrics;
pub mod open_files;
pub mod recent;
pub mod show;
pub mod stop;
pub mod summary;
pub mod tap;

pub mod api;
pub mod config;
pub mod credential;
pub mod dead_letters;
pub mod filter;
pub mod listener;
pub mod registry;
pub mod trial;
pub mod walk;

pub mod pipeline;
pub mod sink;
pub mod source;
pub mod webhook;

pub mod admin;
pub mod app;
pub mod cli;
pub mod control;
pub mod nats;
pub mod telemetry;
pub mod verify;
