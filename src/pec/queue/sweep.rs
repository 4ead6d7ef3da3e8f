//! What age alone decides: rows whose time is over leave the queue, whatever their destinations do,
//! and senders to ordinary mail hear that a message is late.
//!
//! Rows of `outgoing_queue` stand in the order in which they were queued, so a look begins at the
//! oldest and ends at the first that is young enough.
//!
//! Here the queue is also measured, for the metrics.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use storage::{
    catalog::engine::{Entries, Scan},
    error::StoreError,
};
use tokio::{sync::watch, time::Instant};
use trust::clock::UnixMillis;

use super::order::forget_failure;
use crate::{
    metrics_names,
    pec::{
        disposal::drawn,
        engine::{PecEngine, PecError},
        records::{Due, OUTGOING_QUEUE, QueueId, QueueKind, QueueRecord, decode},
        relay,
    },
};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Rows read at a time.
const PAGE: usize = 200;

/// After this time a look begins at the very first row again: a release of held duties puts old
/// rows back.
const AFRESH: Duration = Duration::from_mins(10);

/// How long a destination to which nothing goes is remembered as failing.
const FAILURE_KEPT_MILLIS: i64 = 24 * 3_600_000;

/// Measuring takes at most this share of the time: one in so many.
const MEASURING_SHARE: u32 = 20;

/// The shortest pause between two measures.
const MEASURE_PAUSE: Duration = Duration::from_secs(15);

/// Looks again and again until `shutdown` turns true.
pub(super) async fn run(engine: Arc<PecEngine>, mut shutdown: watch::Receiver<bool>) {
    let (mut expired, mut late) = (Bytes::new(), Bytes::new());
    let mut afresh = Instant::now() + AFRESH;
    let mut measure = Instant::now();
    // The time of answers that waited while the server stood still runs from its start (`Entry::end`): they
    // were passed over, and end with this instant.
    let lifetime = engine.settings().queue_lifetime_millis;
    let mut answers_end = Some(engine.queue().began().plus_millis(lifetime));
    loop {
        if answers_end.is_some_and(|end| end <= engine.now()) {
            (expired, answers_end) = (Bytes::new(), None);
        }
        expired = look(&engine, expired, &shutdown, Age::Over).await;
        late = look(&engine, late, &shutdown, Age::Late).await;
        forget_failures(&engine).await;
        if Instant::now() >= afresh {
            (expired, late) = (Bytes::new(), Bytes::new());
            afresh = Instant::now() + AFRESH;
        }
        if Instant::now() >= measure {
            let begun = Instant::now();
            if let Err(error) = measure_queue(&engine).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot measure the outgoing queue"
                );
            }
            measure = Instant::now() + MEASURE_PAUSE.max(begun.elapsed() * MEASURING_SHARE);
        }
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Age {
    /// The queue's time is over.
    Over,
    /// The sender is to be told that it is late.
    Late,
}

impl Age {
    /// From which age on; `None` = never.
    fn least_millis(self, engine: &PecEngine) -> Option<i64> {
        let settings = engine.settings();
        match self {
            Self::Over => Some(settings.queue_lifetime_millis),
            Self::Late => Some(settings.delay_notice_millis).filter(|millis| *millis > 0),
        }
    }

    fn concerns(self, record: &QueueRecord) -> bool {
        match self {
            Self::Over => true,
            Self::Late => {
                let ordinary = record.ordinary && record.kind() == QueueKind::TransportEnvelope;
                ordinary && record.recipients.iter().any(relay::hears_of_delay)
            }
        }
    }
}

/// Looks at the rows that are old enough, from the key `from` on. Returns where to begin next time.
async fn look(
    engine: &Arc<PecEngine>,
    from: Bytes,
    shutdown: &watch::Receiver<bool>,
    age: Age,
) -> Bytes {
    match pass(engine, &from, shutdown, age).await {
        Ok(next) => next,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot look for messages that are too old in the queue"
            );
            from
        }
    }
}

