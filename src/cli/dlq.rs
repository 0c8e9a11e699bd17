//! `trommel dlq`: dead letters, in whichever place the router keeps them.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{
    app,
    cli::{
        FolderArgs,
        refusal::{CommandRefusal, RefusalKind},
        runtime,
    },
    config::Config,
    dead_letters::{LetterStore, LettersError, StoredLetter},
    folder,
    nats::ApiError,
    signature::LetterSigner,
};

mod drop;
mod list;
mod retry;
mod row;
mod show;
mod which;

/// List, show, retry or drop dead letters
#[derive(Args, Debug)]
pub struct DlqCommand {
    #[command(subcommand)]
    command: DlqSubcommand,
}

#[derive(Debug, Subcommand)]
enum DlqSubcommand {
    List(list::ListLetters),
    Show(show::ShowLetter),
    Retry(retry::RetryLetters),
    Drop(drop::DropLetters),
}

impl DlqCommand {
    pub fn execute(self) -> ExitCode {
        let (json, ended) = match self.command {
            DlqSubcommand::List(list) => (list.folder.json, runtime().and_then(|runtime| runtime.block_on(list.run()))),
            DlqSubcommand::Show(show) => (show.folder.json, runtime().and_then(|runtime| runtime.block_on(show.run()))),
            DlqSubcommand::Drop(drop) => (drop.folder.json, runtime().and_then(|runtime| runtime.block_on(drop.run()))),
            // Runs a router, which brings its own runtime.
            DlqSubcommand::Retry(retry) => (retry.folder.json || retry.logs.is_json(), retry.run()),
        };
        ended.unwrap_or_else(|refusal| refusal.end(json))
    }
}

impl FolderArgs {
    async fn open_letters(&self) -> Result<LetterStore, CommandRefusal> {
        self.letters_of(&folder::load(&self.dir)?).await
    }

    /// Opens the dead letters, with the signer that recognizes those that the router wrote.
    async fn open_signed_letters(&self) -> Result<(LetterStore, LetterSigner), CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let signer = app::letter_signer(&config).map_err(|error| no_key(&error))?;
        Ok((self.letters_of(&config).await?, signer))
    }

    async fn letters_of(&self, config: &Config) -> Result<LetterStore, CommandRefusal> {
        Ok(LetterStore::open(&config.dead_letter, config.nats.as_ref()).await?)
    }

    /// Finds the dead letter with this id.
    async fn find_letter(&self, letters: &LetterStore, id: u64) -> Result<StoredLetter, CommandRefusal> {
        let next = match letters.at(id).await? {
            Some(entry) if entry.id == id => return Ok(entry),
            Some(next) => format!("did you mean `{}`? It is the next one\n", next.id),
            None => String::new(),
        };
        let refusal =
            CommandRefusal::new(RefusalKind::Validation, "unknown_id", format!("there is no dead letter {id}"));
        Err(refusal.param("ID").hint(format!("{next}`trommel dlq list {}` shows them", self.dir.display())))
    }
}

/// Refusal for a signing key that exists but can't be used.
fn no_key(error: &anyhow::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Precondition, "letter_key", format!("{error:#}"))
}

impl From<LettersError> for CommandRefusal {
    fn from(error: LettersError) -> Self {
        let (kind, subtype) = match error {
            LettersError::Connect(error) => return error.into(),
            LettersError::Read(error) => return error.into(),
            LettersError::Nowhere => (RefusalKind::Precondition, "no_dead_letters"),
            LettersError::Drop(_, _, ApiError::NoPermission(_)) => (RefusalKind::Auth, "no_permission"),
            LettersError::Drop(_, _, ApiError::Refused { .. }) => (RefusalKind::Precondition, "stream_refused"),
            LettersError::Drop(..) => (RefusalKind::Network, "jetstream"),
            LettersError::File(..) | LettersError::Replaced(_) => (RefusalKind::Precondition, "file"),
        };
        Self::new(kind, subtype, format!("{:#}", anyhow::Error::new(error)))
    }
}
