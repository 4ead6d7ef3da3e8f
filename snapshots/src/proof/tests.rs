//! Proofs held against random states, and against every changed octet.

use std::collections::BTreeMap;

use storage::ids::{EmailNumber, UidValidity};

use super::*;
use crate::{
    golden::Golden,
    state::StateRoot,
    tree::{
        page::{inner_outline, inner_page_id, leaf_page_id, parse_inner_outline},
        tests::Pages,
        update::update,
    },
};

const ACCOUNT: AccountId = AccountId(70);
const ADDRESS: &str = "maria.rossi@pec.alfa.example";

fn row(uid: u32) -> ContentRow {
    ContentRow {
        uid: Uid::new(uid).expect("not zero"),
        digest: digest(uid),
        email_number: EmailNumber(u64::from(uid)),
        internal_date: UnixMillis(1),
        save_date: UnixMillis(2),
        size: 3,
        charged_octets: 4,
    }
}

fn digest(uid: u32) -> Sha256Digest {
    Sha256Digest::of(&uid.to_be_bytes())
}

fn uid(number: u32) -> Asked {
    Asked::Uid(Uid::new(number).expect("not zero"))
}

/// An account with messages whose UIDs are odd, among other accounts of a run.
struct World {
    pages: Pages,
    state: State,
    secret: SnapshotSecret,
    records: Vec<SnapshotRecord>,
    accounts: TreeRoot,
    run: RunRecord,
}

impl World {
    async fn new(messages: u32) -> Self {
        Self::that_tells(messages, messages.into(), "Bozze").await
    }

    /// Its state says that the INBOX has `told` messages, and that a mailbox without messages is called
    /// `other`.
    async fn that_tells(messages: u32, told: u64, other: &str) -> Self {
        let secret = SnapshotSecret([3; 32]);
        let salts = Salts::new(secret.clone(), MailboxId(2));
        let mut pages = Pages::default();
        let rows = (0..messages).map(|at| row(2 * at + 1));
        let changes: BTreeMap<u64, _> =
            rows.map(|row| (u64::from(row.uid.get()), Some(row))).collect();
        let made = update(&pages, 1, TreeRoot::empty(), &salts, changes).await.expect("a tree");
        pages.store(made.new_pages);
        let entry = MailboxEntry {
            uid_validity: UidValidity(9.try_into().expect("not zero")),
            uid_next: Uid::new(2 * messages + 1),
            name: "INBOX".to_owned(),
            subscribed: true,
            special_use: String::new(),
            octets: 0,
            content: TreeRoot { rows: told, ..made.root },
            flags: TreeRoot::empty(),
        };
        let empty = TreeRoot::empty();
        let other = MailboxEntry { name: other.to_owned(), content: empty, ..entry.clone() };
        let state = State { mailboxes: [(MailboxId(1), other), (MailboxId(2), entry)].into() };
        let record = |previous: Option<&SnapshotRecord>, at, state: &State| {
            SnapshotRecord::following(previous, ACCOUNT, UnixMillis(at), state, &secret)
                .expect("hashed")
                .expect("another state")
        };
        let first = record(None, 1_000, &state);
        let next = record(Some(&first), 2_000, &State::default());
        let records = vec![first, next];
        let changes: BTreeMap<u64, _> = (1..=500)
            .map(|account| {
                let own = account == ACCOUNT.0;
                let row = AccountRow {
                    account: AccountId(account),
                    record: if own { records[1].hash() } else { digest(1) },
                    address: if own { ADDRESS.to_owned() } else { String::new() },
                };
                (account, Some(row))
            })
            .collect();
        let made = update(&pages, 1, TreeRoot::empty(), &AccountRow::salts(), changes).await;
        let made = made.expect("a tree");
        pages.store(made.new_pages);
        let run = RunRecord {
            number: 4,
            begun: UnixMillis(1_500),
            closed: UnixMillis(2_500),
            root: made.root.page.id,
            accounts: made.root.rows,
            previous: Some(digest(9)),
        };
        Self { pages, state, secret, records, accounts: made.root, run }
    }

