//! A small store, kept apart for every filter and key. Wished for by `export!(Name, state = "why")`;
//! the user grants it.

use std::{fmt, time::Duration};

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Denied,
    /// The key, the value or the whole store passes its limit.
    TooLarge,
    /// The value is not what was expected: [`increment`] of one that is not a number, [`swap`] of one
    /// that has changed.
    Conflict,
    Unavailable(String),
}

/// # Errors
/// See [`Error`].
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::get(key)?);
    #[cfg(not(target_arch = "wasm32"))]
    Ok(crate::testing::state(|state| state.get(key).cloned()))
}

/// The values of many keys, in their order.
///
/// # Errors
/// See [`Error`].
pub fn get_many(keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::get_many(keys)?);
    #[cfg(not(target_arch = "wasm32"))]
    keys.iter().map(|key| get(key)).collect()
}

/// Keeps the value for `ttl`, in whole milliseconds; without one for good.
///
/// # Errors
/// See [`Error`].
pub fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::set(key, value, ttl.map(crate::outcome::milliseconds))?);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _lives_as_long_as_the_test = ttl;
        crate::testing::state(|state| state.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }
}

/// Sets many values, of one key the last, all for the same `ttl`. All are set or none, but for a
/// store that routers share: there each is set for itself, and some may be when this fails.
///
/// # Errors
/// See [`Error`].
pub fn set_many(values: &[(String, Vec<u8>)], ttl: Option<Duration>) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::set_many(values, ttl.map(crate::outcome::milliseconds))?);
    #[cfg(not(target_arch = "wasm32"))]
    values.iter().try_for_each(|(key, value)| set(key, value, ttl))
}

/// # Errors
/// See [`Error`].
pub fn delete(key: &str) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::delete(key)?);
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::testing::state(|state| state.remove(key));
        Ok(())
    }
}

/// Deletes many keys. Those that are not there stay away.
///
/// # Errors
/// See [`Error`].
pub fn delete_many(keys: &[String]) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::delete_many(keys)?);
    #[cfg(not(target_arch = "wasm32"))]
    keys.iter().try_for_each(|key| delete(key))
}

/// The keys that begin with `prefix`, in no order, at most 1,000.
///
/// # Errors
/// See [`Error`].
pub fn keys(prefix: &str) -> Result<Vec<String>, Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::keys(prefix)?);
    #[cfg(not(target_arch = "wasm32"))]
    Ok(crate::testing::state(|state| state.keys().filter(|key| key.starts_with(prefix)).take(1_000).cloned().collect()))
}

/// Adds to a decimal number, 0 when absent, and returns the sum. Without a ttl the number keeps the
/// one it has.
///
/// # Errors
/// See [`Error`].
pub fn increment(key: &str, delta: i64, ttl: Option<Duration>) -> Result<i64, Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::increment(key, delta, ttl.map(crate::outcome::milliseconds))?);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let known = get(key)?.unwrap_or_else(|| b"0".to_vec());
        let number = str::from_utf8(&known).ok().and_then(|text| text.parse::<i64>().ok());
        let sum = number.and_then(|number| number.checked_add(delta)).ok_or(Error::Conflict)?;
        set(key, sum.to_string().as_bytes(), ttl)?;
        Ok(sum)
    }
}

/// Sets a value if the present one is `old`, `None` for absent.
///
/// # Errors
/// See [`Error`]; [`Error::Conflict`] if it is another.
pub fn swap(key: &str, old: Option<&[u8]>, new: &[u8], ttl: Option<Duration>) -> Result<(), Error> {
    #[cfg(target_arch = "wasm32")]
    return Ok(wasm::swap(key, old, new, ttl.map(crate::outcome::milliseconds))?);
    #[cfg(not(target_arch = "wasm32"))]
    {
        if get(key)?.as_deref() != old {
            return Err(Error::Conflict);
        }
        set(key, new, ttl)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("the store is denied"),
            Self::TooLarge => f.write_str("it is too large for the store"),
            Self::Conflict => f.write_str("the stored value is not the expected one"),
            Self::Unavailable(why) => write!(f, "the store is not available: {why}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(target_arch = "wasm32")]
use crate::bindings::trommel::filter::state as wasm;

#[cfg(target_arch = "wasm32")]
impl From<wasm::StateError> for Error {
    fn from(error: wasm::StateError) -> Self {
        match error {
            wasm::StateError::Denied => Self::Denied,
            wasm::StateError::TooLarge => Self::TooLarge,
            wasm::StateError::Conflict => Self::Conflict,
            wasm::StateError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
