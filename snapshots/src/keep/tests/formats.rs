//! What version 1 stored: files of octets that every later program has to read, and hashes that it has
//! to come to.
//!
//! A line of a file is the family, the key and the value of an entry of the catalog, or `hash`, what of,
//! and the hash; octets are hexadecimal. A file that is not there is written, and the test fails: look at
//! it, and keep it. A file that is there never changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Engine as _, Family, Reader},
        simulated::SimulatedEngine,
    },
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid, UidValidity},
    mailbox::flags::{Flags, Keyword},
    store::Store,
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::house::{ANNA, INBOX, MORNING};
use crate::{
    hash::{Salts, SnapshotSecret},
    keep::{
        keys::{self, DEPARTED_PAGES, PageKey, SNAPSHOT_ACCOUNTS, SNAPSHOT_PAGES, SNAPSHOTS},
        open::state_at,
        pages::{CatalogPages, Packer, Sheet, unpack},
        records::{self, AccountEntry},
        settings::{Hold, Overrides},
        snapshot::{Snapshot, SnapshotKind},
    },
    record::SnapshotRecord,
    state::{MailboxEntry, State},
    tree::{
        TreeRoot,
        page::PageRef,
        read::rows,
        row::{AccountRow, ContentRow, FlagsRow, Row},
        update::update,
    },
};

const SECRET: SnapshotSecret = SnapshotSecret([0x5a; 32]);
const LEVEL: i32 = 6;
/// Where pages of the tree of accounts stand in the file.
const NOBODY: AccountId = AccountId(0);

type Rows<R> = BTreeMap<u64, Option<R>>;

fn keyed<R: Row>(rows: impl IntoIterator<Item = R>) -> Rows<R> {
    rows.into_iter().map(|row| (Row::key(&row), Some(row))).collect()
}

fn values<R: Row>(rows: &Rows<R>) -> Vec<R> {
    rows.values().flatten().cloned().collect()
}

/// UIDs with gaps.
fn uid(number: u32) -> Uid {
    Uid::new(number + number / 10).expect("not zero")
}

fn content(number: u32) -> ContentRow {
    let at = MORNING.plus_millis(i64::from(number) * 61_001);
    let size = u64::from(number * number) * 97;
    ContentRow {
        uid: uid(number),
        digest: Sha256Digest::of(&number.to_be_bytes()),
        email_number: EmailNumber(u64::from(1_000 + number * 7 % 300)),
        // Before 1970, too.
        internal_date: if number.is_multiple_of(9) { UnixMillis(-i64::from(number)) } else { at },
        save_date: at.plus_millis(40),
        size,
        charged_octets: if number.is_multiple_of(4) { 0 } else { size + u64::from(number % 3) },
    }
}

fn flags(number: u32) -> FlagsRow {
    let bit = |at: u32| number >> at & 1 == 1;
    let words = ["$Forwarded", "pratica"].into_iter().take((number % 3) as usize);
    let keywords = words.map(|word| Keyword::new(word).expect("an atom")).collect();
    let flags = Flags {
        seen: bit(0),
        answered: bit(1),
        flagged: bit(2),
        deleted: bit(3),
        draft: bit(4),
        keywords: if number.is_multiple_of(5) { keywords } else { Flags::default().keywords },
    };
    FlagsRow { uid: uid(number), flags }
}

fn account(number: u32) -> AccountRow {
    let record = Sha256Digest::of(&number.to_le_bytes());
    let address = format!("casella{number}@pec.alfa.example");
    AccountRow { account: AccountId(u64::from(number * number)), record, address }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

fn octets(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).expect("ASCII"));
    digits.map(|two| u8::from_str_radix(two, 16).expect("hexadecimal")).collect()
}

/// Entries and hashes, as a file has them.
#[derive(Default)]
struct Stored {
    entries: BTreeMap<(String, Bytes), Bytes>,
    hashes: BTreeMap<String, Bytes>,
}

