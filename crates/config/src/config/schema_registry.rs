//! A schema registry that speaks Confluent's protocol.

use std::{fmt, time::Duration};

use url::Url;

use super::{ConfigPlace, KeptIn, SchemaCache};

/// The schema registry of a router: where it is, and where its schemas are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaRegistryConfig {
    /// Addresses of one registry. The first that answers is used.
    pub urls: Vec<Url>,
    pub auth: Option<RegistryAuth>,
    pub cache: SchemaCache,
    /// Timeout of one request.
    pub timeout: Duration,
    /// Position of its declaration, for problems found later.
    pub place: ConfigPlace,
}

/// Proof of who the router is.
#[derive(Clone, Debug, PartialEq)]
pub enum RegistryAuth {
    Basic { user: String, password: KeptIn },
    Bearer(KeptIn),
}

/// A version of a subject, whose schema a sink writes by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WriterSubject {
    pub name: String,
    /// `None` for the latest when the router starts.
    pub version: Option<u32>,
}

impl fmt::Display for WriterSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "version {version} of subject `{}`", self.name),
            None => write!(f, "the latest version of subject `{}`", self.name),
        }
    }
}
