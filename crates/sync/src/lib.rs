//! Waits between tries, sleeping until a time that may be missing, and locks after a panic.

pub mod backoff;
pub mod poison;
pub mod timer;
