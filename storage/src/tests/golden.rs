//! Golden octets of the catalog's records: accounts, mailboxes, messages, chunks.
//!
//! Not here: records whose fields only their module knows (there), which ones need a sample (the
//! workspace's `tests/formats`).

use bytes::Bytes;
use prost::Message;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use crate::{
    account::{
        settings::{AccountSettings, AccountState, ReceiptsPlace},
        tier::Tier,
        tree::SpecialUse,
    },
    backup::{
        epoch,
        manifest::{CheckpointName, FileEntry, Manifest, PackCopy, PackFault, Piece, PieceId},
    },
    catalog::{
        engine::Family,
        keys,
        records::{
            self, AccountRecord, AnnotationRecord, ExpungeRecord, FormatRecord, GrantRecord,
            HeadRecord, HeldRecord, IndexRecord, MailboxRecord, QuotaWarningRecord,
            ReferencesRecord, RepairLogRecord, RowRecord, SubscriptionsRecord,
        },
    },
    claim::Lineage,
    golden::Golden,
    ids::{AccountId, ChunkId, EmailNumber, MailboxId, ModSeq, StoredId, Uid},
    mailbox::view::Origin,
    octets::{
        Erased, ErasureReason, Kept, StoredMessage,
        recipe::{Base64Form, ChunkRef, LineEnding, Piece as ChunkPiece, Recipe, Segment},
        scrub::{ScrubCounts, ScrubState},
    },
    pack::{
        format::{self, PackBuilder},
        index::{
            self, BACKUP_CHECKPOINTS, GenerationRow, IndexRow, PackRow, Place, generation_key,
            staged_key, stored_id_key,
        },
        store::PackId,
        stored::{self, StoreSecret},
    },
    record,
    summary::{Address, BodyPart, Disposition, Envelope, Summary},
};

const ACCOUNT: AccountId = AccountId(0x0102_0304_0506_0708);
const MAILBOX: MailboxId = MailboxId(0x1112_1314_1516_1718);
const EMAIL: EmailNumber = EmailNumber(0x2122_2324_2526_2728);
const MOD_SEQ: ModSeq = ModSeq(0x3132_3334_3536_3738);
/// 2026-11-28T12:00:00.123Z.
const AT: i64 = 1_795_867_200_123;

fn uid() -> Uid {
    Uid::new(0x4142_4344).expect("not zero")
}

/// A record behind a version octet, in `family` under `key`.
fn holds<M: Message + std::fmt::Debug + Default + PartialEq>(
    golden: Golden,
    (family, key): (Family, Bytes),
    sample: &M,
) {
    let read = |octets: &[u8]| records::decode(family, &key, octets).expect("a record");
    golden.key(&key).holds(sample, records::encode, read);
}

#[test]
fn records_of_accounts_stay_as_they_are() {
    let account = |family| (family, keys::account(ACCOUNT));
    let golden = Golden::of("catalog_format").fields("records::FormatRecord", 1);
    let key = Bytes::from_static(keys::FORMAT_KEY);
    holds(golden, (keys::CATALOG_FORMAT, key), &FormatRecord { format: 1 });
    let head = HeadRecord {
        version: 1,
        next_mod_seq: 2,
        next_email_number: 3,
        next_mailbox_id: 4,
        next_uid_validity: 5,
        usage_octets: 6 << 40,
        usage_messages: 7,
        mailboxes: 8,
        quota_level: 90,
        next_snapshot: 10,
        snapshot: 11,
        snapshot_below: 12,
        snapshot_mod_seq: 13,
        captured_version: 14,
        archive_octets: 20,
        archive_messages: 21,
        archive_level: 95,
        tiers: true,
    };
    let golden = Golden::of("account_heads").fields("records::HeadRecord", 1);
    holds(golden, account(keys::ACCOUNT_HEADS), &head);
    let golden = Golden::of("account_addresses").fields("records::IndexRecord", 1);
    let key = keys::address("Mario.Rossi@PEC.Alfa.example");
    holds(golden, (keys::ACCOUNT_ADDRESSES, key), &IndexRecord { id: ACCOUNT.0 });
    let names = vec!["INBOX".to_owned(), "Località/Forlì".to_owned()];
    let golden = Golden::of("subscriptions").fields("records::SubscriptionsRecord", 1);
    holds(golden, account(keys::SUBSCRIPTIONS), &SubscriptionsRecord { names });
    let golden = Golden::of("account_grants").fields("records::GrantRecord", 1);
    let key = keys::grant(ACCOUNT, AccountId(9));
    holds(golden, (keys::ACCOUNT_GRANTS, key), &GrantRecord { at: -AT });
    let golden = Golden::of("annotations").fields("records::AnnotationRecord", 1);
    let key = keys::annotation(ACCOUNT, Some(MAILBOX), "/private/comment");
    let value = Bytes::from_static(b"posta in arrivo");
    holds(golden, (keys::ANNOTATIONS, key), &AnnotationRecord { value });
    for tier in [Tier::Live, Tier::Archive] {
        let golden = Golden::of("quota_warnings").variant(tier);
        let key = keys::quota_warning(ACCOUNT, tier, 77);
        let (level, used_octets, limit_octets) = (80, 81, 100);
        let record =
            QuotaWarningRecord { level, used_octets, limit_octets, at: AT, tier: tier.number() };
        let golden = golden.fields("records::QuotaWarningRecord", 1);
        holds(golden, (keys::QUOTA_WARNINGS, key), &record);
    }
}

