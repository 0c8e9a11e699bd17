//! Files by which the router and the server know each other: readable, private, and valid for a
//! while. All other secrets are looked at with the folder.

use std::{fs, path::Path};

use jiff::{SignedDuration, Timestamp};

use super::finding::Finding;
use crate::{
    config::{Config, ConfigPlace, NatsAuth, NatsConfig},
    folder::DeclaredPlaces,
    nats::{CertificateTimes, certificate_times, credentials_expiry},
    ownership,
};

/// Time before its end at which a credential ends soon.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

pub(super) fn examine(config: &Config, places: &DeclaredPlaces) -> Vec<Finding> {
    let Some(nats) = &config.nats else { return Vec::new() };
    let place = places.of("nats", None);
    identity(nats, &place).into_iter().chain(certificates(nats, &place)).collect()
}

/// The file that says to NATS who the router is.
fn identity(nats: &NatsConfig, place: &ConfigPlace) -> Vec<Finding> {
    let (path, expiry) = match &nats.auth {
        NatsAuth::Credentials(path) => (path, credentials_expiry(path)),
        NatsAuth::Nkey(path) => (path, Ok(None)),
        NatsAuth::None | NatsAuth::Token(_) | NatsAuth::Password { .. } => return Vec::new(),
    };
    let shown = format!("`{}`", path.display());
    let hint = "get new credentials: the file is read again at every connect";
    let ends = match expiry {
        Ok(None) => Finding::ok(format!("{shown} does not expire")),
        Ok(Some(end)) => ending(&format!("the JWT in {shown}"), end, Timestamp::now(), hint, place),
        Err(error) => Finding::error("credentials", format!("{error:#}")).at(place.clone()),
    };
    [ends].into_iter().chain(foreign(path, place)).collect()
}

fn certificates(nats: &NatsConfig, place: &ConfigPlace) -> Vec<Finding> {
    let own = nats.tls_client.iter().map(|(certificate, _)| certificate);
    let mut findings = Vec::new();
    for path in nats.tls_ca.iter().chain(own) {
        match certificate_times(path) {
            Ok(times) => findings.extend(times.iter().map(|times| certificate(path, times, Timestamp::now(), place))),
            Err(error) => findings.push(Finding::error("certificate", format!("{error:#}")).at(place.clone())),
        }
    }
    let key = nats.tls_client.iter().map(|(_, key)| key);
    findings.extend(key.filter_map(|key| foreign(key, place).or_else(|| readable(key, place))));
    findings
}

fn certificate(path: &Path, times: &CertificateTimes, now: Timestamp, place: &ConfigPlace) -> Finding {
    let what = format!("the certificate of `{}` in `{}`", times.subject, path.display());
    if times.not_before > now {
        let message = format!("{what} counts from {} on only", times.not_before);
        return Finding::error("expired", message).hint("is this machine's clock right?").at(place.clone());
    }
    ending(&what, times.not_after, now, "get a new one, and start the router again", place)
}

fn ending(what: &str, end: Timestamp, now: Timestamp, hint: &str, place: &ConfigPlace) -> Finding {
    let left = end.duration_since(now);
    if left <= SignedDuration::ZERO {
        return Finding::error("expired", format!("{what} ended at {end}")).hint(hint).at(place.clone());
    }
    if left < SOON {
        let message = format!("{what} ends at {end}, in {} hours", left.as_hours());
        return Finding::warning("expires", message).hint(hint).at(place.clone());
    }
    Finding::ok(format!("{what} ends at {end}"))
}

/// A file that others may replace.
fn foreign(path: &Path, place: &ConfigPlace) -> Option<Finding> {
    // A file that is missing is a problem of the folder.
    let foreign = ownership::check(&fs::metadata(path).ok()?).err()?;
    let shown = path.display();
    let message = format!("the secret in `{shown}` is not only ours: {foreign}");
    Some(Finding::warning("secret_mode", message).hint(format!("`chmod 600 {shown}`")).at(place.clone()))
}

/// The key of a certificate that every user of this machine may read. With all other secrets, the
/// folder is looked at for that.
fn readable(path: &Path, place: &ConfigPlace) -> Option<Finding> {
    fs::metadata(path).ok().filter(ownership::is_readable_by_others)?;
    let shown = path.display();
    let message = format!("all users of this machine can read `{shown}`");
    Some(Finding::warning("secret_mode", message).hint(format!("`chmod 600 {shown}`")).at(place.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::FindingLevel;

    #[test]
    fn the_end_of_a_certificate_is_told_two_weeks_before() {
        let now: Timestamp = "2026-01-15T00:00:00Z".parse().unwrap();
        let level = |end: &str| {
            let end = end.parse().unwrap();
            ending("it", end, now, "get another", &ConfigPlace::file("trommel.toml")).level
        };
        assert_eq!(level("2026-01-14T23:59:59Z"), FindingLevel::Error);
        assert_eq!(level("2026-01-28T23:00:00Z"), FindingLevel::Warning);
        assert_eq!(level("2026-01-29T00:00:00Z"), FindingLevel::Ok);
        let times = CertificateTimes {
            subject: "CN=a".into(),
            not_before: "2026-02-01T00:00:00Z".parse().unwrap(),
            not_after: "2027-01-01T00:00:00Z".parse().unwrap(),
        };
        let early = certificate(Path::new("a.pem"), &times, now, &ConfigPlace::file("trommel.toml"));
        assert_eq!(early.level, FindingLevel::Error);
    }
}
