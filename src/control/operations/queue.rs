//! `queue list`, `show`, `retry`, `hold`, `release` and `drop`.

use serde::{Deserialize, Serialize};
use storage::error::StoreError;
use trust::clock::{Clock as _, SystemClock, UnixMillis};

use crate::{
    control::{Kind, Operation, OperationError, Progress, Run, Site},
    pec::{
        engine::EngineSettings,
        queue::orders::{self, Obeyed, Order, Queue, QueueState, Queued, Selection},
        records::{LaneId, OUTGOING_QUEUE, QueueId, QueueKind, QueueRecipient, ReturnedPart},
    },
    texts::Text,
};

/// Rows that one order changes at most; more are given with several.
const CHANGED_MAX: usize = 1_000_000;

/// Which messages are meant.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QueueFilter {
    /// These.
    #[serde(default)]
    pub ids: Option<Vec<String>>,
    /// To this domain.
    #[serde(default)]
    pub domain: Option<String>,
    /// From this sender.
    #[serde(default)]
    pub sender: Option<String>,
    /// In this state: [`QueueState::word`].
    #[serde(default)]
    pub state: Option<String>,
    /// Queued so many milliseconds ago, or longer.
    #[serde(default)]
    pub age_millis: Option<i64>,
}

impl QueueFilter {
    fn selection(&self) -> Result<Selection, OperationError> {
        let ids = self.ids.as_ref().map(|ids| ids.iter().map(|id| queue_id(id)).collect());
        let state = self.state.as_ref().map(|word| state_of(word));
        Ok(Selection {
            ids: ids.transpose()?,
            domain: self.domain.as_ref().map(|domain| domain.to_ascii_lowercase()),
            sender: self.sender.clone(),
            state: state.transpose()?,
            age_millis: self.age_millis,
        })
    }
}

fn queue_id(text: &str) -> Result<QueueId, OperationError> {
    let mut octets = [0; 16];
    hex::decode_to_slice(text, &mut octets).map(|()| QueueId(octets)).map_err(|_| {
        OperationError::new(
            Kind::Invalid,
            Text::filled(
                format!("\"{text}\" non è un messaggio in coda: 32 cifre, come in `queue list`"),
                format!("\"{text}\" is no queued message: 32 digits, as in `queue list`"),
            ),
        )
    })
}

fn state_of(word: &str) -> Result<QueueState, OperationError> {
    QueueState::ALL.into_iter().find(|state| state.word() == word).ok_or_else(|| {
        let words: Vec<&str> = QueueState::ALL.into_iter().map(QueueState::word).collect();
        let words = words.join(", ");
        OperationError::new(
            Kind::Invalid,
            Text::filled(
                format!("\"{word}\" non è uno stato: {words}"),
                format!("\"{word}\" is no state: {words}"),
            ),
        )
    })
}

/// The queue of `site`, with what its server is at when one runs.
async fn read(site: &Site, now: UnixMillis) -> Result<Queue<'_>, StoreError> {
    let engine = site.engine.clone();
    Queue::read(&**site.store.engine(), now, move |id| {
        engine.as_ref().is_some_and(|engine| engine.queue().is_claimed(id))
    })
    .await
}

/// Asks for the queue.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QueueList {
    /// Which messages.
    #[serde(default)]
    pub filter: QueueFilter,
    /// How many at most.
    pub limit: usize,
}

/// What there is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QueueListed {
    /// The oldest first.
    pub messages: Vec<QueuedView>,
    /// Those beyond the limit.
    pub left_out: u64,
}

/// A queued message.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct QueuedView {
    /// Names it in the other commands.
    pub id: String,
    /// [`QueueState::word`].
    pub state: String,
    /// `envelope`, `receipt` or `report`.
    pub kind: String,
    /// The destination.
    pub domain: String,
    /// The reverse path.
    pub sender: String,
    /// Those that still wait.
    pub recipients: Vec<String>,
    /// When it was queued, in ms since 1970.
    pub queued_millis: i64,
    /// Attempts at this message that came to nothing.
    pub attempts: u32,
    /// When it is tried next, in ms since 1970; `None` while it is held.
    pub next_attempt_millis: Option<i64>,
    /// The last answer or error.
    pub last_answer: String,
    /// The server that gave it.
    pub last_server: String,
    /// TLS of the last connection.
    pub tls: String,
    /// Why it is held.
    pub held_why: String,
}

