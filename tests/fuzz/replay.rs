//! The fuzzer's seeds, and mutations of them, in every run of the tests of the crate that includes this
//! file.
//!
//! The seeds of a target lie in `tests/fuzz/seeds`, in a folder of its name.
//! `CERALACCA_FUZZ_SECONDS` makes a run longer.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use trust::random::{RandomSource as _, SeededRandom};

/// A target and its name.
type Target = (&'static str, fn(&[u8]));

/// Where the seeds of `target` are.
pub(crate) fn folder(target: &str) -> PathBuf {
    // The program's own crate is the root of the tree; the others are one folder below it.
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root =
        if own.join("tests/fuzz/seeds").is_dir() { own } else { own.parent().expect("a root") };
    root.join("tests/fuzz/seeds").join(target)
}

pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
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
    fn mutated(&self, seed: &[u8], others: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
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
                    let token = tokens[self.below(tokens.len())].bytes();
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

/// Runs every seed of one of `targets`, then mutations, which put in `tokens`, for as long as the budget
/// lasts.
pub(crate) fn replay(targets: &[Target], target: &str, tokens: &[&str]) {
    let (_, run) = targets.iter().find(|(name, _)| *name == target).expect("a target");
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
        let octets = chance.mutated(&seeds[chance.below(seeds.len())], &seeds, tokens);
        let outcome = std::panic::catch_unwind(|| run(&octets));
        assert!(outcome.is_ok(), "{target}, case {cases}: {:?}", String::from_utf8_lossy(&octets));
        cases += 1;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "fuzz {target}: {} seeds, {cases} mutations", seeds.len()).expect("output");
}
