//! Reads a router's folder, `trommel.toml`, `keys/*.toml` and the schemas that they name, into a
//! checked [`Config`](trommel_config::config::Config). [`load`] returns it, or the problems of all
//! files at once. The only crate that reads TOML.

use trommel_config::{address, config, ownership, signature};
use trommel_event::{condition, endpoint, event, field, json};
use trommel_sync::backoff;

mod api;
mod avro;
mod bus;
mod case_end;
mod case_file;
mod document;
mod exec;
mod file;
mod filters;
mod http;
mod idle;
mod isolation;
mod keys;
mod lark;
mod limits;
mod listing;
mod load;
mod login;
mod loops;
mod nats;
mod partitions;
mod places;
mod preset;
mod problem;
mod routes;
mod schema;
mod schema_registry;
mod schemas;
mod secret;
mod settings;
mod sink;
mod source;
mod state;
mod stream;
mod table;
mod telemetry;
mod toml_value;
mod unique;
mod webhook;
mod webhook_book;

pub use case_end::{CaseEnd, PAYLOADS, header_fields};
pub use case_file::{ArrivingMessage, CaseAnswer, CaseFile, CaseInput, CaseTick, EndUpdate, RouterCase};
pub use load::{load, load_registry, parse, writer_subjects};
pub use places::DeclaredPlaces;
pub use webhook_book::{AddedWebhook, WebhookBook, WebhookBookError, WebhookFields};