impl QueuedView {
    fn of(row: Queued) -> Self {
        let next_attempt_millis = row.next_attempt().map(|at| at.0);
        let last_answer = row.last_answer().to_owned();
        let kind = match row.record.kind() {
            QueueKind::TransportEnvelope => "envelope",
            QueueKind::Notification => "receipt",
            QueueKind::StatusNotification => "report",
        };
        let record = row.record;
        Self {
            id: row.id.to_string(),
            state: row.state.word().to_owned(),
            kind: kind.to_owned(),
            domain: record.domain,
            sender: record.reverse_path,
            recipients: record.recipients.into_iter().map(|one| one.address).collect(),
            queued_millis: record.queued_millis,
            attempts: record.attempts,
            next_attempt_millis,
            last_answer,
            last_server: record.last_server,
            tls: record.tls,
            held_why: record.held_why,
        }
    }
}

#[async_trait::async_trait]
impl Operation for QueueList {
    const NAME: &'static str = "queue/list";

    type Outcome = QueueListed;

    async fn run(&self, site: &Site, run: &Run) -> Result<QueueListed, OperationError> {
        let selection = self.filter.selection()?;
        let queue = run.reading(read(site, SystemClock.now())).await??;
        let (rows, left_out) = run.reading(queue.list(&selection, self.limit)).await??;
        Ok(QueueListed { messages: rows.into_iter().map(QueuedView::of).collect(), left_out })
    }
}

/// Asks for one message.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QueueShow {
    /// Which.
    pub id: String,
}

/// Everything about one queued message.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct QueuedDetails {
    /// What the list says too.
    #[serde(flatten)]
    pub message: QueuedView,
    /// The PEC identifier, for an envelope.
    pub identifier: Option<String>,
    /// The subject of the original, for an envelope.
    pub subject: Option<String>,
    /// Octets of the message; `None` when it is gone.
    pub octets: Option<u64>,
    /// Whether its recipients are outside certified mail.
    pub ordinary: bool,
    /// The sender's own name for the transaction (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
    /// How much of the message reports return: `full`, `headers`.
    pub returned: Option<String>,
    /// What each recipient that waits is told of, in the order of the recipients.
    pub recipients_asked: Vec<RecipientView>,
    /// Attempts at its destination that came to nothing, one after the other.
    pub destination_failures: u32,
    /// Since when its destination does not answer, in ms since 1970.
    pub destination_since_millis: Option<i64>,
    /// A policy on TLS is not satisfied.
    pub policy_failure: bool,
}

/// What the sender asked about one recipient.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RecipientView {
    /// The forward path.
    pub address: String,
    /// The value of NOTIFY; `None` when nothing was said.
    pub notify: Option<String>,
    /// The recipient as the first sender named him.
    pub original_recipient: Option<String>,
}

impl RecipientView {
    fn of(recipient: &QueueRecipient) -> Self {
        let notify = protocols::smtp::grammar::Notify::from_number(recipient.notify);
        Self {
            address: recipient.address.clone(),
            notify: notify.value(),
            original_recipient: recipient.original_recipient.clone(),
        }
    }
}

fn unknown(id: &str) -> OperationError {
    OperationError::new(
        Kind::NotFound,
        Text::filled(
            format!("{id} non è in coda: `ceralacca queue list` mostra ciò che attende"),
            format!("{id} is not in the queue: `ceralacca queue list` shows what waits"),
        ),
    )
}

#[async_trait::async_trait]
impl Operation for QueueShow {
    const NAME: &'static str = "queue/show";

    type Outcome = QueuedDetails;

    async fn run(&self, site: &Site, run: &Run) -> Result<QueuedDetails, OperationError> {
        let id = queue_id(&self.id)?;
        let queue = run.reading(read(site, SystemClock.now())).await??;
        let row = queue.find(id).await?.ok_or_else(|| unknown(&self.id))?;
        let transmission = queue.transmission(&row.record).await?;
        let octets = match queue.message(&row.record).await? {
            Some(held) => site.store.held(held).await?.map(|held| held.size()),
            None => None,
        };
        let failing = row.destination.clone();
        let returned = match row.record.returned() {
            ReturnedPart::Unspecified => None,
            ReturnedPart::Full => Some("full".to_owned()),
            ReturnedPart::Headers => Some("headers".to_owned()),
        };
        Ok(QueuedDetails {
            identifier: transmission.as_ref().map(|record| record.identifier.clone()),
            subject: transmission.map(|record| record.subject),
            octets,
            ordinary: row.record.ordinary,
            envelope_id: row.record.envelope_id.clone(),
            returned,
            recipients_asked: row.record.recipients.iter().map(RecipientView::of).collect(),
            destination_failures: failing.as_ref().map_or(0, |failing| failing.failures),
            destination_since_millis: failing.as_ref().map(|failing| failing.since_millis),
            policy_failure: failing.is_some_and(|failing| failing.policy),
            message: QueuedView::of(row),
        })
    }
}

