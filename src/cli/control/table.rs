//! Rows of cells -> aligned lines, as wide as they need to be.
//!
//! A cell's text is safe by the time it comes here.

use std::fmt::Write;

use clap::builder::styling::Style;

use super::text::cut;

/// How wide a terminal is at least.
pub(super) const WIDTH: usize = 80;

/// A column: what stands above it, and to which side its cells go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Left(&'static str),
    Right(&'static str),
}

/// A cell, and how it is coloured if there are colours.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn coloured(text: String, style: Style) -> Self {
        Self { text, style }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, style: Style::new() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Lines with two blanks between the columns, or with one if they would be too wide.
pub(super) fn lines<const N: usize>(columns: [Column; N], rows: &[[Cell; N]]) -> String {
    let heads = columns.map(|column| match column {
        Column::Left(head) | Column::Right(head) => Cell::from(head),
    });
    let widths: [usize; N] = std::array::from_fn(|index| {
        let cells = rows.iter().chain([&heads]).map(|row| row[index].text.chars().count());
        cells.max().unwrap_or_default()
    });
    let total: usize = widths.iter().sum();
    let gap = if total + 2 * (N - 1) <= WIDTH { "  " } else { " " };
    // If even that is too much, the last column gives way.
    let excess = (total + gap.len() * (N - 1)).saturating_sub(WIDTH);
    let mut out = String::new();
    for row in [&heads].into_iter().chain(rows) {
        let mut line = String::new();
        for (index, ((column, width), Cell { text, style })) in
            columns.iter().zip(widths).zip(row).enumerate()
        {
            let width = if index == N - 1 { width.saturating_sub(excess).max(1) } else { width };
            let text = cut(text, width);
            let blanks = " ".repeat(width.saturating_sub(text.chars().count()));
            let gap = if line.is_empty() { "" } else { gap };
            // What is written into a string is written.
            let _ = match column {
                Column::Left(_) => write!(line, "{gap}{style}{text}{style:#}{blanks}"),
                Column::Right(_) => write!(line, "{gap}{blanks}{style}{text}{style:#}"),
            };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_closer_together_if_they_must() {
        let columns = [Column::Right("ID"), Column::Left("STATE"), Column::Right("RSS")];
        let rows =
            |state: &str| [["1".into(), state.into(), "5M".into()], ["12".into(), "x".into(), "".into()]];
        assert_eq!(lines(columns, &rows("ready")), "ID  STATE  RSS\n 1  ready   5M\n12  x\n");
        let text = lines([Column::Right("ID"), Column::Left("LAST")], &[["1".into(), "l".repeat(90).into()]]);
        assert_eq!(text, format!("ID LAST\n 1 {}…\n", "l".repeat(76)));
        let long = "s".repeat(72);
        let text = lines(columns, &rows(&long));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains(&format!("\n 1 {long}  5M\n")), "{text}");
    }

    #[test]
    fn colours_do_not_count() {
        let style = Style::new().bold();
        let rows = [[Cell::coloured("a".into(), style), "b".into()]];
        let text = lines([Column::Left("LONG"), Column::Left("X")], &rows);
        assert_eq!(text, format!("LONG  X\n{style}a{style:#}     b\n"));
    }
}