#[test]
fn settings_of_accounts_stay_as_they_are() {
    for (state, receipts) in [
        (AccountState::Active, ReceiptsPlace::Inbox),
        (AccountState::Blocked, ReceiptsPlace::Sent),
        (AccountState::Closed, ReceiptsPlace::Ricevute),
    ] {
        let settings = AccountSettings {
            address: "Mario.Rossi@pec.alfa.example".into(),
            state,
            plan: "avanzata".into(),
            quota_octets: Some(4),
            message_octets_max: 5,
            recipients_max: 6,
            messages_per_minute_max: 7,
            messages_per_day_max: 8,
            service: true,
            quota_messages: Some(9),
            quota_mailboxes: Some(10),
            certified_mail_only: true,
            receipts,
            archive_quota_octets: Some(11),
            archive_quota_messages: Some(0),
        };
        let key = keys::account(ACCOUNT);
        let read = |octets: &[u8]| {
            let record: AccountRecord =
                records::decode(keys::ACCOUNTS, &key, octets).expect("a record");
            (record.version, AccountSettings::of_record(ACCOUNT, record).expect("settings"))
        };
        let golden = Golden::of("accounts").variant(state).key(&key);
        let write = |(version, settings): &(u64, AccountSettings)| {
            records::encode(&settings.to_record(*version))
        };
        golden.fields("records::AccountRecord", 1).holds(&(3, settings), write, read);
    }
}

#[test]
fn records_of_mailboxes_stay_as_they_are() {
    for special_use in [
        None,
        Some(SpecialUse::Archive),
        Some(SpecialUse::Drafts),
        Some(SpecialUse::Junk),
        Some(SpecialUse::Sent),
        Some(SpecialUse::Trash),
    ] {
        let number = SpecialUse::number(special_use);
        assert_eq!(SpecialUse::of_number(number), special_use);
        let record = MailboxRecord {
            name: "Archivio/Località".into(),
            uid_validity: 2,
            uid_next: 1 << 32,
            recent_from: 4,
            highest_mod_seq: 5,
            expunge_floor: 6,
            exists: 7,
            unseen: 8,
            deleted: 9,
            octets: 10,
            charged_octets: 11,
            special_use: number,
            deleting: true,
            tier: Tier::Archive.number(),
            live_since: 0,
        };
        let golden = Golden::of("mailboxes").variant(special_use);
        let key = keys::mailbox(ACCOUNT, MAILBOX);
        holds(golden.fields("records::MailboxRecord", 1), (keys::MAILBOXES, key), &record);
    }
    let record = MailboxRecord { live_since: AT, ..MailboxRecord::default() };
    let golden = Golden::of("mailboxes").variant("live_since");
    let key = keys::mailbox(ACCOUNT, MAILBOX);
    holds(golden.fields("records::MailboxRecord", 1), (keys::MAILBOXES, key), &record);
    let index = IndexRecord { id: MAILBOX.0 };
    let golden = Golden::of("mailbox_names").fields("records::IndexRecord", 1);
    let key = keys::mailbox_name(ACCOUNT, "Località/Forlì");
    holds(golden, (keys::MAILBOX_NAMES, key), &index);
    let golden = Golden::of("mailbox_deletions").fields("records::IndexRecord", 1);
    holds(golden, (keys::MAILBOX_DELETIONS, keys::mailbox(ACCOUNT, MAILBOX)), &index);
    let expunged: Vec<Uid> = [3, 4, 5, 9].into_iter().filter_map(Uid::new).collect();
    let record = ExpungeRecord::new(&expunged, UnixMillis(AT));
    assert_eq!(record.uids(), Some(expunged));
    let golden = Golden::of("expunge_log").fields("records::ExpungeRecord", 1);
    holds(golden, (keys::EXPUNGE_LOG, keys::mod_seq(ACCOUNT, MAILBOX, MOD_SEQ)), &record);
    Golden::of("mailbox_changes").key(keys::change(ACCOUNT, MAILBOX, MOD_SEQ, uid())).is([]);
}

