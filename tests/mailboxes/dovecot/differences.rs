//! Differences, and how those that are explained are recognised.
//!
//! The explanations stand in `docs/dovecot_differences.md`; both lists have the same names.

use std::collections::BTreeSet;

use super::{canonical::Facts, known::KNOWN};

/// One fact on which the servers do not agree.
#[derive(Clone, Debug)]
pub(crate) struct Difference<'d> {
    pub(crate) command: &'d str,
    pub(crate) fact: &'d str,
    pub(crate) ours: Option<&'d str>,
    pub(crate) theirs: Option<&'d str>,
}

pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) is: fn(&Difference<'_>) -> bool,
}

/// What was compared so far.
#[derive(Debug, Default)]
pub(crate) struct Explained {
    pub(crate) met: BTreeSet<&'static str>,
    pub(crate) unexplained: Vec<String>,
}

impl Explained {
    /// Compares two answers to `command`.
    pub(crate) fn compare(&mut self, command: &str, ours: &Facts, theirs: &Facts) {
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for fact in names {
            let [ours, theirs] = [ours, theirs].map(|facts| facts.get(fact).map(String::as_str));
            // Flags of which only one had to tell.
            let by_one = ours.is_none() || theirs.is_none();
            if ours == theirs || by_one && fact.starts_with("told ") {
                continue;
            }
            let difference = Difference { command, fact, ours, theirs };
            match KNOWN.iter().find(|known| (known.is)(&difference)) {
                Some(known) => drop(self.met.insert(known.name)),
                None => self.unexplained.push(format!(
                    "{command}\n    {fact}\n    ours   {}\n    theirs {}",
                    ours.unwrap_or("-"),
                    theirs.unwrap_or("-"),
                )),
            }
        }
    }
}

/// Fails when the document and this list differ, or when no script meets an entry.
pub(crate) fn assert_list_is_met(met: &BTreeSet<&str>) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dovecot_differences.md");
    let text = std::fs::read_to_string(file).expect("the list");
    let written: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let known: BTreeSet<&str> = KNOWN.iter().map(|known| known.name).collect();
    assert_eq!(written, known, "docs/dovecot_differences.md and the differences known here");
    let unmet: Vec<&&str> = known.difference(met).collect();
    assert!(unmet.is_empty(), "no script meets {unmet:?}: take them away");
}
