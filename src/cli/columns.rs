//! Tables for a terminal, whose cells may hold untrusted text.

use std::fmt::Write;

use crate::text;

/// Columns as wide as their widest cell in any row.
pub struct TableColumns<const N: usize>([usize; N]);

impl<const N: usize> TableColumns<N> {
    pub fn fit<'a>(rows: impl IntoIterator<Item = &'a [String; N]>) -> Self {
        let mut widths = [0; N];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = text::line(cell).chars().count().max(*width);
            }
        }
        Self(widths)
    }

    /// Formats a line of a table, indented by two spaces.
    pub fn line(&self, row: &[String; N]) -> String {
        let mut line = String::new();
        for (width, cell) in self.0.iter().zip(row) {
            // Writing to a string can't fail.
            let _ = write!(line, "  {:<width$}", text::line(cell));
        }
        line.truncate(line.trim_end().len());
        line
    }
}
