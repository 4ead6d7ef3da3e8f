//! Golden octets of the records of the program itself: engine, journal, archive, registry.
//!
//! Not here: those whose key or record only their module knows (there).

use std::fmt::Debug;

use bytes::Bytes;
use ceralacca::{
    archive::{ARCHIVE_NOTICES, ARCHIVE_RUNS, notice::FullRecord, run::RunRecord},
    backup::held::{HeldRecord, held_row},
    directory::copies::{CopyNote, Notes},
    pec::{
        artefacts::{self, ArtefactKind, ArtefactRecord, TRANSMISSION_ARTEFACTS},
        journal::{
            JournalEvent,
            head::{JOURNAL_HEADS, JOURNAL_PIECES, JournalHead, numbered},
            index::{self, TermKind},
            piece::{self, PieceFile, PieceRecord, Statement},
            seal::{self, Seal},
        },
        quarantine::{FoundAt, QUARANTINE, QuarantineId, QuarantineRecord},
        records::{
            AnomalyKind, DELIVERY_WORK, DeliveryFaultKind, DeliveryRecord, DeliveryStage,
            DestinationRecord, Due, HELD_FOR_OPERATOR, INCOMING_MESSAGES, IncomingId, IncomingKind,
            IncomingRecord, JOURNAL, JournalRecord, KnownBy, LaneId, OUTGOING_DESTINATIONS,
            OUTGOING_QUEUE, PolicyRecord, QueueId, QueueKind, QueueRecipient, QueueRecord,
            RECEIVING_POLICIES, RecipientAsked, RecipientRecord, RecipientState, ReturnedPart,
            Seen, TRANSMISSION_RECIPIENTS, TRANSMISSIONS, TransmissionId, TransmissionRecord,
            TransmissionState, decode, draw_held_id, encode, indexed_key, seen_key, sender_class,
        },
        time_limits::Deadline,
        work::{Source, work_value},
    },
    registry::outbox::AccountChange,
};
use prost::Message;
use storage::catalog::engine::Family;
use trust::{clock::UnixMillis, digest::Sha256Digest, random::SeededRandom};

use crate::golden::Golden;

/// 2026-11-28T12:00:00.123Z.
const AT: i64 = 1_795_867_200_123;
const TRANSMISSION: TransmissionId = TransmissionId([0xa1; 16]);
const INCOMING: IncomingId = IncomingId([0xb2; 16]);
const QUEUED: QueueId = QueueId([0xc3; 16]);

/// A record behind a version octet, in `family` under `key`.
fn holds<M: Message + Debug + Default + PartialEq>(
    golden: Golden,
    (family, key): (Family, Bytes),
    sample: &M,
) {
    let read = |octets: &[u8]| decode(family, &key, octets).expect("a record");
    golden.key(&key).holds(sample, encode, read);
}

/// Every number that an enumeration has, with its name.
fn enumeration<E: Debug + TryFrom<i32>>(golden: &Golden) {
    let all = (0..1_000).filter_map(|number| Some((number, E::try_from(number).ok()?)));
    words(golden, all.map(|(number, of)| format!("{number} {of:?}")).collect());
}

/// What a set of words had is still in it; each that came later has a line of its own.
fn words(golden: &Golden, now: Vec<String>) {
    let then = String::from_utf8(golden.clone().written(now.join("\n"))).expect("a text");
    for word in then.lines() {
        assert!(now.iter().any(|now| now == word), "{word} is gone");
    }
    for word in now.into_iter().filter(|now| then.lines().all(|word| word != now)) {
        golden.clone().variant(&word).is(word);
    }
}

fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn enumerations_stay_as_they_are() {
    enumeration::<TransmissionState>(&Golden::of("enum.TransmissionState"));
    enumeration::<RecipientState>(&Golden::of("enum.RecipientState"));
    enumeration::<IncomingKind>(&Golden::of("enum.IncomingKind"));
    enumeration::<AnomalyKind>(&Golden::of("enum.AnomalyKind"));
    enumeration::<DeliveryStage>(&Golden::of("enum.DeliveryStage"));
    enumeration::<DeliveryFaultKind>(&Golden::of("enum.DeliveryFaultKind"));
    enumeration::<QueueKind>(&Golden::of("enum.QueueKind"));
    enumeration::<ReturnedPart>(&Golden::of("enum.ReturnedPart"));
    enumeration::<FoundAt>(&Golden::of("enum.FoundAt"));
    enumeration::<ArtefactKind>(&Golden::of("enum.ArtefactKind"));
    let all = JournalEvent::ALL.iter().map(|event| event.word().to_owned());
    words(&Golden::of("enum.JournalEvent"), all.collect());
}

