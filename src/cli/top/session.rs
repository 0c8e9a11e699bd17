//! `top` on a terminal, until its user ends it.

use std::{io, path::Path, process::ExitCode, thread, time::Duration};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    TopFeed,
    operate::{explain, reload, switch},
    parts::PartKindView,
    screen::TopScreen,
    state::TopState,
};
use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    control::operation::Operation,
};

/// Time between two looks at whether keys are still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// Rows of a page.
const PAGE: isize = 10;

/// The terminal, taken over; given back on drop. A panic gives it back, too.
struct TakenTerminal(DefaultTerminal);

impl TakenTerminal {
    fn take() -> Result<Self, CommandRefusal> {
        ratatui::try_init().map(Self).map_err(|error| failed(&error))
    }
}

impl Drop for TakenTerminal {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing back.
        let _ = ratatui::try_restore();
    }
}

pub(super) async fn run(dir: &Path, mut feed: TopFeed<'_>) -> Result<ExitCode, CommandRefusal> {
    let (mut state, mut screen) = (TopState::default(), TopScreen::default());
    let mut terminal = TakenTerminal::take()?;
    let mut pressed = keys();
    let listen = |kind| signal(kind).map_err(|error| failed(&error));
    // Either would end the program with the terminal as it is.
    let (mut terminated, mut hung_up) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    loop {
        terminal.0.draw(|frame| screen.draw(frame, &state)).map_err(|error| failed(&error))?;
        let key = tokio::select! {
            message = feed.next() => {
                state.take(message?);
                continue;
            }
            _ = terminated.recv() => return Ok(ExitCode::from(143)),
            _ = hung_up.recv() => return Ok(ExitCode::from(129)),
            event = pressed.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => key,
                // A new size is drawn.
                Some(_) => continue,
                None => return Err(failed(&io::ErrorKind::UnexpectedEof.into())),
            },
        };
        let chosen = screen.chosen(&state).map(str::to_owned);
        let part = chosen.as_deref().map(|name| (screen.view, name));
        match key {
            KeyEvent { code: KeyCode::Char('q') | KeyCode::Esc, .. } => return Ok(ExitCode::SUCCESS),
            KeyEvent { code: KeyCode::Char('c'), modifiers: KeyModifiers::CONTROL, .. } => {
                return Ok(ExitCode::SUCCESS);
            }
            KeyEvent { code: KeyCode::Tab, .. } => screen.show(screen.view.next()),
            KeyEvent { code: KeyCode::Up | KeyCode::Char('k'), .. } => screen.step(&state, -1),
            KeyEvent { code: KeyCode::Down | KeyCode::Char('j'), .. } => screen.step(&state, 1),
            KeyEvent { code: KeyCode::PageUp, .. } => screen.step(&state, -PAGE),
            KeyEvent { code: KeyCode::PageDown, .. } => screen.step(&state, PAGE),
            KeyEvent { code: KeyCode::Char(letter @ ('p' | 'r')), .. } => {
                let operation = if letter == 'p' { Operation::Pause } else { Operation::Resume };
                if let Some(part) = part {
                    screen.notice = switch(dir, operation, part).await;
                }
            }
            KeyEvent { code: KeyCode::Char('R'), .. } => screen.notice = reload(dir).await,
            KeyEvent { code: KeyCode::Char('e'), .. } => match part {
                Some((PartKindView::Keys, key)) => {
                    drop(pressed);
                    drop(terminal);
                    explain(dir, key).and_then(|()| wait_for_enter()).map_err(|error| failed(&error))?;
                    terminal = TakenTerminal::take()?;
                    pressed = keys();
                }
                _ => screen.notice = "an event is explained for a key: tab goes there".to_owned(),
            },
            _ => screen.notice.clear(),
        }
    }
}

/// Reads keys until the receiver is dropped.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    thread::spawn(move || {
        while !sender.is_closed() {
            let read = match event::poll(LOOK) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            // Without a terminal or a receiver no more keys come.
            let Ok(event) = read else { return };
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wait_for_enter() -> io::Result<()> {
    use std::io::Write as _;
    write!(crate::cli::terminal::stderr(), "\npress enter to go back ")?;
    io::stdin().read_line(&mut String::new()).map(drop)
}

fn failed(error: &io::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Internal, "terminal", format!("the terminal can't be used: {error}"))
        .hint("`trommel top --once` prints a table")
}
