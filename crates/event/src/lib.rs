//! Events and what they are made of: subjects, patterns, names of a part of an event, conditions on
//! one, JSON read without a tree, text made harmless for terminals. Knows no broker, no file and no
//! network.

pub mod condition;
pub mod endpoint;
pub mod event;
pub mod field;
pub mod json;
pub mod projection;
pub mod text;
