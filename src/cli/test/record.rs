//! `trommel test --record`: makes cases of messages, which expect what comes out today.

use std::{fs, io::Write, path::Path, process::ExitCode};

use super::{TestCommand, compare::usual, internal, names::bad_cases};
use crate::{
    cli::{
        dry_router::DryRouter,
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    config::{ConfigPlace, Problem, Problems},
    folder::{self, CaseFile},
};

impl TestCommand {
    pub(super) async fn record(&self, file: &Path) -> Result<ExitCode, CommandRefusal> {
        let shown = file.display();
        if file.exists() {
            let refusal = CommandRefusal::new(
                RefusalKind::Precondition,
                "file_exists",
                format!("there is a file `{shown}` already"),
            );
            return Err(refusal.param("--record").hint("name another one: cases are not mixed with those of a person"));
        }
        let config = folder::load(&self.dir)?;
        let mut messages = self.past.open(&config, (self.limit > 0).then_some(self.limit)).await?;
        let router = DryRouter::start(config, self.cache.code(), None).await?;
        let mut recorded = Vec::new();
        while let Some(message) = messages.next().await? {
            let number = recorded.len() as u64 + 1;
            let ends = router.take(&message, number, |_| {}).await.map_err(|error| {
                let place = ConfigPlace::file(&messages.name);
                let problem = Problem { hint: error.hint, ..Problem::error(place, error.message) };
                bad_cases(&Problems::new(vec![problem]))
            })?;
            let name = format!("{}:{}", messages.name, message.sequence.unwrap_or(number));
            recorded.push((name, message, usual(&ends)));
        }
        messages.tell_left_out();
        if recorded.is_empty() {
            let message = format!("`{}` holds no messages{}", messages.name, messages.bounds);
            return Err(CommandRefusal::new(RefusalKind::Validation, "no_messages", message));
        }
        let cases = recorded.iter().map(|(name, message, ends)| (&**name, message, &**ends));
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let written = folder.map_or(Ok(()), fs::create_dir_all);
        written
            .and_then(|()| CaseFile::recorded(file, cases).save())
            .map_err(|error| internal(anyhow::Error::from(error).context(format!("can't write `{shown}`"))))?;
        let said = writeln!(terminal::stdout(), "{} cases in `{shown}`", recorded.len());
        said.map_err(|error| internal(error.into()))?;
        Ok(ExitCode::SUCCESS)
    }
}
