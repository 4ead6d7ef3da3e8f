//! The measures of the program: `make bench` runs all, `make bench BENCH=append` one.
//!
//! Each prints one line, `BENCH name=… value=… unit=… limit=… ratio=… goal=…`: what the program does,
//! what the machine could do at best in the same run, and the ratio of the two. What a value
//! counts, and why its limit is fair, stands at the head of each measure's file.

mod append;
mod appender;
mod collector;
mod line;
mod messages;
mod pec_local;
mod select;

use std::{io::Write as _, process::ExitCode};

use line::Line;

/// A measure by its name.
const MEASURES: [(&str, Measure); 7] = [
    ("append", append::measure),
    ("collector", collector::measure),
    ("pec_local", pec_local::measure),
    ("select", select::select),
    ("select_gain", select::select_gain),
    ("header_search", select::header_search),
    ("header_search_gain", select::header_search_gain),
];

/// Takes a measure.
type Measure = fn() -> Result<Line, Failure>;

/// A measure that could not be taken ends the run with its reason.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // Cargo adds `--bench`; any other word is the name of a measure.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let known = |name: &String| MEASURES.iter().any(|(measure, _)| measure == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
        tell(&format!("no measure is called {unknown}: there are {}", names.join(", ")));
        return ExitCode::FAILURE;
    }
    let mut outcome = ExitCode::SUCCESS;
    for (name, measure) in MEASURES {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            match measure() {
                Ok(line) => tell(&line.to_string()),
                Err(error) => {
                    tell(&format!("{name} could not be measured: {error}"));
                    outcome = ExitCode::FAILURE;
                }
            }
        }
    }
    outcome
}

fn tell(line: &str) {
    // A closed pipe is the reader's choice.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
