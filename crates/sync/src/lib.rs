//! Waits between tries, sleeping until a time that may be missing, fences that lapse by themselves,
//! and locks after a panic.

pub mod backoff;
pub mod fence;
pub mod poison;
pub mod timer;
