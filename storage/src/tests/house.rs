//! A store on the simulated engine, with the clock in the test's hand.

use std::sync::Arc;

use object_store::ObjectStore;
use trust::{
    clock::{ManualClock, UnixMillis},
    random::SeededRandom,
};

use super::objects::fresh;
use crate::{
    account::{
        Account,
        quota::QuotaRule,
        settings::{AccountSettings, Applied},
    },
    catalog::{
        engine::{Batch, Family},
        simulated::SimulatedEngine,
    },
    error::StoreError,
    ids::{AccountId, MailboxId, Uid},
    mailbox::{
        append::{AppendRequest, Appended},
        flags::Flags,
        live::LiveMailbox,
    },
    octets::{OctetStoreConfig, StagedMessage},
    store::{Store, StoreLimits},
};

pub(crate) const ANNA: AccountId = AccountId(7);
/// 2026-11-21T06:00:00Z.
pub(crate) const MORNING: UnixMillis = UnixMillis(1_795_240_800_000);

pub(crate) struct House {
    pub(crate) engine: Arc<SimulatedEngine>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<Store>,
}

impl House {
    /// An empty store with small limits, so that steps and bounds are met.
    pub(crate) async fn new() -> Self {
        let engine = SimulatedEngine::new(&Store::families(&[]));
        Self::open(engine, fresh()).await
    }

    pub(crate) async fn open(engine: Arc<SimulatedEngine>, objects: Arc<dyn ObjectStore>) -> Self {
        Self::try_open(engine, objects).await.expect("open the store")
    }

    pub(crate) async fn try_open(
        engine: Arc<SimulatedEngine>,
        objects: Arc<dyn ObjectStore>,
    ) -> Result<Self, StoreError> {
        Self::try_open_with(engine, objects, limits()).await
    }

    pub(crate) async fn try_open_with(
        engine: Arc<SimulatedEngine>,
        objects: Arc<dyn ObjectStore>,
        limits: StoreLimits,
    ) -> Result<Self, StoreError> {
        let clock = Arc::new(ManualClock::new(MORNING));
        let store = Store::open_with_engine(
            engine.clone(),
            objects.clone(),
            clock.clone(),
            Arc::new(SeededRandom::new(3)),
            OctetStoreConfig::default(),
            limits,
        );
        Ok(Self { engine, objects, clock, store: store.await? })
    }

    /// The same store with other bounds of its octets.
    pub(super) async fn with_octets(self, config: OctetStoreConfig) -> Self {
        let Self { engine, objects, clock, .. } = self;
        let random = Arc::new(SeededRandom::new(3));
        let (engine_again, objects_again) = (engine.clone(), objects.clone());
        let store =
            Store::open_with_engine(engine, objects, clock.clone(), random, config, limits());
        let store = store.await.expect("open the store");
        Self { engine: engine_again, objects: objects_again, clock, store }
    }

    /// A store that also keeps `families` of a floor above, with the account of Anna.
    pub(crate) async fn with_families(families: &[Family]) -> (Self, Account) {
        let engine = SimulatedEngine::new(&Store::families(families));
        let house = Self::open(engine, fresh()).await;
        let account = house.create(ANNA, "anna@pec.example", None).await;
        (house, account)
    }

    /// A store with the account of Anna.
    pub(crate) async fn with_anna() -> (Self, Account) {
        let house = Self::new().await;
        let account = house.create(ANNA, "anna@pec.example", None).await;
        (house, account)
    }

    pub(crate) async fn create(
        &self,
        id: AccountId,
        address: &str,
        quota_octets: Option<u64>,
    ) -> Account {
        let applied = self.store.apply_account(id, 1, settings(address, quota_octets)).await;
        assert_eq!(applied.expect("create the account"), Applied::Created);
        self.store.account(id).await.expect("the account")
    }

    pub(crate) async fn stage(&self, octets: &[u8]) -> StagedMessage {
        let mut writer = self.store.message_writer();
        writer.write(octets).await.expect("write");
        writer.finish().await.expect("finish")
    }

    /// What every test of the store ends with: all invariants hold.
    pub(crate) async fn is_sound(&self) {
        let report = self.store.check(&|_| {}).await.expect("check");
        assert_eq!(report.violations, []);
    }

    /// Appends a message that only `number` tells from others.
    pub(crate) async fn append(
        &self,
        account: &Account,
        mailbox: MailboxId,
        number: usize,
    ) -> Result<Appended, StoreError> {
        let staged = self.stage(&message(number)).await;
        account.append(request(mailbox, &staged)).await
    }

    /// Appends `count` messages and returns their UIDs.
    pub(crate) async fn fill(
        &self,
        account: &Account,
        mailbox: &LiveMailbox,
        count: usize,
    ) -> Vec<Uid> {
        let mut uids = Vec::new();
        for number in 0..count {
            uids.push(self.append(account, mailbox.id(), number).await.expect("append").uid);
        }
        uids
    }
}

pub(crate) fn limits() -> StoreLimits {
    StoreLimits {
        mailboxes_per_account_max: 40,
        rows_per_step_max: 3,
        rows_per_batch_max: 20,
        ..StoreLimits::default()
    }
}

pub(crate) fn settings(address: &str, quota_octets: Option<u64>) -> AccountSettings {
    AccountSettings {
        address: address.to_owned(),
        plan: "base".to_owned(),
        quota_octets,
        message_octets_max: 50 << 20,
        recipients_max: 50,
        messages_per_minute_max: 10,
        messages_per_day_max: 200,
        ..AccountSettings::default()
    }
}

pub(crate) fn message(number: usize) -> Vec<u8> {
    format!(
        "From: bruno@pec.example\r\nTo: anna@pec.example\r\nSubject: numero {number}\r\n\
         Message-ID: <{number}@pec.example>\r\n\r\nTesto del messaggio {number}.\r\n"
    )
    .into_bytes()
}

pub(crate) fn request(mailbox: MailboxId, message: &StagedMessage) -> AppendRequest<'_> {
    AppendRequest {
        mailbox,
        message,
        flags: Flags::default(),
        internal_date: None,
        charged_octets: None,
        quota: QuotaRule::Enforce,
        also: Batch::default(),
    }
}

pub(crate) fn uid(number: u32) -> Uid {
    Uid::new(number).expect("not zero")
}
