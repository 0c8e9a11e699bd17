//! Ids with the type of what they identify.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use type_safe_id::{DynamicType, StaticType, TypeSafeId};

/// An id with the type of what it identifies: `evt_01h455vb4pex5vsknk084sn02q`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TypeId(String);

/// Error of a text that is no [`TypeId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a TypeID: such an id looks like `evt_01h455vb4pex5vsknk084sn02q`")]
pub struct NoTypeId(String);

#[derive(Default)]
struct EventType;

impl StaticType for EventType {
    const TYPE: &'static str = "evt";
}

impl TypeId {
    /// Creates an event's id. Ids sort by the time of their creation.
    pub fn of_event() -> Self {
        Self(TypeSafeId::<EventType>::new().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TypeId {
    type Err = NoTypeId;

    fn from_str(text: &str) -> Result<Self, NoTypeId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for TypeId {
    type Error = NoTypeId;

    fn try_from(text: String) -> Result<Self, NoTypeId> {
        // The parser cuts long texts by bytes, which other characters do not survive.
        let parsed = text.is_ascii().then(|| text.parse::<TypeSafeId<DynamicType>>());
        match parsed {
            Some(Ok(_)) => Ok(Self(text)),
            Some(Err(_)) | None => Err(NoTypeId(text)),
        }
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
