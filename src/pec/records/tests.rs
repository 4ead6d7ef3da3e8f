use super::*;
use trust::random::SeededRandom;

#[test]
fn a_record_comes_back_and_a_later_version_is_refused() {
    let record = JournalRecord { event: "accettazione".to_owned(), ..JournalRecord::default() };
    let octets = encode(&record);
    assert_eq!(decode::<JournalRecord>(JOURNAL, b"k", &octets).expect("readable"), record);

    let mut later = octets.to_vec();
    later[0] = RECORD_VERSION + 1;
    assert!(matches!(
        decode::<JournalRecord>(JOURNAL, b"k", &later),
        Err(StoreError::TooNew { .. })
    ));
    assert!(matches!(decode::<JournalRecord>(JOURNAL, b"k", b""), Err(StoreError::Damaged { .. })));
    assert!(matches!(
        decode::<JournalRecord>(JOURNAL, b"k", b"\x01\xff"),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn a_recipient_only_moves_forward_and_delivered_stays() {
    use RecipientState::{
        Accepted, Delivered, Expired, Failed, Infected, Rejected, Relayed, TakenInCharge,
    };
    let at = |state: RecipientState| RecipientRecord {
        state: state.into(),
        ..RecipientRecord::default()
    };
    for (now, next, may) in [
        (Accepted, Relayed, true),
        (Relayed, Relayed, false),
        (TakenInCharge, Relayed, false),
        (TakenInCharge, Failed, true),
        (Delivered, Failed, false),
        (Failed, Delivered, true),
        (Failed, TakenInCharge, false),
        (TakenInCharge, Infected, true),
        (Expired, Infected, true),
        (Failed, Infected, false),
        (Infected, Infected, false),
        (Infected, Expired, false),
        (Infected, Delivered, true),
        (Delivered, Infected, false),
        (Rejected, Infected, false),
    ] {
        assert_eq!(at(now).may_become(next), may, "{now:?} to {next:?}");
    }
}

#[test]
fn ids_ascend_with_time() {
    let random = SeededRandom::new(1);
    let early = TransmissionId::draw(UnixMillis(1_000), &random);
    let late = TransmissionId::draw(UnixMillis(1_001), &random);
    assert!(early < late);
}

#[test]
fn the_parts_of_a_seen_key_cannot_be_shifted_into_each_other() {
    let delivery = |signer: &[u8], message_id: &[u8], to| {
        seen_key(signer, KnownBy::Name(message_id), b"d", Seen::Delivered(to))
    };
    // Nothing that nobody has signed passes for certified mail, so that it is taken for a repeat.
    assert_ne!(
        delivery(b"a", b"", "x"),
        seen_key(b"a", KnownBy::Entity, b"d", Seen::Delivered("x"))
    );
    assert_ne!(delivery(b"ab", b"c", "x"), delivery(b"a", b"bc", "x"));
    assert_eq!(delivery(b"a", b"b", "A@b.test"), delivery(b"a", b"b", "a@B.test"));
}

/// Otherwise every delivery would look like a repeat and be dropped.
#[test]
fn what_was_taken_is_not_yet_delivered() {
    assert_ne!(
        seen_key(b"s", KnownBy::Entity, b"d", Seen::Taken("a@b.test")),
        seen_key(b"s", KnownBy::Entity, b"d", Seen::Delivered("a@b.test")),
    );
}
