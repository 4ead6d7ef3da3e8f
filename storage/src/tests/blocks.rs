//! Blocks: what is read by way of them is what the rows say, whatever happened.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use object_store::{ObjectStore, memory::InMemory};
use proptest::prelude::*;

use super::house::{ANNA, House, limits, message, request, settings, uid};
use crate::{
    account::Account,
    catalog::{
        engine::{Batch, Engine as _, Entries, Reader as _, Scan},
        keys,
        simulated::SimulatedEngine,
    },
    error::StoreError,
    ids::{AccountId, MailboxId, ModSeq, Uid},
    mailbox::{
        blocks::{
            build::BlockReport,
            list::{self, BlockList},
        },
        flags::{FlagChange, Flags, Keyword},
        live::LiveMailbox,
        view::{ListedMessage, MailboxView as _},
    },
    sealed::{Opener, seal},
    store::{Store, StoreLimits},
};

/// Small windows, so that a few messages fill some.
fn small_windows() -> StoreLimits {
    StoreLimits { block_rows: 4, rows_per_step_max: 1_000, ..limits() }
}

async fn small_house() -> (House, Account) {
    let engine = SimulatedEngine::new(&Store::families(&[]));
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let house = House::try_open_with(engine, objects, small_windows()).await.expect("open");
    let anna = house.create(ANNA, "anna@pec.example", None).await;
    (house, anna)
}

async fn build(house: &House) -> BlockReport {
    house.store.build_blocks(&|_| async { true }.boxed()).await.expect("build")
}

async fn write(house: &House, key: Bytes, value: Option<Bytes>) {
    let mut batch = Batch::default();
    match value {
        Some(value) => batch.put(keys::MAILBOX_BLOCKS, key, value),
        None => batch.delete(keys::MAILBOX_BLOCKS, key),
    };
    house.engine.commit(batch).await.expect("commit");
}

/// Everything in the family of blocks.
async fn blocks(house: &House) -> Entries {
    let scan = Scan::prefix(keys::MAILBOX_BLOCKS, &[], 10_000);
    house.engine.scan(&scan).await.expect("scan")
}

async fn rows(mailbox: &LiveMailbox) -> (ModSeq, Vec<ListedMessage>) {
    let (mod_seq, rows) = mailbox.rows().await.expect("rows");
    (mod_seq, rows.into_iter().map(ListedMessage::from).collect())
}

/// Fails unless blocks and rows say the same; returns how many blocks were used.
async fn agrees(mailbox: &LiveMailbox) -> usize {
    let listing = mailbox.listing().await.expect("listing");
    assert_eq!((listing.mod_seq, listing.messages), rows(mailbox).await);
    listing.blocks
}

fn flagged(word: &str) -> Flags {
    let keywords = [Keyword::new(word).expect("a keyword")].into();
    Flags { answered: true, keywords, ..Flags::default() }
}

fn uids(numbers: impl IntoIterator<Item = u32>) -> Vec<Uid> {
    numbers.into_iter().map(uid).collect()
}

#[tokio::test]
async fn a_mailbox_is_read_by_blocks_and_what_changed_since_is_merged() {
    let (house, anna) = small_house().await;
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
    house.fill(&anna, &inbox, 18).await;
    assert_eq!(agrees(&inbox).await, 0);
    let report = build(&house).await;
    assert_eq!((report.blocks, report.rows), (4, 16), "two messages are in an open window");
    assert_eq!(agrees(&inbox).await, 4);

    inbox
        .store_flags(&uids([2]), FlagChange::Add, &flagged("$Forwarded"), None)
        .await
        .expect("store");
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&uids([5, 6, 17]), FlagChange::Add, &deleted, None).await.expect("store");
    inbox.expunge(&uids([5, 17])).await.expect("expunge");
    house.append(&anna, inbox.id(), 99).await.expect("append");
    assert_eq!(agrees(&inbox).await, 2, "two blocks have changed too much to be of use");

    build(&house).await;
    assert_eq!(agrees(&inbox).await, 4);
    assert_eq!(build(&house).await.blocks, 0, "nothing is left to do");
    house.is_sound().await;
}

