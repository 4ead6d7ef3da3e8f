//! `pec_250`: deliveries per second of messages of 20 KB to 250 recipients of the same provider each:
//! one envelope, 250 deliveries and 250 delivery receipts, every step durable.
//!
//! The limit is the cryptography that a message needs, on as many threads: 252 RSA-2048 signatures,
//! and SHA-256 over the original, the envelope, its signed entity, and every receipt and its signed
//! entity. Rounds of the two take turns.

use std::{path::PathBuf, time::Duration};

use storage::octets::OctetStoreConfig;

use crate::{
    Failure, house,
    line::{Goal, Line},
    messages,
    pec_local::{Cryptography, cryptography},
    provider::{Provider, SENDER, holder},
};

const RECIPIENTS: usize = 250;
const ROUNDS: u8 = 3;
const NEEDS: Cryptography =
    Cryptography { signatures: RECIPIENTS + 2, verifications: 0, digests: 2 * RECIPIENTS + 3 };

/// Runs the rounds.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(rounds)
}

async fn rounds(folder: PathBuf) -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let provider = Provider::start(&folder, threads, OctetStoreConfig::default()).await?;
    provider.add_holders(RECIPIENTS).await?;
    // As many for each thread: the limit is spread over messages.
    let count = 2 * threads;
    let recipients: Vec<String> = (0..RECIPIENTS).map(holder).collect();
    let (mut in_engine, mut in_limit) = (Duration::ZERO, Duration::ZERO);
    for round in 1..=ROUNDS {
        let made = messages::make_to(u64::from(round), count, SENDER, &recipients.join(",\r\n "));
        let receipts = usize::from(round) * count * (RECIPIENTS + 1);
        in_engine += provider.transmit_to(&recipients, &made, receipts).await?;
        in_limit += cryptography(&provider.key, &made, threads, NEEDS)?;
    }
    provider.stop().await?;
    let all = f64::from(u32::try_from(RECIPIENTS * count * usize::from(ROUNDS))?);
    Ok(Line {
        name: "pec_250",
        unit: "deliveries/s",
        value: all / in_engine.as_secs_f64(),
        limit: all / in_limit.as_secs_f64(),
        goal: Goal::AtLeast(0.7),
    })
}
