//! The server's version, clock and limits, against what the folder wants of them.

use bytesize::ByteSize;

use super::{finding::Finding, needs::RouterNeeds, server::ServerView};
use crate::{
    app,
    config::{AckMode, Config, SourceKind, StateKeeping, StreamConfig},
    nats::{AccountInfo, AccountLimits, AccountUsage, ApiError, code},
};

/// Share of a limit, in percent, from which on there is little left.
const NEARLY: u64 = 80;

/// Something that a folder wants and that older servers do not have.
struct WantedFeature {
    since: (i64, i64),
    what: &'static str,
    /// False if the router does without.
    is_vital: bool,
    is_wanted: fn(&Config) -> bool,
}

const FEATURES: [WantedFeature; 6] = [
    WantedFeature {
        since: (2, 10),
        what: "sources with several subjects, compression and subject transforms",
        is_vital: true,
        is_wanted: |config| {
            let has_many = |kind: &SourceKind| matches!(kind, SourceKind::JetStream(one) if one.subjects.len() > 1);
            config.sources.iter().any(|source| has_many(&source.kind))
                || wants(config, |stream| stream.compression.is_some() || stream.subject_transform.is_some())
        },
    },
    WantedFeature {
        since: (2, 11),
        what: "`[state] store = \"nats\"`",
        is_vital: true,
        is_wanted: |config| matches!(config.state.keeping, StateKeeping::Nats(_)),
    },
    WantedFeature {
        since: (2, 11),
        what: "`allow_msg_ttl`",
        is_vital: true,
        is_wanted: |config| wants(config, |stream| stream.allow_msg_ttl == Some(true)),
    },
    WantedFeature {
        since: (2, 11),
        what: "`ack = \"auto\"`: each message gets an ack instead",
        is_vital: false,
        is_wanted: |config| {
            let is_auto = |kind: &SourceKind| matches!(kind, SourceKind::JetStream(one) if one.ack == AckMode::Auto);
            config.sources.iter().any(|source| is_auto(&source.kind))
        },
    },
    WantedFeature {
        since: (2, 12),
        what: "`allow_atomic`",
        is_vital: true,
        is_wanted: |config| wants(config, |stream| stream.allow_atomic == Some(true)),
    },
    WantedFeature {
        since: (2, 11),
        what: "pre-consume hooks and `single_consumer`, which routers agree on in a bucket",
        is_vital: true,
        is_wanted: |config| config.registry.keys.iter().any(|key| key.single_consumer),
    },
];

fn wants(config: &Config, has: fn(&StreamConfig) -> bool) -> bool {
    config.streams.iter().any(has)
}

pub(super) fn examine(view: &ServerView<'_>, needs: &RouterNeeds) -> Vec<Finding> {
    let version = view.connection.server().version;
    let mut findings = features(view.config, &version, |since| view.connection.is_at_least(since));
    findings.extend(view.clock());
    if needs.has_jetstream() {
        match &view.account {
            Ok(info) => findings.extend(account(view, info)),
            Err(error) => findings.push(unknown(error)),
        }
    }
    findings
}

fn features(config: &Config, version: &str, has: impl Fn((i64, i64)) -> bool) -> Vec<Finding> {
    let missing = FEATURES.iter().filter(|feature| (feature.is_wanted)(config) && !has(feature.since));
    let finding = |WantedFeature { since: (major, minor), what, is_vital, .. }: &WantedFeature| {
        let message = format!("nats-server {version} is too old for {what}");
        let finding = match is_vital {
            true => Finding::error("old_server", message),
            false => Finding::warning("old_server", message),
        };
        finding.hint(format!("{major}.{minor} or newer has it"))
    };
    missing.map(finding).collect()
}

fn unknown(error: &ApiError) -> Finding {
    match error {
        ApiError::NoPermission(_) => {
            let message = format!("the limits of the account are not known: {error}");
            Finding::warning("not_looked_at", message).hint("allow to publish to `$JS.API.INFO`")
        }
        ApiError::NoResponders(_) => no_jetstream(error),
        // Not enabled for the account, or not on the server.
        ApiError::Refused { code: code::NO_JETSTREAM | 10_076, .. } => no_jetstream(error),
        _ => {
            let finding = Finding::error("no_answer", format!("the account can't be looked at: {error}"));
            finding.hint("is more than half of the cluster up? JetStream needs that")
        }
    }
}