#[test]
fn the_formats_name_every_word_of_the_journal() {
    let formats = include_str!("../../docs/formats.md");
    let missing = JournalEvent::ALL.iter().map(|event| event.word());
    let missing: Vec<_> = missing.filter(|word| !formats.contains(&format!("`{word}`"))).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn records_of_transmissions_stay_as_they_are() {
    let record = TransmissionRecord {
        identifier: "opec1.20261128120000.1@pec.alfa.example".into(),
        instant_millis: AT,
        state: TransmissionState::Rejected.into(),
        account_id: 4,
        sender: "anna@pec.alfa.example".into(),
        original: vec![6; 16],
        envelope: vec![7; 16],
        client_message_id: Some("<1@anna.example>".into()),
        subject: "Perizia: perché".into(),
        fault: Some("virus".into()),
        recipients: 11,
        envelope_id: Some("ABC".into()),
        returned: ReturnedPart::Headers.into(),
        threat: Some("Eicar".into()),
    };
    let golden = Golden::of("transmissions").fields("records::TransmissionRecord", 1);
    holds(golden, (TRANSMISSIONS, TRANSMISSION.key()), &record);
    let golden = Golden::of("transmission_identifiers").key(&record.identifier);
    golden.is(TRANSMISSION.key());
    let recipient = RecipientRecord {
        address: "bruno@pec.beta.example".into(),
        certified: true,
        state: RecipientState::Infected.into(),
        changed_millis: AT,
        warned_millis: AT + 1,
        notify: 6,
        original_recipient: Some("rfc822;bruno@pec.beta.example".into()),
    };
    let key = indexed_key(&TRANSMISSION.0, 258);
    let golden = Golden::of("transmission_recipients").fields("records::RecipientRecord", 1);
    holds(golden, (TRANSMISSION_RECIPIENTS, key), &recipient);
    let class = sender_class("Anna@pec.alfa.example");
    Golden::of("transmission_work").key(TRANSMISSION.key()).is(work_value(class, 1 << 33));
    let deadline = Deadline { at: UnixMillis(AT), transmission: TRANSMISSION, index: 258 };
    Golden::of("time_limits.key")
        .holds(&deadline, Deadline::key, |key| Deadline::from_key(key).expect("a key"));
    let id = TransmissionId::draw(UnixMillis(AT), &SeededRandom::new(7));
    assert_eq!(id.0[..6], AT.to_be_bytes()[2..]);
    assert_eq!(draw_held_id(UnixMillis(AT), &SeededRandom::new(7)).0, id.0);
}

#[test]
fn records_of_artefacts_stay_as_they_are() {
    let record = ArtefactRecord {
        kind: ArtefactKind::VirusNotice.into(),
        instant_millis: AT,
        message_id: "<2@alfa.example>".into(),
        digest: vec![4; 32],
        size: 5,
        held: vec![6; 16],
        recipients: texts(&["bruno@pec.beta.example", "carla@pec.beta.example"]),
        issuer: "Alfa PEC".into(),
        mailbox: "anna@pec.alfa.example".into(),
    };
    let key = [&TRANSMISSION.0[..], &[9], &AT.to_be_bytes(), &[4; 8]].concat();
    let golden = Golden::of("transmission_artefacts").fields("artefacts::ArtefactRecord", 1);
    holds(golden, (TRANSMISSION_ARTEFACTS, key.into()), &record);
    for (name, kind, text) in [
        ("address", TermKind::Address, "Anna@pec.alfa.example"),
        ("identifier", TermKind::Identifier, "<1@anna.example>"),
    ] {
        let term = index::term(kind, text);
        let golden = Golden::of("transmission_index").variant(name);
        golden.key(artefacts::index_key(&term, &TRANSMISSION.0)).is([3]);
        Golden::of("journal_index").variant(name).key(index::key(1, &term, 258)).is([]);
    }
}

#[test]
fn records_of_incoming_messages_stay_as_they_are() {
    let record = IncomingRecord {
        kind: IncomingKind::Notification.into(),
        instant_millis: AT,
        reverse_path: "anna@pec.beta.example".into(),
        recipients: texts(&["bruno@pec.alfa.example"]),
        message: vec![5; 16],
        signer: vec![6; 32],
        entity_digest: vec![7; 32],
        message_id: b"<3@beta.example>".to_vec(),
        mail_receipt: "ricevute@beta.example".into(),
        reason: "signature".into(),
        provider: "Beta PEC".into(),
        anomaly: AnomalyKind::Malformed.into(),
        authentication_results: "alfa.example; spf=pass".into(),
        envelope_id: Some("ABC".into()),
        returned: ReturnedPart::Full.into(),
        asked: vec![RecipientAsked { notify: 1, original_recipient: Some("rfc822;b@x".into()) }],
        quarantine: vec![30; 16],
        spam_status: "No".into(),
        refusing: texts(&["bruno@pec.alfa.example"]),
        not_owed: texts(&["carla@pec.alfa.example"]),
    };
    let golden = Golden::of("incoming_messages").fields("records::IncomingRecord", 1);
    holds(golden, (INCOMING_MESSAGES, INCOMING.key()), &record);
    Golden::of("incoming_work").key(INCOMING.key()).is(work_value(1, 2));
    for (name, known_by, seen) in [
        ("taken", KnownBy::Entity, Seen::Taken("Anna@pec.alfa.example")),
        ("delivered", KnownBy::Name(b"<1@x>"), Seen::Delivered("Anna@pec.alfa.example")),
        ("quarantined", KnownBy::Anomaly(b"<1@x>"), Seen::Quarantined),
    ] {
        let key = seen_key(&[6; 32], known_by, &[7; 32], seen);
        Golden::of("incoming_seen").variant(name).key(key).is(AT.to_be_bytes());
    }
    let record = DeliveryRecord {
        kind: IncomingKind::TransportEnvelope.into(),
        stage: DeliveryStage::VirusNoticeOwed.into(),
        message: vec![3; 16],
        recipient: "bruno@pec.alfa.example".into(),
        seen_key: vec![5; 32],
        instant_millis: AT,
        fault: DeliveryFaultKind::CertifiedMailOnly.into(),
        transmission: vec![9; 16],
        transmission_index: 10,
        not_owed: true,
        quarantine: vec![30; 16],
    };
    for (name, source) in [
        ("transmission", Source::Transmission(TRANSMISSION)),
        ("incoming", Source::Incoming(INCOMING)),
    ] {
        let golden = Golden::of("delivery_work").variant(name);
        let key = indexed_key(&source.key(), 258);
        holds(golden.fields("records::DeliveryRecord", 1), (DELIVERY_WORK, key), &record);
    }
}

#[test]
fn records_of_the_queue_stay_as_they_are() {
    let record = QueueRecord {
        kind: QueueKind::StatusNotification.into(),
        domain: "pec.beta.example".into(),
        reverse_path: "posta-certificata@alfa.example".into(),
        recipients: vec![QueueRecipient {
            address: "bruno@pec.beta.example".into(),
            index: 2,
            notify: 3,
            original_recipient: Some("rfc822;b@x".into()),
            delay_told: true,
        }],
        message: vec![5; 16],
        queued_millis: AT,
        next_attempt_millis: AT + 1,
        attempts: 8,
        last_error: "451".into(),
        transmission: vec![10; 16],
        sender_class: 0x1112_1314_1516_1718,
        ordinary: true,
        held_millis: AT + 2,
        held_why: "guasto".into(),
        envelope_id: Some("ABC".into()),
        returned: ReturnedPart::Headers.into(),
        tls: "TLSv1.3".into(),
        last_server: "mx.beta.example".into(),
        dropped_millis: AT + 3,
    };
    let golden = Golden::of("outgoing_queue").fields("queue::QueueRecord", 1);
    holds(golden, (OUTGOING_QUEUE, QUEUED.key()), &record);
    let waiting = QueueRecord { held_millis: 0, dropped_millis: 0, ..record.clone() };
    let dropped = QueueRecord { held_millis: 0, ..record };
    for (name, of) in [("waiting", waiting), ("dropped", dropped)] {
        let due = of.due(QUEUED).expect("nobody holds it");
        let golden = Golden::of("outgoing_order").variant(name);
        golden.holds(&due, Due::octets, |key| Due::read(key).expect("a key"));
    }
    let lane = LaneId::of("pec.beta.example").key();
    let record = DestinationRecord {
        domain: "pec.beta.example".into(),
        failures: 2,
        since_millis: AT,
        next_attempt_millis: AT + 1,
        last_error: "refused".into(),
        policy: true,
    };
    let golden = Golden::of("outgoing_destinations").fields("queue::DestinationRecord", 1);
    holds(golden, (OUTGOING_DESTINATIONS, lane.clone()), &record);
    let record = PolicyRecord {
        domain: "pec.beta.example".into(),
        id: "20261128".into(),
        text: "version: STSv1".into(),
        fetched_millis: AT,
    };
    let golden = Golden::of("receiving_policies").fields("queue::PolicyRecord", 1);
    holds(golden, (RECEIVING_POLICIES, lane), &record);
}

#[test]
fn records_of_quarantine_and_of_held_duties_stay_as_they_are() {
    let record = QuarantineRecord {
        instant_millis: AT,
        message: vec![2; 16],
        threat: "Eicar".into(),
        found_at: FoundAt::Receipt.into(),
        octets: 5,
        digest: vec![6; 32],
        key: vec![7; 16],
        identifier: "opec1@alfa.example".into(),
        message_id: "<1@x>".into(),
        sender: "anna@pec.alfa.example".into(),
        recipients: texts(&["bruno@pec.beta.example"]),
        subject: "Fattura".into(),
        provider: "Beta PEC".into(),
    };
    let golden = Golden::of("quarantine").fields("quarantine::QuarantineRecord", 1);
    holds(golden, (QUARANTINE, QuarantineId([0xd4; 16]).key()), &record);
    let record = HeldRecord {
        value: Bytes::from_static(&[1, 2]),
        held_millis: AT,
        checkpoint: "00000002-000001a1fcb0af00".into(),
    };
    for tag in 0..5 {
        let key = Bytes::from([&[tag], &[9; 16][..]].concat());
        let (family, row, value) = held_row(&key, &encode(&record)).expect("a row");
        assert_eq!((row.as_ref(), &value), (&[9; 16][..], &record.value));
        let golden = Golden::of("held_for_operator").variant(family.0);
        holds(golden.fields("held::HeldRecord", 1), (HELD_FOR_OPERATOR, key), &record);
    }
}

#[test]
fn records_of_the_journal_stay_as_they_are() {
    let record = JournalRecord {
        instant_millis: AT,
        event: "submission".into(),
        identifier: "opec1@alfa.example".into(),
        message_id: "<1@x>".into(),
        sender: "anna@pec.alfa.example".into(),
        recipients: texts(&["bruno@pec.beta.example", "carla@pec.beta.example"]),
        subject: "Perché".into(),
        related: texts(&["<2@x>", "<3@x>"]),
        provider: "Beta PEC".into(),
        detail: "250".into(),
    };
    let key = numbered(1, 258);
    let golden = Golden::of("journal").fields("records::JournalRecord", 1);
    holds(golden, (JOURNAL, key.clone()), &record);
    Golden::of("journal.leaf").key(&key).is(seal::leaf(&key, &encode(&record)).0);
    let head = JournalHead {
        seals: 1,
        sequence: 2,
        seal: vec![3; 32],
        sealed_millis: AT,
        period_millis: AT + 1,
        pieces: 6,
        statement: vec![7; 32],
        piece_seals: 8,
        piece_sequence: 9,
        stored: 10,
        epoch: 11,
        disposed_seals: 12,
        disposed_sequence: 13,
        disposed_pieces: 14,
        disposed_seal: vec![15; 32],
        disposed_statement: vec![16; 32],
        disposing: 17,
    };
    let golden = Golden::of("journal_heads").fields("head::JournalHead", 1);
    holds(golden, (JOURNAL_HEADS, 1_u64.to_be_bytes().to_vec().into()), &head);
    let record = PieceRecord {
        statement: b"ceralacca".to_vec(),
        signature: vec![2; 3],
        stamp: vec![3; 3],
        made_millis: AT,
    };
    let golden = Golden::of("journal_pieces").fields("piece::PieceRecord", 1);
    holds(golden, (JOURNAL_PIECES, numbered(1, 7)), &record);
}

#[test]
fn seals_trees_and_statements_stay_as_they_are() {
    let leaves: Vec<Sha256Digest> = (0..5).map(|leaf| Sha256Digest([leaf; 32])).collect();
    let mut tree = seal::Tree::default();
    for leaf in &leaves {
        tree.push(*leaf);
    }
    let root = tree.root();
    Golden::of("journal.root").is(root.0);
    let octets: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    Golden::of("journal_leaves").key(numbered(1, 3)).is(octets);
    let seal = Seal {
        node: 1,
        epoch: 2,
        number: 3,
        first: 4,
        last: 5,
        instant: UnixMillis(AT),
        earliest: UnixMillis(AT - 2),
        latest: UnixMillis(AT - 1),
        root,
        previous: Sha256Digest([10; 32]),
    };
    Golden::of("journal_seals")
        .key(numbered(1, 3))
        .holds(&seal, Seal::octets, |octets| Seal::read(octets, || "it".into()).expect("a seal"));
    Golden::of("journal.seal").is(seal.hash().0);
    let file = |name: &str| PieceFile { digest: Sha256Digest([4; 32]), name: name.into() };
    let whole = Statement {
        provider: "Alfa PEC".into(),
        node: 1,
        epoch: 2,
        number: 3,
        from: UnixMillis(AT),
        until: UnixMillis(AT + 86_400_000),
        seals: Some((4, 5)),
        records: Some((6, 7)),
        chain: Sha256Digest([8; 32]),
        previous: Sha256Digest([9; 32]),
        files: vec![file("seals.bin"), file("records-000001")],
    };
    let without = Statement { seals: None, records: None, files: Vec::new(), ..whole.clone() };
    for (name, statement) in [("whole", whole), ("without", without)] {
        let golden = Golden::of("journal.statement").variant(name).key(statement.folder());
        golden.holds(&statement, Statement::text, |octets| {
            Statement::read(octets).expect("a statement")
        });
        assert!(piece::read_folder(&statement.folder()).is_some());
    }
}

#[test]
fn records_of_the_archive_stay_as_they_are() {
    let key = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 7]);
    let record = RunRecord {
        started_at: AT,
        finished_at: AT + 1,
        mailbox: 3,
        up_to: 4,
        messages: 5,
        octets: 6,
        full: "archive octets".into(),
        told: true,
    };
    let golden = Golden::of("archive_runs").fields("run::RunRecord", 1);
    holds(golden, (ARCHIVE_RUNS, key.clone()), &record);
    let record = FullRecord { resource: "archive octets".into(), used: 2, limit: 3, at: AT };
    let golden = Golden::of("archive_notices").fields("notice::FullRecord", 1);
    holds(golden, (ARCHIVE_NOTICES, key), &record);
}

