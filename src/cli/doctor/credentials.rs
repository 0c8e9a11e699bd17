//! Files with secrets and certificates: readable, private, and valid for a while.

use std::{fs, path::Path};

use jiff::{SignedDuration, Timestamp};

use super::finding::Finding;
use crate::{
    config::{ApiToken, ClientAuth, Config, ConfigPlace, KeptIn, NatsAuth, NatsConfig, SourceKind},
    folder::DeclaredPlaces,
    nats::{CertificateTimes, certificate_times, credentials_expiry},
    ownership,
};

/// Time before its end at which a credential ends soon.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

pub(super) fn examine(config: &Config, places: &DeclaredPlaces) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(nats) = &config.nats {
        findings.extend(identity(nats, &places.of("nats", None)));
        findings.extend(certificates(nats, &places.of("nats", None)));
    }
    for (kept, place) in secrets(config, places) {
        if let KeptIn::File(path) = kept {
            findings.extend(mode(path, &place));
        }
    }
    findings
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
    [ends].into_iter().chain(mode(path, place)).collect()
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
    findings.extend(nats.tls_client.iter().filter_map(|(_, key)| mode(key, place)));
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

/// A secret that others may read or replace.
fn mode(path: &Path, place: &ConfigPlace) -> Option<Finding> {
    // A file that is missing is a problem of the folder.
    let found = fs::metadata(path).ok()?;
    let shown = path.display();
    if let Err(foreign) = ownership::check(&found) {
        let message = format!("the secret in `{shown}` is not only ours: {foreign}");
        return Some(Finding::warning("secret_mode", message).hint(format!("`chmod 600 {shown}`")).at(place.clone()));
    }
    ownership::is_readable_by_others(&found).then(|| {
        let message = format!("every user of this machine may read the secret in `{shown}`");
        Finding::warning("secret_mode", message).hint(format!("`chmod 600 {shown}`")).at(place.clone())
    })
}

/// Secrets that the router reads, with their places.
fn secrets<'a>(config: &'a Config, places: &DeclaredPlaces) -> Vec<(&'a KeptIn, ConfigPlace)> {
    let mut secrets = Vec::new();
    let admin = places.of("admin", None);
    secrets.extend(config.admin.iter().filter_map(|admin| admin.token.as_ref()).map(|kept| (kept, admin.clone())));
    for api in config.api.iter().chain(config.apis.iter().map(|(_, api)| api)) {
        let kept = match &api.token {
            Some(ApiToken::Kept(kept)) => kept,
            Some(ApiToken::Login(login)) => &login.secret,
            None => continue,
        };
        secrets.push((kept, api.place.clone()));
    }
    if let Some(settings) = &config.self_service {
        let kept = settings.token.iter().chain(&settings.tenants);
        secrets.extend(kept.map(|kept| (kept, settings.place.clone())));
    }
    for source in &config.sources {
        let SourceKind::Http(http) = &source.kind else { continue };
        let kept: Vec<_> = match &http.auth {
            None => continue,
            Some(ClientAuth::Token(kept) | ClientAuth::Tenants(kept)) => vec![kept],
            Some(ClientAuth::Clients(clients)) => clients.iter().map(|client| &client.token).collect(),
            Some(ClientAuth::Signature(kept)) => kept.iter().collect(),
            Some(ClientAuth::Lark(apps)) => {
                apps.iter().flat_map(|app| app.encrypt_keys.iter().chain(&app.tokens)).collect()
            }
        };
        secrets.extend(kept.into_iter().map(|kept| (kept, http.place.clone())));
    }
    secrets
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