impl Stored {
    fn put(&mut self, family: Family, key: Bytes, value: impl Into<Bytes>) {
        self.entries.insert((family.0.to_owned(), key), value.into());
    }

    fn put_all(&mut self, batch: &Batch) {
        for (family, key, value) in &batch.put {
            self.put(*family, key.clone(), value.clone());
        }
    }

    fn hash(&mut self, name: &str, hash: Sha256Digest) {
        self.hashes.insert(name.to_owned(), Bytes::copy_from_slice(&hash.0));
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, hash) in &self.hashes {
            let _ = writeln!(text, "hash {name} {}", hex(hash));
        }
        for ((family, key), value) in &self.entries {
            let _ = writeln!(text, "{family} {} {}", hex(key), hex(value));
        }
        text
    }

    /// The file called `name`, which `made` gives when it is not there.
    fn read(name: &str, made: &Self) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/formats/v1").join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(&path, made.text()).expect("write");
            panic!("{} was not there and has been written", path.display());
        };
        let mut stored = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let mut word = || words.next().expect("three words").to_owned();
            let (first, second, third) = (word(), word(), word());
            if first == "hash" {
                stored.hashes.insert(second, octets(&third));
            } else {
                stored.entries.insert((first, octets(&second)), octets(&third));
            }
        }
        stored
    }

    /// A catalog with the entries.
    async fn catalog(&self) -> Arc<SimulatedEngine> {
        let engine = SimulatedEngine::new(&Store::families(&keys::FAMILIES));
        let mut batch = Batch::default();
        for ((name, key), value) in &self.entries {
            let family = keys::FAMILIES.into_iter().find(|family| family.0 == name);
            batch.put(family.expect("a family"), key.clone(), value.clone());
        }
        engine.commit(batch).await.expect("commit");
        engine
    }

    /// What is stored, unpacked: what zstd makes of it may be another today.
    fn unpacked(&self) -> BTreeMap<(String, Bytes), Bytes> {
        let plain = |(family, _): &(String, Bytes), value: &Bytes| {
            if family == SNAPSHOT_PAGES.0 {
                unpack(value).expect("a known form")
            } else {
                value.clone()
            }
        };
        self.entries.iter().map(|(key, value)| (key.clone(), plain(key, value))).collect()
    }
}

/// What the files are of.
struct Fixed {
    snapshots: [Snapshot; 2],
    states: [State; 2],
    entry: AccountEntry,
    departed: BTreeSet<PageKey>,
    stored: Stored,
}

async fn grown<R: Row>(
    sheet: &mut Sheet,
    root: TreeRoot,
    salts: &Salts,
    rows: Rows<R>,
) -> TreeRoot {
    let made = update(&*sheet, sheet.birth, root, salts, rows).await.expect("an update");
    sheet.take(made.new_pages, made.replaced);
    made.root
}

fn state(content: TreeRoot, flags: TreeRoot) -> State {
    let entry = |name: &str, content, flags| MailboxEntry {
        uid_validity: UidValidity(1_795_240_801.try_into().expect("not zero")),
        uid_next: Uid::new(4_000),
        name: name.to_owned(),
        subscribed: name == "INBOX",
        special_use: if name == "INBOX" { String::new() } else { "\\Archive".to_owned() },
        octets: 1 << 33,
        content,
        flags,
    };
    let archive = entry("Archivio/Università", TreeRoot::empty(), TreeRoot::empty());
    let archive = MailboxEntry { uid_next: None, octets: 0, ..archive };
    State { mailboxes: [(INBOX, entry("INBOX", content, flags)), (MailboxId(9), archive)].into() }
}

