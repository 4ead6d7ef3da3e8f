//! Randomness, handed in.
//!
//! Keys, salts, identifiers and jitter come from a [`RandomSource`]; asking the thread's generator
//! is a lint error. [`SystemRandom`] is OpenSSL's generator, seeded by the operating system;
//! [`SeededRandom`] gives the same octets for the same seed, for tests and simulations only.

use std::sync::Mutex;

use openssl::sha::Sha256;

/// A source of random octets.
pub trait RandomSource: Send + Sync + std::fmt::Debug + 'static {
    /// Fills `octets`.
    ///
    /// # Panics
    ///
    /// If the operating system can give no randomness: nothing safe can be done without.
    fn fill(&self, octets: &mut [u8]);

    /// Returns 64 random bits.
    fn next_u64(&self) -> u64 {
        let mut octets = [0; 8];
        self.fill(&mut octets);
        u64::from_be_bytes(octets)
    }
}

/// The generator for everything that must not be guessed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl RandomSource for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the seam for randomness")]
    fn fill(&self, octets: &mut [u8]) {
        if let Err(error) = openssl::rand::rand_bytes(octets) {
            panic!("the operating system gives no randomness: {error}");
        }
    }
}

/// SHA-256 in counter mode over a seed. Predictable by design.
#[derive(Debug)]
pub struct SeededRandom {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededRandom {
    /// Starts the sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: Mutex::new(0) }
    }
}

impl RandomSource for SeededRandom {
    fn fill(&self, octets: &mut [u8]) {
        let mut counter = self.counter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for block in octets.chunks_mut(32) {
            let mut hasher = Sha256::new();
            hasher.update(&self.seed.to_be_bytes());
            hasher.update(&counter.to_be_bytes());
            *counter += 1;
            block.copy_from_slice(&hasher.finish()[..block.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_another_seed_another() {
        let draw = |seed| {
            let mut octets = [0; 40];
            SeededRandom::new(seed).fill(&mut octets);
            octets
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn system_randomness_does_not_repeat() {
        assert_ne!(SystemRandom.next_u64(), SystemRandom.next_u64());
    }
}