    async fn prove(&self, name: &str, asked: Asked) -> Proof {
        let attested = Attested::make(&self.pages, self.accounts, self.records.clone()).await;
        let source = Source { pages: &self.pages, state: &self.state, secret: &self.secret };
        Proof::make(source, name, asked, attested.expect("in the run")).await.expect("a proof")
    }
}

/// What was proven, after a way through octets.
fn checked(proof: &Proof, run: &RunRecord) -> Result<Proven, ProofError> {
    let octets = proof.encode().expect("octets");
    let read = Proof::decode(&octets).expect("a proof");
    assert_eq!(read, *proof);
    read.verify(run)
}

#[tokio::test]
async fn presence_and_absence_are_shown_for_their_run_only() {
    let world = World::new(2_000).await;
    let mailbox = FactMailbox { id: MailboxId(2), uid_validity: 9, messages: 2_000 };
    for number in [1, 63, 2_047, 3_999] {
        for asked in [uid(number), Asked::Digest(digest(number))] {
            let proof = world.prove("INBOX", asked).await;
            assert!(proof.encode().expect("octets").len() < 30_000);
            let proven = checked(&proof, &world.run).expect("it holds");
            let fact = Fact::Present { mailbox, uid: number, digest: digest(number) };
            assert_eq!((proven.fact, proven.instant), (fact, UnixMillis(1_000)));
            assert_eq!((proven.account, proven.address.as_str()), (ACCOUNT, ADDRESS));
            let other = RunRecord { root: crate::tree::page::PageId::empty(), ..world.run.clone() };
            assert_eq!(proof.verify(&other), Err(ProofError::Account));
        }
        for asked in [uid(number + 1), Asked::Digest(digest(number + 1))] {
            let proof = world.prove("INBOX", asked.clone()).await;
            let proven = checked(&proof, &world.run).expect("it holds");
            assert_eq!(proven.fact, Fact::Absent { mailbox, asked });
        }
    }
    let proven = checked(&world.prove("Archivio", uid(1)).await, &world.run).expect("it holds");
    assert_eq!(proven.fact, Fact::NoMailbox { asked: uid(1), mailboxes: 2 });
    let proven = checked(&world.prove("Bozze", uid(1)).await, &world.run).expect("it holds");
    assert!(matches!(proven.fact, Fact::Absent { .. }), "an empty mailbox has no message");
}

#[tokio::test]
async fn a_list_that_leaves_a_message_out_leads_elsewhere() {
    let world = World::new(300).await;
    let mut proof = world.prove("INBOX", uid(2)).await;
    let Evidence::Absent(listing) = &mut proof.evidence else { panic!("{proof:?}") };
    listing.leaves[1].remove(0);
    assert_eq!(proof.verify(&world.run), Err(ProofError::Mailbox));
    let mut proof = world.prove("INBOX", uid(2)).await;
    proof.asked = uid(3);
    assert_eq!(proof.verify(&world.run), Err(ProofError::NotAbsent));
    let mut proof = world.prove("Archivio", uid(1)).await;
    proof.mailboxes.pop();
    assert_eq!(proof.verify(&world.run), Err(ProofError::Name));
}

#[tokio::test]
async fn records_that_follow_each_other_lead_to_the_run() {
    let mut world = World::new(3).await;
    let good = world.prove("INBOX", uid(1)).await;
    assert!(good.verify(&world.run).is_ok());
    let mut proof = good.clone();
    proof.attested.records.remove(0);
    assert_eq!(proof.verify(&world.run), Err(ProofError::State), "the later state is another");
    let mut proof = good.clone();
    proof.attested.records[0].instant = UnixMillis(3_000);
    assert_eq!(proof.verify(&world.run), Err(ProofError::Records));
    world.records.pop();
    let records = world.records.clone();
    let refused = Attested::make(&world.pages, world.accounts, records).await;
    assert!(matches!(refused, Err(SnapshotError::NotPresent)), "{refused:?}");
    let early = RunRecord { closed: UnixMillis(1_999), ..world.run.clone() };
    assert_eq!(good.verify(&early), Err(ProofError::Account));
}

