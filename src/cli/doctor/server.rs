//! The server: each of its addresses by itself, and the connection for all that is asked there.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::finding::Finding;
use crate::{
    cli::streams::chain,
    config::{Config, ConfigPlace, NatsConfig},
    folder::DeclaredPlaces,
    nats::{
        self, AccountInfo, ApiError, ConnectError, ConnectTrouble, ConnectedServer, Connection, ConnectionLife,
        UserInfo,
    },
};

/// Difference of the clocks from which on it matters.
const SKEW: SignedDuration = SignedDuration::from_secs(2);

/// A connection, and what is needed to judge what it finds.
pub(super) struct ServerView<'a> {
    pub(super) connection: Connection,
    pub(super) config: &'a Config,
    pub(super) places: &'a DeclaredPlaces,
    pub(super) user: Result<UserInfo, ApiError>,
    pub(super) account: Result<AccountInfo, ApiError>,
    /// Time at which the user was asked for, and that of the answer.
    asked: [Timestamp; 2],
}

impl<'a> ServerView<'a> {
    pub(super) async fn new(connection: Connection, config: &'a Config, places: &'a DeclaredPlaces) -> Self {
        let before = Timestamp::now();
        let user = connection.user_info().await;
        let asked = [before, Timestamp::now()];
        let account = connection.account_info().await;
        Self { connection, config, places, user, account, asked }
    }

    /// Returns whether streams and consumers can be asked for at all.
    pub(super) fn has_jetstream(&self) -> bool {
        matches!(self.account, Ok(_) | Err(ApiError::NoPermission(_)))
    }

    /// The clock of this machine against that of the server, if the server told it.
    pub(super) fn clock(&self) -> Option<Finding> {
        let user = self.user.as_ref().ok()?;
        Some(clock(user.server_time, self.asked))
    }
}

/// Connects to each address, and returns the first connection that was made.
pub(super) async fn connect(settings: &NatsConfig, places: &DeclaredPlaces) -> (Vec<Finding>, Option<Connection>) {
    let alone = |url: &String| {
        let settings = NatsConfig { urls: vec![url.clone()], ..settings.clone() };
        async move { reach(&settings).await }
    };
    let reached = join_all(settings.urls.iter().map(alone)).await;
    let is_reached = reached.iter().any(Result::is_ok);
    let place = places.of("nats", None);
    let mut first = None;
    let mut findings = Vec::new();
    for reached in reached {
        match reached {
            Ok((connection, trip)) => {
                findings.push(Finding::ok(greeting(&connection, trip)));
                first = first.or(Some(connection));
            }
            Err(error) => findings.push(unreached(error, is_reached, &place)),
        }
    }
    (findings, first)
}

/// Connects, and measures a round trip.
async fn reach(settings: &NatsConfig) -> Result<(Connection, Duration), ConnectError> {
    let connection = nats::connect(settings, "doctor", ConnectionLife::Single).await?;
    // The first request brings the subscription for answers along. A denial takes as long.
    let _ = connection.user_info().await;
    let began = Instant::now();
    let _ = connection.user_info().await;
    Ok((connection, began.elapsed()))
}

fn greeting(connection: &Connection, trip: Duration) -> String {
    let ConnectedServer { version, cluster, has_tls, .. } = connection.server();
    let tls = if has_tls { ", TLS" } else { "" };
    let cluster = cluster.map(|cluster| format!(", cluster `{cluster}`")).unwrap_or_default();
    let trip = trip.as_secs_f64() * 1e3;
    format!("nats-server {version} at {}, {trip:.1} ms{tls}{cluster}", connection.place())
}

fn unreached(error: ConnectError, has_others: bool, place: &ConfigPlace) -> Finding {
    let (subtype, hint) = match error.trouble {
        ConnectTrouble::Settings => ("nats_settings", "mend the address, or the file that it needs"),
        ConnectTrouble::Auth => ("nats_auth", "is the user known there, by this method and with these credentials?"),
        ConnectTrouble::Tls => {
            ("nats_tls", "does the server speak TLS, with a certificate of a CA that is known here?")
        }
        ConnectTrouble::Network => ("nats_unreachable", "is it running there? `nats-server -js` starts one"),
    };
    let message = chain(error);
    match has_others {
        true => Finding::warning(subtype, format!("{message}; another address is used")).hint(hint).at(place.clone()),
        false => Finding::error(subtype, message).hint(hint).at(place.clone()),
    }
}

/// Compares a clock that was read between two times of this machine's.
fn clock(server: Timestamp, [before, after]: [Timestamp; 2]) -> Finding {
    // Between both times, any clock is right.
    let skew = if server < before { before.duration_since(server) } else { server.duration_since(after) };
    let ahead = if server < before { "ahead of" } else { "behind" };
    if skew <= SKEW {
        return Finding::ok("the clocks agree");
    }
    let message = format!("this machine's clock is {:.1} s {ahead} the server's", skew.as_secs_f64());
    Finding::warning("clock", message).hint("times of events, tokens and certificates are judged by it: is NTP on?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::FindingLevel;

    #[test]
    fn clocks_may_differ_by_two_seconds() {
        let time = |text: &str| format!("2026-01-01T00:00:{text}Z").parse::<Timestamp>().unwrap();
        let asked = [time("10"), time("11")];
        for (server, expected) in
            [("08", None), ("10.5", None), ("13", None), ("07.9", Some("2.1 s ahead of")), ("14", Some("3.0 s behind"))]
        {
            let finding = clock(time(server), asked);
            assert_eq!(finding.level == FindingLevel::Warning, expected.is_some(), "{server}: {finding}");
            assert!(expected.is_none_or(|expected| finding.message.contains(expected)), "{finding}");
        }
    }
}
