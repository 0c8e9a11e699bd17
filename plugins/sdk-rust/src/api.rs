//! Calls of the configured API, whose address and credentials stay with the router. Wanted by `export!(Name, api)`; the
//! user grants it.

use std::fmt;

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Method or path are not on the key's allow list.
    Denied(String),
    /// The event has used up its calls.
    Budget,
    Timeout,
    /// Status and body of an answer that is no success.
    Status(u16, String),
    Failed(String),
}

/// The body of the answer.
///
/// # Errors
/// See [`Error`].
pub fn call(method: &str, path: &str, body: Option<&str>) -> Result<String, Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(crate::bindings::trommel::filter::api::call(method, path, body)?);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::call(method, path, body)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "the API denied the call: {why}"),
            Self::Budget => f.write_str("the event has used up its calls of the API"),
            Self::Timeout => f.write_str("the API did not answer in time"),
            Self::Status(status, _) => write!(f, "the API answered with status {status}"),
            Self::Failed(why) => write!(f, "the API could not be called: {why}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(target_arch = "wasm32")]
impl From<crate::bindings::trommel::filter::api::ApiError> for Error {
    fn from(error: crate::bindings::trommel::filter::api::ApiError) -> Self {
        use crate::bindings::trommel::filter::api::ApiError;
        match error {
            ApiError::Denied(why) => Self::Denied(why),
            ApiError::Budget => Self::Budget,
            ApiError::Timeout => Self::Timeout,
            ApiError::Status((status, body)) => Self::Status(status, body),
            ApiError::Failed(why) => Self::Failed(why),
        }
    }
}
