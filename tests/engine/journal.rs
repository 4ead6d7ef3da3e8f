//! The log of operations (RFC 6109 §2.3).

use ceralacca::pec::journal::JournalEvent;

use crate::{
    letter::written,
    network::{ANNA, Foreign, NOON},
    provider::{BRUNO, CARLA, DARIO, Provider},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_has_one_record_for_each_event_and_no_gaps() {
    use JournalEvent::{
        Acceptance, Delivery, DeliveryReceipt, Incoming, NonAcceptance, Repeat, Submission,
        TakeCharge, TransportEnvelope,
    };
    let provider = Provider::start().await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    let taken = provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    let envelope = Foreign::alfa().envelope(&[DARIO.address], "ciao");
    for _ in 0..2 {
        provider.relay(ANNA, &[DARIO.address], &envelope).await.expect("taken");
        provider.settle().await;
    }
    provider.submit(BRUNO, &[DARIO.address], &message).await.expect("taken");
    provider.settle().await;

    let journal = provider.journal().await;
    let words: Vec<&str> = journal.iter().map(|(_, record)| record.event.as_str()).collect();
    let expected = [
        Submission,
        Acceptance,
        TransportEnvelope,
        Delivery,
        DeliveryReceipt,
        Incoming,
        TakeCharge,
        Delivery,
        DeliveryReceipt,
        Repeat,
        Submission,
        NonAcceptance,
    ];
    assert_eq!(words, expected.map(JournalEvent::word));
    let first = journal[0].0;
    for ((number, record), wanted) in journal.iter().zip(first..) {
        assert_eq!(*number, wanted, "{record:?}");
        assert_eq!(record.instant_millis, NOON.0);
        assert!(!record.recipients.is_empty(), "{record:?}");
    }
    for (_, record) in &journal[..3] {
        assert_eq!(record.identifier, taken.identifier);
        assert_eq!(record.message_id, "<1@client.example>");
        assert_eq!(record.sender, BRUNO.address);
    }
    // Every message made is named once, by its Message-ID.
    let mut related: Vec<&String> =
        journal.iter().flat_map(|(_, record)| &record.related).collect();
    let made = related.len();
    related.sort();
    related.dedup();
    assert_eq!((related.len(), made), (6, 6), "{related:?}");
    provider.stop().await;
}
