//! Header blocks: what is read by way of them is what the summaries say, whatever happened.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use object_store::{ObjectStore, memory::InMemory};
use proptest::prelude::*;

use super::house::{ANNA, House, limits, request};
use crate::{
    account::{
        Account,
        erase::EraseRequest,
        headers::{
            page::{HeaderField, HeaderFields, MessageHeaders},
            read,
        },
    },
    catalog::{
        engine::{Batch, Engine as _, Entries, Reader as _, Scan},
        keys,
        simulated::SimulatedEngine,
    },
    error::StoreError,
    ids::EmailNumber,
    mailbox::{
        blocks::build::BlockReport,
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    octets::ErasureReason,
    sealed::seal,
    store::{Store, StoreLimits},
    summary::{Envelope, Summary},
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
        Some(value) => batch.put(keys::HEADER_BLOCKS, key, value),
        None => batch.delete(keys::HEADER_BLOCKS, key),
    };
    house.engine.commit(batch).await.expect("commit");
}

/// Everything in the family of header blocks.
async fn blocks(house: &House) -> Entries {
    let scan = Scan::prefix(keys::HEADER_BLOCKS, &[], 10_000);
    house.engine.scan(&scan).await.expect("scan")
}

/// Appends a message to INBOX, each with other headers.
async fn append(house: &House, anna: &Account, number: usize) {
    let subjects = ["Perizia", "=?utf-8?Q?PERCH=C3=89_no?=", "", "Offerta\r\n urgente"];
    let subject = subjects[number % subjects.len()];
    let cc =
        if number.is_multiple_of(3) { "Cc: \"Rossi, Anna\" <A@Beta.example>, b@x\r\n" } else { "" };
    let octets = format!(
        "From: Bruno {number} <bruno@pec.example>\r\nTo: anna@pec.example\r\n{cc}\
         Date: Sat, {} Nov 2026 10:00:{:02} +0100\r\nSubject: {subject}\r\n\
         Message-ID: <{number}@Pec.example>\r\nReferences: <{}@pec.example>\r\n\r\nTesto.\r\n",
        1 + number % 28,
        number % 60,
        number / 2
    );
    let staged = house.stage(octets.as_bytes()).await;
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX").id();
    anna.append(request(inbox, &staged)).await.expect("append");
}

/// The numbers that were given.
async fn numbers(house: &House, anna: &Account) -> Vec<EmailNumber> {
    let key = keys::account(anna.id());
    let head = crate::account::read::<crate::catalog::records::HeadRecord>(
        &*house.engine,
        keys::ACCOUNT_HEADS,
        &key,
    );
    let next = head.await.expect("read").expect("a head").next_email_number;
    (1..next).map(EmailNumber).collect()
}

