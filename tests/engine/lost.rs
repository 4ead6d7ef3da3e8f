//! Queued messages whose octets are lost or damaged: nobody else gets them, and their senders hear of it.

use ceralacca::pec::{
    engine::EngineSettings,
    records::{OUTGOING_QUEUE, RecipientRecord, RecipientState},
};
use storage::catalog::{
    engine::{Batch, Family},
    keys::HELD_MESSAGES,
};

use crate::{
    letter::{Letter, written},
    network::ANNA,
    provider::{BRUNO, Provider, eventually},
};

const DAY_MILLIS: i64 = 24 * 3_600_000;
const ALFA: &str = "pec.alfa.example";
const ORDINARY: &str = "posta.example";
const OSPITE: &str = "ospite@posta.example";

/// Where octets of messages, or what is known of them, stand in the catalog.
const WHAT_IS_LOST: [Family; 2] = [HELD_MESSAGES, Family("chunk_index")];

/// What Bruno gets when a message of his to `to` is lost in the queue and its time is over.
async fn heard(to: &str, lost: Family) -> Letter {
    let mut provider = Provider::start_with(EngineSettings::default()).await;
    let message = written(BRUNO.address, to, "", &"buongiorno a tutti\r\n".repeat(5_000));
    provider.submit(BRUNO, &[to], &message).await.expect("taken");
    provider.settle().await;
    let mut batch = Batch::default();
    let rows = provider.entries(lost).await;
    assert!(!rows.is_empty(), "there is something to lose in {lost:?}");
    for (key, _) in rows {
        batch.delete(lost, key);
    }
    provider.engine.store().commit(batch).await.expect("lost");
    provider.clock.advance(DAY_MILLIS);
    // Nobody listens there: what is over is not attempted.
    provider.run_queue_by(&[(ALFA, 9), (ORDINARY, 9)]);
    eventually("an empty queue", async || {
        provider.entries(OUTGOING_QUEUE).await.is_empty().then_some(())
    })
    .await;
    let states: Vec<_> = provider.recipients().await.iter().map(RecipientRecord::state).collect();
    let end = if to == ANNA { RecipientState::Expired } else { RecipientState::Failed };
    assert_eq!(states, [end]);
    let newest = provider.newest(BRUNO).await;
    provider.stop().await;
    newest
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_of_a_lost_certified_message_has_his_notice() {
    for lost in WHAT_IS_LOST {
        let notice = heard(ANNA, lost).await;
        assert_eq!(notice.kind(), "preavviso-errore-consegna", "{lost:?}");
        let data = notice.data();
        assert_eq!((data.event.recipient(), data.event.error()), (Some(ANNA), "altro"));
        assert_eq!(data.facts.sender, BRUNO.address);
        assert_eq!(data.facts.recipients.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_of_a_lost_ordinary_message_has_his_report() {
    for lost in WHAT_IS_LOST {
        let report = heard(OSPITE, lost).await;
        assert_eq!(report.kind(), "report", "{lost:?}");
        let fields = report.status_fields().expect("fields");
        assert!(fields.contains("Final-Recipient: rfc822; ospite@posta.example\r\n"), "{fields}");
    }
}
