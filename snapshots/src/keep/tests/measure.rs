//! What a snapshot of an ordinary day writes.

use std::collections::BTreeMap;

use storage::{
    catalog::{engine::Reader, simulated::SimulatedEngine},
    ids::{EmailNumber, MailboxId, Uid},
    mailbox::flags::Flags,
    store::Store,
};
use trust::{
    clock::UnixMillis,
    digest::Sha256Digest,
    random::{RandomSource as _, SeededRandom},
};

use super::house::{ANNA, MORNING};
use crate::{
    hash::{Salts, SnapshotSecret},
    keep::{
        SnapshotLimits,
        keys::{self, PageKey},
        pages::{CatalogPages, Sheet},
    },
    tree::{
        TreeRoot,
        row::{ContentRow, FlagsRow},
        update::update,
    },
};

const ROWS: u32 = 100_000;
const DAYS: u64 = 20;
/// Octets that a record, a state of some mailboxes and ten messages that departed come to at most.
const BESIDE: usize = 1_500;

fn content(uid: u32, random: &SeededRandom) -> ContentRow {
    let size = 2_000 + random.next_u64() % 60_000;
    let date = MORNING.plus_millis(
        i64::from(uid) * 61_000 + i64::try_from(random.next_u64() % 50_000).expect("small"),
    );
    ContentRow {
        uid: Uid::new(uid).expect("not zero"),
        digest: Sha256Digest::of(&uid.to_be_bytes()),
        email_number: EmailNumber(u64::from(uid) + u64::from(uid / 3)),
        internal_date: date,
        save_date: UnixMillis(date.0 + 40),
        size,
        charged_octets: size,
    }
}

fn flags(uid: u32, random: &SeededRandom) -> FlagsRow {
    let answered = random.next_u64().is_multiple_of(9);
    let flags = Flags { seen: !random.next_u64().is_multiple_of(20), answered, ..Flags::default() };
    FlagsRow { uid: Uid::new(uid).expect("not zero"), flags }
}

#[derive(Debug, Default)]
struct Written {
    pages: usize,
    octets: usize,
    departed: usize,
}

struct Mailbox {
    sheet: Sheet,
    engine: std::sync::Arc<SimulatedEngine>,
    salts: Salts,
    content: TreeRoot,
    flags: TreeRoot,
}

impl Mailbox {
    async fn next(
        &mut self,
        birth: u64,
        content: BTreeMap<u64, Option<ContentRow>>,
        flags: BTreeMap<u64, Option<FlagsRow>>,
    ) -> Written {
        self.sheet.birth = birth;
        self.sheet.replaced.clear();
        let made = update(&self.sheet, birth, self.content, &self.salts, content).await;
        let made = made.expect("content");
        self.content = made.root;
        self.sheet.take(made.new_pages, made.replaced);
        let made = update(&self.sheet, birth, self.flags, &self.salts, flags).await;
        let made = made.expect("flags");
        self.flags = made.root;
        self.sheet.take(made.new_pages, made.replaced);
        let batch = self.sheet.drain(SnapshotLimits::default().compression_level);
        let mut written = Written { pages: batch.put.len(), ..Written::default() };
        for (_, key, value) in &batch.put {
            written.octets += key.len() + value.len();
        }
        let departed = self.sheet.replaced.iter().map(|page| PageKey::from(*page)).collect();
        for (key, list) in keys::departed_rows(ANNA, birth, departed, 1_000) {
            written.departed += key.len() + list.len();
        }
        storage::catalog::engine::Engine::commit(&*self.engine, batch).await.expect("commit");
        written
    }
}

#[tokio::test]
async fn a_day_of_a_large_mailbox_writes_what_changed() {
    let engine = SimulatedEngine::new(&Store::families(&keys::FAMILIES));
    let reader: std::sync::Arc<dyn Reader> = engine.clone();
    let salts = Salts::new(SnapshotSecret([5; 32]), MailboxId(1));
    let sheet = Sheet::new(CatalogPages::new(reader, ANNA), 1, Vec::new());
    let (empty, random) = (TreeRoot::empty(), SeededRandom::new(11));
    let mut mailbox = Mailbox { sheet, engine, salts, content: empty, flags: empty };
    let mut rows = BTreeMap::new();
    let mut flag_rows = BTreeMap::new();
    for uid in 1..=ROWS {
        rows.insert(u64::from(uid), Some(content(uid, &random)));
        flag_rows.insert(u64::from(uid), Some(flags(uid, &random)));
    }
    let first = mailbox.next(1, rows, flag_rows).await;
    assert!(first.pages < 12_000 && first.octets < 5 << 20, "{first:?}");
    let mut days = Vec::new();
    for day in 2..=1 + DAYS {
        let (mut rows, mut flag_rows) = (BTreeMap::new(), BTreeMap::new());
        let next = ROWS + (u32::try_from(day).expect("small") - 2) * 50 + 1;
        for uid in next..next + 50 {
            rows.insert(u64::from(uid), Some(content(uid, &random)));
            flag_rows.insert(u64::from(uid), Some(flags(uid, &random)));
        }
        for at in 0..50 {
            let uid = 1 + random.next_u64() % u64::from(ROWS);
            if at < 40 {
                let uid = u32::try_from(uid).expect("a UID");
                let flags = Flags { seen: true, flagged: true, ..Flags::default() };
                let row = FlagsRow { uid: Uid::new(uid).expect("not zero"), flags };
                flag_rows.insert(u64::from(uid), Some(row));
            } else {
                rows.insert(uid, None);
                flag_rows.insert(uid, None);
            }
        }
        let day = mailbox.next(day, rows, flag_rows).await;
        days.push(day.octets + day.departed + BESIDE);
    }
    let average = days.iter().sum::<usize>() / days.len();
    days.sort_unstable();
    let median = days[days.len() / 2];
    assert!(average <= 64 << 10 && median <= 64 << 10, "{average} and {median} octets of {days:?}");
}
