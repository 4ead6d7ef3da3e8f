//! Random histories of an account: whatever happens between, and wherever the power is cut, every
//! snapshot reads like the copy that was made of the account when it was taken.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use storage::{
    account::tree::SpecialUse,
    catalog::{
        engine::{Reader as _, Scan},
        simulated::Faults,
    },
    collector::CollectOptions,
    ids::{MailboxId, Uid, UidValidity},
    mailbox::{
        flags::{FlagChange, Flags, Keyword},
        view::{MailboxView, MessageRow},
    },
};
use trust::{
    clock::{Clock as _, UnixMillis},
    random::{RandomSource as _, SeededRandom},
};

use super::house::{ANNA, House, INBOX, small, without_mod_seq};
use crate::{
    error::SnapshotError,
    keep::{
        keys::{DEPARTED_PAGES, PageKey, SNAPSHOT_PAGES, SNAPSHOTS},
        settings::Retention,
        take::Taken,
    },
};

/// A mailbox as the copy has it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Copied {
    name: String,
    subscribed: bool,
    special_use: Option<SpecialUse>,
    uid_validity: UidValidity,
    uid_next: Option<Uid>,
    rows: Vec<MessageRow>,
    octets: Vec<Vec<u8>>,
}

type Copy = BTreeMap<MailboxId, Copied>;

async fn octets_of(mailbox: &dyn MailboxView, rows: &[MessageRow]) -> Vec<Vec<u8>> {
    let mut octets = Vec::new();
    for row in rows {
        let read = mailbox.read(row.email_number, 0..row.size).await.expect("its octets");
        octets.push(read.to_vec());
    }
    octets
}

/// The account as it is, read through its live mailboxes.
async fn copy(house: &House) -> Copy {
    let anna = house.anna().await;
    let mut copy = Copy::new();
    for listing in anna.mailboxes().await.expect("mailboxes") {
        let Some(id) = listing.mailbox_id else { continue };
        let mailbox = anna.mailbox(id).await.expect("a mailbox");
        let state = MailboxView::state(&*mailbox).await.expect("a state");
        let rows = without_mod_seq(mailbox.rows().await.expect("rows").1);
        let octets = octets_of(&*mailbox, &rows).await;
        let copied = Copied {
            name: listing.name,
            subscribed: listing.subscribed,
            special_use: listing.special_use,
            uid_validity: state.uid_validity,
            uid_next: state.uid_next,
            rows,
            octets,
        };
        copy.insert(id, copied);
    }
    copy
}

/// A snapshot, read through its mailboxes.
async fn read(house: &House, number: u64) -> Copy {
    let open = house.snapshots.open(ANNA, number).await.expect("open");
    let mut copy = Copy::new();
    for (id, entry) in &open.state().mailboxes {
        let mailbox = open.mailbox(*id).expect("a mailbox");
        let state = MailboxView::state(&*mailbox).await.expect("a state");
        let rows = without_mod_seq(mailbox.rows().await.expect("rows").1);
        assert_eq!((state.exists, entry.flags.rows), (rows.len() as u64, rows.len() as u64));
        let octets = octets_of(&*mailbox, &rows).await;
        let uses = [
            SpecialUse::Archive,
            SpecialUse::Drafts,
            SpecialUse::Junk,
            SpecialUse::Sent,
            SpecialUse::Trash,
        ];
        let copied = Copied {
            name: entry.name.clone(),
            subscribed: entry.subscribed,
            special_use: uses.into_iter().find(|special| special.attribute() == entry.special_use),
            uid_validity: state.uid_validity,
            uid_next: state.uid_next,
            rows,
            octets,
        };
        copy.insert(*id, copied);
    }
    copy
}

struct World {
    house: Option<House>,
    random: SeededRandom,
    copies: BTreeMap<u64, Copy>,
    appended: usize,
    /// Whether commits fail while snapshots are taken and go.
    faults: Faults,
}

impl World {
    fn house(&self) -> &House {
        self.house.as_ref().expect("a house")
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
        match self.below(16) {
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
                let _ = anna.rename_mailbox(&name, &format!("Altra{}", self.below(5))).await;
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
        let house = House::open(engine, house.objects, house.clock, house.limits).await;
        self.house = Some(house);
    }

    async fn take(&mut self) {
        let before = copy(self.house()).await;
        self.house().clock.advance(1_000 + i64::try_from(self.below(20_000_000)).expect("small"));
        self.restart(self.faults).await;
        let taken = self.house().try_take().await;
        self.restart(Faults::default()).await;
        let latest = self.house().snapshots.list(ANNA).await.expect("a list").pop();
        match taken {
            Ok(Taken::New(snapshot)) => {
                assert_eq!(latest, Some(snapshot.clone()));
                assert_eq!(self.copies.insert(snapshot.number, before), None);
            }
            Ok(Taken::Unchanged(same)) => assert_eq!(latest, same),
            // Nobody was told: it is there as a whole, or not at all.
            Err(SnapshotError::Store(_)) => {
                if let Some(latest) = latest {
                    self.copies.entry(latest.number).or_insert(before);
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
        let one = self.copies.keys().nth(self.below(self.copies.len())).copied();
        let forget = self.below(3) == 0;
        self.restart(self.faults).await;
        let _ = match one {
            Some(one) if forget => self.house().snapshots.forget(ANNA, one).await,
            _ => self.house().snapshots.thin(ANNA, &retention, now).await.map(|_| ()),
        };
        self.restart(Faults::default()).await;
        self.verify().await;
    }

    /// Every snapshot that is listed is the copy made of it; those that are not have gone.
    async fn verify(&mut self) {
        let list = self.house().snapshots.list(ANNA).await.expect("a list");
        let listed: Vec<u64> = list.iter().map(|snapshot| snapshot.number).collect();
        self.copies.retain(|number, _| listed.contains(number));
        assert_eq!(self.copies.keys().copied().collect::<Vec<_>>(), listed);
        for (number, copy) in &self.copies {
            assert_eq!(&read(self.house(), *number).await, copy, "snapshot {number}");
        }
        let report = crate::check::run(&self.house().store, &|_| {}).await.expect("check");
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

async fn run(seed: u64, steps: usize, faults: Faults) {
    let (house, _) = House::new(small()).await;
    let random = SeededRandom::new(seed);
    let mut world =
        World { house: Some(house), random, copies: BTreeMap::new(), appended: 0, faults };
    for _ in 0..steps {
        match world.below(10) {
            0..=5 => world.change().await,
            6..=7 => world.take().await,
            8 => world.thin().await,
            _ => world.collect().await,
        }
    }
    world.verify().await;
    // Nothing is left behind by what was cut short, once it is finished.
    let now = UnixMillis(world.house().clock.now().0);
    world.house().snapshots.thin(ANNA, &Retention::default(), now).await.expect("thin");
    world.collect().await;
    world.verify().await;
    for number in world.copies.keys().copied().collect::<Vec<_>>() {
        world.house().snapshots.forget(ANNA, number).await.expect("forget");
    }
    world.verify().await;
    let next = world.house().anna().await.state().await.expect("a state").next_snapshot();
    let scan = Scan::prefix(SNAPSHOT_PAGES, &[], usize::MAX);
    let pages = world.house().engine.scan(&scan).await;
    for (key, _) in pages.expect("scan") {
        let (_, page) = PageKey::of_stored(&key).expect("a page");
        assert_eq!(page.birth, next, "written ahead, for the next one to remove");
    }
    assert_eq!(world.house().count(SNAPSHOTS).await, 0);
    assert_eq!(world.house().count(DEPARTED_PAGES).await, 0);
}

fn block_on(run: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

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
