//! The picture on the terminal.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState, Tabs, Wrap},
};

use super::{
    parts::PartKindView,
    state::{PartRow, TopState},
};
use crate::{fate::Fate, health::HealthLevel, recent::EndedEvent, text};

/// Lines of the part below the table.
const BELOW: u16 = 12;
const KEYS: &str = "tab kind  ↑↓ choose  p pause  r resume  R reload  e explain  q quit";

/// What is shown, and what is chosen in it.
#[derive(Default)]
pub(super) struct TopScreen {
    pub(super) view: PartKindView,
    table: TableState,
    /// Name of the chosen part: it stays chosen wherever its row goes.
    chosen: Option<String>,
    /// Last word about what was asked.
    pub(super) notice: String,
}

impl TopScreen {
    pub(super) fn show(&mut self, view: PartKindView) {
        (self.view, self.chosen) = (view, None);
    }

    /// Chooses a row this far below.
    pub(super) fn step(&mut self, state: &TopState, by: isize) {
        let rows = state.rows(self.view);
        let at = self.position(rows).unwrap_or(0).saturating_add_signed(by).min(rows.len().saturating_sub(1));
        self.chosen = rows.get(at).map(|row| row.name.clone());
    }

    /// Name of the chosen part; the first until one was chosen.
    pub(super) fn chosen<'a>(&self, state: &'a TopState) -> Option<&'a str> {
        let rows = state.rows(self.view);
        rows.get(self.position(rows).unwrap_or(0)).map(|row| &*row.name)
    }

    fn position(&self, rows: &[PartRow]) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        rows.iter().position(|row| row.name == *chosen)
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, state: &TopState) {
        let parts = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(4),
            Constraint::Length(BELOW),
            Constraint::Length(1),
        ];
        let [head, tabs, table, below, foot] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(Paragraph::new(state.headline()).style(Modifier::BOLD), head);
        let titles = PartKindView::ALL.map(|view| format!("{} {}", state.rows(view).len(), view.title()));
        frame.render_widget(Tabs::new(titles).select(self.view as usize), tabs);
        self.table(frame, state, table);
        self.below(frame, state, below);
        let foot_text = if self.notice.is_empty() { KEYS.to_owned() } else { text::line(&self.notice).into_owned() };
        frame.render_widget(Paragraph::new(foot_text).style(Modifier::DIM), foot);
    }

    fn table(&mut self, frame: &mut Frame<'_>, state: &TopState, area: Rect) {
        let rows = state.rows(self.view);
        let cells: Vec<_> = rows.iter().map(PartRow::cells).collect();
        let titles = self.view.columns();
        let width = |column: usize| {
            let widest = cells.iter().map(|row| text::line(&row[column]).chars().count()).max().unwrap_or(0);
            Constraint::Length(u16::try_from(widest.max(titles[column].len()).min(40)).unwrap_or(40))
        };
        let lines = rows.iter().zip(&cells).map(|(row, cells)| {
            let cells = cells.iter().map(|cell| Cell::from(text::line(cell).into_owned()));
            Row::new(cells).style(colour(row.level))
        });
        let header = Row::new(titles.iter().copied()).style(Modifier::DIM);
        let table = Table::new(lines, (0..titles.len()).map(width)).header(header).column_spacing(2);
        self.table.select((!rows.is_empty()).then(|| self.position(rows).unwrap_or(0)));
        frame.render_stateful_widget(table.row_highlight_style(Modifier::REVERSED), area, &mut self.table);
    }

    fn below(&self, frame: &mut Frame<'_>, state: &TopState, area: Rect) {
        let Some(name) = self.chosen(state) else { return };
        let title = format!(" {} {} ", self.view.word(), text::line(name));
        let troubles = state.troubles_of(self.view, name);
        let mut lines: Vec<_> =
            troubles.iter().map(|why| Line::styled(text::line(why).into_owned(), Color::Red)).collect();
        lines.extend(state.ended_of(self.view, name).take(usize::from(BELOW)).map(ended));
        if lines.is_empty() {
            lines.push(Line::from("nothing is wrong, and no event has ended lately"));
        }
        let block = Block::new().borders(Borders::TOP).title(title);
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
    }
}

fn ended(event: &EndedEvent) -> Line<'static> {
    let EndedEvent { time, event_type, id, subject, fate, reason, .. } = event;
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let fate_colour = match fate {
        Fate::Emitted => Color::Green,
        Fate::Filtered => Color::Reset,
        Fate::Skipped => Color::Yellow,
        Fate::DeadLettered | Fate::Failed => Color::Red,
    };
    let [event_type, id, subject] = [event_type, id, subject].map(|said| text::line(said).into_owned());
    Line::from(vec![
        Span::raw(format!("{}  ", time.strftime("%H:%M:%S"))),
        Span::styled(format!("{}{reason}  ", fate.word()), fate_colour),
        Span::raw(format!("{event_type}  {id}  {subject}")),
    ])
}

fn colour(level: HealthLevel) -> Style {
    match level {
        HealthLevel::Ok => Style::new(),
        HealthLevel::Degraded => Style::new().fg(Color::Yellow),
        HealthLevel::Down => Style::new().fg(Color::Red),
    }
}