#[tokio::test]
async fn a_proof_fails_after_any_changed_octet() {
    let world = World::new(90).await;
    assert_ne!(world.records[0].state_root, StateRoot(digest(0)));
    let kinds = [("INBOX", uid(81)), ("INBOX", uid(82)), ("Archivio", uid(81))];
    for (name, asked) in kinds {
        let proof = world.prove(name, asked).await;
        let (octets, proven) = (proof.encode().expect("octets"), proof.verify(&world.run));
        for at in 0..octets.len() {
            for bit in [1, 0x80] {
                let mut changed = octets.clone();
                changed[at] ^= bit;
                let read = Proof::decode(&changed).map(|proof| proof.verify(&world.run));
                // What was asked may be asked otherwise; then another fact is shown.
                let holds = read.is_some_and(|read| read == proven);
                assert!(!holds, "{name}: octet {at}");
            }
        }
        assert!(Proof::decode(&octets[..octets.len() - 1]).is_none());
    }
}

#[tokio::test]
async fn one_root_never_shows_two_histories_of_an_account() {
    let mut world = World::new(3).await;
    let mut proof = world.prove("INBOX", uid(1)).await;
    let last = proof.attested.records.last().expect("a record").hash();
    let row = AccountRow { account: ACCOUNT, record: last, address: ADDRESS.to_owned() };
    let page = |keys: [u64; 2]| {
        let mut outline = 2_u16.to_be_bytes().to_vec();
        for (key, leaf) in keys.into_iter().zip([row.leaf_hash(), digest(2)]) {
            outline.extend_from_slice(&key.to_be_bytes());
            outline.extend_from_slice(&leaf.0);
        }
        outline
    };
    let cases = [
        ([ACCOUNT.0, ACCOUNT.0 + 1], None),
        ([ACCOUNT.0, ACCOUNT.0], Some(ProofError::Layout)),
        ([ACCOUNT.0, 3], Some(ProofError::Layout)),
    ];
    for (keys, refused) in cases {
        let outline = page(keys);
        (world.run.root, world.run.accounts) = (leaf_page_id(&outline), 2);
        proof.attested.path = Path(vec![outline]);
        assert_eq!(proof.verify(&world.run).err(), refused, "{keys:?}");
    }
}

#[tokio::test]
async fn one_root_never_shows_a_message_and_its_absence_in_mailboxes_of_one_name() {
    for name in ["INBOX", "inbox"] {
        let liar = World::that_tells(3, 3, name).await;
        let there = liar.prove("INBOX", uid(1)).await;
        let mut proof = liar.prove("INBOX", uid(2)).await;
        assert_eq!(proof.verify(&liar.run), Err(ProofError::Name), "{name}");
        // The other one has no messages.
        proof.evidence = Evidence::Absent(Listing::default());
        proof.asked = uid(1);
        assert_eq!(proof.verify(&liar.run), Err(ProofError::Name), "{name}: disclosed both");
        for at in [0, 1] {
            let mailboxes = vec![proof.mailboxes[at].clone()];
            let proof = Proof { mailboxes, ..proof.clone() };
            assert_eq!(proof.verify(&liar.run), Err(ProofError::OlderForm), "{name}: {at}");
        }
        proof.evidence = Evidence::NoMailbox;
        assert!(proof.verify(&liar.run).is_err(), "{name}");
        assert!(
            there.verify(&liar.run).is_ok() || name == "INBOX",
            "{name}: presence needs no other"
        );
    }
}

