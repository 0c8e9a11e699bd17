//! Calls of the configured APIs, whose addresses and credentials stay with the router. Wished for by
//! `export!(Name, api = "why")`; the user grants it.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

pub use crate::bindings::trommel::filter::api::{Request, Response};

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Method, path or a header are not allowed.
    Denied(String),
    /// The event has used up its calls.
    Budget,
    Timeout,
    /// Status and body of an answer that is not a success, made by [`Response::success`].
    Status(u16, String),
    Failed(String),
}

/// Asks for a path, with its query, and wants success.
///
/// # Errors
/// See [`Error`].
pub fn get(path: &str) -> Result<Response, Error> {
    Request::new("GET", path).send()?.success()
}

/// Sends JSON to a path, and wants success.
///
/// # Errors
/// See [`Error`].
pub fn post(path: &str, body: &(impl Serialize + ?Sized)) -> Result<Response, Error> {
    Request::new("POST", path).json(body)?.send()?.success()
}

impl Request {
    /// `path` is with its query.
    pub fn new(method: &str, path: &str) -> Self {
        Self { api: None, method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: None }
    }

    /// The name of one of the router's APIs, in place of the one without a name.
    #[must_use]
    pub fn api(self, name: &str) -> Self {
        Self { api: Some(name.to_owned()), ..self }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    /// With the header that says so.
    ///
    /// # Errors
    /// If the value has no form in JSON.
    pub fn json(self, body: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Failed(format!("the body is not JSON: {error}")))?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Answers of any status are responses. The router repeats the call where that may help.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn send(self) -> Result<Response, Error> {
        #[cfg(target_arch = "wasm32")]
        return Ok(crate::bindings::trommel::filter::api::call(&self)?);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::call(&self)
    }
}

impl Response {
    /// The first value under `name`, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The answer, if its status is a success.
    ///
    /// # Errors
    /// [`Error::Status`].
    pub fn success(self) -> Result<Self, Error> {
        match self.status {
            200..300 => Ok(self),
            status => Err(Error::Status(status, String::from_utf8_lossy(&self.body).into_owned())),
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`Error::Failed`] if it is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Failed(format!("the answer is not what it should be: {error}")))
    }
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
            ApiError::Failed(why) => Self::Failed(why),
        }
    }
}
