//! The shape of the project itself.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, and may print what it was given")]

mod compatibility;
mod dependencies;
mod documentation;
mod layout;
mod reference;
mod shell;
