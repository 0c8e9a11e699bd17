//! Secrets in files or in the environment.

use std::env;

use super::{
    KeptIn,
    read::{LARGEST_SECRET, read},
};

impl KeptIn {
    /// Reads the secret, without surrounding whitespace: files and variables often end with a line
    /// break.
    ///
    /// # Errors
    /// Returns an error if it is missing or unreadable. Errors never contain any of it.
    pub fn read(&self) -> Result<String, String> {
        let text = match self {
            Self::File(path) => {
                let bytes = read(path, LARGEST_SECRET).map_err(|error| error.cause())?;
                String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?
            }
            Self::Env(variable) => {
                // The variable's own error would quote the value that is not UTF-8.
                let text = env::var_os(variable).ok_or("it is not set")?;
                text.into_string().map_err(|_| "it is not UTF-8")?
            }
        };
        match text.trim() {
            "" => Err("it is empty".to_owned()),
            text => Ok(text.to_owned()),
        }
    }
}
