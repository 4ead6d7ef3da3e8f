//! Random histories of an account: whatever happens between, and wherever the power is cut, every
//! snapshot reads like the copy that was made of the account when it was taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use storage::{
    account::{erase::EraseRequest, quota::QuotaRule, settings::AccountSettings, tier::ARCHIVE},
    catalog::{
        engine::{Batch, Family, Reader as _, Scan},
        keys::{DEPARTED_MESSAGES, KeyReader, MESSAGES},
        simulated::Faults,
    },
    collector::CollectOptions,
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, Uid},
    mailbox::{
        flags::{FlagChange, Flags, Keyword},
        restore::{ErasedRows, RestoreRows, RestoredRow},
        view::{MailboxView, MessageRow},
    },
    octets::ErasureReason,
    repair::SettingsSource,
    summary::Envelope,
};
use trust::{
    clock::{Clock as _, UnixMillis},
    random::{RandomSource as _, SeededRandom},
};

use super::{
    copy::{self, Copy, Octets},
    house::{ANNA, BRUNO, House, INBOX, settings, small},
};
use crate::{
    error::SnapshotError,
    keep::{
        keys::{DEPARTED_PAGES, PageKey, SNAPSHOT_PAGES, SNAPSHOTS},
        settings::Retention,
        snapshot::SnapshotKind,
        take::Taken,
    },
};

/// The account as it is.
async fn copy(house: &House) -> Copy {
    copy::live(&house.anna().await, Octets::With).await
}

/// A snapshot.
async fn read(house: &House, number: u64) -> Copy {
    let open = house.snapshots.open(house.account, number).await.expect("open");
    copy::read(&open, Octets::With).await.expect("a snapshot")
}

struct World {
    house: Option<House>,
    random: SeededRandom,
    copies: BTreeMap<(AccountId, u64), Copy>,
    appended: usize,
    /// Whether commits fail while snapshots are taken and go.
    faults: Faults,
}

impl World {
    fn house(&self) -> &House {
        self.house.as_ref().expect("a house")
    }