#[tokio::test]
async fn blocks_go_with_their_mailbox_and_none_comes_after_it() {
    let (house, anna) = small_house().await;
    anna.create_mailbox("Lavori", None).await.expect("create");
    let works = anna.mailbox_by_name("Lavori").await.expect("open");
    // More windows than one step takes.
    house.fill(&anna, &works, 70).await;
    let (deleting, engine) = (anna.clone(), house.engine.clone());
    // The mailbox is deleted between two steps.
    let stop = move |_| {
        let (anna, engine) = (deleting.clone(), engine.clone());
        async move {
            let begun = engine.scan(&Scan::prefix(keys::MAILBOX_BLOCKS, &[], 1)).await;
            if begun.is_ok_and(|found| !found.is_empty()) {
                anna.delete_mailbox("Lavori").await.expect("delete");
            }
            true
        }
        .boxed()
    };
    let report = house.store.build_blocks(&stop).await.expect("build");
    assert_eq!(report.blocks, 16, "the next step found nothing");
    assert_eq!(blocks(&house).await, []);
    build(&house).await;
    assert_eq!(blocks(&house).await, []);
    house.is_sound().await;
}

#[tokio::test]
async fn no_damage_of_a_block_or_of_the_list_reaches_the_reader_and_it_is_repaired() {
    let (house, anna) = small_house().await;
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
    house.fill(&anna, &inbox, 9).await;
    build(&house).await;
    let sound = blocks(&house).await;
    assert_eq!(sound.len(), 3);
    for (key, value) in &sound {
        for position in 0..value.len() {
            let mut changed = value.to_vec();
            changed[position] ^= 0x41;
            write(&house, key.clone(), Some(changed.into())).await;
            assert!(agrees(&inbox).await < 2, "octet {position}");
        }
        for length in [0, 1, 36, value.len() - 1] {
            write(&house, key.clone(), Some(value.slice(..length))).await;
            assert!(agrees(&inbox).await < 2, "cut off at {length}");
        }
        write(&house, key.clone(), None).await;
        assert!(agrees(&inbox).await < 2, "gone");
        house.is_sound().await;
        build(&house).await;
        assert_eq!(agrees(&inbox).await, 2, "built anew");
        let newer = seal(2, key, b"a later form").expect("seal");
        write(&house, key.clone(), Some(newer)).await;
        assert!(agrees(&inbox).await < 2, "of a newer program");
        build(&house).await;
        assert_eq!(agrees(&inbox).await, 2, "built anew");
    }
}

#[tokio::test]
async fn a_block_used_without_merging_what_changed_is_found_by_reader_or_check() {
    type Planted = (FlagChange, Flags, bool);
    let deleted = Flags { deleted: true, ..Flags::default() };
    let cases: [Planted; 2] =
        [(FlagChange::Add, flagged("Urgente"), false), (FlagChange::Add, deleted, true)];
    for (change, flags, expunge) in cases {
        let (house, anna) = small_house().await;
        let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
        house.fill(&anna, &inbox, 9).await;
        build(&house).await;
        inbox.store_flags(&uids([2]), change, &flags, None).await.expect("store");
        if expunge {
            inbox.expunge(&uids([2])).await.expect("expunge");
        }
        house.is_sound().await;
        // The list claims that its blocks hold the change: nothing is merged any more.
        let key = keys::mailbox_block(ANNA, inbox.id(), 0);
        let mut opener = Opener::new().expect("memory");
        let found = list::read(&*house.engine, &mut opener, ANNA, inbox.id()).await.expect("read");
        let mut forged: BlockList = found.list.expect("a list");
        forged.as_of = inbox.state().await.expect("state").highest_mod_seq;
        write(&house, key.clone(), Some(forged.seal(&key).expect("seal"))).await;
        let listing = inbox.listing().await.expect("listing");
        let wrong = listing.messages != rows(&inbox).await.1;
        assert_eq!(wrong, !expunge, "what does not add up to the counters is not believed");
        assert_eq!(listing.unusable, expunge);
        let report = house.store.check(&|_| {}).await.expect("check");
        let objects: Vec<&str> = report.violations.iter().map(|one| one.object.as_str()).collect();
        assert_eq!(objects, ["a block of mailbox 1 of account 7"]);
    }
}

#[tokio::test]
async fn blocks_made_with_another_size_are_built_anew() {
    let (house, anna) = small_house().await;
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
    house.fill(&anna, &inbox, 18).await;
    build(&house).await;
    // A change that is synced makes the blocks durable that were there before it.
    house.create(AccountId(8), "bruno@pec.example", None).await;
    let limits = StoreLimits { block_rows: 6, ..small_windows() };
    let again = House::try_open_with(house.engine.crash(), house.objects.clone(), limits);
    let again = again.await.expect("open");
    let anna = again.store.account(ANNA).await.expect("anna");
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
    assert_eq!(agrees(&inbox).await, 4, "the old ones are still right");
    build(&again).await;
    assert_eq!(agrees(&inbox).await, 3);
    assert_eq!(blocks(&again).await.len(), 4, "a list and three blocks");
    again.is_sound().await;
}

