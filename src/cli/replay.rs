//! `trommel replay DIR --key KEY`

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{ArgGroup, Args};

use crate::{
    app::{self, BackfillSettings, ReplaySettings},
    cli::{
        CacheArgs,
        consume::params,
        deliveries::{database, unknown_webhook},
        logs::LogArgs,
        refusal::{CommandRefusal, RefusalKind},
        run::ForegroundRouter,
        stretch::{RangeArgs, SelectedStream, StreamArgs, key},
    },
    config::{Config, SinkKind, nearest, quoted},
    folder,
    webhook::store::{DeliveryStore, StoreError},
};

/// Run the messages of a stream through a key again, apart from the running router
///
/// Reads the stream through an ephemeral consumer and acknowledges nothing: the position of the
/// durable consumer does not change. Outputs go to standard output, or to one of the router's
/// sinks.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("from").required(true).args(["from_seq", "from_time"])))]
pub struct ReplayCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    #[command(flatten)]
    stretch: StreamArgs,
    /// Key whose filter gets the messages; required without `--webhook`
    #[arg(long, value_name = "KEY", required_unless_present = "webhook")]
    key: Option<String>,
    /// A param of the key; may be repeated
    #[arg(short, long = "param", value_name = "NAME=VALUE", conflicts_with = "webhook")]
    params: Vec<String>,
    #[command(flatten)]
    range: RangeArgs,
    /// At most this many events a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Component to use instead of the key's own
    #[arg(long, value_name = "FILE", conflicts_with = "webhook")]
    component: Option<PathBuf>,
    /// Sink of the router to write to instead of standard output
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Webhook to send the messages to, as the router's routes do, and to no other; what it has got
    /// already it does not get again
    #[arg(long, value_name = "NAME", conflicts_with = "sink")]
    webhook: Option<String>,
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    logs: LogArgs,
}

impl ReplayCommand {
    pub fn execute(self) -> ExitCode {
        match self.prepare() {
            Ok(config) => {
                let foreground = ForegroundRouter {
                    cache: &self.cache,
                    logs: &self.logs,
                    place: None,
                    idle_exit: None,
                    connect_timeout: Some(Duration::ZERO),
                    journal: None,
                };
                foreground.run(Ok(config))
            }
            Err(refusal) => refusal.end(self.json || self.logs.is_json()),
        }
    }

    /// Checks all of the input, before anything happens.
    fn prepare(&self) -> Result<Config, CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let SelectedStream { stream, subjects, source } = self.stretch.choose(&config)?;
        let key = self.key.as_ref().map(|name| key(&config, name)).transpose()?.cloned();
        let params = key.as_ref().map(|key| params(key, &self.params)).transpose()?;
        if let Some(sink) = &self.sink {
            known_sink(&config, sink)?;
        }
        if let Some(component) = &self.component {
            is_component(component)?;
        }
        let range = self.range.of(stream, subjects, None);
        let (rate, sink, component) = (self.rate, self.sink.clone(), self.component.clone());
        if let Some(webhook) = self.webhook.clone() {
            can_be_fed(&config, &webhook, self.key.as_deref())?;
            let key = self.key.clone();
            return Ok(app::backfill(config, BackfillSettings { webhook, key, source, range, rate }));
        }
        // clap asks for a key where there is no webhook.
        let (key, params) = key.zip(params).ok_or_else(|| {
            CommandRefusal::new(RefusalKind::Validation, "no_key", "it is not said which key").param("--key")
        })?;
        Ok(app::replay(config, ReplaySettings { key, params, source, range, rate, sink, component }))
    }
}

fn known_sink(config: &Config, name: &str) -> Result<(), CommandRefusal> {
    let names = || config.sinks.iter().map(|sink| sink.name.as_str());
    if names().any(|known| known == name) {
        return Ok(());
    }
    let near = nearest(name, names());
    let hint = match (near.is_empty(), config.sinks.is_empty()) {
        (false, _) => format!("did you mean {}?", quoted(near, "or")),
        (true, false) => format!("sinks: {}", quoted(names(), "and")),
        (true, true) => "this router has no sinks: without `--sink` it is standard output".to_owned(),
    };
    let refusal = CommandRefusal::new(RefusalKind::Validation, "unknown_sink", format!("there is no sink `{name}`"));
    Err(refusal.param("--sink").hint(hint))
}

/// Checks that the webhook is there, gets events, and that a route feeds it.
fn can_be_fed(config: &Config, name: &str, key: Option<&str>) -> Result<(), CommandRefusal> {
    let database = database(config)?;
    let webhooks = &config.registry.webhooks;
    let Some(webhook) = webhooks.iter().find(|webhook| webhook.name == name) else {
        let names = webhooks.iter().map(|webhook| webhook.name.as_str());
        return Err(unknown_webhook(name, names, &config.dir).param("--webhook"));
    };
    let disabled = match DeliveryStore::open(database) {
        Err(StoreError::Missing(_)) => Vec::new(),
        store => store?.disabled()?,
    };
    let refusal =
        |message| CommandRefusal::new(RefusalKind::Precondition, "webhook_gets_nothing", message).param("--webhook");
    if !webhook.active {
        let hint = format!("take `active = false` out of {}", webhook.place);
        return Err(refusal(format!("webhook `{name}` is not active")).hint(hint));
    }
    if let Some(disabled) = disabled.iter().find(|disabled| disabled.webhook == name) {
        let hint = format!("`trommel webhooks enable {} {name}` lets it get more", config.dir.display());
        return Err(refusal(format!("webhook `{name}` is disabled: {}", disabled.reason)).hint(hint));
    }
    let sink = config.sinks.iter().find(|sink| matches!(sink.kind, SinkKind::Webhook(_)));
    let sink = sink.map_or("", |sink| &sink.name);
    if app::feeding(config, sink, key).is_empty() {
        let of = key.map(|key| format!(" of key `{key}`")).unwrap_or_default();
        let hint = format!("a `[[route]]` with `sinks = [\"{sink}\"]` does");
        return Err(refusal(format!("no route{of} feeds webhooks")).hint(hint));
    }
    Ok(())
}

fn is_component(path: &std::path::Path) -> Result<(), CommandRefusal> {
    if path.extension().is_some_and(|extension| extension == "wasm") && path.is_file() {
        return Ok(());
    }
    let message = format!("`{}` is not a component: expected a `.wasm` file", path.display());
    Err(CommandRefusal::new(RefusalKind::Validation, "component", message).param("--component"))
}
