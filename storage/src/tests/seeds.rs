//! The fuzzer's seeds, and mutations of them, in every run of the tests.
//!
//! The seeds lie in `tests/fuzz/seeds`, a folder per target. Those of `recipe` and `records` are made from
//! the messages: with `CERALACCA_WRITE_SEEDS=1` they are written again.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use trust::random::{RandomSource as _, SeededRandom};

use crate::{
    fuzz::{TARGETS, round_trip},
    octets::StoredMessage,
    pack::format::PackBuilder,
    pack::stored,
};

/// What mutations put in.
const TOKENS: [&str; 16] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "--x",
    "--x--",
    "Content-Type: multipart/mixed; boundary=x\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "=",
    "QUJD",
    " ",
    "\t",
    "\0",
    "\u{ff}\u{7f}",
    "boundary=\"",
];

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds").join(target)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let listed = std::fs::read_dir(folder(target)).expect("the folder of seeds");
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

struct Chance(SeededRandom);

impl Chance {
    fn below(&self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % (end.max(1) as u64)).expect("small")
    }

    fn octet(&self) -> u8 {
        self.0.next_u64().to_be_bytes()[0]
    }

    fn range(&self, octets: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(octets.len() + 1);
        start..(start + self.below(200)).min(octets.len())
    }

    /// `seed` with a few places changed.
    fn mutated(&self, seed: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
        let mut octets = seed.to_vec();
        for _ in 0..=self.below(5) {
            let range = self.range(&octets);
            match self.below(7) {
                0 => drop(octets.drain(range)),
                1 => {
                    let again = octets[range.clone()].to_vec();
                    drop(octets.splice(range.start..range.start, again));
                }
                2 => {
                    let token = TOKENS[self.below(TOKENS.len())].bytes();
                    drop(octets.splice(range.start..range.start, token));
                }
                3 => {
                    let other = &others[self.below(others.len())];
                    let part = other[self.range(other)].to_vec();
                    drop(octets.splice(range, part));
                }
                4 => octets.truncate(range.end),
                _ => {
                    if let Some(octet) = octets.get_mut(range.start) {
                        *octet = if self.below(2) == 0 { self.octet() } else { *octet ^ 1 };
                    }
                }
            }
        }
        octets
    }
}

/// Runs every seed of a target, then mutations for as long as the budget lasts.
fn replay(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let seeds = seeds(target);
    assert!(seeds.len() >= 3, "{target} has too few seeds");
    for seed in &seeds {
        run(seed);
    }
    let seconds = std::env::var("CERALACCA_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let budget = Duration::from_millis(seconds.map_or(1_500, |seconds: u64| 1_000 * seconds));
    let begun = Instant::now();
    let mut cases = 0_u64;
    while begun.elapsed() < budget {
        let chance = Chance(SeededRandom::new(cases));
        let octets = chance.mutated(&seeds[chance.below(seeds.len())], &seeds);
        let outcome = std::panic::catch_unwind(|| run(&octets));
        assert!(outcome.is_ok(), "{target}, case {cases}: {:?}", String::from_utf8_lossy(&octets));
        cases += 1;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "fuzz {target}: {} seeds, {cases} mutations", seeds.len()).expect("output");
}

#[test]
fn seeds_of_messages_and_their_mutations_are_rebuilt_exactly() {
    replay("message");
}

#[test]
fn seeds_of_recipes_and_their_mutations_are_refused_or_rebuilt() {
    replay("recipe");
}

#[test]
fn seeds_of_packs_and_their_mutations_are_refused_or_read() {
    replay("pack");
}

#[test]
fn seeds_of_records_and_their_mutations_are_refused_or_stay() {
    replay("records");
}

#[test]
fn seeds_of_walks_and_their_mutations_report_every_octet_once() {
    replay("walker");
}

/// A framed record without its frame.
fn unframed(record: &[u8]) -> &[u8] {
    &record[9..]
}

#[tokio::test]
async fn records_made_from_the_messages_among_the_seeds_are_seeds_too() {
    let write = std::env::var_os("CERALACCA_WRITE_SEEDS").is_some();
    for (number, seed) in seeds("message").iter().enumerate() {
        let message: StoredMessage = round_trip(&seed[1..], 4_000).await;
        let record = message.encode();
        crate::fuzz::recipe(unframed(&record));
        let mut builder = PackBuilder::default();
        for part in seed.chunks(300) {
            let stored = stored::encode(part, 3).expect("zstd");
            let id = stored::StoreSecret::new([1; 32]).stored_id(stored::chunk_id(part));
            builder.add(id, &stored, u32::try_from(part.len()).expect("small"));
        }
        let (pack, _) = builder.finish();
        crate::fuzz::pack(&pack);
        if write {
            for (target, octets) in [("recipe", unframed(&record)), ("pack", &pack)] {
                std::fs::create_dir_all(folder(target)).expect("a folder");
                std::fs::write(folder(target).join(format!("{number}")), octets).expect("written");
            }
        }
    }
}
