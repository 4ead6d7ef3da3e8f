//! `message/erase`: takes the octets of a message away, and says where else they are.

use ::snapshots::keep::holds::HoldOf;
use serde::{Deserialize, Serialize};
use storage::{
    error::StoreError, find::Holder, ids::EmailNumber, octets::ErasureReason, store::Store,
};
use trust::clock::{Clock as _, SystemClock};

use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    pec::{
        engine::EngineSettings,
        erasure::{self, ErasureError, ErasureOrder, ErasurePlan, Fate},
    },
    texts::Text,
};

/// Asks for an erasure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MessageErase {
    /// The account's address.
    pub account: String,
    /// The message's number in it.
    pub id: u64,
    /// The kind of reason.
    pub category: Category,
    /// The reason, for the journal.
    pub reason: String,
    /// Who gave the word, for the journal.
    pub actor: String,
    /// Also the same message in other accounts and in the engine's records.
    #[serde(default)]
    pub everywhere: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// The kind of reason.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// An order of a court or of the data protection authority.
    Authority,
    /// The right of the person concerned.
    DataSubject,
    /// Anything else.
    Other,
}

/// What was, or would be, done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EraseOutcome {
    /// Nothing was changed.
    pub dry_run: bool,
    /// SHA-256 of the message.
    pub sha256: String,
    /// Octets of the message.
    pub octets: u64,
    /// Where its octets are, the message itself last.
    pub places: Vec<PlaceView>,
    /// The legal holds under which places stay that were to be erased.
    #[serde(default)]
    pub holds: Vec<HoldView>,
}

/// A legal hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HoldView {
    /// The account's address.
    pub account: String,
    /// The snapshot that is held; `None` when all of the account are.
    pub snapshot: Option<String>,
    /// Why.
    pub reason: String,
}

/// One place where octets of the message are.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PlaceView {
    /// The account's address; `None` for a message that the engine holds.
    pub account: Option<String>,
    /// The message's number, or the name of the held message.
    pub id: String,
    /// What becomes of it.
    pub fate: FateView,
}

/// What becomes of a place.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FateView {
    /// It is erased, or would be.
    Erased,
    /// The same message; it stays.
    Same,
    /// It shares octets; it stays.
    Related,
    /// The same message, still on its way; it stays.
    Busy,
    /// The same message, under a legal hold; it stays.
    UnderHold,
}

#[async_trait::async_trait]
impl Operation for MessageErase {
    const NAME: &'static str = "message/erase";

    type Outcome = EraseOutcome;

    async fn run(&self, site: &Site, run: &Run) -> Result<EraseOutcome, OperationError> {
        let store = &site.store;
        let found = store.account_by_address(&self.account).await?;
        let (account, _) = found.ok_or_else(|| self.not_found())?;
        let number = EmailNumber(self.id);
        let planning = erasure::plan(store, account, number, self.everywhere);
        let mut plan = run.reading(planning).await?.map_err(|error| self.refusal(error))?;
        if !self.dry_run {
            let erased = erasure::erase(store, &mut plan, &self.order()).await;
            erased.map_err(|error| self.refusal(error))?;
        }
        self.outcome(store, &plan).await
    }
}

impl MessageErase {
    fn order(&self) -> ErasureOrder {
        ErasureOrder {
            category: match self.category {
                Category::Authority => ErasureReason::Authority,
                Category::DataSubject => ErasureReason::DataSubject,
                Category::Other => ErasureReason::Other,
            },
            reason: self.reason.clone(),
            actor: self.actor.clone(),
            instant: SystemClock.now(),
            node: EngineSettings::default().node,
        }
    }

    fn not_found(&self) -> OperationError {
        let Self { account, id, .. } = self;
        OperationError::new(
            Kind::NotFound,
            Text::filled(
                format!(
                    "la casella {account} non ha un messaggio {id}: controllare indirizzo e numero"
                ),
                format!("account {account} has no message {id}: check address and number"),
            ),
        )
    }

    fn refusal(&self, error: ErasureError) -> OperationError {
        match error {
            ErasureError::UnderHold { hold, .. } => self.under_hold(&hold),
            ErasureError::Snapshot(error) => error.into(),
            ErasureError::Store(StoreError::NoSuchMessage { .. }) => self.not_found(),
            ErasureError::Store(StoreError::Erased { .. }) => OperationError::new(
                Kind::Conflict,
                Text::filled(
                    format!("il messaggio {} di {} è già stato cancellato", self.id, self.account),
                    format!("message {} of {} was erased before", self.id, self.account),
                ),
            ),
            ErasureError::Store(other) => other.into(),
        }
    }

    fn under_hold(&self, hold: &HoldOf) -> OperationError {
        let (Self { account, id, .. }, reason) = (self, hold.reason());
        let text = match hold.snapshot() {
            None => Text::filled(
                format!(
                    "il messaggio {id} di {account} non si può cancellare: la casella è sotto vincolo ({reason}); \
                     toglierlo prima con `ceralacca snapshot hold {account} --release`"
                ),
                format!(
                    "message {id} of {account} cannot be erased: the account is under a hold ({reason}); \
                     end it first with `ceralacca snapshot hold {account} --release`"
                ),
            ),
            Some(name) => Text::filled(
                format!(
                    "il messaggio {id} di {account} non si può cancellare: l'istantanea {name} è sotto vincolo ({reason}); \
                     toglierlo prima con `ceralacca snapshot hold {account} --at {name} --release`"
                ),
                format!(
                    "message {id} of {account} cannot be erased: the snapshot {name} is under a hold ({reason}); \
                     end it first with `ceralacca snapshot hold {account} --at {name} --release`"
                ),
            ),
        };
        OperationError::new(Kind::Conflict, text)
    }

    async fn outcome(
        &self,
        store: &Store,
        plan: &ErasurePlan,
    ) -> Result<EraseOutcome, OperationError> {
        let mut places = Vec::with_capacity(plan.places.len());
        for (holder, fate) in &plan.places {
            let fate = match fate {
                Fate::Erase => FateView::Erased,
                Fate::Same => FateView::Same,
                Fate::Related => FateView::Related,
                Fate::Busy => FateView::Busy,
                Fate::UnderHold => FateView::UnderHold,
            };
            places.push(match holder {
                Holder::Account(account, number) => PlaceView {
                    account: Some(store.account(*account).await?.settings().await?.address),
                    id: number.to_string(),
                    fate,
                },
                Holder::Held(id) => PlaceView { account: None, id: id.to_string(), fate },
            });
        }
        let mut holds = Vec::with_capacity(plan.holds.len());
        for (account, hold) in &plan.holds {
            holds.push(HoldView {
                account: store.account(*account).await?.settings().await?.address,
                snapshot: hold.snapshot().map(str::to_owned),
                reason: hold.reason().to_owned(),
            });
        }
        Ok(EraseOutcome {
            dry_run: self.dry_run,
            sha256: plan.digest.to_string(),
            octets: plan.size,
            places,
            holds,
        })
    }
}
