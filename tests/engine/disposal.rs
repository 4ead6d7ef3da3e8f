//! What the engine lets go of when it is finished, and what it keeps because a duty needs it.

use bytes::Bytes;
use ceralacca::{
    backup::held::hold_all,
    pec::{
        disposal::{DisposalReport, dispose, trim_expunge_logs},
        records::{INCOMING_MESSAGES, INCOMING_SEEN, TRANSMISSIONS, TransmissionRecord, decode},
    },
};
use storage::{
    backup::manifest::CheckpointName,
    catalog::{
        engine::Batch,
        keys::{self, HELD_MESSAGES},
    },
    collector::CollectOptions,
    ids::MailboxId,
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
};

use crate::{
    letter::written,
    network::{ANNA, Foreign},
    provider::{BRUNO, CARLA, Provider},
};

const DAY: i64 = 86_400_000;
const RETENTION: i64 = 30 * DAY;
const SERVICE: &str = "posta-certificata@alfa.example";

async fn round(provider: &Provider) -> DisposalReport {
    let engine = &provider.engine;
    dispose(engine.store(), engine.now(), RETENTION).await.expect("a round")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_transmission_lets_go_of_its_messages_after_the_retention() {
    let provider = Provider::start().await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    let held = provider.entries(HELD_MESSAGES).await.len();
    assert!(held >= 2, "original and envelope: {held}");
    provider.clock.advance(29 * DAY);
    assert_eq!(round(&provider).await, DisposalReport::default());
    provider.clock.advance(2 * DAY);
    let report = round(&provider).await;
    assert_eq!((report.transmissions, report.released), (1, held as u64));
    assert!(provider.entries(HELD_MESSAGES).await.is_empty());
    let (key, value) = provider.entries(TRANSMISSIONS).await.remove(0);
    let record: TransmissionRecord = decode(TRANSMISSIONS, &key, &value).expect("a record");
    assert!(record.original.is_empty() && record.envelope.is_empty());
    assert_eq!(record.sender, BRUNO.address, "the facts stay");
    assert_eq!(round(&provider).await, DisposalReport::default(), "there is nothing left to do");

    let options = CollectOptions { grace: std::time::Duration::ZERO, ..CollectOptions::default() };
    let store = provider.engine.store();
    store.collect(&options, &|_| {}).await.expect("collect");
    assert_eq!(provider.inbox(CARLA).await.len(), 1, "what is in mailboxes stays");
    assert_eq!(provider.inbox(BRUNO).await.len(), 2);
    assert_eq!(store.check(&|_| {}).await.expect("check").violations, []);
    trim_expunge_logs(store, provider.engine.now()).await.expect("trim");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_read_keeps_the_logs_of_others_no_longer() {
    let provider = Provider::start().await;
    let store = provider.engine.store();
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    let carla = store.account(CARLA.id).await.expect("an account");
    let inbox = carla.mailbox_by_name("INBOX").await.expect("INBOX");
    let row = inbox.rows().await.expect("rows").1.remove(0);
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&[row.uid], FlagChange::Add, &deleted, None).await.expect("flags");
    inbox.expunge(&[row.uid]).await.expect("expunge");
    let mut batch = Batch::default();
    batch.put(keys::ACCOUNTS, keys::account(BRUNO.id), Bytes::from_static(b"\x09"));
    let trash = MailboxId(6);
    batch.put(keys::MAILBOXES, keys::mailbox(BRUNO.id, trash), Bytes::from_static(b"\x00"));
    store.commit(batch).await.expect("commit");
    assert_eq!(provider.entries(keys::EXPUNGE_LOG).await.len(), 1);
    provider.clock.advance(DAY);
    trim_expunge_logs(store, provider.engine.now()).await.expect("trim");
    assert_eq!(provider.entries(keys::EXPUNGE_LOG).await.len(), 0);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_queue_is_kept_however_old_it_is() {
    let provider = Provider::start().await;
    let message = written(BRUNO.address, ANNA, "", "ciao");
    provider.submit(BRUNO, &[ANNA], &message).await.expect("taken");
    let envelope = Foreign::alfa().envelope(&[CARLA.address], "ciao");
    provider.relay(SERVICE, &[CARLA.address], &envelope).await.expect("taken");
    provider.settle().await;
    let queued = provider.queued().await.len();
    assert_eq!(queued, 3, "an envelope, a take-charge receipt, a delivery receipt");
    let seen = provider.entries(INCOMING_SEEN).await.len();
    assert!(seen >= 2, "taken and delivered: {seen}");
    provider.clock.advance(400 * DAY);
    let report = round(&provider).await;
    // The recipient elsewhere has not been reached: his transmission is not finished.
    assert_eq!((report.transmissions, report.incoming), (0, 1));
    assert_eq!(report.forgotten, seen as u64);
    assert!(report.released > 0, "the incoming message is in the mailbox");
    assert!(provider.entries(INCOMING_MESSAGES).await.is_empty());
    assert_eq!(provider.queued().await.len(), queued, "each is still held and reads back");
    assert_eq!(
        provider.entries(HELD_MESSAGES).await.len(),
        queued + 2,
        "and the original with its receipt"
    );
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_operator_since_a_restore_is_kept_however_old_it_is() {
    let provider = Provider::start().await;
    let envelope = Foreign::alfa().envelope(&[CARLA.address], "ciao");
    provider.relay(SERVICE, &[CARLA.address], &envelope).await.expect("taken");
    provider.settle().await;
    let held = provider.entries(HELD_MESSAGES).await;
    let (engine, now) = (&provider.engine, provider.engine.now());
    let checkpoint = CheckpointName { epoch: 1, instant: now };
    let duties = hold_all(&**engine.store().engine(), checkpoint, now).await.expect("held");
    assert_eq!(duties, 2, "a take-charge receipt and a delivery receipt");
    provider.clock.advance(400 * DAY);
    assert_eq!(round(&provider).await, DisposalReport::default());
    assert_eq!(provider.entries(HELD_MESSAGES).await, held);
    provider.stop().await;
}