/// Two snapshots of an account: 100 rows; then one other flag, one row less, one more.
async fn fixed() -> Fixed {
    let engine = SimulatedEngine::new(&Store::families(&keys::FAMILIES));
    let reader: Arc<dyn Reader> = engine.clone();
    let salts = Salts::new(SECRET, INBOX);
    let mut stored = Stored::default();
    let mut sheet = Sheet::new(CatalogPages::new(reader, ANNA), 1, Vec::new());
    let (first, second) = contents();
    let content_1 = grown(&mut sheet, TreeRoot::empty(), &salts, first).await;
    let (first, changed) = all_flags();
    let flags_1 = grown(&mut sheet, TreeRoot::empty(), &salts, first).await;
    let batch = sheet.drain(LEVEL);
    stored.put_all(&batch);
    engine.commit(batch).await.expect("commit");
    sheet.birth = 2;
    let content_2 = grown(&mut sheet, content_1, &salts, second).await;
    let flags_2 = grown(&mut sheet, flags_1, &salts, changed).await;
    stored.put_all(&sheet.drain(LEVEL));
    let departed: BTreeSet<PageKey> =
        sheet.replaced.iter().map(|page| PageKey::from(*page)).collect();
    for (key, list) in keys::departed_rows(ANNA, 1, departed.clone(), 1_000) {
        stored.put(DEPARTED_PAGES, key, list);
    }
    let states = [state(content_1, flags_1), state(content_2, flags_2)];
    let snapshots = snapshots(&states);
    for (snapshot, state) in snapshots.iter().zip(&states) {
        let number = snapshot.number;
        let root = snapshot.record.state_root.0;
        let packed = Packer::new(LEVEL).pack(&state.encode().expect("a state"));
        stored.put(SNAPSHOT_PAGES, keys::state(ANNA, number, root), packed);
        let record = records::encode_snapshot(snapshot, number == 1);
        stored.put(SNAPSHOTS, keys::snapshot(ANNA, number), record);
        stored.hash(&format!("state_{number}"), root);
        stored.hash(&format!("record_{number}"), snapshot.record.hash());
    }
    for (name, root) in [
        ("content_1", content_1),
        ("content_2", content_2),
        ("flags_1", flags_1),
        ("flags_2", flags_2),
    ] {
        stored.hash(name, root.page.id.0);
    }
    let hold = Hold { reason: "fascicolo 7".to_owned(), since: MORNING };
    let overrides = Overrides { every_minutes: Some(60), hourly_hours: Some(0), ..<_>::default() };
    let entry = AccountEntry { secret: Some(SECRET), hold: Some(hold), overrides };
    stored.put(SNAPSHOT_ACCOUNTS, keys::account(ANNA), records::encode_account(&entry));
    Fixed { snapshots, states, entry, departed, stored }
}

/// Rows of content, and how they change.
fn contents() -> (Rows<ContentRow>, Rows<ContentRow>) {
    let mut changes = keyed([content(101)]);
    changes.insert(u64::from(uid(50).get()), None);
    (keyed((1..=100).map(content)), changes)
}

fn all_flags() -> (Rows<FlagsRow>, Rows<FlagsRow>) {
    let other = FlagsRow { uid: uid(7), flags: flags(8).flags };
    let mut changes = keyed([flags(101), other]);
    changes.insert(u64::from(uid(50).get()), None);
    (keyed((1..=100).map(flags)), changes)
}

fn changed<R: Row>((mut rows, changes): (Rows<R>, Rows<R>)) -> Vec<R> {
    rows.extend(changes);
    values(&rows)
}

fn snapshots([first, second]: &[State; 2]) -> [Snapshot; 2] {
    let record = |before: Option<&SnapshotRecord>, instant, state| {
        let record = SnapshotRecord::following(before, ANNA, instant, state, &SECRET);
        record.expect("a record").expect("another state")
    };
    let first = record(None, MORNING, first);
    let second = record(Some(&first), MORNING.plus_millis(3_600_000), second);
    let snapshot = |number, record, kind, hold| Snapshot {
        clock: None,
        stood_until: None,
        number,
        record,
        kind,
        asked_at: None,
        hold,
        email_numbers_below: EmailNumber(2_000),
        mod_seq: ModSeq(77_777),
    };
    let hold = Hold { reason: "richiesta 12/2026".to_owned(), since: MORNING };
    [
        snapshot(1, first, SnapshotKind::Scheduled, None),
        snapshot(2, second, SnapshotKind::OnDemand, Some(hold)),
    ]
}