/// What to do with messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueOrder {
    /// Try them now.
    Retry,
    /// Do not send them until they are released.
    Hold {
        /// Why, for the journal.
        why: String,
    },
    /// Send held ones again.
    Release,
    /// Give them up: their senders get the notice of a failure.
    Drop {
        /// Why, for the journal.
        why: String,
    },
}

/// Asks for a change of queued messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct QueueChange {
    /// Which messages.
    pub filter: QueueFilter,
    /// What to do.
    pub order: QueueOrder,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct QueueChanged {
    /// Messages that were changed.
    pub changed: u64,
    /// Messages that were so already, or whose state does not allow it.
    pub unchanged: u64,
    /// Messages that are being sent: the order has to be repeated.
    #[serde(default)]
    pub sending: u64,
    /// Messages that were named and are not in the queue.
    pub unknown: u64,
}

#[async_trait::async_trait]
impl Operation for QueueChange {
    const NAME: &'static str = "queue/change";

    type Outcome = QueueChanged;

    async fn run(&self, site: &Site, run: &Run) -> Result<QueueChanged, OperationError> {
        let selection = self.filter.selection()?;
        let ids = self.ids(site, run, &selection).await?;
        let order = match &self.order {
            QueueOrder::Retry => Order::Retry,
            QueueOrder::Hold { why } => Order::Hold { why: why.clone() },
            QueueOrder::Release => Order::Release,
            QueueOrder::Drop { why } => Order::Drop { why: why.clone() },
        };
        let node = EngineSettings::default().node;
        let total = ids.len() as u64;
        let mut outcome = QueueChanged::default();
        for (done, (id, domain)) in (0_u64..).zip(ids) {
            run.go_on()?;
            let what = Text::fixed("messaggi in coda", "queued messages");
            run.tell(Progress::new(what, done, Some(total)));
            let now = SystemClock.now();
            let catalog = &**site.store.engine();
            let obeyed = match &site.engine {
                Some(engine) => {
                    orders::obey_beside(engine.queue(), catalog, id, &order, node, now).await?
                }
                None => orders::obey(catalog, id, &order, node, now).await?,
            };
            match obeyed {
                Obeyed::Gone => outcome.unknown += 1,
                Obeyed::Already(_) => outcome.unchanged += 1,
                Obeyed::Sending => outcome.sending += 1,
                Obeyed::Yes(_) => {
                    outcome.changed += 1;
                    self.hurry(site, domain.as_deref());
                }
            }
        }
        Ok(outcome)
    }
}

impl QueueChange {
    /// The rows that are meant, with their destinations where these were read.
    async fn ids(
        &self,
        site: &Site,
        run: &Run,
        selection: &Selection,
    ) -> Result<Vec<(QueueId, Option<String>)>, OperationError> {
        let queue = run.reading(read(site, SystemClock.now())).await??;
        let (rows, _) = run.reading(queue.list(selection, CHANGED_MAX)).await??;
        let mut ids: Vec<(QueueId, Option<String>)> =
            rows.into_iter().map(|row| (row.id, Some(row.record.domain))).collect();
        // Those that are named and are gone are told of.
        for id in selection.ids.iter().flatten() {
            let gone = site.store.engine().get(OUTGOING_QUEUE, &id.0).await?.is_none();
            if gone && !ids.iter().any(|(found, _)| found == id) {
                ids.push((*id, None));
            }
        }
        Ok(ids)
    }

    /// What is tried again waits for no destination: the running server's schedule has to know.
    fn hurry(&self, site: &Site, domain: Option<&str>) {
        if let (Some(engine), QueueOrder::Retry, Some(domain)) = (&site.engine, &self.order, domain)
        {
            engine.queue().hurry(LaneId::of(domain));
        }
    }
}
