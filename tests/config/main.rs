//! What the files of a router's folder may say, and how mistakes are told.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, and may print what it was given")]

#[path = "../common/router.rs"]
mod router;

mod api_settings;
mod config_errors;
mod config_loads;
mod http_settings;
mod key_schemas;
mod patterns;
mod type_routes;
mod webhook_settings;