#[tokio::test]
async fn what_version_1_stored_is_read_back() {
    let fixed = fixed().await;
    let file = Stored::read("account.txt", &fixed.stored);
    let reader: Arc<dyn Reader> = file.catalog().await;
    let pages = CatalogPages::new(Arc::clone(&reader), ANNA);
    let salts = Salts::new(SECRET, INBOX);
    let content = [values(&contents().0), changed(contents())];
    let flags = [values(&all_flags().0), changed(all_flags())];
    for (at, wanted) in fixed.snapshots.iter().enumerate() {
        let key = keys::snapshot(ANNA, wanted.number);
        let value = reader.get(SNAPSHOTS, &key).await.expect("read").expect("a snapshot");
        let (found, going) = records::decode_snapshot(&key, &value).expect("a snapshot");
        assert_eq!((&found, going), (wanted, wanted.number == 1));
        let state = state_at(&*reader, &found, &SECRET).await.expect("a state");
        assert_eq!(state, fixed.states[at]);
        let inbox = &state.mailboxes[&INBOX];
        let read = rows::<ContentRow>(&pages, inbox.content, &salts, 0, 999).await;
        assert_eq!(read.expect("content"), content[at]);
        let read = rows::<FlagsRow>(&pages, inbox.flags, &salts, 0, 999).await;
        assert_eq!(read.expect("flags"), flags[at]);
    }
    let key = keys::account(ANNA);
    let value = reader.get(SNAPSHOT_ACCOUNTS, &key).await.expect("read").expect("the account");
    let entry = records::decode_account(ANNA, &value).expect("the account");
    assert_eq!(entry.secret.map(|secret| secret.0), Some(SECRET.0));
    assert_eq!((entry.hold, entry.overrides), (fixed.entry.hold, fixed.entry.overrides));
    let lists = file.entries.iter().filter(|((family, _), _)| family == DEPARTED_PAGES.0);
    let lists: Vec<_> =
        lists.map(|((_, key), list)| keys::departed_pages(key, list).expect("a list")).collect();
    assert_eq!(lists, [fixed.departed]);
}

#[tokio::test]
async fn the_same_account_comes_to_the_hashes_and_octets_of_version_1() {
    let made = fixed().await.stored;
    let file = Stored::read("account.txt", &made);
    assert_eq!(made.hashes, file.hashes);
    assert_eq!(made.unpacked(), file.unpacked());
    let forms: BTreeSet<u8> = file
        .entries
        .iter()
        .filter(|((family, _), _)| family == SNAPSHOT_PAGES.0)
        .map(|(_, value)| value[0])
        .collect();
    assert_eq!(forms, [0, 1].into(), "the file has every form");
}

#[tokio::test]
async fn the_tree_of_accounts_is_that_of_version_1() {
    let all = keyed((1..=100).map(account));
    let engine: Arc<dyn Reader> = SimulatedEngine::new(&Store::families(&keys::FAMILIES));
    let salts = Salts::new(SnapshotSecret([0; 32]), MailboxId(0));
    let mut sheet = Sheet::new(CatalogPages::new(engine, NOBODY), 3, Vec::new());
    let root = grown(&mut sheet, TreeRoot::empty(), &salts, all.clone()).await;
    let mut made = Stored::default();
    made.put_all(&sheet.drain(LEVEL));
    made.hash("accounts", root.page.id.0);
    let file = Stored::read("accounts.txt", &made);
    assert_eq!(made.hashes, file.hashes);
    assert_eq!(made.unpacked(), file.unpacked());
    let pages = CatalogPages::new(file.catalog().await, NOBODY);
    let root = TreeRoot { page: PageRef { birth: 3, ..root.page }, ..root };
    let read = rows::<AccountRow>(&pages, root, &salts, 0, 999).await.expect("rows");
    assert_eq!(read, values(&all));
}
