//! A store on the simulated engine with one account and its snapshots.

use std::sync::Arc;

use object_store::{ObjectStore, memory::InMemory};
use storage::{
    account::{Account, quota::QuotaRule, settings::AccountSettings},
    catalog::{
        engine::{Batch, Reader as _, Scan},
        simulated::SimulatedEngine,
    },
    ids::{AccountId, MailboxId, Uid},
    mailbox::{
        append::AppendRequest,
        flags::{FlagChange, Flags},
        view::{MailboxView, MessageRow},
    },
    octets::OctetStoreConfig,
    store::{Store, StoreLimits},
};
use trust::{
    clock::{Clock as _, ManualClock, UnixMillis},
    random::SeededRandom,
};

use super::super::{
    SnapshotLimits, Snapshots, keys,
    snapshot::{Snapshot, SnapshotKind},
    take::Taken,
};

pub(crate) const ANNA: AccountId = AccountId(7);
pub(crate) const BRUNO: AccountId = AccountId(8);
pub(crate) const INBOX: MailboxId = MailboxId(1);
/// 2026-11-21T06:00:00Z.
pub(crate) const MORNING: UnixMillis = UnixMillis(1_795_240_800_000);

pub(crate) struct House {
    pub(crate) engine: Arc<SimulatedEngine>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<Store>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) limits: SnapshotLimits,
    /// The account that is worked on.
    pub(crate) account: AccountId,
}

/// Small limits, so that pages are written ahead and steps are many.
pub(crate) fn small() -> SnapshotLimits {
    SnapshotLimits {
        rows_in_queue_max: 5,
        rows_per_step_max: 40,
        page_octets_held_max: 2_000,
        pages_per_batch_max: 3,
        ..SnapshotLimits::default()
    }
}

pub(crate) fn settings(account: AccountId) -> AccountSettings {
    AccountSettings {
        address: format!("titolare{account}@pec.example"),
        plan: "base".to_owned(),
        message_octets_max: 50 << 20,
        recipients_max: 50,
        messages_per_minute_max: 10,
        messages_per_day_max: 200,
        ..AccountSettings::default()
    }
}

impl House {
    pub(crate) async fn new(limits: SnapshotLimits) -> (Self, Account) {
        let engine = SimulatedEngine::new(&Store::families(
            &[
                &keys::FAMILIES[..],
                &crate::run::keys::FAMILIES,
                &[crate::restore::job::SNAPSHOT_RESTORES],
            ]
            .concat(),
        ));
        let clock = Arc::new(ManualClock::new(MORNING));
        let house = Self::open(engine, Arc::new(InMemory::new()), clock, limits).await;
        house.store.apply_account(ANNA, 1, settings(ANNA)).await.expect("create the account");
        let anna = house.anna().await;
        (house, anna)
    }

    pub(crate) async fn open(
        engine: Arc<SimulatedEngine>,
        objects: Arc<dyn ObjectStore>,
        clock: Arc<ManualClock>,
        limits: SnapshotLimits,
    ) -> Self {
        let store = Store::open_with_engine(
            engine.clone(),
            objects.clone(),
            clock.clone(),
            Arc::new(SeededRandom::new(3)),
            OctetStoreConfig::default(),
            StoreLimits::default(),
        );
        let store = store.await.expect("open the store");
        let random = Arc::new(SeededRandom::new(4));
        let snapshots = Snapshots::new(store.clone(), random, limits);
        Self { engine, objects, clock, store, snapshots, limits, account: ANNA }
    }

    pub(crate) async fn anna(&self) -> Account {
        self.store.account(self.account).await.expect("the account")
    }

    pub(crate) async fn append(&self, mailbox: MailboxId, number: usize) -> Uid {
        self.append_octets(mailbox, &message(number)).await
    }

    pub(crate) async fn append_octets(&self, mailbox: MailboxId, octets: &[u8]) -> Uid {
        let mut writer = self.store.message_writer();
        writer.write(octets).await.expect("write");
        let staged = writer.finish().await.expect("finish");
        let request = AppendRequest {
            mailbox,
            message: &staged,
            flags: Flags::default(),
            internal_date: None,
            charged_octets: None,
            quota: QuotaRule::Enforce,
            also: Batch::default(),
        };
        self.anna().await.append(request).await.expect("append").uid
    }

    pub(crate) async fn fill(&self, mailbox: MailboxId, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.append(mailbox, number).await;
        }
    }

    pub(crate) async fn flag(&self, mailbox: MailboxId, uids: &[Uid], flags: Flags) {
        let mailbox = self.anna().await.mailbox(mailbox).await.expect("the mailbox");
        mailbox.store_flags(uids, FlagChange::Replace, &flags, None).await.expect("flag");
    }

    pub(crate) async fn expunge(&self, mailbox: MailboxId, uids: &[Uid]) {
        self.flag(mailbox, uids, Flags { deleted: true, ..Flags::default() }).await;
        let mailbox = self.anna().await.mailbox(mailbox).await.expect("the mailbox");
        mailbox.expunge(uids).await.expect("expunge");
    }

    pub(crate) async fn try_take(&self) -> Result<Taken, crate::error::SnapshotError> {
        self.snapshots.take(self.account, SnapshotKind::Scheduled, self.clock.now()).await
    }

    /// Takes a snapshot a second later.
    pub(crate) async fn take(&self) -> Snapshot {
        self.clock.advance(1_000);
        match self.try_take().await.expect("a snapshot") {
            Taken::New(snapshot) => snapshot,
            Taken::Unchanged(_) => panic!("nothing has changed"),
        }
    }

    pub(crate) async fn rows(&self, snapshot: &Snapshot, name: &str) -> Vec<MessageRow> {
        let open = self.snapshots.open(ANNA, snapshot.number).await.expect("open");
        let mailbox = open.mailbox_by_name(name).expect("the mailbox");
        mailbox.rows().await.expect("rows").1
    }

    /// All invariants hold, those of the floor below, too.
    pub(crate) async fn is_sound(&self) {
        let report = crate::check::run(&self.store, &|_| {}).await.expect("check");
        assert_eq!(report.violations, []);
        assert_eq!(report.seen.going, 0);
        let report = self.store.check(&|_| {}).await.expect("check");
        assert_eq!(report.violations, []);
    }

    /// How many entries a family has.
    pub(crate) async fn count(&self, family: storage::catalog::engine::Family) -> usize {
        self.engine.scan(&Scan::prefix(family, &[], usize::MAX)).await.expect("scan").len()
    }
}

/// Rows without what a snapshot does not keep.
pub(crate) fn without_mod_seq(rows: Vec<MessageRow>) -> Vec<MessageRow> {
    let none = storage::ids::ModSeq(0);
    rows.into_iter().map(|row| MessageRow { mod_seq: none, origin: None, ..row }).collect()
}

pub(crate) fn message(number: usize) -> Vec<u8> {
    format!(
        "From: bruno@pec.example\r\nTo: anna@pec.example\r\nSubject: numero {number}\r\n\
         Message-ID: <{number}@pec.example>\r\n\r\nTesto del messaggio {number}.\r\n"
    )
    .into_bytes()
}

pub(crate) fn uid(number: u32) -> Uid {
    Uid::new(number).expect("not zero")
}
