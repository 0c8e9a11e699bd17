//! `trommel diff OLD NEW`: which messages of the past would go elsewhere.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::{
    app,
    cli::{
        CacheArgs,
        dry_router::{ArrivalError, DryRouter, MessageEnd},
        exit,
        past::PastArgs,
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    folder,
};

mod changes;

use changes::{ChangeCount, MessageChange};

/// Show which messages of a stream, or of a file, would go elsewhere with another folder
///
/// Runs the messages through the keys of both folders, without writing anything, and compares what
/// comes out: outputs with their destinations and content, dead letters, and events that are let
/// go. The stream is that of OLD's source. Filters that call the API call it for real, once for
/// each folder; what filters keep is kept apart and forgotten.
///
/// Ends with 0 if all messages have the same ends in both, and with 1 if any has not.
#[derive(Args, Debug)]
pub struct DiffCommand {
    /// The router's folder as it is
    old: PathBuf,
    /// The folder as it is to be
    new: PathBuf,
    #[command(flatten)]
    past: PastArgs,
    /// At most this many messages; 0 means all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u64,
    /// Examples to show of each kind of change
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

impl DiffCommand {
    pub fn execute(self) -> ExitCode {
        let ended = app::runtime().map_err(|error| internal(error.into())).and_then(|runtime| {
            let count = runtime.block_on(self.compare())?;
            let printed = if self.json {
                writeln!(terminal::stdout(), "{}", count.json())
            } else {
                write!(terminal::stdout(), "{}", count.text())
            };
            printed.map_err(|error| internal(error.into()))?;
            Ok(if count.changed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
        });
        ended.unwrap_or_else(|refusal| refusal.end(self.json))
    }

    async fn compare(&self) -> Result<ChangeCount, CommandRefusal> {
        let (old, new) = (folder::load(&self.old)?, folder::load(&self.new)?);
        let mut messages = self.past.open(&old, (self.limit > 0).then_some(self.limit)).await?;
        let old = DryRouter::start(old, self.cache.code(), None).await?;
        let new = DryRouter::start(new, self.cache.code(), None).await?;
        let (mut count, mut number) = (ChangeCount::default(), 0);
        while let Some(message) = messages.next().await? {
            number += 1;
            let before = ends(&self.old, old.take(&message, number, |_| {}).await)?;
            let after = ends(&self.new, new.take(&message, number, |_| {}).await)?;
            let name = format!("{}:{}", messages.name, message.sequence.unwrap_or(number));
            let change = MessageChange::new(&before, &after);
            if let Some(change) = &change
                && count.of(change.kind) < self.examples as u64
            {
                self.show(&name, change).map_err(|error| internal(error.into()))?;
            }
            count.add(change.map(|change| change.kind));
        }
        messages.tell_left_out();
        Ok(count)
    }

    fn show(&self, name: &str, change: &MessageChange) -> io::Result<()> {
        let mut out = terminal::stdout();
        if self.json {
            return writeln!(out, "{}", serde_json::to_string(&change.row(name))?);
        }
        write!(out, "{}", change.text(name))
    }
}

/// The ends of a message in a folder: none if its source does not read it.
fn ends(dir: &Path, taken: Result<Vec<MessageEnd>, ArrivalError>) -> Result<Vec<MessageEnd>, CommandRefusal> {
    match taken {
        Ok(ends) => Ok(ends),
        Err(error) if error.is_unread => Ok(Vec::new()),
        Err(ArrivalError { message, hint, .. }) => {
            let said = format!("`{}`: {message}", dir.display());
            let refusal = CommandRefusal::new(RefusalKind::Validation, "sources", said);
            Err(match hint {
                Some(hint) => refusal.hint(hint),
                None => refusal,
            })
        }
    }
}

fn internal(error: anyhow::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"))
}