#[test]
fn rows_stay_as_they_are() {
    let record = RowRecord {
        email_number: EMAIL.0,
        system_flags: 0,
        keywords: vec!["$Forwarded".into(), "Urgente".into()],
        mod_seq: MOD_SEQ.0,
        internal_date: AT,
        save_date: -AT,
        size: 7,
        charged_octets: 8,
        digest: Bytes::copy_from_slice(&[9; 32]),
        origin_mailbox: MAILBOX.0,
        origin_name: "Località".into(),
        origin_uid: 22,
    };
    let key = keys::row(ACCOUNT, MAILBOX, uid());
    for (name, bit) in [("seen", 1), ("answered", 2), ("flagged", 4), ("deleted", 8), ("draft", 16)]
    {
        let mut row = RowRecord { system_flags: bit, ..record.clone() }.row(uid()).expect("a row");
        let (flags, number) = (row.flags.clone(), Uid::new(22).expect("not zero"));
        let set = [flags.seen, flags.answered, flags.flagged, flags.deleted, flags.draft];
        assert_eq!(set.map(u32::from), [1, 2, 4, 8, 16].map(|of| u32::from(of == bit)), "{name}");
        row.origin = Some(Origin { mailbox: MAILBOX, uid: number, name: "Località".into() }.into());
        Golden::of("mailbox_rows").variant(name).key(&key).fields("records::RowRecord", 1).holds(
            &row,
            |row| records::encode(&RowRecord::of(row)),
            |octets| records::decode_row(&key, uid(), octets).expect("a row"),
        );
    }
}

fn recipe() -> Recipe {
    let chunk = |number: u8, plain_octets| ChunkRef {
        chunk: ChunkId([number; 32]),
        stored: StoredId([number + 100; 32]),
        plain_octets,
    };
    let raw = |chunk, offset, octets| Segment::Raw(ChunkPiece { chunk, offset, octets });
    let form = Base64Form { line_length: 76, line_ending: LineEnding::Lf, padded: false };
    let outer = Base64Form { line_length: 0, line_ending: LineEnding::CrLf, padded: true };
    let inner = Segment::Base64 { form, plain_octets: 5_000, plain: vec![raw(1, 0, 5_000)] };
    let plain_octets = form.encoded_octets(5_000);
    let segments = vec![
        raw(0, 0, 60),
        Segment::Base64 { form: outer, plain_octets, plain: vec![inner] },
        raw(0, 60, 40),
    ];
    Recipe { chunks: vec![chunk(1, 100), chunk(2, 5_000)], segments }
}

#[test]
fn messages_and_recipes_stay_as_they_are() {
    let recipe = recipe();
    let size = recipe.segments.iter().map(Segment::octets).sum();
    let message = StoredMessage::new(size, Sha256Digest([5; 32]), recipe.clone());
    let name = || "it".to_owned();
    let key = keys::message(ACCOUNT, EMAIL);
    let fields = recipe.to_fields();
    Golden::of("messages.recipe").fields("recipe::RecipeFields", 0).is(fields.encode_to_vec());
    Golden::of("messages").key(&key).fields("message::MessageFields", 9).holds(
        &message,
        StoredMessage::encode,
        |octets| StoredMessage::decode(octets, name).expect("a message"),
    );
    for reason in [ErasureReason::Authority, ErasureReason::DataSubject, ErasureReason::Other] {
        let erased = Erased { size: 77, digest: Sha256Digest([5; 32]), at: UnixMillis(AT), reason };
        let read = |octets: &[u8]| match Kept::decode(octets, name).expect("a record") {
            Kept::Erased(erased) => erased,
            Kept::Message(_) => panic!("it is erased"),
        };
        let golden = Golden::of("messages").variant(reason).key(&key);
        golden.fields("message::MessageFields", 9).holds(&erased, Erased::encode, read);
    }
    Golden::of("erasures").key(&key).is([]);
    Golden::of("departed_messages").key(keys::departed_message(ACCOUNT, 3, EMAIL)).is([]);
    let golden = Golden::of("message_references").fields("records::ReferencesRecord", 1);
    holds(golden, (keys::MESSAGE_REFERENCES, key), &ReferencesRecord { rows: 300 });
    let record = HeldRecord { message: vec![1, 2].into(), summary: vec![3].into() };
    let golden = Golden::of("held_messages").fields("records::HeldRecord", 1);
    holds(golden, (keys::HELD_MESSAGES, Bytes::from_static(&[7; 16])), &record);
}

