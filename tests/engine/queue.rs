//! What cannot be sent (RFC 6109 §2.2.2).

use std::net::TcpListener;

use ceralacca::pec::records::{OUTGOING_QUEUE, RecipientRecord, RecipientState};

use crate::{
    letter::{kinds, written},
    network::ANNA,
    provider::{BRUNO, Provider, eventually},
};

const DAY_MILLIS: i64 = 24 * 3_600_000;

/// A port of this machine at which nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_within_a_day_becomes_one_notice_and_leaves_the_queue() {
    let mut provider = Provider::start().await;
    provider.run_queue("pec.alfa.example", closed_port());
    let message = written(BRUNO.address, ANNA, "", "ciao");
    provider.submit(BRUNO, &[ANNA], &message).await.expect("taken");
    provider.settle().await;
    for attempts in 1..=2 {
        eventually("an attempt", async || {
            let queued = provider.queued().await;
            let (record, _) = queued.first().expect("it stays in the queue");
            (record.attempts == attempts && !record.last_error.is_empty()).then_some(())
        })
        .await;
        // Short of a day the message waits.
        provider.clock.advance(if attempts == 1 { DAY_MILLIS - 60_000 } else { 0 });
    }
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione"]);
    provider.clock.advance(DAY_MILLIS);
    eventually("an empty queue", async || {
        provider.entries(OUTGOING_QUEUE).await.is_empty().then_some(())
    })
    .await;
    let letters = provider.inbox(BRUNO).await;
    assert_eq!(kinds(&letters), ["accettazione", "errore-consegna"]);
    let event = &letters[1].data().event;
    assert_eq!((event.recipient(), event.error()), (Some(ANNA), "altro"));
    assert_eq!(letters[1].data().stamp.day, "23/11/2026", "the notice has its own instant");
    let states: Vec<_> = provider.recipients().await.iter().map(RecipientRecord::state).collect();
    assert_eq!(states, [RecipientState::Failed]);
    let events = provider.events().await;
    assert_eq!(events[3..], ["relay-failed", "non-delivery-notice"]);
    provider.stop().await;
}