async fn pass(
    engine: &Arc<PecEngine>,
    from: &Bytes,
    shutdown: &watch::Receiver<bool>,
    age: Age,
) -> Result<Bytes, StoreError> {
    let Some(least) = age.least_millis(engine) else { return Ok(from.clone()) };
    let mut scan = Scan { start: from.clone(), ..Scan::prefix(OUTGOING_QUEUE, b"", PAGE) };
    // The first row that has to be looked at again.
    let mut stays: Option<Bytes> = None;
    loop {
        let page = engine.store().engine().scan(&scan).await?;
        let complete = page.len() < PAGE;
        for (key, value) in page {
            let Some(record) = readable(&key, &value) else { continue };
            let age_millis = |since: i64| engine.now().0.saturating_sub(since);
            if age_millis(drawn(&key).0) < least || *shutdown.borrow() {
                return Ok(stays.unwrap_or(key));
            }
            scan.start = [key.as_ref(), &[0]].concat().into();
            // A release has given it a new age: it is found by a later look from the first row on.
            if age_millis(record.queued_millis) < least {
                continue;
            }
            let id = QueueId::from_octets(OUTGOING_QUEUE, &key)?;
            if age.concerns(&record) && !settled(engine, id, age).await {
                stays.get_or_insert(key);
            }
        }
        if complete {
            return Ok(stays.unwrap_or(scan.start));
        }
    }
}

/// Does what the age of a row asks for; false when it could not be done now.
async fn settled(engine: &Arc<PecEngine>, id: QueueId, age: Age) -> bool {
    let Some(claim) = engine.queue().claim(id) else { return false };
    let done: Result<(), PecError> = match age {
        Age::Over => relay::expire(engine, id, &claim).await,
        Age::Late => relay::tell_of_delay(engine, id, &claim).await,
    };
    // A row that stays has its turn in the catalog, and may have lost it here.
    let again = match age {
        Age::Over => None,
        Age::Late => due(engine, id).await,
    };
    claim.release(again, engine.now());
    if let Err(error) = &done {
        tracing::error!(
            %id,
            ?age,
            error = error as &dyn std::error::Error,
            "the sender of a message that is too old cannot be told: it is tried again"
        );
    }
    // What no later try can mend is left for the next look from the first row on.
    done.map_or_else(|error| !error.is_temporary(), |()| true)
}

async fn due(engine: &PecEngine, id: QueueId) -> Option<Due> {
    let found = engine.record::<QueueRecord>(OUTGOING_QUEUE, &id.0).await;
    found.ok().flatten().and_then(|(record, _)| record.due(id))
}

fn readable(key: &Bytes, value: &Bytes) -> Option<QueueRecord> {
    // `store check` names what cannot be read.
    decode(OUTGOING_QUEUE, key, value).ok()
}

async fn forget_failures(engine: &PecEngine) {
    let before = UnixMillis(engine.now().0.saturating_sub(FAILURE_KEPT_MILLIS));
    let forgotten = engine.queue().schedule().forgotten(before);
    for lane in forgotten {
        forget_failure(engine, lane).await;
    }
}

/// Counts the rows and finds the oldest.
async fn measure_queue(engine: &PecEngine) -> Result<(), StoreError> {
    let (mut waiting, mut held) = (0_u32, 0_u32);
    let mut oldest: Option<i64> = None;
    let mut scan = Scan::prefix(OUTGOING_QUEUE, b"", PAGE);
    loop {
        let page: Entries = engine.store().engine().scan(&scan).await?;
        for (key, value) in &page {
            let Some(record) = readable(key, value) else { continue };
            let count = if record.is_held() { &mut held } else { &mut waiting };
            *count = count.saturating_add(1);
            oldest = Some(oldest.map_or(record.queued_millis, |at| at.min(record.queued_millis)));
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => {
                scan.start = [last.as_ref(), &[0]].concat().into();
            }
            _ => break,
        }
    }
    let age_millis = oldest.map_or(0, |at| engine.now().0.saturating_sub(at).max(0));
    let age_seconds = u32::try_from(age_millis / 1_000).unwrap_or(u32::MAX);
    let (busy, failing) = engine.queue().busy_and_failing();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    metrics::gauge!(metrics_names::QUEUE_MESSAGES, "state" => "waiting").set(waiting);
    metrics::gauge!(metrics_names::QUEUE_MESSAGES, "state" => "held").set(held);
    metrics::gauge!(metrics_names::QUEUE_OLDEST).set(age_seconds);
    metrics::gauge!(metrics_names::OUTGOING_BUSY).set(number(busy));
    metrics::gauge!(metrics_names::DESTINATIONS_FAILING).set(number(failing));
    Ok(())
}
