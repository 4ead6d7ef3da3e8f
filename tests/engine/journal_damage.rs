//! What somebody did to the journal is found and named.

use bytes::Bytes;
use ceralacca::pec::{
    journal::{
        head::{
            Head, JOURNAL_HEADS, JOURNAL_INDEX, JOURNAL_LEAVES, JOURNAL_PIECES, JOURNAL_SEALS,
            JournalHead, numbered, seal,
        },
        piece::PieceRecord,
        verify::JournalFault,
    },
    records::{JOURNAL, JournalRecord, decode, encode},
};
use storage::{
    catalog::engine::{Batch, Family},
    objects::named,
};
use trust::{
    digest::Sha256Digest, smime::sign::MessageSigner as _, timestamp::TimestampSource as _,
};

use crate::{
    keeping::{DAY, Keeping, MINUTE, NODE},
    network::{keys, signer},
};

/// Three days with records; in the third, one minute sealed and not yet saved, and a tail.
async fn kept() -> Keeping {
    let keeping = Keeping::start().await;
    for _ in 0..2 {
        for _ in 0..2 {
            keeping.log(10).await;
            keeping.after(MINUTE).await;
        }
        keeping.after(DAY).await;
    }
    keeping.log(10).await;
    keeping.after(MINUTE).await;
    keeping.log(3).await;
    let verified = keeping.whole().await;
    assert_eq!((verified.records, verified.seals, verified.pieces), (50, 5, 2));
    keeping
}

async fn value(keeping: &Keeping, family: Family, number: u64) -> Bytes {
    let found = keeping.catalog().get(family, &numbered(NODE, number)).await.expect("read");
    found.expect("a value")
}

/// What is found after `change`; then everything is as it was.
async fn found(keeping: &Keeping, change: Batch) -> Vec<JournalFault> {
    let mut undo = Batch::default();
    let touched = change.put.iter().map(|(family, key, _)| (*family, key));
    for (family, key) in touched.chain(change.delete.iter().map(|(family, key)| (*family, key))) {
        match keeping.catalog().get(family, key).await.expect("read") {
            Some(value) => undo.put(family, key.clone(), value),
            None => undo.delete(family, key.clone()),
        };
    }
    keeping.catalog().commit(change).await.expect("planted");
    let faults = keeping.verify().await.faults;
    keeping.catalog().commit(undo).await.expect("as it was");
    keeping.whole().await;
    faults
}