fn envelope() -> Envelope {
    let octets = |text: &str| Some(text.as_bytes().to_vec());
    let address = |mailbox: &str| Address {
        name: octets("Anna"),
        route: octets("@relay.example"),
        mailbox: octets(mailbox),
        host: octets("example.test"),
    };
    Envelope {
        date: octets("Sat, 21 Nov 2026 10:00:00 +0100"),
        subject: octets(""),
        from: vec![address("from")],
        sender: vec![address("sender")],
        reply_to: vec![address("reply")],
        to: vec![address("to"), Address::default()],
        cc: vec![address("cc")],
        bcc: vec![address("bcc")],
        in_reply_to: octets("<1@example.test>"),
        message_id: octets("<2@example.test>"),
    }
}

#[test]
fn summaries_stay_as_they_are() {
    let octets = |text: &str| Some(text.as_bytes().to_vec());
    let parameters = vec![(b"name".to_vec(), b"\xe0.pdf".to_vec())];
    let part = BodyPart {
        header_offset: 10,
        body_offset: 20,
        body_octets: 30,
        body_lines: 4,
        media_type: b"message".to_vec(),
        media_subtype: b"rfc822".to_vec(),
        parameters: parameters.clone(),
        content_id: octets("<3@example.test>"),
        description: octets("original"),
        encoding: octets("8bit"),
        md5: octets("Q2hlY2sgSW50ZWdyaXR5IQ=="),
        disposition: Some(Disposition { kind: b"attachment".to_vec(), parameters }),
        languages: vec![b"it".to_vec(), b"en".to_vec()],
        location: octets("http://example.test/"),
        parts: Vec::new(),
        embedded_envelope: Some(Box::new(envelope())),
    };
    let summary = Summary {
        size: 1 << 40,
        envelope: envelope(),
        body: BodyPart { parts: vec![part.clone(), part], ..BodyPart::default() },
        references: octets("<1@example.test> <0@example.test>"),
        preview: "È arrivata".into(),
        erased: true,
    };
    let golden = Golden::of("summaries").key(keys::message(ACCOUNT, EMAIL));
    golden.fields("record::SummaryFields", 9).holds(&summary, Summary::encode, |octets| {
        Summary::decode(octets, || "it".into()).expect("a summary")
    });
}

#[test]
fn rows_of_chunks_and_packs_stay_as_they_are() {
    let (stored_id, pack) = (StoredId([3; 32]), PackId([4; 16]));
    let key = stored_id_key(stored_id);
    for (name, place) in [
        ("staged", Place::Staged { sequence: 7 }),
        ("packed", Place::Packed { pack, offset: 1 << 40 }),
    ] {
        let row = IndexRow { place, stored_octets: 10, plain_octets: 20 };
        for golden in [Golden::of("chunk_index"), Golden::of("damaged_chunks")] {
            let golden = golden.variant(name).key(&key).fields("index::IndexFields", 9);
            golden.holds(&row, IndexRow::encode, |octets| {
                IndexRow::decode(octets, stored_id).expect("a row")
            });
        }
    }
    Golden::of("erased_chunks").key(&key).is([]);
    let (row, golden) = (PackRow { pack_octets: 1 << 33, chunks: 9 }, Golden::of("packs"));
    golden.key(pack.0).fields("index::PackFields", 9).holds(
        &row,
        |row| row.encode_use(5),
        |octets| PackRow::decode(octets, pack).expect("a row"),
    );
    let row = GenerationRow { since_millis: AT };
    let golden = Golden::of("pack_generations").key(generation_key(12));
    golden.fields("index::GenerationFields", 9).holds(&row, GenerationRow::encode, |octets| {
        GenerationRow::decode(octets, 12).expect("a row")
    });
    assert_eq!(index::generation_of(&generation_key(12)).expect("a key"), 12);
}

