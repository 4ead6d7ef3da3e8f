//! What the demo shows: steps, checks, tables, in one language.
//!
//! A check is shown when it is made and counted; the demo's outcome is the count of failed ones.

use std::{
    fmt::Display,
    io::{Stdout, Write as _, stdout},
    time::{Duration, Instant},
};

use crate::texts::{Language, Text};

/// The terminal, and what has been found so far.
#[derive(Debug)]
pub(super) struct Screen {
    out: Stdout,
    language: Language,
    started: Instant,
    steps: usize,
    failures: Vec<String>,
    checks: usize,
}

impl Screen {
    pub(super) fn new(language: Language) -> Self {
        Self {
            out: stdout(),
            language,
            started: Instant::now(),
            steps: 0,
            failures: Vec::new(),
            checks: 0,
        }
    }

    /// Time since the demo began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows the first line.
    pub(super) fn title(&self, text: &Text) {
        self.print(text.get(self.language));
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, text: &Text) {
        self.steps += 1;
        let seconds = self.elapsed().as_secs_f64();
        let line = format!("\n{}. {}  [{seconds:.1} s]", self.steps, text.get(self.language));
        self.print(&line);
    }

    /// Shows one line.
    pub(super) fn say(&self, text: &Text) {
        self.print(&format!("   {}", text.get(self.language)));
    }

    /// Shows and counts one check; returns what it found.
    pub(super) fn check<T, E: std::error::Error>(
        &mut self,
        what: &Text,
        outcome: Result<T, E>,
    ) -> Option<T> {
        self.checks += 1;
        let what = what.get(self.language);
        match outcome {
            Ok(found) => {
                self.print(&format!("   ✓ {what}"));
                Some(found)
            }
            Err(error) => {
                let failure = format!("{what}: {}", with_causes(&error));
                self.print(&format!("   ✗ {failure}"));
                self.failures.push(failure);
                None
            }
        }
    }

    /// Shows and counts a comparison.
    pub(super) fn compare<T: PartialEq + Display>(&mut self, what: &Text, expected: &T, found: &T) {
        let outcome = if expected == found {
            Ok(())
        } else {
            Err(Unequal { expected: expected.to_string(), found: found.to_string() })
        };
        self.check(what, outcome);
    }

    /// Shows rows under a head, columns aligned, numbers (all but the first column) to the right.
    pub(super) fn table<const COLUMNS: usize>(
        &self,
        head: &[Text; COLUMNS],
        rows: &[[String; COLUMNS]],
    ) {
        let head = head.clone().map(|text| text.get(self.language).to_owned());
        let mut lines = vec![head];
        lines.extend(rows.iter().cloned());
        let width = |column: usize| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; COLUMNS] = std::array::from_fn(width);
        for line in &lines {
            let cells: Vec<String> = line
                .iter()
                .zip(widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                })
                .collect();
            self.print(&format!("   {}", cells.join("   ")));
        }
    }

    /// Every failed check.
    pub(super) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// How many checks were made.
    pub(super) fn checks(&self) -> usize {
        self.checks
    }

    /// Shows a line as it is. A closed terminal is no reason to end the checks.
    pub(super) fn print(&self, line: &str) {
        let mut out = self.out.lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Two values that should have been the same.
#[derive(Debug, thiserror::Error)]
#[error("expected `{expected}`, found `{found}`")]
struct Unequal {
    expected: String,
    found: String,
}

/// An error with its causes, outermost first.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Octets with a point between thousands, as Italian writes them.
pub(super) fn grouped(octets: u64) -> String {
    let digits = octets.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('.');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1.234.567");
    }

    #[test]
    fn a_failed_check_is_counted_with_its_reason() {
        let mut screen = Screen::new(Language::English);
        screen.compare(&Text::fixed("uguali", "equal"), &1, &1);
        screen.compare(&Text::fixed("uguali", "equal"), &1, &2);
        assert_eq!(screen.checks(), 2);
        assert_eq!(screen.failures(), ["equal: expected `1`, found `2`"]);
    }
}
