//! Where receipts are filed: in INBOX, beside the message sent, or in a mailbox of their own.

use ceralacca::pec::filing::RECEIPTS;
use storage::{
    account::{quota::QuotaRule, settings::ReceiptsPlace},
    catalog::{
        engine::Batch,
        keys::{self, MAILBOXES},
    },
    mailbox::{append::AppendRequest, flags::Flags, view::MailboxView as _},
};

use crate::{
    letter::written,
    provider::{BRUNO, CARLA, Provider},
};

async fn filing(receipts: ReceiptsPlace) -> Provider {
    let provider = Provider::start().await;
    provider.set(BRUNO, |settings| settings.receipts = receipts).await;
    provider
}

/// Puts a copy of what Bruno sends into one of his mailboxes, as his client does.
async fn keep_copy(provider: &Provider, mailbox: &str, message: &[u8]) {
    let store = provider.engine.store();
    let account = store.account(BRUNO.id).await.expect("an account");
    let mut writer = store.message_writer();
    writer.write(message).await.expect("written");
    let message = writer.finish().await.expect("staged");
    let mailbox = account.mailbox_by_name(mailbox).await.expect("a mailbox").id();
    let request = AppendRequest {
        mailbox,
        message: &message,
        flags: Flags::default(),
        internal_date: None,
        charged_octets: None,
        quota: QuotaRule::Enforce,
        also: Batch::default(),
    };
    account.append(request).await.expect("appended");
}

async fn count(provider: &Provider, mailbox: &str) -> usize {
    let account = provider.engine.store().account(BRUNO.id).await.expect("an account");
    match account.mailbox_by_name(mailbox).await {
        Ok(mailbox) => mailbox.rows().await.expect("rows").1.len(),
        Err(_) => 0,
    }
}

/// Bruno writes to Carla: an acceptance receipt and a delivery receipt are due to him.
async fn exchange(provider: &Provider, message: &[u8]) {
    provider.submit(BRUNO, &[CARLA.address], message).await.expect("taken");
    provider.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_go_into_a_mailbox_of_their_own_which_is_made_once() {
    let provider = filing(ReceiptsPlace::Ricevute).await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    exchange(&provider, &message).await;
    assert_eq!((count(&provider, RECEIPTS).await, count(&provider, "INBOX").await), (2, 0));
    exchange(&provider, &message).await;
    assert_eq!((count(&provider, RECEIPTS).await, count(&provider, "INBOX").await), (4, 0));
    let account = provider.engine.store().account(BRUNO.id).await.expect("an account");
    let listing = account.mailboxes().await.expect("a list");
    assert!(listing.iter().any(|listed| listed.name == RECEIPTS && listed.subscribed));
    // What is not about something he has sent comes into INBOX.
    provider
        .submit(CARLA, &[BRUNO.address], &written(CARLA.address, BRUNO.address, "", "a te"))
        .await
        .expect("taken");
    provider.settle().await;
    assert_eq!((count(&provider, RECEIPTS).await, count(&provider, "INBOX").await), (4, 1));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_go_beside_the_message_sent_and_else_into_inbox() {
    let provider = filing(ReceiptsPlace::Sent).await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    exchange(&provider, &message).await;
    assert_eq!((count(&provider, "Inviati").await, count(&provider, "INBOX").await), (0, 2));
    keep_copy(&provider, "Inviati", &message).await;
    exchange(&provider, &message).await;
    assert_eq!((count(&provider, "Inviati").await, count(&provider, "INBOX").await), (3, 2));
    // Wherever his client keeps it.
    let message = String::from_utf8(message).expect("text").replace("<1@", "<2@").into_bytes();
    keep_copy(&provider, "Archivio", &message).await;
    exchange(&provider, &message).await;
    assert_eq!((count(&provider, "Archivio").await, count(&provider, "INBOX").await), (3, 2));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_go_into_inbox_unless_told_otherwise() {
    let provider = Provider::start().await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    keep_copy(&provider, "Inviati", &message).await;
    exchange(&provider, &message).await;
    assert_eq!((count(&provider, "Inviati").await, count(&provider, "INBOX").await), (1, 2));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_never_lie_among_drafts_or_what_is_thrown_away() {
    let provider = filing(ReceiptsPlace::Sent).await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    for passing in ["Bozze", "Cestino"] {
        keep_copy(&provider, passing, &message).await;
    }
    exchange(&provider, &message).await;
    for (mailbox, messages) in [("Bozze", 1), ("Cestino", 1), ("INBOX", 2)] {
        assert_eq!(count(&provider, mailbox).await, messages, "{mailbox}");
    }
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_go_into_inbox_when_another_mailbox_is_damaged() {
    let provider = filing(ReceiptsPlace::Sent).await;
    let account = provider.engine.store().account(BRUNO.id).await.expect("an account");
    let archive = account.mailbox_by_name("Archivio").await.expect("a mailbox").id();
    let mut batch = Batch::default();
    batch.put(MAILBOXES, keys::mailbox(BRUNO.id, archive), b"damaged".to_vec());
    provider.engine.store().commit(batch).await.expect("written");
    exchange(&provider, &written(BRUNO.address, CARLA.address, "", "ciao")).await;
    assert_eq!(count(&provider, "INBOX").await, 2);
    assert_eq!(provider.rows(CARLA).await.len(), 1, "what he sent has arrived");
    provider.stop().await;
}
