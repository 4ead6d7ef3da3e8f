//! `acceptance`: how long 99 of 100 acceptance receipts take, from the end of the submission to the
//! sender's mailbox, durable, while transmissions of 20 KB within one provider come at half of the
//! rate that it sustains. The rate is measured in the same run, as in `pec_local`.
//!
//! The limit is the contract's quarter of a second. Delays are those that the program itself counts,
//! in classes of an eighth, rounded up.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ceralacca::service_levels::delays::DelayKind;
use storage::{mailbox::view::MailboxView as _, octets::OctetStoreConfig};
use tokio::task::JoinSet;

use crate::{
    Failure, house,
    line::{Goal, Line},
    messages,
    provider::{MESSAGES_PER_SUBMITTER, Provider, RECIPIENT, SENDER, submit},
};

const SUBMITTERS: usize = 32;
/// Transmissions at half of the rate.
const PACED: usize = 2_000;
const LIMIT_MILLIS: f64 = 250.0;

/// Runs it.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(run)
}

async fn run(folder: PathBuf) -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let provider = Provider::start(&folder, threads, OctetStoreConfig::default()).await?;
    let count = SUBMITTERS * MESSAGES_PER_SUBMITTER;
    let took = provider.transmit(&messages::make_to(1, count, SENDER, RECIPIENT), 0).await?;
    let rate = house::per_second(count, took)?;
    // What full load made wait is not counted.
    provider.forget_delays().await?;
    let account = provider.sender().await?;
    let inbox = account.mailbox_by_name("INBOX").await?;
    let mut pace = tokio::time::interval(Duration::from_secs_f64(2.0 / rate));
    let mut submissions = JoinSet::new();
    for message in messages::make_to(2, PACED, SENDER, RECIPIENT) {
        pace.tick().await;
        let access_point = Arc::clone(provider.access_point());
        submissions
            .spawn(async move { submit(&access_point, &[RECIPIENT.to_owned()], &message).await });
        while let Some(submitted) = submissions.try_join_next() {
            submitted??;
        }
    }
    while let Some(submitted) = submissions.join_next().await {
        submitted??;
    }
    let mut changes = account.changes();
    while inbox.state().await?.exists < 2 * (count + PACED) as u64 {
        changes.changed().await?;
    }
    let (half, most) = provider.delays(DelayKind::Acceptance).await?;
    crate::tell(&format!(
        "NOTE acceptance: {:.0} transmissions/s, half of what is sustained; receipts within {half} ms (half), {most} ms (99 of 100)",
        rate / 2.0
    ));
    provider.stop().await?;
    Ok(Line {
        name: "acceptance",
        unit: "ms",
        value: f64::from(u32::try_from(most)?),
        limit: LIMIT_MILLIS,
        goal: Goal::AtMost(1.0),
    })
}
