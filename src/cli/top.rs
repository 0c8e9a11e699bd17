//! `trommel top DIR`: what a running router does, as it does it.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use self::{
    parts::PartKindView,
    state::{PartRow, TopState},
};
use crate::{
    cli::{
        history::reader_left,
        refusal::{CommandRefusal, RefusalKind},
        running::{running, unreachable},
        runtime, terminal,
    },
    control::{
        ControlLink,
        protocol::{ControlRequest, RouterAnswer},
    },
    feed::FeedMessage,
    text,
};

mod operate;
mod parts;
mod screen;
mod session;
mod state;

/// Watch a running router: rates, delays and fates of its sources, keys, filters and sinks, those
/// that hurt first
///
/// Tab goes from sources to keys, filters and sinks; the arrows choose one, and below are its
/// troubles and its last events. `p` pauses it, `r` resumes it, `R` has the router read its folder
/// again, `e` explains the next event of the key, `q` ends. Where standard output is no terminal,
/// one table is printed.
#[derive(Args, Debug)]
pub struct TopCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// Print one table, with the rates of a second, and exit
    #[arg(long)]
    once: bool,
}

impl TopCommand {
    pub fn execute(self) -> ExitCode {
        self.show().unwrap_or_else(|refusal| refusal.end(false))
    }

    fn show(&self) -> Result<ExitCode, CommandRefusal> {
        runtime()?.block_on(async {
            let feed = TopFeed::open(&self.dir).await?;
            if self.once || !io::stdout().is_terminal() {
                once(feed).await
            } else {
                session::run(&self.dir, feed).await
            }
        })
    }
}

/// The router's live picture, over its control socket.
struct TopFeed<'a> {
    dir: &'a Path,
    link: ControlLink,
}

impl<'a> TopFeed<'a> {
    async fn open(dir: &'a Path) -> Result<Self, CommandRefusal> {
        let mut link = running(dir).await?;
        link.writer.send(&ControlRequest::FeedQuery).await.map_err(|error| unreachable(dir, &error))?;
        Ok(Self { dir, link })
    }

    /// Waits for the next message. Cancel safe.
    async fn next(&mut self) -> Result<FeedMessage, CommandRefusal> {
        let line = self.link.reader.next().await.map_err(|error| unreachable(self.dir, &error))?;
        let Some(line) = line else {
            let message = format!("the router of `{}` has ended, or is of an older version", self.dir.display());
            return Err(CommandRefusal::new(RefusalKind::Network, "router_gone", message));
        };
        serde_json::from_slice(&line).map_err(|_| match serde_json::from_slice(&line) {
            Ok(RouterAnswer::Bye { message, .. }) => CommandRefusal::new(RefusalKind::Network, "router_gone", message),
            _ => unreachable(self.dir, &io::Error::new(io::ErrorKind::InvalidData, "it is of another version")),
        })
    }
}

/// Prints the tables of one second.
async fn once(mut feed: TopFeed<'_>) -> Result<ExitCode, CommandRefusal> {
    let mut state = TopState::default();
    while !state.has_rates() {
        state.take(feed.next().await?);
    }
    let mut out = terminal::buffered();
    match print(&state, &mut out).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => reader_left(error),
    }
}

fn print(state: &TopState, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", state.headline())?;
    for view in PartKindView::ALL {
        let rows: Vec<_> = state.rows(view).iter().map(PartRow::cells).collect();
        if rows.is_empty() {
            continue;
        }
        let titles = view.columns().iter().map(|title| (*title).to_owned()).collect();
        let rows: Vec<Vec<String>> = std::iter::once(titles).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| text::line(&row[column]).chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..view.columns().len()).map(width).collect();
        writeln!(out)?;
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", text::line(cell)));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
    }
    for trouble in state.troubles() {
        writeln!(out, "\n{trouble}")?;
    }
    Ok(())
}