const NAMES: [&str; 3] = ["INBOX", "Inviati", "Lavori"];

#[derive(Clone, Debug)]
enum Operation {
    Append {
        mailbox: usize,
        count: usize,
    },
    Flag {
        mailbox: usize,
        uids: u32,
        change: u8,
    },
    Expunge {
        mailbox: usize,
        uids: u32,
    },
    Copy {
        from: usize,
        to: usize,
        uids: u32,
        remove: bool,
    },
    Recreate,
    Build,
    Trim {
        mailbox: usize,
    },
    /// Keeps what stands in the family now, to be put back later.
    Keep,
    /// Puts back some of what was kept: old blocks and lists beside new ones.
    PutBack {
        which: u32,
    },
    Lose {
        which: u32,
    },
    Crash,
}

fn operation() -> impl Strategy<Value = Operation> {
    let mailbox = || 0..NAMES.len();
    prop_oneof![
        6 => (mailbox(), 1..5_usize)
            .prop_map(|(mailbox, count)| Operation::Append { mailbox, count }),
        3 => (mailbox(), any::<u32>(), 0..4_u8)
            .prop_map(|(mailbox, uids, change)| Operation::Flag { mailbox, uids, change }),
        2 => (mailbox(), any::<u32>())
            .prop_map(|(mailbox, uids)| Operation::Expunge { mailbox, uids }),
        3 => (mailbox(), mailbox(), any::<u32>(), any::<bool>())
            .prop_map(|(from, to, uids, remove)| Operation::Copy { from, to, uids, remove }),
        1 => Just(Operation::Recreate),
        4 => Just(Operation::Build),
        1 => mailbox().prop_map(|mailbox| Operation::Trim { mailbox }),
        2 => Just(Operation::Keep),
        2 => any::<u32>().prop_map(|which| Operation::PutBack { which }),
        1 => any::<u32>().prop_map(|which| Operation::Lose { which }),
        1 => Just(Operation::Crash),
    ]
}

/// The bits of `chosen`, three at a time, as UIDs around the low ones.
fn chosen(chosen: u32) -> Vec<Uid> {
    uids((0..30).filter(|bit| chosen & (1 << bit) != 0).map(|bit| bit + 1))
}

struct History {
    house: House,
    anna: Account,
    kept: Entries,
    messages: usize,
}

impl History {
    async fn begin() -> Self {
        let (house, anna) = small_house().await;
        Self { house, anna, kept: Entries::new(), messages: 0 }
    }

    async fn open(&self, mailbox: usize) -> Option<Arc<LiveMailbox>> {
        match self.anna.mailbox_by_name(NAMES[mailbox]).await {
            Err(StoreError::NoSuchMailboxName(_)) => None,
            opened => Some(opened.expect("open")),
        }
    }

    async fn append(&mut self, mailbox: MailboxId, count: usize) {
        for _ in 0..count {
            self.messages += 1;
            let staged = self.house.stage(&message(self.messages)).await;
            self.anna.append(request(mailbox, &staged)).await.expect("append");
        }
    }