/// Fails unless blocks and summaries say the same of every message that is there; returns how many
/// blocks were used.
async fn agrees(house: &House, anna: &Account) -> usize {
    let numbers = numbers(house, anna).await;
    let (headers, used) = read::headers(anna, &numbers, HeaderFields::ALL).await.expect("headers");
    assert_eq!(headers.len(), numbers.len());
    for (number, headers) in numbers.into_iter().zip(headers) {
        match anna.summary(number).await {
            Ok(summary) => {
                assert_eq!(headers, Some(MessageHeaders::of(number, &summary)), "{number}");
            }
            // Of a message that is gone nobody asks.
            Err(StoreError::NoSuchMessage { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    used
}

/// Erases a message; one that is gone or erased stays what it is.
async fn erase(anna: &Account, number: u64) {
    let request = EraseRequest {
        email_number: EmailNumber(number),
        reason: ErasureReason::DataSubject,
        envelope: Envelope::default(),
        also: Batch::default(),
    };
    match anna.erase(request).await {
        Ok(_) | Err(StoreError::NoSuchMessage { .. } | StoreError::Erased { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn expunge(anna: &Account, chosen: u32) {
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
    let rows = inbox.rows().await.expect("rows").1;
    let chosen = rows.iter().enumerate().filter(|(index, _)| chosen & (1 << (index % 32)) != 0);
    let uids: Vec<_> = chosen.map(|(_, row)| row.uid).collect();
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&uids, FlagChange::Add, &deleted, None).await.expect("store");
    inbox.expunge(&uids).await.expect("expunge");
}

#[tokio::test]
async fn headers_are_read_by_blocks_and_what_is_in_none_from_summaries() {
    let (house, anna) = small_house().await;
    for number in 0..11 {
        append(&house, &anna, number).await;
    }
    assert_eq!(agrees(&house, &anna).await, 0);
    build(&house).await;
    assert_eq!(blocks(&house).await.len(), 3, "a list and two blocks");
    assert_eq!(agrees(&house, &anna).await, 2);
    let asked = [EmailNumber(10), EmailNumber(2), EmailNumber(99), EmailNumber(2)];
    let headers = anna.headers(&asked, HeaderFields::ALL).await.expect("headers");
    let from = |index: usize| headers[index].as_ref().and_then(|one| one.text(HeaderField::From));
    assert_eq!(from(0), Some("bruno 9 <bruno@pec.example>"));
    assert_eq!((from(1), from(3)), (Some("bruno 1 <bruno@pec.example>"), from(1)));
    assert_eq!(headers[2], None);
    let subject = headers[1].as_ref().expect("there");
    assert!(subject.contains(HeaderField::Subject, &crate::text::fold("Perché NO")));
    assert!(subject.contains(HeaderField::References, "<0@pec"));
    house.is_sound().await;
}

#[tokio::test]
async fn a_message_that_is_erased_is_in_no_block_any_more() {
    let (house, anna) = small_house().await;
    for number in 0..8 {
        append(&house, &anna, number).await;
    }
    build(&house).await;
    assert_eq!(agrees(&house, &anna).await, 2);
    erase(&anna, 3).await;
    let keys_now: Vec<Bytes> = blocks(&house).await.into_iter().map(|(key, _)| key).collect();
    let key = |number| keys::message(ANNA, EmailNumber(number));
    assert_eq!(keys_now, [key(0), key(5)]);
    assert_eq!(agrees(&house, &anna).await, 1);
    build(&house).await;
    assert_eq!(agrees(&house, &anna).await, 2, "built without them");
    house.is_sound().await;
}

#[tokio::test]
async fn a_builder_that_read_headers_before_they_were_erased_writes_nothing() {
    let (house, anna) = small_house().await;
    // More windows than one step takes.
    for number in 0..40 {
        append(&house, &anna, number).await;
    }
    let taking = anna.clone();
    let taken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let pace = move |_| {
        let (anna, first) =
            (taking.clone(), !taken.swap(true, std::sync::atomic::Ordering::SeqCst));
        async move {
            if first {
                erase(&anna, 39).await;
            }
            true
        }
        .boxed()
    };
    house.store.build_blocks(&pace).await.expect("build");
    agrees(&house, &anna).await;
    build(&house).await;
    assert_eq!(agrees(&house, &anna).await, 10);
    house.is_sound().await;
}

#[tokio::test]
async fn no_damage_of_a_header_block_or_of_its_list_reaches_the_reader() {
    let (house, anna) = small_house().await;
    for number in 0..4 {
        append(&house, &anna, number).await;
    }
    build(&house).await;
    let sound = blocks(&house).await;
    assert_eq!(sound.len(), 2);
    for (key, value) in &sound {
        for position in 0..value.len() {
            let mut changed = value.to_vec();
            changed[position] ^= 0x41;
            write(&house, key.clone(), Some(changed.into())).await;
            agrees(&house, &anna).await;
        }
        for length in [0, 1, 36, value.len() - 1] {
            write(&house, key.clone(), Some(value.slice(..length))).await;
            agrees(&house, &anna).await;
        }
        for (version, form) in [(1, &b"an earlier form"[..]), (3, b"a later form")] {
            let other = seal(version, key, form).expect("seal");
            write(&house, key.clone(), Some(other)).await;
            agrees(&house, &anna).await;
        }
        house.is_sound().await;
        build(&house).await;
        assert_eq!(agrees(&house, &anna).await, 1, "built anew");
    }
    erase(&anna, 1).await;
    write(&house, sound[0].0.clone(), Some(Bytes::from_static(b"damaged"))).await;
    erase(&anna, 2).await;
    assert_eq!(blocks(&house).await.len(), 1, "nobody knows which block: all of them went");
    agrees(&house, &anna).await;
}

#[tokio::test]
async fn headers_in_a_block_that_differ_from_the_summary_are_found() {
    let (house, anna) = small_house().await;
    for number in 0..4 {
        append(&house, &anna, number).await;
    }
    build(&house).await;
    house.is_sound().await;
    // A mistake: the summary changes and the block stays.
    let mut batch = Batch::default();
    let key = keys::message(ANNA, EmailNumber(2));
    let other = Summary {
        size: anna.summary(EmailNumber(2)).await.expect("there").size,
        ..Summary::default()
    };
    batch.put(keys::SUMMARIES, key, other.encode());
    house.engine.commit(batch).await.expect("commit");
    let report = house.store.check(&|_| {}).await.expect("check");
    let found = report.violations.iter().any(|one| {
        one.object == "message 2 of account 7" && one.detail().contains("other headers")
    });
    assert!(found, "{:#?}", report.violations);
}

#[tokio::test]
async fn when_most_messages_are_gone_the_blocks_are_built_from_the_beginning() {
    let (house, anna) = small_house().await;
    for number in 0..24 {
        append(&house, &anna, number).await;
    }
    build(&house).await;
    assert_eq!(blocks(&house).await.len(), 7);
    expunge(&anna, 0x00ff_fff0).await;
    assert_eq!(agrees(&house, &anna).await, 6);
    build(&house).await;
    assert_eq!(blocks(&house).await.len(), 2, "one block is left");
    assert_eq!(agrees(&house, &anna).await, 1);
    assert_eq!(build(&house).await.header_blocks, 0, "nothing is left to do");
    house.is_sound().await;
}

#[derive(Clone, Debug)]
enum Operation {
    Append { count: usize },
    Expunge { chosen: u32 },
    Erase { number: u64 },
    Build,
    Keep,
    PutBack { which: u32 },
    Lose { which: u32 },
    Crash,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (1..5_usize).prop_map(|count| Operation::Append { count }),
        2 => any::<u32>().prop_map(|chosen| Operation::Expunge { chosen }),
        1 => (1..20_u64).prop_map(|number| Operation::Erase { number }),
        3 => Just(Operation::Build),
        1 => Just(Operation::Keep),
        1 => any::<u32>().prop_map(|which| Operation::PutBack { which }),
        1 => any::<u32>().prop_map(|which| Operation::Lose { which }),
        1 => Just(Operation::Crash),
    ]
}

async fn run(operations: &[Operation]) {
    let (mut house, mut anna) = small_house().await;
    let mut kept = Entries::new();
    let mut appended = 0;
    for operation in operations {
        match *operation {
            Operation::Append { count } => {
                for _ in 0..count {
                    append(&house, &anna, appended).await;
                    appended += 1;
                }
            }
            Operation::Expunge { chosen } => expunge(&anna, chosen).await,
            Operation::Erase { number } => {
                erase(&anna, number).await;
                // Nothing puts back what was taken away for ever.
                kept.clear();
            }
            Operation::Build => drop(build(&house).await),
            Operation::Keep => kept = blocks(&house).await,
            Operation::PutBack { which } => {
                for (index, (key, value)) in kept.iter().enumerate() {
                    if which & (1 << (index % 32)) != 0 {
                        write(&house, key.clone(), Some(value.clone())).await;
                    }
                }
            }
            Operation::Lose { which } => {
                for (index, (key, _)) in blocks(&house).await.into_iter().enumerate() {
                    if which & (1 << (index % 32)) != 0 {
                        write(&house, key, None).await;
                    }
                }
            }
            Operation::Crash => {
                let (engine, objects) = (house.engine.crash(), house.objects.clone());
                let opened = House::try_open_with(engine, objects, small_windows());
                house = opened.await.expect("open again");
                anna = house.store.account(ANNA).await.expect("anna");
            }
        }
        agrees(&house, &anna).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn headers_by_way_of_blocks_are_those_of_the_summaries_after_any_history(
        operations in prop::collection::vec(operation(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(run(&operations));
    }
}
