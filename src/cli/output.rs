//! What commands print: tables for people, JSON for programs.

use std::io::{self, Write as _};

use serde::Serialize;
use trust::clock::UnixMillis;

use super::failure::Failure;
use crate::texts::{Language, Text};

/// Where and how a command prints. A reader that goes away early is not an error.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    language: Language,
}

/// Something that can be printed both ways.
pub(super) trait Shown: Serialize {
    /// The heads of the columns of a list; of what is never listed none.
    fn columns() -> Vec<Text> {
        Vec::new()
    }

    /// One row of a list.
    fn row(&self) -> Vec<String> {
        Vec::new()
    }

    /// Everything, name by name: as in a list, unless there is more to say.
    fn details(&self) -> Vec<(Text, String)> {
        Self::columns().into_iter().zip(self.row()).collect()
    }
}

impl Output {
    pub(super) fn new(json: bool, language: Language) -> Self {
        Self { json, language }
    }

    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// Prints octets as they are.
    pub(super) fn raw(octets: &[u8]) {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(octets).and_then(|()| stdout.flush());
    }

    /// Prints one thing.
    pub(super) fn one<T: Shown>(&self, thing: &T) {
        if self.json {
            return Self::json(thing);
        }
        let details = thing.details();
        let width = details.iter().map(|(name, _)| self.width(name)).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in details.iter().filter(|(_, value)| !value.is_empty()) {
            let gap = " ".repeat(width - self.width(name) + 2);
            let name = name.get(self.language);
            text.extend([name, &gap, value, "\n"]);
        }
        Self::raw(text.as_bytes());
    }

    /// Prints a list: with `--json` one array.
    pub(super) fn list<T: Shown>(&self, things: &[T]) {
        if self.json {
            return Self::json(things);
        }
        let heads = T::columns().iter().map(|head| head.get(self.language).to_owned()).collect();
        let shown = |thing: &T| thing.row().iter().map(|cell| on_one_line(cell)).collect();
        let rows: Vec<Vec<String>> =
            std::iter::once(heads).chain(things.iter().map(shown)).collect();
        Self::raw(table(&rows).as_bytes());
    }

    /// Prints a JSON value, whatever was asked.
    pub(super) fn json<T: Serialize + ?Sized>(value: &T) {
        // Views are plain structs: serialising them cannot fail.
        let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
        text.push('\n');
        Self::raw(text.as_bytes());
    }

    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// Says something to people, on standard error.
    pub(super) fn note(&self, text: &Text) {
        let _ = writeln!(io::stderr().lock(), "{}", text.get(self.language));
    }

    /// Says each of them.
    pub(super) fn notes<'t>(&self, texts: impl IntoIterator<Item = &'t Text>) {
        for text in texts {
            self.note(text);
        }
    }

    /// Says why the command failed.
    pub(super) fn failure(&self, failure: &Failure) {
        let text = failure.text().get(self.language);
        if self.json {
            let error = serde_json::json!({ "kind": failure.kind(), "message": text });
            Self::json(&serde_json::json!({ "error": error }));
        }
        let _ = writeln!(io::stderr().lock(), "ceralacca: {text}");
    }

    fn width(&self, text: &Text) -> usize {
        text.get(self.language).chars().count()
    }
}

/// What a message says of itself stands in one cell, and steers no terminal.
fn on_one_line(cell: &str) -> String {
    cell.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}

/// Aligns the columns of `rows`; the last one is not padded.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An instant in UTC, such as `2026-11-21T09:30:00Z`.
pub(super) fn instant(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters_not_octets() {
        let rows = [["città", "n"], ["x", "12"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "città  n\nx      12\n");
    }

    #[test]
    fn a_cell_has_no_control_characters() {
        assert_eq!(on_one_line("Ciao\r\n\u{1b}[31mrosso\u{9b}"), "Ciao   [31mrosso ");
    }

    #[test]
    fn instants_are_shown_in_utc() {
        assert_eq!(instant(UnixMillis(1_795_000_000_000)), "2026-11-18T11:06:40Z");
    }
}