fn no_jetstream(error: &ApiError) -> Finding {
    let hint = "turn it on: `jetstream { store_dir: … }` in the server's configuration, and `jetstream: enabled` for the \
        account; with a domain, is `domain` of `[nats]` right?";
    Finding::error("no_jetstream", format!("there is no JetStream for this account: {error}")).hint(hint)
}

fn account(view: &ServerView<'_>, info: &AccountInfo) -> Vec<Finding> {
    let AccountInfo { usage, domain, tiers } = info;
    let domain = domain.as_ref().map(|domain| format!(" in domain `{domain}`")).unwrap_or_default();
    let mut findings = vec![Finding::ok(format!(
        "JetStream{domain} has {} streams and {} consumers, {} in files",
        usage.streams,
        usage.consumers,
        ByteSize::b(usage.storage)
    ))];
    match tiers.is_empty() {
        true => findings.extend(used("the account", usage)),
        false => findings.extend(tiers.iter().flat_map(|(tier, usage)| used(&format!("tier `{tier}`"), usage))),
    }
    let limits = usage.limits;
    let outstanding = app::outstanding(view.config);
    let reads = view.config.sources.iter().any(|source| matches!(source.kind, SourceKind::JetStream(_)));
    if reads && limit(limits.max_ack_pending).is_some_and(|limit| limit < outstanding as u64) {
        let limit = limits.max_ack_pending;
        let message = format!("a source leaves {outstanding} messages unacknowledged, and the account allows {limit}");
        let hint = format!("set `in_flight` under `[pipeline]` to {} or less", limit / 16);
        findings.push(Finding::error("max_ack_pending", message).hint(hint).at(view.places.of("pipeline", None)));
    }
    findings
}

/// Limits that are reached, or nearly so.
fn used(whose: &str, usage: &AccountUsage) -> Vec<Finding> {
    let AccountUsage { memory, storage, streams, consumers, limits } = *usage;
    let AccountLimits { max_memory, max_storage, max_streams, max_consumers, .. } = limits;
    let shares = [
        ("memory", memory, max_memory, true),
        ("storage", storage, max_storage, true),
        ("streams", streams, max_streams, false),
        ("consumers", consumers, max_consumers, false),
    ];
    let finding = |(what, used, most, is_bytes): (&str, u64, i64, bool)| {
        let most = limit(most).filter(|most| used.saturating_mul(100) >= most.saturating_mul(NEARLY))?;
        let shown = |number: u64| if is_bytes { ByteSize::b(number).to_string() } else { number.to_string() };
        let message = format!("{whose} uses {} of {} {what}", shown(used), shown(most));
        let hint = "raise the limit, or delete what is not needed";
        // Without a byte there is nothing to use up.
        Some(match used >= most && most > 0 {
            true => Finding::error("account_limit", message).hint(hint),
            false => Finding::warning("account_limit", message).hint(hint),
        })
    };
    shares.into_iter().filter(|(_, used, ..)| *used > 0).filter_map(finding).collect()
}

/// A limit; none if it is negative.
pub(super) fn limit(number: i64) -> Option<u64> {
    u64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::doctor::finding::FindingLevel, folder};

    #[test]
    fn an_old_server_is_told_what_it_lacks() {
        let text = r#"
            [nats]
            url = "nats://127.0.0.1:4222"
            [[stream]]
            name = "A"
            subjects = "a.>"
            allow_atomic = true
            [[source]]
            name = "in"
            type = "jetstream"
            stream = "A"
            durable = "d"
            ack = "auto"
        "#;
        let config = folder::parse(&std::env::temp_dir(), [("trommel.toml", text)]).unwrap();
        let levels = |minor: i64| {
            let findings = features(&config, "2.x", |since| since <= (2, minor));
            findings.iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(levels(10), [FindingLevel::Warning, FindingLevel::Error]);
        assert_eq!(levels(11), [FindingLevel::Error]);
        assert!(levels(12).is_empty());
    }

    #[test]
    fn limits_that_are_nearly_reached_are_told() {
        let limits = AccountLimits { max_streams: 10, max_storage: 100, ..AccountLimits::default() };
        let usage = |streams, storage| AccountUsage { streams, storage, limits, ..AccountUsage::default() };
        let levels = |usage| used("it", &usage).iter().map(|finding| finding.level).collect::<Vec<_>>();
        assert!(levels(usage(7, 79)).is_empty());
        assert_eq!(levels(usage(8, 80)), [FindingLevel::Warning, FindingLevel::Warning]);
        assert_eq!(levels(usage(10, 0)), [FindingLevel::Error]);
    }
}
