//! The server's description of itself, of the account, and of the user that is connected.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{ApiError, Connection, UserPermissions};

/// Subject at which any user may ask about itself, unless its permissions forbid it.
pub const USER_INFO: &str = "$SYS.REQ.USER.INFO";

/// The connected user as the server knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct UserInfo {
    pub user: String,
    pub account: String,
    /// `None` if the user may publish and subscribe to everything in its account.
    pub permissions: Option<UserPermissions>,
    /// Clock of the server when it answered.
    pub server_time: Timestamp,
}

/// Use and limits of JetStream in one account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AccountInfo {
    #[serde(flatten)]
    pub usage: AccountUsage,
    pub domain: Option<String>,
    /// Use and limits by the number of replicas, as `R1`, where the account has such; those of the
    /// account itself mean nothing then.
    pub tiers: BTreeMap<String, AccountUsage>,
}

/// Use and limits of an account, or of one of its tiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AccountUsage {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes in files.
    pub storage: u64,
    pub streams: u64,
    pub consumers: u64,
    pub limits: AccountLimits,
}

/// Limits of an account. A negative number is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AccountLimits {
    pub max_memory: i64,
    pub max_storage: i64,
    pub max_streams: i64,
    pub max_consumers: i64,
    pub max_ack_pending: i64,
    /// True if every stream needs `max_bytes`.
    pub max_bytes_required: bool,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self {
            max_memory: -1,
            max_storage: -1,
            max_streams: -1,
            max_consumers: -1,
            max_ack_pending: -1,
            max_bytes_required: false,
        }
    }
}

#[derive(Deserialize)]
struct UserResponse {
    server: ServerClock,
    data: UserData,
}

#[derive(Deserialize)]
struct ServerClock {
    time: Timestamp,
}

#[derive(Deserialize)]
struct UserData {
    #[serde(default)]
    user: String,
    #[serde(default)]
    account: String,
    #[serde(default)]
    permissions: Option<UserPermissions>,
}

/// The server at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedServer {
    pub name: String,
    pub version: String,
    /// `None` for a server alone.
    pub cluster: Option<String>,
    pub has_tls: bool,
}

impl Connection {
    /// The server that this connection has reached, by its greeting.
    pub fn server(&self) -> ConnectedServer {
        let info = self.client().server_info();
        let cluster = info.cluster.filter(|cluster| !cluster.is_empty());
        ConnectedServer { name: info.server_name, version: info.version, cluster, has_tls: info.tls_required }
    }

    /// Returns whether the server has at least this version.
    pub fn is_at_least(&self, (major, minor): (i64, i64)) -> bool {
        self.client().is_server_compatible(major, minor, 0)
    }

    /// The user that is connected, with its permissions: from nats-server 2.10 on.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or does not allow the question.
    pub async fn user_info(&self) -> Result<UserInfo, ApiError> {
        let answer = self.ask(USER_INFO.to_owned(), async_nats::Request::new()).await?;
        let UserResponse { server, data } =
            serde_json::from_value(answer).map_err(|error| ApiError::Failed(USER_INFO.to_owned(), error.into()))?;
        let UserData { user, account, permissions } = data;
        Ok(UserInfo { user, account, permissions, server_time: server.time })
    }

    /// Use and limits of JetStream in the account.
    ///
    /// # Errors
    /// Returns an error if JetStream is off, the server does not answer, or does not allow it.
    pub async fn account_info(&self) -> Result<AccountInfo, ApiError> {
        let answer = self.api("INFO", &json!({})).await?;
        serde_json::from_value(answer).map_err(|error| ApiError::Failed("INFO".to_owned(), error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_an_account_and_of_its_tiers_are_read() {
        let answer = json!({
            "memory": 0, "storage": 7, "streams": 2, "consumers": 3, "domain": "hub", "api": { "total": 4 },
            "limits": { "max_memory": -1, "max_storage": 10, "max_streams": 2, "max_consumers": -1,
                "max_ack_pending": 1000, "max_bytes_required": true },
            "tiers": { "R3": { "storage": 1, "limits": { "max_storage": 5 } } },
        });
        let info: AccountInfo = serde_json::from_value(answer).unwrap();
        assert_eq!((info.usage.storage, info.usage.limits.max_storage), (7, 10));
        assert_eq!((info.usage.limits.max_ack_pending, info.usage.limits.max_bytes_required), (1000, true));
        assert_eq!(info.domain.as_deref(), Some("hub"));
        assert_eq!((info.tiers["R3"].limits.max_storage, info.tiers["R3"].limits.max_streams), (5, -1));
    }
}
