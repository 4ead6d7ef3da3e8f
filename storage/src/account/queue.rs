//! The queue of changes of one account, and its change events.
//!
//! Changes that arrive while a batch is being committed wait, and are then merged into one batch
//! that expects the account's head. Invariants:
//!
//! * A change is answered after the batch that holds it is durable, or not at all applied.
//! * A change whose own conditions fail gets [`StoreError::Conflict`] alone: the merged batch is
//!   then taken apart and each change is committed by itself.
//! * A head that another process moved is read again and the changes are worked out anew, inside;
//!   callers never see that conflict.
//! * Whoever drops the future that waits does not stop the change: it runs in its own task.
//!
//! Not here: what a change does (`mailbox`, `tree`, `settings`).

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Semaphore, oneshot, watch};

use super::{draft::Draft, quota, tier};
use crate::{catalog::keys, error::StoreError, ids::AccountId, store::StoreCore};

/// Times a group is worked out anew because another process changed the account meanwhile.
const ATTEMPTS_MAX: usize = 64;

/// One change of an account.
///
/// `apply` may run several times, each time on a fresh draft; only the last run counts.
#[async_trait::async_trait]
pub(crate) trait Change: Send + Sync + 'static {
    /// What the caller gets when the change is durable.
    type Outcome: Send + 'static;

    /// Works the change into `draft`. On error the draft is rolled back.
    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Self::Outcome, StoreError>;

    /// Octets that the change adds to the batch, roughly; bounds how much is merged.
    fn weight(&self) -> usize {
        1_024
    }

    /// Whether it must not be merged with other changes: it reads the catalog past the draft.
    fn is_alone(&self) -> bool {
        false
    }
}

/// What all handles of one account share.
#[derive(Debug)]
pub(crate) struct AccountQueue {
    id: AccountId,
    waiting: Mutex<Waiting>,
    places: Arc<Semaphore>,
    changes: watch::Sender<u64>,
    /// Raised when a message is erased: what readers remember of messages no longer holds.
    erasures: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    changes: VecDeque<Box<dyn Queued>>,
    running: bool,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Waiting")
            .field("changes", &self.changes.len())
            .field("running", &self.running)
            .finish()
    }
}

impl AccountQueue {
    /// An empty queue.
    pub(crate) fn new(id: AccountId, changes_max: usize) -> Self {
        Self {
            id,
            waiting: Mutex::default(),
            places: Arc::new(Semaphore::new(changes_max)),
            changes: watch::Sender::new(0),
            erasures: AtomicU64::new(0),
        }
    }

    /// Makes readers forget what they remember of messages.
    pub(crate) fn forget_messages(&self) {
        self.erasures.fetch_add(1, Ordering::Release);
    }

    /// A number that changes when readers have to forget what they remember of messages.
    pub(crate) fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::Acquire)
    }

    /// A receiver that is marked changed after every committed change; the value is the account's
    /// last MODSEQ.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Queues `change` and waits until it is durable. Waits for a place first when the queue is
    /// full.
    pub(crate) async fn submit<C: Change>(
        self: &Arc<Self>,
        core: &Arc<StoreCore>,
        change: C,
    ) -> Result<C::Outcome, StoreError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let _place = place.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let queued = Box::new(Waiter { change, outcome: None, reply: Some(reply) });
        let start = {
            let mut waiting = self.lock();
            waiting.changes.push_back(queued);
            !std::mem::replace(&mut waiting.running, true)
        };
        if start {
            let running = Running { queue: Arc::clone(self), finished: false };
            core.tasks.spawn(run(Arc::clone(core), running));
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next changes to merge; empty = none is waiting, and nothing runs any more.
    fn take_group(&self, core: &StoreCore) -> Vec<Box<dyn Queued>> {
        let mut waiting = self.lock();
        let mut group: Vec<Box<dyn Queued>> = Vec::new();
        let mut weight = 0;
        while let Some(next) = waiting.changes.front() {
            weight += next.weight();
            let full = group.len() >= core.limits.merged_changes_max
                || weight > core.limits.merged_octets_max
                || next.is_alone();
            if full && !group.is_empty() {
                break;
            }
            let alone = next.is_alone();
            group.extend(waiting.changes.pop_front());
            if alone {
                break;
            }
        }
        if group.is_empty() {
            waiting.running = false;
        }
        group
    }
}

/// Ends the run also when its task is dropped or panics, so that the next change starts another.
struct Running {
    queue: Arc<AccountQueue>,
    /// The queue was found empty: from then on a new change starts a new run, which this one must
    /// not end.
    finished: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished {
            let mut waiting = self.queue.lock();
            waiting.running = false;
            waiting.changes.clear();
        }
    }
}

async fn run(core: Arc<StoreCore>, mut running: Running) {
    let queue = Arc::clone(&running.queue);
    loop {
        let mut group = queue.take_group(&core);
        if group.is_empty() {
            running.finished = true;
            return;
        }
        while !group.is_empty() {
            let (merged, outcome) = commit(&core, &queue, &mut group).await;
            if merged > 1 && matches!(outcome, Answer::Conflict) {
                let rest = group.split_off(merged);
                one_by_one(&core, &queue, std::mem::replace(&mut group, rest)).await;
            } else {
                group.drain(..merged).for_each(|change| change.answer(&outcome));
            }
        }
    }
}

