//! `growth`: microseconds per append, by 32 writers to one mailbox, at its fullest mark over that at
//! 1,000 rows. The figures at 1,000, 10,000, 100,000 and 1,000,000 rows are printed beside it.
//!
//! The limit is the time at 1,000 rows. The messages are small and share their chunk, so that a million
//! of them is made in minutes; each mark is the median of several rounds.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use storage::{
    account::Account,
    ids::MailboxId,
    octets::{OctetStoreConfig, StagedMessage},
};

use crate::{
    Failure,
    house::{self, House},
    line::{Goal, Line},
};

const MARKS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const WRITERS: usize = 32;
/// Appenders that fill the mailbox between two marks: as many as are merged into one batch.
const FILLERS: usize = 256;
const ROUND: usize = 1_600;
const ROUNDS: usize = 9;
const SETTLED_WITHIN: Duration = Duration::from_mins(1);

/// Fills the mailbox from mark to mark.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(grow)
}

async fn grow(folder: PathBuf) -> Result<Line, Failure> {
    let house = House::open(&folder, OctetStoreConfig::default(), 1).await?;
    let (account, inbox) = house::inbox(&house.store, 0).await?;
    let text = b"From: anna@pec.alfa.example\r\nSubject: ciao\r\n\r\nciao\r\n";
    let message = Arc::new(house::stage(&house.store, text).await?);
    house::append(&account, inbox, &message).await?;
    // The chunk is in the store now, and every further message shares it.
    let message = Arc::new(house::stage(&house.store, text).await?);
    let mut rows = 1;
    let mut figures = Vec::new();
    for mark in MARKS {
        fill(&account, inbox, &message, FILLERS, mark.saturating_sub(rows)).await?;
        rows = rows.max(mark);
        settle(&house).await?;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(fill(&account, inbox, &message, WRITERS, ROUND).await?);
            rows += ROUND;
        }
        times.sort_unstable();
        let figure = times[ROUNDS / 2].as_secs_f64() * 1e6 / f64::from(u32::try_from(ROUND)?);
        crate::tell(&format!("NOTE growth: {figure:.1} us per append at {mark} rows"));
        figures.push(figure);
    }
    house.close("growth").await?;
    let limit = figures.first().copied().unwrap_or_default();
    let value = figures.iter().copied().fold(0.0, f64::max);
    Ok(Line { name: "growth", unit: "us", value, limit, goal: Goal::AtMost(1.5) })
}

/// Waits until what was filled in is merged: a mailbox grows over years, not within a minute.
async fn settle(house: &House) -> Result<(), Failure> {
    let began = Instant::now();
    while house.engine.is_busy()? && began.elapsed() < SETTLED_WITHIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Appends `count` messages with `writers` at a time, and says how long that took.
async fn fill(
    account: &Account,
    inbox: MailboxId,
    message: &Arc<StagedMessage>,
    writers: usize,
    count: usize,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (account, message) = (account.clone(), Arc::clone(message));
            let share = count / writers + usize::from(writer < count % writers);
            tokio::spawn(async move {
                for _ in 0..share {
                    house::append(&account, inbox, &message).await?;
                }
                Ok::<(), Failure>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(began.elapsed())
}
