//! `massive`: one account of a massive plan sends 2,500 messages of 200 KB a minute for ten minutes,
//! each to another recipient of the same provider; every receipt is durable in its mailbox.
//!
//! The value is how many transmissions a minute were whole, delivery receipt included, from the first
//! submission to the last receipt; the limit is what the plan allows, at which messages are submitted.
//! Beside it: how long the acceptance receipt took, from the end of the submission. The plan of 1,200
//! messages a minute is within it. A submission that the plan puts off, because pace and window
//! differ by a moment, is made again.
//!
//! `CERALACCA_BENCH_MASSIVE_MINUTES` shortens the run.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ceralacca::{pec::access_point::AccessPoint, service_levels::delays::DelayKind};
use storage::{mailbox::view::MailboxView as _, octets::OctetStoreConfig};
use tokio::task::JoinSet;

use crate::{
    Failure, house,
    line::{Goal, Line},
    messages,
    provider::{Provider, SENDER, holder, limit_sender, submit},
};

const PER_MINUTE: usize = 2_500;
const MINUTES: usize = 10;
const MINUTES_VARIABLE: &str = "CERALACCA_BENCH_MASSIVE_MINUTES";
const RECIPIENTS: usize = 100;
const OCTETS: usize = 200 << 10;
/// Submissions that wait for their answer at the same time.
const SUBMITTERS: usize = 32;
/// How often, and after which pause, a submission is made.
const TRIES_MAX: usize = 100;
const TRY_PAUSE: Duration = Duration::from_millis(100);

/// Runs it.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(run)
}

async fn run(folder: PathBuf) -> Result<Line, Failure> {
    let minutes = match std::env::var(MINUTES_VARIABLE) {
        Ok(minutes) => minutes.parse()?,
        Err(_) => MINUTES,
    };
    let count = PER_MINUTE * minutes;
    let threads = std::thread::available_parallelism()?.get();
    let provider = Provider::start(&folder, threads, OctetStoreConfig::default()).await?;
    provider.add_holders(RECIPIENTS).await?;
    limit_sender(provider.store(), u32::try_from(PER_MINUTE)?).await?;
    let account = provider.sender().await?;
    let inbox = account.mailbox_by_name("INBOX").await?;
    let mut pace = tokio::time::interval(Duration::from_mins(1) / u32::try_from(PER_MINUTE)?);
    let mut submissions = JoinSet::new();
    let began = Instant::now();
    for number in 0..count {
        pace.tick().await;
        if submissions.len() >= SUBMITTERS
            && let Some(submitted) = submissions.join_next().await
        {
            submitted??;
        }
        let (access_point, recipient) =
            (Arc::clone(provider.access_point()), holder(number % RECIPIENTS));
        submissions.spawn(async move {
            let message = messages::make_sized(number as u64, OCTETS, SENDER, &recipient);
            submit_patiently(&access_point, &[recipient], &message).await
        });
    }
    while let Some(submitted) = submissions.join_next().await {
        submitted??;
    }
    let submitted = began.elapsed();
    let mut changes = account.changes();
    while inbox.state().await?.exists < 2 * count as u64 {
        changes.changed().await?;
    }
    let whole = began.elapsed();
    let (half, most) = provider.delays(DelayKind::Acceptance).await?;
    crate::tell(&format!(
        "NOTE massive: {count} messages submitted in {:.1} s, all receipts there {:.1} s later; acceptance \
         receipts within {half} ms (half), {most} ms (99 of 100)",
        submitted.as_secs_f64(),
        whole.saturating_sub(submitted).as_secs_f64(),
    ));
    provider.stop().await?;
    Ok(Line {
        name: "massive",
        unit: "transmissions/min",
        value: house::per_second(count, whole)? * 60.0,
        limit: f64::from(u32::try_from(PER_MINUTE)?),
        goal: Goal::AtLeast(0.99),
    })
}

/// Submits as a program does that is told to come again.
async fn submit_patiently(
    access_point: &AccessPoint,
    recipients: &[String],
    message: &[u8],
) -> Result<(), Failure> {
    for _ in 1..TRIES_MAX {
        if submit(access_point, recipients, message).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(TRY_PAUSE).await;
    }
    submit(access_point, recipients, message).await
}