    fn fails(&self) -> bool {
        self.faults.failed_commits_per_thousand + self.faults.failed_syncs_per_thousand > 0
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.random.next_u64() % bound.max(1) as u64).expect("small")
    }

    async fn some_mailbox(&self) -> (MailboxId, String) {
        let listing = self.house().anna().await.mailboxes().await.expect("mailboxes");
        let all: Vec<_> =
            listing.into_iter().filter_map(|one| Some((one.mailbox_id?, one.name))).collect();
        // Most happens in one mailbox, so that its trees have several levels.
        if self.below(3) > 0 { (INBOX, "INBOX".into()) } else { all[self.below(all.len())].clone() }
    }

    async fn some_uids(&self, mailbox: MailboxId, most: usize) -> Vec<Uid> {
        let mailbox = self.house().anna().await.mailbox(mailbox).await.expect("a mailbox");
        let rows = mailbox.rows().await.expect("rows").1;
        let some = 1 + self.below(most);
        (0..some).filter_map(|_| rows.get(self.below(rows.len())).map(|row| row.uid)).collect()
    }

    fn some_flags(&self) -> Flags {
        let words = ["a", "$Forwarded", "B"];
        let keyword = Keyword::new(words[self.below(3)]).expect("a keyword");
        Flags {
            seen: self.below(2) == 0,
            flagged: self.below(3) == 0,
            deleted: false,
            keywords: (self.below(3) == 0).then_some(keyword).into_iter().collect(),
            ..Flags::default()
        }
    }

    async fn change(&mut self) {
        let (id, name) = self.some_mailbox().await;
        let anna = self.house().anna().await;
        let mailbox = anna.mailbox(id).await.expect("a mailbox");
        match self.below(21) {
            16 => self.erase().await,
            17..=18 => self.restore(id).await,
            19..=20 => {
                let uids = self.some_uids(id, 10).await;
                if let Ok(archive) = anna.mailbox_by_name(ARCHIVE).await {
                    mailbox.move_to(&uids, archive.id()).await.expect("move");
                }
            }
            0..=4 => {
                for _ in 0..=self.below(30) {
                    self.appended += 1;
                    // Some messages are equal.
                    let number = self.appended - self.appended % 3;
                    self.house().append(id, number).await;
                }
            }
            5..=6 => {
                let (uids, flags) = (self.some_uids(id, 20).await, self.some_flags());
                mailbox.store_flags(&uids, FlagChange::Replace, &flags, None).await.expect("flag");
            }
            7 => {
                let uids = self.some_uids(id, 10).await;
                let (to, _) = self.some_mailbox().await;
                mailbox.copy(&uids, to).await.expect("copy");
            }
            8 => {
                let uids = self.some_uids(id, 10).await;
                let (to, _) = self.some_mailbox().await;
                mailbox.move_to(&uids, to).await.expect("move");
            }
            9..=10 => {
                let uids = self.some_uids(id, 10).await;
                self.house().expunge(id, &uids).await;
            }
            11 => {
                let name = format!("Nuova{}", self.below(5));
                let _ = anna.create_mailbox(&name, None).await;
            }
            12 => {
                // Across the border of the archive, too.
                let above = if self.below(2) == 0 { "" } else { "Archivio/" };
                let to = format!("{above}Altra{}", self.below(5));
                let _ = anna.rename_mailbox(&name, &to).await;
            }
            13 if id != INBOX => {
                let _ = anna.delete_mailbox(&name).await;
            }
            14 if self.below(3) == 0 => {
                let all: Vec<Uid> =
                    mailbox.rows().await.expect("rows").1.iter().map(|row| row.uid).collect();
                self.house().expunge(id, &all).await;
            }
            15 => {
                let later = self.house().clock.now().plus_millis(1);
                anna.trim_expunge_log(id, later).await.expect("trim");
            }
            _ => anna.subscribe(&name, self.below(2) == 0).await.expect("subscribe"),
        }
    }

    /// The store again, with faults or without.
    async fn restart(&mut self, faults: Faults) {
        let house = self.house.take().expect("a house");
        let engine = house.engine.restart_with(faults);
        let account = house.account;
        let house = House::open(engine, house.objects, house.clock, house.limits).await;
        self.house = Some(House { account, ..house });
    }

    fn account(&self) -> AccountId {
        self.house().account
    }

    /// Most happens in one account.
    fn turn(&mut self) {
        let account = if self.below(4) > 0 { ANNA } else { BRUNO };
        self.house.as_mut().expect("a house").account = account;
    }

    /// Erases a message that stands in some mailbox, or only in some snapshot.
    async fn erase(&mut self) {
        let account = self.account();
        let live = copy(self.house()).await;
        let copies = self.copies.range((account, 0)..=(account, u64::MAX));
        let all: Vec<EmailNumber> = copies
            .map(|(_, copy)| copy)
            .chain([&live])
            .flat_map(|copy| copy.values().flat_map(|copied| &copied.rows))
            .map(|row| row.email_number)
            .collect();
        let Some(email_number) = all.get(self.below(all.len())).copied() else { return };
        let request = EraseRequest {
            email_number,
            reason: ErasureReason::DataSubject,
            envelope: Envelope::default(),
            also: Batch::default(),
        };
        match self.house().anna().await.erase(request).await {
            Ok(_) | Err(StoreError::Erased { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        for ((of, _), copy) in &mut self.copies {
            for copied in copy.values_mut().filter(|_| *of == account) {
                for (row, octets) in copied.rows.iter().zip(&mut copied.octets) {
                    if row.email_number == email_number {
                        *octets = None;
                    }
                }
            }
        }
    }

    /// Restores rows of some snapshots: those that still have a message, and those it departed after.
    async fn restore(&mut self, destination: MailboxId) {
        let account = self.account();
        let copies = self.copies.range((account, 0)..=(account, u64::MAX));
        let all: Vec<&MessageRow> =
            copies.flat_map(|(_, copy)| copy.values().flat_map(|copied| &copied.rows)).collect();
        let rows: Vec<RestoredRow> = (0..=self.below(10))
            .filter_map(|_| all.get(self.below(all.len())).map(|row| RestoredRow::from(*row)))
            .collect();
        let request = RestoreRows {
            destination,
            rows,
            quota: QuotaRule::Enforce,
            erased: ErasedRows::Skip,
            also: Batch::default(),
        };
        self.house().anna().await.restore_rows(request).await.expect("restore");
    }

    /// Every message has a row, when no snapshot is left.
    async fn no_message_without_rows(&mut self) {
        assert_eq!(self.house().count(DEPARTED_MESSAGES).await, 0);
        let mut with_rows = BTreeSet::new();
        for account in [ANNA, BRUNO] {
            self.house.as_mut().expect("a house").account = account;
            for copied in copy(self.house()).await.into_values() {
                with_rows.extend(copied.rows.iter().map(|row| (account.0, row.email_number.0)));
            }
        }
        let scan = Scan::prefix(MESSAGES, &[], usize::MAX);
        let messages = self.house().engine.scan(&scan).await.expect("scan");
        let stored = messages.iter().map(|(key, _)| {
            let mut fields = KeyReader::new(MESSAGES, key);
            (fields.take_u64().expect("an account"), fields.take_u64().expect("a number"))
        });
        assert_eq!(stored.collect::<BTreeSet<_>>(), with_rows);
    }

    /// Takes a snapshot while the account changes: it is what the account was at some moment.
    async fn take_meanwhile(&mut self) {
        self.house().clock.advance(1_000);
        let mut moments = vec![copy(self.house()).await];
        let numbers: Vec<usize> = (0..4).map(|more| 100_000 + self.appended + more).collect();
        self.appended += numbers.len();
        let house = self.house();
        let changes = async {
            for number in numbers {
                let added = house.append(INBOX, number).await;
                moments.push(copy(house).await);
                house.flag(INBOX, &[added], Flags { seen: true, ..Flags::default() }).await;
                moments.push(copy(house).await);
            }
        };
        let (taken, ()) = tokio::join!(house.try_take(), changes);
        if let Taken::New(snapshot) = taken.expect("a snapshot") {
            let found = read(house, snapshot.number).await;
            assert!(moments.contains(&found), "no moment of the account");
            let key = (house.account, snapshot.number);
            assert_eq!(self.copies.insert(key, found), None);
        }
    }

    /// A repair of a store that is sound throws nothing away.
    async fn repair(&mut self) {
        let report = self.house().store.repair(&Registry, true, &|_| {}).await.expect("repair");
        assert_eq!(report.first_left, []);
        self.restart(Faults::default()).await;
        self.verify().await;
    }

    async fn take(&mut self) {
        let before = copy(self.house()).await;
        self.house().clock.advance(1_000 + i64::try_from(self.below(20_000_000)).expect("small"));
        self.restart(self.faults).await;
        let asked = self.below(4) == 0;
        let kind = if asked { SnapshotKind::OnDemand } else { SnapshotKind::Scheduled };
        let (account, now) = (self.account(), self.house().clock.now());
        let taken = self.house().snapshots.take(account, kind, now).await;
        self.restart(Faults::default()).await;
        let latest = self.house().snapshots.list(self.account()).await.expect("a list").pop();
        match taken {
            Ok(Taken::New(snapshot)) => {
                assert_eq!(latest, Some(snapshot.clone()));
                assert_eq!(self.copies.insert((self.account(), snapshot.number), before), None);
            }
            Ok(Taken::Unchanged(same)) => assert_eq!(latest, same),
            // Nobody was told: it is there as a whole, or not at all.
            Err(SnapshotError::Store(_)) => {
                if let Some(latest) = latest {
                    let key = (self.account(), latest.number);
                    self.copies.entry(key).or_insert(before);
                }
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn thin(&mut self) {
        let retention = Retention {
            hourly_hours: u32::try_from(self.below(40)).expect("small"),
            daily_days: u32::try_from(self.below(3)).expect("small"),
            monthly_months: 0,
            on_demand_days: 0,
        };
        let now = self.house().clock.now();
        let account = self.account();
        let all: Vec<u64> = self.numbers();
        let one = all.get(self.below(all.len())).copied();
        let forget = self.below(3) == 0;
        self.restart(self.faults).await;
        let outcome = match one {
            Some(one) if forget => self.house().snapshots.forget(account, one).await,
            _ => self.house().snapshots.thin(account, &retention, now).await.map(|_| ()),
        };
        match outcome {
            Err(SnapshotError::Store(_)) if self.fails() => {}
            outcome => outcome.expect("thin"),
        }
        self.restart(Faults::default()).await;
        self.verify().await;
    }

    /// Numbers of the copies of this account.
    fn numbers(&self) -> Vec<u64> {
        let account = self.account();
        let copies = self.copies.range((account, 0)..=(account, u64::MAX));
        copies.map(|((_, number), _)| *number).collect()
    }

    /// Every snapshot that is listed is the copy made of it; those that are not have gone.
    async fn verify(&mut self) {
        let account = self.account();
        let list = self.house().snapshots.list(account).await.expect("a list");
        let listed: Vec<u64> = list.iter().map(|snapshot| snapshot.number).collect();
        self.copies.retain(|(of, number), _| *of != account || listed.contains(number));
        assert_eq!(self.numbers(), listed);
        for number in listed {
            let copy = &self.copies[&(account, number)];
            assert_eq!(&read(self.house(), number).await, copy, "snapshot {number}");
        }
        let report = crate::check::run(&self.house().store, &|_| {}).await.expect("check");
        assert_eq!(report.violations, []);
    }

    /// [`World::verify`] of both accounts, and everything that the floor below can check.
    async fn verify_all(&mut self) {
        for account in [ANNA, BRUNO] {
            self.house.as_mut().expect("a house").account = account;
            self.verify().await;
        }
        let report = self.house().store.check(&|_| {}).await.expect("check");
        assert_eq!(report.violations, []);
    }

    async fn collect(&self) {
        let options = CollectOptions {
            grace: Duration::ZERO,
            octets_per_second: 0,
            requests_per_second: 0,
            ..CollectOptions::default()
        };
        self.house().store.collect(&options, &|_| {}).await.expect("collect");
    }
}

/// Knows both accounts, and where their snapshots are.
struct Registry;

#[async_trait::async_trait]
impl SettingsSource for Registry {
    async fn settings(&self, id: AccountId) -> Result<Option<(u64, AccountSettings)>, StoreError> {
        Ok(Some((1, settings(id))))
    }

    fn snapshots(&self) -> Option<Family> {
        Some(SNAPSHOTS)
    }
}

async fn run(seed: u64, steps: usize, faults: Faults) {
    let (house, _) = House::new(small()).await;
    house.store.apply_account(BRUNO, 1, settings(BRUNO)).await.expect("create the account");
    let random = SeededRandom::new(seed);
    let mut world =
        World { house: Some(house), random, copies: BTreeMap::new(), appended: 0, faults };
    for _ in 0..steps {
        world.turn();
        match world.below(21) {
            0..=11 => world.change().await,
            12..=15 => world.take().await,
            16..=17 => world.thin().await,
            18 => world.take_meanwhile().await,
            19 if world.below(3) == 0 => world.repair().await,
            _ => world.collect().await,
        }
    }
    world.verify_all().await;
    // Nothing is left behind by what was cut short, once it is finished.
    let now = UnixMillis(world.house().clock.now().0);
    for account in [ANNA, BRUNO] {
        world.house().snapshots.thin(account, &Retention::default(), now).await.expect("thin");
    }
    world.collect().await;
    world.verify_all().await;
    for (account, number) in world.copies.keys().copied().collect::<Vec<_>>() {
        world.house().snapshots.forget(account, number).await.expect("forget");
    }
    world.verify_all().await;
    let scan = Scan::prefix(SNAPSHOT_PAGES, &[], usize::MAX);
    let pages = world.house().engine.scan(&scan).await;
    for (key, _) in pages.expect("scan") {
        let (account, page) = PageKey::of_stored(&key).expect("a page");
        let account = world.house().store.account(account).await.expect("an account");
        let next = account.state().await.expect("a state").next_snapshot();
        assert_eq!(page.birth, next, "written ahead, for the next one to remove");
    }
    assert_eq!(world.house().count(SNAPSHOTS).await, 0);
    assert_eq!(world.house().count(DEPARTED_PAGES).await, 0);
    world.no_message_without_rows().await;
}

fn block_on(run: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn every_snapshot_reads_as_the_account_was(seed in any::<u64>()) {
        block_on(run(seed, 80, Faults::default()));
    }

    #[test]
    fn a_crash_anywhere_leaves_every_snapshot_whole_or_gone(seed in any::<u64>()) {
        let faults = Faults {
            failed_commits_per_thousand: 40,
            failed_syncs_per_thousand: 40,
            failed_reads_per_thousand: 0,
        };
        block_on(run(seed, 80, faults));
    }
}