#[tokio::test]
async fn counts_of_rows_are_those_of_pages_state_and_run() {
    let world = World::new(3).await;
    let good = world.prove("INBOX", uid(1)).await;
    let more = RunRecord { accounts: world.run.accounts + 1, ..world.run.clone() };
    assert_eq!(good.verify(&more), Err(ProofError::Account));
    let (root, below) = good.attested.path.0.split_last().expect("a root page");
    let (level, children) = parse_inner_outline(root).expect("an inner page");
    for at in 0..children.len() {
        let mut changed = children.clone();
        changed[at].rows += 1;
        let outline = inner_outline(level, &changed).expect("an outline");
        let run = RunRecord { root: inner_page_id(&outline), ..world.run.clone() };
        let mut proof = good.clone();
        proof.attested.path = Path([below, &[outline]].concat());
        let refused = proof.verify(&run).expect_err("another count");
        assert!(matches!(refused, ProofError::Pages | ProofError::Account), "{refused}");
    }
    let liar = World::that_tells(90, 91, "Bozze").await;
    for asked in [uid(1), uid(2)] {
        let proof = liar.prove("INBOX", asked).await;
        assert_eq!(proof.verify(&liar.run), Err(ProofError::Mailbox));
    }
}

#[tokio::test]
async fn a_name_is_one_that_the_store_writes() {
    let world = World::new(3).await;
    let proven = world.prove("iNbox", uid(1)).await.verify(&world.run).expect("it holds");
    assert!(matches!(proven.fact, Fact::Present { .. }), "INBOX in any case: {proven:?}");
    let good = world.prove("Archivio", uid(1)).await;
    assert!(good.verify(&world.run).is_ok());
    for name in ["inbox", "Inbox/Figli", "Archivio\nAltro", "Archivio/", "Perche\u{301}", "", " a"]
    {
        let proof = Proof { name: name.to_owned(), ..good.clone() };
        assert_eq!(proof.verify(&world.run), Err(ProofError::InvalidName), "{name:?}");
    }
    let attested = good.attested.clone();
    let source = Source { pages: &world.pages, state: &world.state, secret: &world.secret };
    let refused = Proof::make(source, "Archivio\nIl", uid(1), attested).await;
    assert!(matches!(refused, Err(SnapshotError::Store(_))), "{refused:?}");
}

#[tokio::test]
async fn no_row_has_the_uid_0() {
    let world = World::new(3).await;
    for asked in [uid(1), uid(2)] {
        let mut proof = world.prove("INBOX", asked).await;
        match &mut proof.evidence {
            Evidence::Present { uid, .. } => *uid = 0,
            Evidence::Absent(listing) => listing.leaves[0][0].uid = 0,
            Evidence::NoMailbox => {}
        }
        assert_eq!(Proof::decode(&proof.encode().expect("octets")), None);
    }
    let mut proof = world.prove("INBOX", uid(2)).await;
    if let Evidence::Absent(listing) = &mut proof.evidence {
        listing.leaves[0].swap(0, 1);
    }
    assert_eq!(proof.verify(&world.run), Err(ProofError::Layout), "UIDs ascend");
}

#[tokio::test]
async fn proofs_stay_as_they_are() {
    let (world, empty) = (World::new(20).await, World::new(0).await);
    let golden = Golden::of("proof");
    for (name, world, mailbox, asked) in [
        ("presence", &world, "INBOX", uid(7)),
        ("absence-of-all", &world, "INBOX", Asked::Digest(digest(8))),
        ("empty-of-all", &empty, "INBOX", uid(8)),
        ("no-mailbox", &world, "Lavori", uid(7)),
    ] {
        let proof = world.prove(mailbox, asked).await;
        let run = Golden::of("proof.run").variant(name);
        run.holds(&world.run, RunRecord::encode, |run| RunRecord::decode(run).expect("a run"));
        golden.clone().variant(name).holds(
            &proof,
            |proof| proof.encode().expect("octets"),
            |octets| {
                let proof = Proof::decode(octets).expect("a proof");
                proof.verify(&world.run).expect("it holds");
                proof
            },
        );
    }
    // Of before absence disclosed every mailbox: they read, and show nothing (decision 0075).
    for (name, world) in [("absence", &world), ("empty", &empty)] {
        let octets = golden.clone().variant(name).written(b"");
        let proof = Proof::decode(&octets).expect("a proof");
        assert_eq!(proof.verify(&world.run), Err(ProofError::OlderForm), "{name}");
    }
}