#[test]
fn chunks_and_packs_stay_readable() {
    let secret = StoreSecret::new([9; 32]);
    let plain = b"Si trasmette quanto in oggetto. ".repeat(4);
    let chunk = stored::chunk_id(&plain);
    let stored_id = secret.stored_id(chunk);
    Golden::of("chunk_id").is(chunk.0);
    Golden::of("stored_id").is(stored_id.0);
    Golden::of("lineage").is(secret.lineage());
    // Another compressor may write another frame: what counts is that this one is read.
    let form = stored::encode(&plain, 3).expect("memory");
    let plain_octets = u32::try_from(plain.len()).expect("short");
    let golden = Golden::of("staged_chunks").key(staged_key(77, stored_id));
    let then = golden.written(&form);
    let read = |form: &[u8]| {
        stored::verify(form, plain_octets, stored_id, &secret, &|| "it".into()).expect("the chunk");
        stored::decode_stored(form, plain_octets, stored_id, &secret, &|| "it".into())
            .expect("the chunk")
    };
    assert_eq!(read(&then), plain);
    assert_eq!(read(&form), plain);
    let mut builder = PackBuilder::default();
    builder.add(stored_id, &then, plain_octets);
    builder.add(StoredId([1; 32]), &[0, 1, 2], 5);
    let (pack, entries) = builder.finish();
    Golden::of("pack").holds(
        &entries,
        |_| &pack,
        |octets| format::read(octets, "it").expect("a pack"),
    );
    let (warm, mut cold) = (PackId([0xab; 16]), PackId([0xcd; 16]));
    cold.0[10..].copy_from_slice(b"colder");
    for (name, pack) in [("warm", warm), ("cold", cold)] {
        let read = |path: &[u8]| PackId::from_path(std::str::from_utf8(path).expect("a path"));
        let golden = Golden::of("pack_object").variant(name).key(pack.0);
        golden.holds(&Some(pack), |_| pack.path(), read);
    }
    assert!(cold.is_cold());
}

#[test]
fn records_of_the_store_stay_as_they_are() {
    let counts = ScrubCounts {
        began_millis: AT,
        ended_millis: AT + 1,
        packs: 3,
        chunks: 4,
        octets: 5,
        damaged_packs: 6,
        damaged_chunks: 7,
    };
    let state =
        ScrubState { present: Some(counts), position: vec![8; 16].into(), last: Some(counts) };
    let golden = Golden::of("scrub_state").key("run").fields("scrub::ScrubState", 9);
    golden.holds(
        &state,
        |state| record::encode(1, state),
        |octets| record::decode(octets, 1, || "it".into()).expect("a record"),
    );
    Golden::of("store_identity").variant("epoch").key(epoch::EPOCH_KEY).is(epoch::encode(258));
    let record = RepairLogRecord {
        at: AT,
        family: "mailboxes".into(),
        key: vec![1, 2].into(),
        value: vec![3].into(),
    };
    let golden = Golden::of("repair_log").fields("records::RepairLogRecord", 1);
    let key = Bytes::copy_from_slice(&5_u64.to_be_bytes());
    holds(golden, (keys::REPAIR_LOG, key), &record);
}

#[test]
fn manifests_of_checkpoints_stay_as_they_are() {
    let name = CheckpointName { epoch: 2, instant: UnixMillis(AT) };
    let copy =
        |pack: u8, digest, fault| PackCopy { pack: PackId([pack; 16]), octets: 64, digest, fault };
    let manifest = Manifest {
        name,
        files: vec![FileEntry {
            name: "catalog/000007.sst".into(),
            octets: 7,
            pieces: vec![Piece { id: PieceId([9; 32]), octets: 7 }],
            modified_nanos: -4,
        }],
        packs: vec![
            copy(3, Some([8; 32]), None),
            copy(4, Some([8; 32]), Some(PackFault::Damaged)),
            copy(5, None, Some(PackFault::Lost)),
        ],
        packs_in_place: true,
        program: "ceralacca 0".into(),
        lineage: Lineage([5; 16]),
    };
    let golden = Golden::of("backup_manifest").key(name.to_string());
    golden.fields("manifest::ManifestFields", 1).holds(&manifest, Manifest::encode, |octets| {
        Manifest::decode(octets, name).expect("a manifest")
    });
    let golden = Golden::of("backup_checkpoints").fields("run::PinRecord", 1);
    let record = crate::backup::run::PinRecord { checkpoint: name.to_string() };
    let key = crate::backup::run::pin_key(name);
    assert_eq!(crate::backup::run::pin_value(name), records::encode(&record));
    holds(golden, (BACKUP_CHECKPOINTS, key), &record);
}
