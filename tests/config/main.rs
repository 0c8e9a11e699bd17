//! What the files of a router's folder may say, and how mistakes are told.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, and may print what it was given")]

#[path = "../common/router.rs"]
mod router;

mod api_settings;
mod config_defaults;
mod config_errors;
mod config_folder;
mod config_loads;
mod end_errors;
mod http_settings;
mod key_errors;
mod key_schemas;
mod lark_settings;
mod nats_errors;
mod param_types;
mod patterns;
mod preset_settings;
mod refusals;
mod registry_files;
mod schema_errors;
mod type_routes;
mod webhook_settings;