#[test]
fn changes_that_the_registry_hands_over_stay_as_they_are() {
    let change = |octets: &[u8]| serde_json::from_slice(octets).expect("a change");
    for (state, receipts) in [("active", "inbox"), ("blocked", "sent"), ("closed", "ricevute")] {
        let text = format!(
            "{{\"account_id\":1,\"version\":2,\"address\":\"anna@pec.alfa.example\",\
             \"state\":\"{state}\",\"plan\":\"base\",\"quota_octets\":3,\"message_octets_max\":4,\
             \"recipients_max\":5,\"messages_per_minute_max\":6,\"messages_per_day_max\":7,\
             \"service\":true,\"certified_mail_only\":true,\"receipts\":\"{receipts}\",\
             \"archive_quota_octets\":8}}"
        );
        let sample: AccountChange = change(text.as_bytes());
        let golden = Golden::of("registry.change").variant(state);
        golden.holds(&sample, |sample| serde_json::to_vec(sample).expect("JSON"), change);
    }
    // What versions before the third migration wrote.
    let old = Golden::of("registry.change").variant("first").written(
        "{\"account_id\":1,\"version\":2,\"address\":\"a@x\",\"state\":\"active\",\"plan\":\"base\",\
         \"quota_octets\":null,\"message_octets_max\":4,\"recipients_max\":5,\
         \"messages_per_minute_max\":6,\"messages_per_day_max\":7,\"service\":false}",
    );
    let old = change(&old);
    assert!(!old.certified_mail_only && old.archive_quota_octets.is_none());
}

#[test]
fn notes_of_the_directory_stay_as_they_are() {
    let note = CopyNote {
        digest: "ab".repeat(32),
        fetched_millis: AT,
        confirmed_millis: AT + 1,
        signer: "cd".repeat(32),
    };
    let notes = Notes {
        current: Some(note.clone()),
        held: Some(note),
        etag: Some("\"1\"".into()),
        last_modified: Some("Sat, 28 Nov 2026 12:00:00 GMT".into()),
        signed_millis: Some(AT),
        providers: 6,
    };
    let read = |octets: &[u8]| serde_json::from_slice(octets).expect("notes");
    let golden = Golden::of("directory.notes");
    golden.holds(&notes, |notes| serde_json::to_vec_pretty(notes).expect("JSON"), read);
}
