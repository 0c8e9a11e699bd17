//! `trommel explain DIR EVENT.json`: what would become of an event, and why.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::{
    app,
    cli::{
        Cache,
        given::GivenEvent,
        refusal::{Kind, Refusal},
        stretch,
    },
    config,
    event::Event,
};

mod explainer;
mod text;

use explainer::Explainer;

/// Say what would become of an event: for every key whether it takes it, by which rule, what each hook makes of it, and
/// what the sinks would get
///
/// The folder's components run for real, so that a filter that calls the API or keeps state does so; nothing is sent to
/// a sink. The event is a JSON object: `id`, `event_type`, `subject`, `source_time`, `attempt`, `headers`, and one of
/// `payload`, `payload_text` and `payload_base64`. All of them may be left out.
#[derive(Args, Debug)]
pub struct Explain {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// The event; `-` for standard input
    #[arg(value_name = "EVENT.json")]
    event: PathBuf,
    /// Only this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: Cache,
}

impl Explain {
    pub fn execute(self) -> ExitCode {
        self.run().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(self.json))
    }

    fn run(&self) -> Result<(), Refusal> {
        let event = read(&self.event)?;
        let config = config::load(&self.dir)?;
        if let Some(key) = &self.key {
            stretch::key(&config, key)?;
        }
        let internal = |error: anyhow::Error| Refusal::new(Kind::Internal, "host", format!("{error:#}"));
        let runtime = app::runtime().map_err(|error| internal(error.into()))?;
        let explained = runtime.block_on(async {
            let mut explainer = Explainer::new(config, self.cache.folder()).await?;
            Ok::<_, Refusal>(explainer.explain(&event, self.key.as_deref()).await)
        })?;
        let text = if self.json {
            serde_json::to_string(&explained).map_err(|error| internal(error.into()))?
        } else {
            text::text(&event, &explained)
        };
        writeln!(io::stdout(), "{text}").map_err(|error| internal(error.into()))
    }
}

fn read(path: &Path) -> Result<Event, Refusal> {
    let shown = path.display();
    let bad = |message: String| {
        let hint = r#"an event is a JSON object such as {"event_type":"order.created","payload":{"amount":5}}"#;
        Refusal::new(Kind::Validation, "bad_event", message).param(shown.to_string()).hint(hint)
    };
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => io::stdin().read_to_string(&mut text).map(drop),
        _ => fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| bad(format!("can't read `{shown}`: {error}")))?;
    let given: GivenEvent =
        serde_json::from_str(&text).map_err(|error| bad(format!("`{shown}` is no event: {error}")))?;
    given.event().map_err(|message| bad(format!("`{shown}`: {message}")))
}
