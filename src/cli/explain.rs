//! `trommel explain`: shows how the keys of a folder would handle an event, and why.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde::Serialize;

use crate::{
    app,
    cli::{
        CacheArgs,
        keys::print,
        refusal::{CommandRefusal, RefusalKind},
        running::{running, unreachable},
        stretch,
    },
    condition,
    config::Config,
    control::client::sample,
    event::{Event, GivenEvent},
    folder,
};

pub(super) mod explainer;
pub(super) mod output;
mod text;

use explainer::{ExplainedKey, Explainer};

/// Show how each key would handle an event: whether it takes it and by which rule, what each hook
/// makes of it, and what each sink would write, byte for byte
///
/// The folder's components run for real, so that a filter that calls the API or keeps state does
/// so; nothing is sent to a sink. The event is a JSON object: `id`, `event_type`, `subject`,
/// `source_time`, `observed_at`, `attempt`, `headers`, and one of `payload`, `payload_text` and
/// `payload_base64`. All of them may be left out. A file may hold several.
///
/// With `--live` the events are a sample of those that come in to the router that runs from the
/// folder. That router is not affected: this command runs the events through the keys a second
/// time, itself.
#[derive(Args, Debug)]
pub struct ExplainCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// The event, or several one after the other; `-` for standard input
    #[arg(value_name = "EVENT.json", required_unless_present = "live")]
    event: Option<PathBuf>,
    /// Events that come in to the running router, one after the other
    #[arg(long, conflicts_with = "event")]
    live: bool,
    /// Number of events to sample
    #[arg(long, value_name = "N", default_value_t = 10, requires = "live")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Conditions in the place of the key's own, in the language of `where`
    #[arg(long = "where", value_name = "CONDITIONS", requires = "key")]
    conditions: Option<String>,
    /// Print a JSON object a line for each event instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

/// JSON output for one event.
#[derive(Serialize)]
struct ExplainedEvent {
    event: GivenEvent,
    keys: Vec<ExplainedKey>,
}

impl ExplainCommand {
    pub fn execute(self) -> ExitCode {
        self.run().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(self.json))
    }

    fn run(&self) -> Result<(), CommandRefusal> {
        let events = self.event.as_deref().map(read).transpose()?;
        let mut config = folder::load(&self.dir)?;
        if let Some(key) = &self.key {
            // The key of a route by event type bears the route's name.
            let is_by_type = config.registry.type_routes.iter().any(|route| route.key.name == *key);
            if !is_by_type {
                stretch::key(&config, key)?;
            }
            self.condition(&mut config, key)?;
        }
        let runtime = app::runtime().map_err(|error| internal(error.into()))?;
        runtime.block_on(async {
            if self.live {
                // Fails before components are compiled in vain.
                running(&self.dir).await?;
            }
            let loader = app::rehearse(&config, self.cache.code()).await?;
            let explainer = Explainer::new(config, loader);
            let Some(events) = &events else { return self.explain_live(&explainer).await };
            for event in events {
                self.print(event, explainer.explain(event, self.key.as_deref(), |_| {}).await)?;
            }
            Ok(())
        })
    }

    /// Puts the given conditions in the place of the key's own.
    fn condition(&self, config: &mut Config, key: &str) -> Result<(), CommandRefusal> {
        let Some(text) = &self.conditions else { return Ok(()) };
        let conditions = condition::checked(text).map_err(|error| {
            CommandRefusal::new(RefusalKind::Validation, "where", format!("`--where`: {error}")).param("--where")
        })?;
        let registry = &mut config.registry;
        let keys = registry.keys.iter_mut().chain(registry.type_routes.iter_mut().map(|route| &mut route.key));
        keys.filter(|one| one.name == key).for_each(|one| one.conditions.clone_from(&conditions));
        Ok(())
    }

    async fn explain_live(&self, explainer: &Explainer) -> Result<(), CommandRefusal> {
        let mut explained = 0;
        while explained < self.limit {
            let mut link = running(&self.dir).await?;
            let event = sample(&mut link).await.map_err(|error| unreachable(&self.dir, &error))?;
            let Some(event) = event else { continue };
            let event = event.event().map_err(|message| internal(anyhow::anyhow!(message)))?;
            let keys = explainer.explain(&event, self.key.as_deref(), |_| {}).await;
            if self.key.is_some() && !keys.iter().any(|key| key.takes) {
                // An event of other keys.
                continue;
            }
            self.print(&event, keys)?;
            explained += 1;
        }
        Ok(())
    }

    fn print(&self, event: &Event, keys: Vec<ExplainedKey>) -> Result<(), CommandRefusal> {
        print(&if self.json {
            let explained = ExplainedEvent { event: event.into(), keys };
            serde_json::to_string(&explained).map_err(|error| internal(error.into()))?
        } else {
            text::text(event, &keys)
        })
    }
}

fn internal(error: anyhow::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"))
}

/// Reads the events of a file in order.
fn read(path: &Path) -> Result<Vec<Event>, CommandRefusal> {
    let shown = path.display();
    let bad = |message: String| {
        let hint = r#"an event is a JSON object such as {"event_type":"order.created","payload":{"amount":5}}"#;
        CommandRefusal::new(RefusalKind::Validation, "bad_event", message).param(shown.to_string()).hint(hint)
    };
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => io::stdin().read_to_string(&mut text).map(drop),
        _ => fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| bad(format!("can't read `{shown}`: {error}")))?;
    let events = serde_json::Deserializer::from_str(&text).into_iter::<GivenEvent>().map(|given| {
        let given = given.map_err(|error| bad(format!("`{shown}` is not a valid event: {error}")))?;
        given.event().map_err(|message| bad(format!("`{shown}`: {message}")))
    });
    let events: Vec<_> = events.collect::<Result<_, _>>()?;
    if events.is_empty() { Err(bad(format!("`{shown}` has no event"))) } else { Ok(events) }
}