async fn one_by_one(core: &StoreCore, queue: &AccountQueue, group: Vec<Box<dyn Queued>>) {
    for change in group {
        let mut alone = [change];
        let (_, outcome) = commit(core, queue, &mut alone).await;
        let [change] = alone;
        change.answer(&outcome);
    }
}

/// Works the first changes of `group` into one batch and commits it, again while the head moves.
/// Returns how many changes it took (at least one) and what became of them.
async fn commit(
    core: &StoreCore,
    queue: &AccountQueue,
    group: &mut [Box<dyn Queued>],
) -> (usize, Answer) {
    let mut merged = group.len();
    for _ in 0..ATTEMPTS_MAX {
        let attempt;
        (merged, attempt) = match commit_once(core, queue, group).await {
            Ok(attempt) => attempt,
            Err(error) => return (group.len(), Answer::Failed(Arc::new(error))),
        };
        match attempt {
            Attempt::Committed => return (merged, Answer::Committed),
            Attempt::ConditionsFailed => return (merged, Answer::Conflict),
            Attempt::HeadMoved => {}
        }
    }
    (merged, Answer::Conflict)
}

enum Attempt {
    Committed,
    /// A condition that a change brought along does not hold.
    ConditionsFailed,
    /// Another process changed the account.
    HeadMoved,
}

async fn commit_once(
    core: &StoreCore,
    queue: &AccountQueue,
    group: &mut [Box<dyn Queued>],
) -> Result<(usize, Attempt), StoreError> {
    let now = core.clock.now();
    let mut draft = Draft::begin(&core.engine, queue.id, now, &core.limits).await?;
    tier::adopt(&mut draft).await?;
    let mut merged = 0;
    for change in group.iter_mut() {
        let checkpoint = draft.checkpoint();
        if !change.apply(&mut draft).await {
            draft.roll_back(&checkpoint);
        } else if merged > 0 && draft.collides(&checkpoint) {
            draft.roll_back(&checkpoint);
            break;
        } else {
            draft.settle(&checkpoint);
        }
        merged += 1;
    }
    quota::note_level(&mut draft).await?;
    let found_head = draft.found_head().cloned();
    let touched = draft.take_touched();
    let news = draft.has_news();
    let raises = draft.raises_format();
    let Some((batch, mod_seq)) = draft.into_batch() else {
        return Ok((merged, Attempt::Committed));
    };
    if raises {
        core.octets.format.raise().await?;
    }
    match core.engine.commit(batch).await {
        Ok(_) => {
            if news {
                queue.changes.send_replace(mod_seq.0);
            }
            core.note_changes(queue.id, touched);
            Ok((merged, Attempt::Committed))
        }
        Err(StoreError::Conflict) => {
            let head = core.engine.get(keys::ACCOUNT_HEADS, &keys::account(queue.id)).await?;
            let moved = head != found_head;
            Ok((merged, if moved { Attempt::HeadMoved } else { Attempt::ConditionsFailed }))
        }
        Err(error) => Err(error),
    }
}

enum Answer {
    Committed,
    Conflict,
    Failed(Arc<StoreError>),
}

/// A change of any type in the queue.
#[async_trait::async_trait]
trait Queued: Send {
    /// Applies the change, keeps its outcome, and says whether it worked.
    async fn apply(&mut self, draft: &mut Draft<'_>) -> bool;
    fn answer(self: Box<Self>, answer: &Answer);
    fn weight(&self) -> usize;
    fn is_alone(&self) -> bool;
}

struct Waiter<C: Change> {
    change: C,
    outcome: Option<Result<C::Outcome, StoreError>>,
    reply: Option<oneshot::Sender<Result<C::Outcome, StoreError>>>,
}

#[async_trait::async_trait]
impl<C: Change> Queued for Waiter<C> {
    async fn apply(&mut self, draft: &mut Draft<'_>) -> bool {
        let outcome = self.change.apply(draft).await;
        let works = outcome.is_ok();
        self.outcome = Some(outcome);
        works
    }

    fn answer(mut self: Box<Self>, answer: &Answer) {
        // A change that was refused by itself keeps its own reason. One that was never worked out
        // failed with the batch.
        let outcome = match (answer, self.outcome.take()) {
            (_, Some(Err(refused))) => Err(refused),
            (Answer::Committed, Some(Ok(outcome))) => Ok(outcome),
            (Answer::Conflict, _) => Err(StoreError::Conflict),
            (Answer::Failed(error), _) => Err(shared(error)),
            (Answer::Committed, None) => Err(StoreError::Closed),
        };
        if let Some(reply) = self.reply.take() {
            // Whoever asked may be gone; the change stands all the same.
            let _ = reply.send(outcome);
        }
    }

    fn weight(&self) -> usize {
        self.change.weight()
    }

    fn is_alone(&self) -> bool {
        self.change.is_alone()
    }
}

/// One failure for each of the callers whose changes were merged.
fn shared(error: &Arc<StoreError>) -> StoreError {
    match error.as_ref() {
        StoreError::Closed => StoreError::Closed,
        StoreError::Conflict => StoreError::Conflict,
        StoreError::NoSuchAccount(id) => StoreError::NoSuchAccount(*id),
        StoreError::Damaged { object, detail } => {
            StoreError::Damaged { object: object.clone(), detail: detail.clone() }
        }
        StoreError::TooNew { object, found, known } => {
            StoreError::TooNew { object: object.clone(), found: *found, known: *known }
        }
        _ => StoreError::Engine { operation: "commit", source: Box::new(Arc::clone(error)) },
    }
}
