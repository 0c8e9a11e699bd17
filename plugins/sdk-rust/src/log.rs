//! Lines in the router's log, under the filter's name. Limited per event.

use std::fmt::Display;

pub use crate::bindings::trommel::filter::log::Level;

pub fn trace(message: impl Display) {
    details(Level::Trace, message);
}

pub fn debug(message: impl Display) {
    details(Level::Debug, message);
}

pub fn info(message: impl Display) {
    write(Level::Info, &message.to_string(), &[]);
}

pub fn warn(message: impl Display) {
    write(Level::Warn, &message.to_string(), &[]);
}

pub fn error(message: impl Display) {
    write(Level::Error, &message.to_string(), &[]);
}

/// Whether lines of this level are written anywhere: ask before making a costly one.
pub fn enabled(level: Level) -> bool {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::trommel::filter::log::enabled(level);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _every_level = level;
        true
    }
}

/// Writes a line with fields, whose names are words in lower case with underscores.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    #[cfg(target_arch = "wasm32")]
    crate::bindings::trommel::filter::log::write(level, message, &fields);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::write(level, message, fields);
}

/// Other lines are written in any case: a dead letter has those of the call that broke.
fn details(level: Level, message: impl Display) {
    if enabled(level) {
        write(level, &message.to_string(), &[]);
    }
}
