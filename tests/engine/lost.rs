//! Queued messages whose octets are lost or damaged: nobody else gets them, and their senders hear of it.

use ceralacca::pec::{
    daticert::{Event, RefusalCause},
    engine::EngineSettings,
    records::{
        OUTGOING_QUEUE, RecipientRecord, RecipientState, TRANSMISSION_RECIPIENTS,
        TRANSMISSION_WORK, TRANSMISSIONS, TransmissionRecord, TransmissionState, decode, encode,
    },
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

/// Client and program have done their part, and no time limit runs before the envelope is sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_sender_of_a_message_that_is_lost_before_its_acceptance_has_a_notice() {
    let provider = Provider::start().await;
    let message = written(BRUNO.address, ANNA, "", "ciao");
    provider.submit(BRUNO, &[ANNA], &message).await.expect("taken");
    provider.settle().await;
    // As it was before its acceptance, but for the original.
    let mut batch = Batch::default();
    let (key, value) = provider.entries(TRANSMISSIONS).await.remove(0);
    let mut record: TransmissionRecord = decode(TRANSMISSIONS, &key, &value).expect("a record");
    record.set_state(TransmissionState::Submitted);
    (record.original, record.envelope) = (vec![9; 16], Vec::new());
    batch.put(TRANSMISSIONS, key.clone(), encode(&record));
    let (row_key, value) = provider.entries(TRANSMISSION_RECIPIENTS).await.remove(0);
    let mut row: RecipientRecord =
        decode(TRANSMISSION_RECIPIENTS, &row_key, &value).expect("a row");
    row.set_state(RecipientState::Submitted);
    batch.put(TRANSMISSION_RECIPIENTS, row_key, encode(&row));
    batch.put(TRANSMISSION_WORK, key, Vec::new());
    provider.engine.store().commit(batch).await.expect("lost");
    provider.settle().await;
    let notice = provider.newest(BRUNO).await;
    assert_eq!(notice.kind(), "non-accettazione");
    let Event::NonAcceptance { cause: RefusalCause::Formal, detail: Some(detail) } =
        &notice.data().event
    else {
        panic!("{:?}", notice.data().event)
    };
    assert!(detail.contains("va inviato di nuovo"), "{detail}");
    let facts = &notice.data().facts;
    assert_eq!((facts.sender.as_str(), facts.subject.as_deref()), (BRUNO.address, Some("Offerta")));
    assert_eq!(provider.recipients().await[0].state(), RecipientState::Rejected);
    provider.stop().await;
}
