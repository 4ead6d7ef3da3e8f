//! `append`: messages of 20 KB per second, appended by 32 writers, each to its own account, each
//! counted when it is durable.
//!
//! The limit is [`crate::appender`] with as many writers, on the same runtime, in the same folder.
//! Rounds of the two take turns, so that neither has the machine at a better moment. Making the
//! messages is not timed.

use std::{
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use storage::{octets::OctetStoreConfig, store::Store};

use crate::{
    Failure,
    appender::{Appender, whole},
    house::{self, House},
    line::{Goal, Line},
    messages,
};

const WRITERS: usize = 32;
const MESSAGES_PER_WRITER: usize = 100;
const ROUNDS: u8 = 5;

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
            async move { append_all(&store, writer, &share).await }
        })
        .await?;
        in_file += timed(&shares, |_, share| {
            let appender = Arc::clone(&appender);
            async move {
                for message in share.iter() {
                    appender.append(message, whole(message)).await?;
                }
                Ok(())
            }
        })
        .await?;
    }
    house.close("append").await?;
    let count = WRITERS * MESSAGES_PER_WRITER * usize::from(ROUNDS);
    Ok(Line {
        name: "append",
        unit: "messages/s",
        value: house::per_second(count, in_store)?,
        limit: house::per_second(count, in_file)?,
        goal: Goal::AtLeast(0.6),
    })
}

/// The messages of one writer.
pub(crate) type Share<T> = Arc<Vec<T>>;

/// New messages for every writer of a round.
fn shares(round: u64) -> Vec<Share<Vec<u8>>> {
    let all = messages::make(round, WRITERS * MESSAGES_PER_WRITER);
    all.chunks(MESSAGES_PER_WRITER).map(|share| Arc::new(share.to_vec())).collect()
}

/// How long all writers together take for their shares.
pub(crate) async fn timed<T, F>(
    shares: &[Share<T>],
    write: impl Fn(usize, Share<T>) -> F,
) -> Result<Duration, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let began = Instant::now();
    let writers: Vec<_> = shares
        .iter()
        .enumerate()
        .map(|(writer, share)| tokio::spawn(write(writer, Arc::clone(share))))
        .collect();
    for writer in writers {
        writer.await??;
    }
    Ok(began.elapsed())
}

/// Appends a writer's share to his INBOX.
pub(crate) async fn append_all(
    store: &Store,
    writer: usize,
    share: &[Vec<u8>],
) -> Result<(), Failure> {
    let (account, inbox) = house::inbox(store, writer).await?;
    for message in share {
        let staged = house::stage(store, message).await?;
        house::append(&account, inbox, &staged).await?;
    }
    Ok(())
}
