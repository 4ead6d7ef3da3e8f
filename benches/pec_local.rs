//! `pec_local`: transmissions per second with one recipient of the same provider, 20 KB, fully
//! processed: acceptance receipt, transport envelope, delivery and delivery receipt, every step
//! durable.
//!
//! The limit is the cryptography that each needs, on as many threads: three RSA-2048 signatures
//! and five SHA-256 passes over the message's octets. Rounds of the two take turns. Making the
//! messages is not timed; submitting them through the access point is.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use storage::octets::OctetStoreConfig;
use trust::{digest::Sha256Digest, key::PrivateKey};

use crate::{
    Failure, house,
    line::{Goal, Line},
    messages,
    provider::{MESSAGES_PER_SUBMITTER, Provider, RECIPIENT, SENDER},
};

const SUBMITTERS: usize = 32;
const ROUNDS: u8 = 3;
const NEEDS: Cryptography = Cryptography { signatures: 3, verifications: 0, digests: 5 };

/// What one message needs of cryptography.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cryptography {
    pub(crate) signatures: usize,
    pub(crate) verifications: usize,
    /// SHA-256 over as many octets as the message has.
    pub(crate) digests: usize,
}

/// Runs the rounds.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(rounds)
}

async fn rounds(folder: PathBuf) -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let provider = Provider::start(&folder, threads, OctetStoreConfig::default()).await?;
    let (mut in_engine, mut in_limit) = (Duration::ZERO, Duration::ZERO);
    let count = SUBMITTERS * MESSAGES_PER_SUBMITTER;
    for round in 0..ROUNDS {
        let made = messages::make_to(u64::from(round), count, SENDER, RECIPIENT);
        in_engine += provider.transmit(&made, usize::from(round)).await?;
        in_limit += cryptography(&provider.key, &made, threads, NEEDS)?;
    }
    provider.stop().await?;
    let all = f64::from(u32::try_from(count * usize::from(ROUNDS))?);
    Ok(Line {
        name: "pec_local",
        unit: "transmissions/s",
        value: all / in_engine.as_secs_f64(),
        limit: all / in_limit.as_secs_f64(),
        goal: Goal::AtLeast(0.7),
    })
}

/// How long what `messages` need at least takes, spread over the threads.
pub(crate) fn cryptography(
    key: &PrivateKey,
    messages: &[Vec<u8>],
    threads: usize,
    needs: Cryptography,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = messages
            .chunks(messages.len().div_ceil(threads))
            .map(|share| {
                scope.spawn(move || share.iter().try_for_each(|message| one(key, message, needs)))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done,
            Err(_) => Err("a thread of the limit failed".into()),
        })
    })?;
    Ok(began.elapsed())
}

fn one(key: &PrivateKey, message: &[u8], needs: Cryptography) -> Result<(), Failure> {
    let mut digest = Sha256Digest::of(message);
    for _ in 1..needs.digests {
        digest = std::hint::black_box(Sha256Digest::of(std::hint::black_box(message)));
    }
    let sha256 = openssl::hash::MessageDigest::sha256;
    let mut signature = Vec::new();
    for _ in 0..needs.signatures {
        let mut signer = openssl::sign::Signer::new(sha256(), key.as_openssl())?;
        signature = std::hint::black_box(signer.sign_oneshot_to_vec(&digest.0)?);
    }
    for _ in 0..needs.verifications {
        let mut verifier = openssl::sign::Verifier::new(sha256(), key.as_openssl())?;
        std::hint::black_box(verifier.verify_oneshot(&signature, &digest.0)?);
    }
    Ok(())
}
