//! The shape of the project itself.

mod compatibility;
mod layout;
