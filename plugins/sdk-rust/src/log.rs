//! Lines in the router's log, under the filter's name. Limited per event.

use std::fmt::Display;

pub use crate::bindings::trommel::filter::log::Level;

pub fn debug(message: impl Display) {
    write(Level::Debug, message);
}

pub fn info(message: impl Display) {
    write(Level::Info, message);
}

pub fn warn(message: impl Display) {
    write(Level::Warn, message);
}

pub fn error(message: impl Display) {
    write(Level::Error, message);
}

pub fn write(level: Level, message: impl Display) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::trommel::filter::log::write(level, &message.to_string());
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::write(level, message.to_string());
}
