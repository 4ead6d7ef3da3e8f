//! The measures of the program: `make bench` runs all, `make bench BENCH=append` one.
//!
//! Each prints one line, `BENCH name=… value=… unit=… limit=… ratio=… goal=…`: what the program does,
//! what the machine could do at best in the same run, and the ratio of the two; figures beside it on lines
//! that begin with `NOTE`. What a value
//! counts, and why its limit is fair, stands at the head of each measure's file.

mod acceptance;
mod append;
mod append_1mb;
mod appender;
mod check;
mod collector;
mod dedup_pec;
mod dictionary;
mod growth;
mod house;
mod imap;
mod imap_client;
mod imap_fetch;
mod imap_idle;
mod imap_mix;
mod imap_servers;
mod imap_watch;
mod line;
mod logins;
mod massive;
mod memory;
mod messages;
mod pec_250;
mod pec_local;
mod pec_remote;
mod provider;
mod queue_drain;
mod read;
mod select;
mod smtp_in;
mod snapshot_days;
mod snapshot_open;
mod snapshot_restore;
mod snapshot_runs;

use std::{io::Write as _, process::ExitCode};

use line::Line;

/// A measure by its name.
const MEASURES: [(&str, Measure); 35] = [
    ("append", append::measure),
    ("append_1mb", append_1mb::measure),
    ("read_cold", read::cold),
    ("read_hot", read::hot),
    ("dedup_pec", dedup_pec::measure),
    ("dictionary", dictionary::measure),
    ("check", check::measure),
    ("memory", memory::measure),
    ("collector", collector::measure),
    ("growth", growth::measure),
    ("pec_local", pec_local::measure),
    ("pec_remote", pec_remote::measure),
    ("pec_250", pec_250::measure),
    ("massive", massive::measure),
    ("acceptance", acceptance::measure),
    ("queue_drain", queue_drain::measure),
    ("smtp_in", smtp_in::measure),
    ("select", select::select),
    ("select_gain", select::select_gain),
    ("header_search", select::header_search),
    ("header_search_gain", select::header_search_gain),
    ("imap_select", imap::select),
    ("imap_search", imap::search),
    ("imap_fetch", imap_fetch::measure),
    ("imap_mix", imap_mix::mix),
    ("imap_login", imap_mix::login),
    ("imap_idle", imap_idle::measure),
    ("imap_watch", imap_watch::measure),
    ("snapshot_incremental", snapshot_days::incremental),
    ("snapshot_incremental_octets", snapshot_days::incremental_octets),
    ("snapshot_pages", snapshot_days::pages),
    ("snapshot_diff", snapshot_days::difference),
    ("snapshot_open", snapshot_open::measure),
    ("snapshot_run_idle", snapshot_runs::measure),
    ("restore", snapshot_restore::measure),
];

/// Takes a measure.
type Measure = fn() -> Result<Line, Failure>;

/// A measure that could not be taken ends the run with its reason.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // Cargo adds `--bench`; any other word is the name of a measure.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if wanted.first().is_some_and(|word| word == memory::CHILD) {
        return match memory::child() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tell(&error.to_string());
                ExitCode::FAILURE
            }
        };
    }
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