    async fn perform(&mut self, operation: &Operation) {
        match *operation {
            Operation::Append { mailbox, count } => {
                let Some(mailbox) = self.open(mailbox).await else { return };
                self.append(mailbox.id(), count).await;
            }
            Operation::Flag { mailbox, uids, change } => {
                let Some(mailbox) = self.open(mailbox).await else { return };
                let (change, flags) = match change {
                    0 => (FlagChange::Add, flagged("Urgente")),
                    1 => (FlagChange::Remove, flagged("urgente")),
                    2 => (FlagChange::Add, Flags { deleted: true, ..Flags::default() }),
                    _ => (FlagChange::Replace, Flags { seen: true, ..flagged("$Forwarded") }),
                };
                mailbox.store_flags(&chosen(uids), change, &flags, None).await.expect("store");
            }
            Operation::Expunge { mailbox, uids } => {
                let Some(mailbox) = self.open(mailbox).await else { return };
                let deleted = Flags { deleted: true, ..Flags::default() };
                let uids = chosen(uids);
                mailbox.store_flags(&uids, FlagChange::Add, &deleted, None).await.expect("store");
                mailbox.expunge(&uids).await.expect("expunge");
            }
            Operation::Copy { from, to, uids, remove } => {
                let (Some(from), Some(to)) = (self.open(from).await, self.open(to).await) else {
                    return;
                };
                // More rows than a batch may have are refused, and nothing changes.
                let uids = &chosen(uids)[..chosen(uids).len().min(20)];
                let _ = if remove {
                    from.move_to(uids, to.id()).await
                } else {
                    from.copy(uids, to.id()).await
                };
            }
            Operation::Recreate => {
                if self.open(2).await.is_some() {
                    self.anna.delete_mailbox(NAMES[2]).await.expect("delete");
                } else {
                    self.anna.create_mailbox(NAMES[2], None).await.expect("create");
                }
            }
            Operation::Build => drop(build(&self.house).await),
            Operation::Trim { mailbox } => {
                let Some(mailbox) = self.open(mailbox).await else { return };
                let all = super::house::MORNING.plus_millis(1);
                self.anna.trim_expunge_log(mailbox.id(), all).await.expect("trim");
            }
            Operation::Keep => self.kept = blocks(&self.house).await,
            Operation::PutBack { which } => self.put_back(which).await,
            Operation::Lose { which } => {
                for (index, (key, _)) in blocks(&self.house).await.into_iter().enumerate() {
                    if which & (1 << (index % 32)) != 0 {
                        write(&self.house, key, None).await;
                    }
                }
            }
            Operation::Crash => {
                let engine = self.house.engine.crash();
                let objects = self.house.objects.clone();
                self.house = House::try_open_with(engine, objects, small_windows())
                    .await
                    .expect("open again");
                self.anna = self.house.store.account(ANNA).await.expect("anna");
            }
        }
    }

    async fn put_back(&self, which: u32) {
        for (index, (key, value)) in self.kept.iter().enumerate() {
            let mut reader = keys::KeyReader::new(keys::MAILBOX_BLOCKS, key);
            let mailbox = (reader.take_u64(), reader.take_u64());
            let (Ok(_), Ok(mailbox)) = mailbox else { continue };
            // Nothing puts back what belonged to a mailbox that is gone.
            let there = self.anna.mailbox(MailboxId(mailbox)).await.is_ok();
            if which & (1 << (index % 32)) != 0 && there {
                write(&self.house, key.clone(), Some(value.clone())).await;
            }
        }
    }

    async fn all_agree(&self) -> usize {
        let mut used = 0;
        for mailbox in 0..NAMES.len() {
            if let Some(mailbox) = self.open(mailbox).await {
                used += agrees(&mailbox).await;
            }
        }
        used
    }
}

async fn run(operations: &[Operation]) -> usize {
    let mut history = History::begin().await;
    let mut used = 0;
    for operation in operations {
        history.perform(operation).await;
        used += history.all_agree().await;
    }
    history.house.is_sound().await;
    used
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn rows_by_way_of_blocks_are_the_rows_after_any_history(
        operations in prop::collection::vec(operation(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(run(&operations));
    }
}

#[tokio::test]
async fn the_histories_of_this_test_do_use_blocks() {
    let operations = [
        Operation::Append { mailbox: 0, count: 13 },
        Operation::Build,
        Operation::Keep,
        Operation::Flag { mailbox: 0, uids: 0b11, change: 3 },
        Operation::Build,
        Operation::PutBack { which: 0b10 },
        Operation::Crash,
        Operation::Trim { mailbox: 0 },
    ];
    assert!(run(&operations).await > 12);
}

#[tokio::test]
async fn an_account_of_many_mailboxes_is_swept_after_a_restart() {
    let (house, anna) = small_house().await;
    for name in ["A", "B", "C"] {
        let id = anna.create_mailbox(name, None).await.expect("create");
        let mailbox = anna.mailbox(id).await.expect("open");
        house.fill(&anna, &mailbox, 5).await;
    }
    let again = House::try_open_with(house.engine.crash(), house.objects.clone(), small_windows());
    let again = again.await.expect("open");
    again.store.apply_account(ANNA, 2, settings("anna@pec.example", None)).await.expect("apply");
    assert_eq!(build(&again).await.blocks, 3, "nobody told the builder");
    again.is_sound().await;
}
