//! `append_1mb`: messages with a PDF of 1 MB per second, appended by 8 writers, each to its own account,
//! each counted when it is durable.
//!
//! The limit is [`crate::appender`]: SHA-256 of the message as it came, BLAKE3 and zstd level 1 of
//! the file inside, which is less than the base64 around it, one append, one sync. Rounds take turns.

use std::{path::PathBuf, sync::Arc, time::Duration};

use storage::octets::OctetStoreConfig;

use crate::{
    Failure,
    append::{Share, timed},
    appender::Appender,
    house::{self, House},
    line::{Goal, Line},
    messages::{self, Large},
};

const WRITERS: usize = 8;
const MESSAGES_PER_WRITER: usize = 6;
const ROUNDS: u8 = 3;

/// Runs the rounds.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(rounds)
}

async fn rounds(folder: PathBuf) -> Result<Line, Failure> {
    let house = House::open(&folder, OctetStoreConfig::default(), WRITERS).await?;
    let appender = Arc::new(Appender::create(&folder.join("appended"))?);
    let (mut in_store, mut in_file) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let shares = shares(round.into());
        in_store += timed(&shares, |writer, share| {
            let store = Arc::clone(&house.store);
            async move {
                let (account, inbox) = house::inbox(&store, writer).await?;
                for large in share.iter() {
                    let staged = house::stage(&store, &large.message).await?;
                    house::append(&account, inbox, &staged).await?;
                }
                Ok(())
            }
        })
        .await?;
        in_file += timed(&shares, |_, share| {
            let appender = Arc::clone(&appender);
            async move {
                for large in share.iter() {
                    appender.append(&large.message, &large.pdf).await?;
                }
                Ok(())
            }
        })
        .await?;
    }
    house.close("append_1mb").await?;
    let count = WRITERS * MESSAGES_PER_WRITER * usize::from(ROUNDS);
    Ok(Line {
        name: "append_1mb",
        unit: "messages/s",
        value: house::per_second(count, in_store)?,
        limit: house::per_second(count, in_file)?,
        goal: Goal::AtLeast(0.5),
    })
}

fn shares(round: u64) -> Vec<Share<Large>> {
    let (sender, recipient) = ("anna@pec.alfa.example", "bruno@pec.beta.example");
    let make = |writer| {
        let seed = round * 1_000 + u64::try_from(writer).unwrap_or(0);
        Arc::new(messages::make_large(seed, MESSAGES_PER_WRITER, sender, recipient))
    };
    (0..WRITERS).map(make).collect()
}