/// A record that says something else.
fn other(value: &[u8]) -> Bytes {
    let record: JournalRecord = decode(JOURNAL, b"k", value).expect("a record");
    encode(&JournalRecord { subject: "Altro".to_owned(), ..record })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_removed_inserted_or_moved_record_is_named() {
    use JournalFault::{
        RecordChanged, RecordInserted, RecordMoved, RecordsChanged, RecordsMissing,
    };
    let keeping = kept().await;
    let key = |number| numbered(NODE, number);
    let mut change = Batch::default();
    change.put(JOURNAL, key(7), other(&value(&keeping, JOURNAL, 7).await));
    assert_eq!(found(&keeping, change).await, [RecordChanged { sequence: 7 }]);

    let mut change = Batch::default();
    change.delete(JOURNAL, key(15)).delete(JOURNAL, key(16));
    let missing = |number| RecordsMissing { first: number, last: number };
    assert_eq!(found(&keeping, change).await, [missing(15), missing(16)]);

    // Two records change places.
    let mut change = Batch::default();
    change.put(JOURNAL, key(3), value(&keeping, JOURNAL, 4).await);
    change.put(JOURNAL, key(4), value(&keeping, JOURNAL, 3).await);
    let moved = |sequence, now| RecordMoved { sequence, now };
    assert_eq!(found(&keeping, change).await, [moved(3, 4), moved(4, 3)]);

    // One is put in between, and those behind it move on; the last one falls out.
    let mut change = Batch::default();
    change.put(JOURNAL, key(8), other(&value(&keeping, JOURNAL, 8).await));
    for number in [9, 10] {
        change.put(JOURNAL, key(number), value(&keeping, JOURNAL, number - 1).await);
    }
    let faults = found(&keeping, change).await;
    assert_eq!(faults, [moved(8, 9), moved(9, 10), missing(10), RecordInserted { sequence: 8 }]);

    // With the leaves it is still known which seal it was.
    let mut change = Batch::default();
    change.put(JOURNAL, key(7), other(&value(&keeping, JOURNAL, 7).await));
    change.put(JOURNAL_LEAVES, key(1), vec![0; 320]);
    let whole_seal = RecordsChanged { seal: 1, first: 1, last: 10 };
    assert_eq!(found(&keeping, change).await, [whole_seal]);
    let mut change = Batch::default();
    change.put(JOURNAL_LEAVES, key(1), vec![0; 320]);
    assert_eq!(found(&keeping, change).await, [JournalFault::LeavesChanged { seal: 1 }]);

    // What waits for its seal: in the middle, at the end, behind the end.
    let mut change = Batch::default();
    change.delete(JOURNAL, key(52));
    assert_eq!(found(&keeping, change).await, [missing(52)]);
    let mut change = Batch::default();
    change.delete(JOURNAL, key(53));
    assert_eq!(found(&keeping, change).await, [missing(53)]);
    let mut change = Batch::default();
    change.put(JOURNAL, key(60), value(&keeping, JOURNAL, 1).await);
    assert_eq!(found(&keeping, change).await, [RecordInserted { sequence: 60 }]);
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_removed_before_they_are_sealed_stay_missing_in_the_chain_for_ever() {
    let keeping = kept().await;
    let mut change = Batch::default();
    change.delete(JOURNAL, numbered(NODE, 51)).delete(JOURNAL, numbered(NODE, 53));
    keeping.catalog().commit(change).await.expect("planted");
    let sealed = keeping.after(MINUTE).await.sealed;
    assert_eq!(sealed.missing, [(51, 51), (53, 53)]);
    keeping.log(1).await;
    assert_eq!(keeping.after(MINUTE).await.sealed.missing, [(53, 53)]);
    let missing = |number| JournalFault::RecordsMissing { first: number, last: number };
    assert_eq!(keeping.verify().await.faults, [missing(51), missing(53)]);
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_or_changed_seal_is_named() {
    use JournalFault::{ChainBroken, SealChanged, SealsMissing, SealsOfPiece};
    let keeping = kept().await;
    let key = |number| numbered(NODE, number);
    let mut change = Batch::default();
    change.delete(JOURNAL_SEALS, key(3));
    let missing = SealsMissing { first: 3, last: 3 };
    assert_eq!(found(&keeping, change).await, [missing, SealsOfPiece { piece: 2 }]);
    let mut change = Batch::default();
    change.delete(JOURNAL_SEALS, key(5));
    assert_eq!(found(&keeping, change).await, [SealsMissing { first: 5, last: 5 }]);

    // Made anew over a changed record: seal and leaves agree with it, the chain does not.
    let mut remade = seal(keeping.catalog(), NODE, 2).await.expect("read").expect("a seal");
    remade.instant = remade.instant.plus_millis(1);
    let mut change = Batch::default();
    change.put(JOURNAL_SEALS, key(2), remade.octets());
    let faults = [ChainBroken { seal: 3 }, SealsOfPiece { piece: 1 }];
    assert_eq!(found(&keeping, change).await, faults);
    let mut change = Batch::default();
    change.put(JOURNAL_SEALS, key(2), value(&keeping, JOURNAL_SEALS, 1).await);
    let faults = [SealChanged { seal: 2 }, SealsOfPiece { piece: 1 }];
    assert_eq!(found(&keeping, change).await, faults);
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_or_changed_day_is_named() {
    use JournalFault::{
        ObjectChanged, ObjectMissing, ObjectUnknown, PieceChainBroken, PieceChanged, PiecesMissing,
        Signature, Stamp,
    };
    let keeping = kept().await;
    let key = |number| numbered(NODE, number);
    let mut change = Batch::default();
    change.delete(JOURNAL_PIECES, key(2));
    let faults = found(&keeping, change).await;
    assert!(faults.contains(&PiecesMissing { first: 2, last: 2 }), "{faults:?}");
    let piece = value(&keeping, JOURNAL_PIECES, 1).await;
    let piece: PieceRecord = decode(JOURNAL_PIECES, b"k", &piece).expect("a piece");
    let kinds = async |record: PieceRecord| {
        let mut change = Batch::default();
        change.put(JOURNAL_PIECES, key(1), encode(&record));
        found(&keeping, change).await
    };
    let mut changed = piece.clone();
    changed.statement = String::from_utf8(changed.statement)
        .expect("text")
        .replace("provider Beta PEC", "provider Alfa PEC")
        .into_bytes();
    let faults = kinds(changed).await;
    assert!(faults.iter().any(|fault| matches!(fault, Signature { piece: 1, .. })), "{faults:?}");
    assert!(faults.contains(&PieceChainBroken { piece: 2 }), "{faults:?}");
    let unread = kinds(PieceRecord { statement: b"x".to_vec(), ..piece.clone() }).await;
    assert!(unread.contains(&PieceChanged { piece: 1 }), "{unread:?}");
    let mut stamp = piece.stamp.clone();
    // The signature stands at the end.
    *stamp.last_mut().expect("octets") ^= 1;
    let faults = kinds(PieceRecord { stamp, ..piece.clone() }).await;
    assert!(faults.iter().any(|fault| matches!(fault, Stamp { piece: 1, .. })), "{faults:?}");

    let names = keeping.names().await;
    let object = names.iter().find(|name| name.ends_with("records-000001.zst")).expect("one");
    let octets = named::read(&*keeping.objects, object, u64::MAX).await.expect("read");
    named::delete(&*keeping.objects, object).await.expect("deleted");
    let gone = ObjectMissing { object: object.clone() };
    assert_eq!(keeping.verify().await.faults, [gone]);
    named::create(&*keeping.objects, object, Bytes::from_static(b"x")).await.expect("put");
    let other = ObjectChanged { object: object.clone() };
    assert_eq!(keeping.verify().await.faults, [other]);
    named::delete(&*keeping.objects, object).await.expect("deleted");
    named::create(&*keeping.objects, object, octets.expect("octets")).await.expect("put");
    let stranger = "journal/1/2026-11-21-00000009-e1/statement.txt".to_owned();
    named::create(&*keeping.objects, &stranger, Bytes::new()).await.expect("put");
    assert_eq!(keeping.verify().await.faults, [ObjectUnknown { object: stranger }]);
    keeping.provider.stop().await;
}

/// Whoever takes the newest day out of the catalog, head and all, is given away by the object store.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_set_back_is_found_by_the_objects() {
    let keeping = kept().await;
    let mut head = Head::read(keeping.catalog(), NODE).await.expect("a head").record;
    let first = value(&keeping, JOURNAL_PIECES, 1).await;
    let first: PieceRecord = decode(JOURNAL_PIECES, b"k", &first).expect("a piece");
    (head.pieces, head.stored) = (1, 1);
    head.statement = Sha256Digest::of(&first.statement).0.to_vec();
    let mut change = Batch::default();
    change.delete(JOURNAL_PIECES, numbered(NODE, 2));
    change.put(JOURNAL_HEADS, NODE.to_be_bytes().to_vec(), encode(&head));
    let faults = found(&keeping, change).await;
    let unknown = |fault: &JournalFault| matches!(fault, JournalFault::ObjectUnknown { object } if object.contains("-00000002-"));
    assert!(!faults.is_empty() && faults.iter().all(unknown), "{faults:?}");
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_head_is_found_and_nothing_is_sealed_over_what_it_knew() {
    let keeping = kept().await;
    let before = keeping.provider.entries(JOURNAL_SEALS).await;
    let mut change = Batch::default();
    change.delete(JOURNAL_HEADS, NODE.to_be_bytes().to_vec());
    keeping.catalog().commit(change).await.expect("planted");
    let faults = keeping.verify().await.faults;
    assert!(faults.contains(&JournalFault::SealsBehindHead { first: 1, last: 5 }), "{faults:?}");
    assert!(faults.contains(&JournalFault::PiecesBehindHead { first: 1, last: 2 }), "{faults:?}");
    keeping.provider.clock.advance(MINUTE);
    let kept = keeping.keeper.round().await;
    assert_eq!(kept.failures.iter().map(|(step, _)| *step).collect::<Vec<_>>(), ["seal"]);
    assert_eq!(keeping.provider.entries(JOURNAL_SEALS).await, before);
    keeping.provider.stop().await;
}

/// Everything of the first day is gone, and the head says that it was disposed of.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_went_before_its_time_is_named_though_the_head_says_that_it_was_disposed_of() {
    let keeping = kept().await;
    let mut head = Head::read(keeping.catalog(), NODE).await.expect("a head").record;
    let last = seal(keeping.catalog(), NODE, 2).await.expect("read").expect("a seal");
    let first = value(&keeping, JOURNAL_PIECES, 1).await;
    let first: PieceRecord = decode(JOURNAL_PIECES, b"k", &first).expect("a piece");
    (head.disposed_pieces, head.disposed_seals, head.disposed_sequence) = (1, 2, 20);
    head.disposed_seal = last.hash().0.to_vec();
    head.disposed_statement = Sha256Digest::of(&first.statement).0.to_vec();
    let mut change = Batch::default();
    change.put(JOURNAL_HEADS, NODE.to_be_bytes().to_vec(), encode(&head));
    change.delete(JOURNAL_PIECES, numbered(NODE, 1));
    for number in 1..=2 {
        change.delete(JOURNAL_SEALS, numbered(NODE, number));
        change.delete(JOURNAL_LEAVES, numbered(NODE, number));
    }
    for number in 1..=20 {
        change.delete(JOURNAL, numbered(NODE, number));
    }
    let faults = found(&keeping, change.clone()).await;
    let early = JournalFault::DisposedEarly { piece: 2 };
    assert!(faults.contains(&early), "{faults:?}");
    assert!(faults.contains(&JournalFault::DisposalUntold { piece: 1 }), "{faults:?}");
    // After 31 months it was due, but not where 60 are configured.
    keeping.catalog().commit(change).await.expect("planted");
    keeping.provider.clock.advance(945 * DAY);
    assert!(!keeping.verify_by(30).await.faults.contains(&early));
    let faults = keeping.verify_by(60).await.faults;
    assert!(faults.contains(&early), "{faults:?}");
    keeping.provider.stop().await;
}

/// Searches begin behind the mark: whoever moves it ahead hides what is there.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_there_and_that_the_head_calls_disposed_of_are_named() {
    let keeping = kept().await;
    let head = Head::read(keeping.catalog(), NODE).await.expect("a head").record;
    for (mark, hidden) in [(3, 1..=3), (52, 1..=52)] {
        let mut change = Batch::default();
        let head = JournalHead { disposed_sequence: mark, ..head.clone() };
        change.put(JOURNAL_HEADS, NODE.to_be_bytes().to_vec(), encode(&head));
        let faults = found(&keeping, change).await;
        for sequence in hidden {
            let inserted = JournalFault::RecordInserted { sequence };
            assert!(faults.contains(&inserted), "{sequence}: {faults:?}");
        }
    }
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stamp_of_another_time_and_a_signature_of_another_provider_are_named() {
    use JournalFault::{SignedByOther, Stamp};
    let keeping = kept().await;
    let piece = value(&keeping, JOURNAL_PIECES, 2).await;
    let piece: PieceRecord = decode(JOURNAL_PIECES, b"k", &piece).expect("a piece");
    let planted = async |record: PieceRecord| {
        let mut change = Batch::default();
        change.put(JOURNAL_PIECES, numbered(NODE, 2), encode(&record));
        found(&keeping, change).await
    };
    // Before the day was over, and before the day before was stamped.
    keeping.stamps.stay_behind(30 * 3_600_000);
    let stamp = keeping.stamps.stamp(Sha256Digest::of(&piece.signature)).await.expect("a stamp");
    let faults = planted(PieceRecord { stamp: stamp.as_der().to_vec(), ..piece.clone() }).await;
    let of_time = |fault: &&JournalFault| matches!(fault, Stamp { piece: 2, .. });
    assert_eq!(faults.iter().filter(of_time).count(), 2, "{faults:?}");
    keeping.stamps.stay_behind(0);
    let other = signer(&keys().alfa, keeping.provider.clock.clone());
    let signature = other.sign_digest(Sha256Digest::of(&piece.statement)).expect("signed");
    let stamp = keeping.stamps.stamp(Sha256Digest::of(&signature)).await.expect("a stamp");
    let stamp = stamp.as_der().to_vec();
    let faults = planted(PieceRecord { signature, stamp, ..piece }).await;
    assert!(faults.contains(&SignedByOther { piece: 2 }), "{faults:?}");
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_its_index_does_not_lead_to_is_named() {
    let keeping = kept().await;
    let index = keeping.provider.entries(JOURNAL_INDEX).await;
    let of_seven = index.iter().find(|(key, _)| key.ends_with(&7_u64.to_be_bytes()));
    let mut change = Batch::default();
    change.delete(JOURNAL_INDEX, of_seven.expect("an entry").0.clone());
    assert_eq!(found(&keeping, change).await, [JournalFault::IndexMissing { sequence: 7 }]);
    keeping.provider.stop().await;
}
