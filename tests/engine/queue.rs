//! The outgoing queue against servers that answer well, badly and not at all.

use std::{net::TcpListener, sync::Arc};

use ceralacca::{
    backup::held::{hold_all, release},
    pec::{
        engine::EngineSettings,
        records::{
            DestinationRecord, OUTGOING_DESTINATIONS, OUTGOING_ORDER, OUTGOING_QUEUE, QueueRecord,
            RecipientRecord, RecipientState, decode,
        },
    },
};
use storage::{backup::manifest::CheckpointName, catalog::engine::Batch};

use crate::{
    letter::{kinds, written},
    network::{ANNA, Foreign},
    peer::{Manner, Peer},
    provider::{BRUNO, CARLA, DARIO, Holder, Provider, eventually, relay_to},
};

const HOUR_MILLIS: i64 = 3_600_000;
const ALFA: &str = "pec.alfa.example";

/// A port of this machine at which nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Pauses of known length.
fn settings() -> EngineSettings {
    EngineSettings {
        retry_first_millis: 60_000,
        retry_jitter_percent: 0,
        destination_connections_max: 2,
        ..EngineSettings::default()
    }
}

async fn submit(provider: &Provider, sender: Holder, to: &[&str]) {
    let message = written(sender.address, &to.join(", "), "", "ciao");
    provider.submit(sender, to, &message).await.expect("taken");
    provider.settle().await;
}

async fn empty(provider: &Provider) {
    eventually("an empty queue", async || {
        provider.entries(OUTGOING_QUEUE).await.is_empty().then_some(())
    })
    .await;
    assert!(provider.entries(OUTGOING_ORDER).await.is_empty(), "the order goes with the queue");
}

/// The one destination that fails.
async fn failing(provider: &Provider, failures: u32) -> DestinationRecord {
    eventually("a failing destination", async || {
        let rows = provider.entries(OUTGOING_DESTINATIONS).await;
        let (key, value) = rows.first()?;
        let record: DestinationRecord = decode(OUTGOING_DESTINATIONS, key, value).expect("read");
        (record.failures == failures).then_some(record)
    })
    .await
}

/// The one row of the queue, once it has been attempted so often.
async fn attempted(provider: &Provider, attempts: u32) -> QueueRecord {
    eventually("an attempt", async || {
        let queued = provider.queued().await;
        let (record, _) = queued.first()?;
        (record.attempts == attempts).then(|| record.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_within_a_day_is_told_by_the_notices_of_the_rules_and_leaves_the_queue()
{
    let mut provider = Provider::start().await;
    provider.run_queue(ALFA, closed_port());
    submit(&provider, BRUNO, &[ANNA]).await;
    let record = failing(&provider, 1).await;
    assert!(record.last_error.contains("cannot be reached"), "{record:?}");
    // Short of a day the message waits.
    provider.clock.advance(22 * HOUR_MILLIS);
    failing(&provider, 2).await;
    let warned = eventually("the first notice", async || {
        let kinds = kinds(&provider.inbox(BRUNO).await);
        (kinds.len() == 2).then_some(kinds)
    })
    .await;
    assert_eq!(warned, ["accettazione", "preavviso-errore-consegna"]);
    // Its time ends although its destination is left alone.
    provider.clock.advance(2 * HOUR_MILLIS);
    empty(&provider).await;
    let letters = provider.inbox(BRUNO).await;
    let notices = ["accettazione", "preavviso-errore-consegna", "preavviso-errore-consegna"];
    assert_eq!(kinds(&letters), notices, "and none beside the two of the rules");
    let event = &letters[2].data().event;
    assert_eq!((event.recipient(), event.error()), (Some(ANNA), "altro"));
    assert_eq!(letters[2].data().stamp.day, "22/11/2026", "the notice has its own instant");
    let states: Vec<_> = provider.recipients().await.iter().map(RecipientRecord::state).collect();
    assert_eq!(states, [RecipientState::Expired]);
    let events = provider.events().await;
    assert!(events[3..].iter().any(|event| event == "relay-failed"), "{events:?}");
    provider.stop().await;
}

/// An envelope of Alfa has come; its two receipts wait.
async fn owing_receipts(provider: &Provider) {
    let envelope = Foreign::alfa().envelope(&[BRUNO.address], "ciao");
    provider.relay(ANNA, &[BRUNO.address], &envelope).await.expect("taken");
    provider.settle().await;
    assert_eq!(provider.entries(OUTGOING_QUEUE).await.len(), 2);
}

/// Nobody is told of a receipt that never leaves: the sender would keep the notice that nothing was heard.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_waited_while_the_server_stood_still_are_sent_and_given_up_a_day_later() {
    let peer = Peer::willing().await;
    for (port, sent) in [(peer.port, 2), (closed_port(), 0)] {
        let mut provider = Provider::start_with(settings()).await;
        owing_receipts(&provider).await;
        provider.clock.advance(30 * HOUR_MILLIS);
        provider.run_queue_by(&[(ALFA, port), ("alfa.example", port)]);
        if sent == 0 {
            eventually("both destinations have failed", async || {
                (provider.entries(OUTGOING_DESTINATIONS).await.len() == 2).then_some(())
            })
            .await;
            assert_eq!(
                provider.entries(OUTGOING_QUEUE).await.len(),
                2,
                "they were tried, and wait"
            );
            provider.clock.advance(24 * HOUR_MILLIS);
        }
        empty(&provider).await;
        let events = provider.events().await;
        let count = |word: &str| events.iter().filter(|event| *event == word).count();
        assert_eq!((count("relayed"), count("relay-failed")), (sent, 2 - sent), "{events:?}");
        provider.stop().await;
    }
    assert_eq!(peer.transactions().len(), 2);
}

/// Otherwise nothing would ever end on a server that is started each night.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_were_tried_are_given_up_in_time_however_often_the_server_is_started() {
    let peer = Peer::start(|command, _| {
        command.starts_with("RCPT").then_some(Manner::Say("451 4.3.0 later"))
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    owing_receipts(&provider).await;
    let routes = [(ALFA, peer.port), ("alfa.example", peer.port)];
    provider.run_queue_by(&routes);
    eventually("both were tried", async || {
        let queued = provider.queued().await;
        queued.iter().all(|(record, _)| record.attempts > 0).then_some(())
    })
    .await;
    provider.stop_queue().await;
    provider.clock.advance(24 * HOUR_MILLIS);
    provider.run_queue_by(&routes);
    empty(&provider).await;
    let events = provider.events().await;
    assert_eq!(events.iter().filter(|event| *event == "relay-failed").count(), 2, "{events:?}");
    provider.stop().await;
}

/// After a restore the operator asks the other providers first, and lets the duties go when he knows.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_an_operator_releases_after_a_day_are_sent() {
    let peer = Peer::willing().await;
    let mut provider = Provider::start_with(settings()).await;
    owing_receipts(&provider).await;
    let store = Arc::clone(provider.engine.store());
    let checkpoint = CheckpointName { epoch: 1, instant: provider.engine.now() };
    let held = hold_all(&**store.engine(), checkpoint, provider.engine.now()).await.expect("held");
    assert_eq!(held, 2);
    provider.run_queue_by(&[(ALFA, peer.port), ("alfa.example", peer.port)]);
    provider.clock.advance(30 * HOUR_MILLIS);
    let now = provider.engine.now();
    let released = release(&**store.engine(), None, 1, now).await.expect("released");
    for due in released.requeued {
        provider.engine.queue().announce(due, now);
    }
    empty(&provider).await;
    assert_eq!(peer.transactions().len(), 2);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_has_the_fate_that_the_server_gives_him() {
    let peer = Peer::start(|line, moment| match line {
        _ if line.contains("unknown@") => Some(Manner::Say("550 5.1.1 no such mailbox")),
        _ if line.contains("grey@") && moment.connection == 1 => {
            Some(Manner::Say("451 4.7.1 come back later"))
        }
        _ => None,
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    provider.run_queue(ALFA, peer.port);
    let to = [ANNA, "unknown@pec.alfa.example", "grey@pec.alfa.example"];
    submit(&provider, BRUNO, &to).await;
    let record = attempted(&provider, 1).await;
    let waiting: Vec<&str> =
        record.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    assert_eq!(waiting, [to[2]]);
    assert_eq!(record.last_error, "451 4.7.1 come back later");
    assert_eq!(record.last_server, "127.0.0.1");
    let letters = provider.inbox(BRUNO).await;
    assert_eq!(kinds(&letters), ["accettazione", "errore-consegna"]);
    assert_eq!(letters[1].data().event.recipient(), Some(to[1]));
    assert_eq!(letters[1].data().event.error(), "no-dest");
    // Greylisting lets the same sender and recipient through when they come back.
    provider.clock.advance(59_999);
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(peer.transactions().len(), 1, "not before its time");
    provider.clock.advance(1);
    empty(&provider).await;
    let transactions = peer.transactions();
    assert_eq!(transactions[1].mail, transactions[0].mail);
    assert_eq!(transactions[1].recipients, [format!("RCPT TO:<{}>", to[2])]);
    let states: Vec<_> = provider.recipients().await.iter().map(RecipientRecord::state).collect();
    let (relayed, failed) = (RecipientState::Relayed, RecipientState::Failed);
    assert_eq!(states, [relayed, failed, relayed]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_sender_or_message_is_everybodys_and_a_temporary_one_waits() {
    let peer = Peer::start(|line, moment| match (line, moment.taken) {
        ("DATA", _) if moment.recipients.iter().any(|line| line.contains("data@")) => {
            Some(Manner::Say("554 5.7.1 not such a message"))
        }
        (".", _) if moment.recipients.iter().any(|line| line.contains("end@")) => {
            Some(Manner::Say("452 4.3.1 no room"))
        }
        _ if line.starts_with("MAIL") && line.contains(CARLA.address) => {
            Some(Manner::Say("550 5.7.1 not from you"))
        }
        _ => None,
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    provider.run_queue(ALFA, peer.port);
    let both = ["a@pec.alfa.example", "b@pec.alfa.example"];
    submit(&provider, CARLA, &both).await;
    submit(&provider, BRUNO, &["data@pec.alfa.example", ANNA]).await;
    submit(&provider, BRUNO, &["end@pec.alfa.example", ANNA]).await;
    let record = attempted(&provider, 1).await;
    assert_eq!(record.recipients.len(), 2);
    assert_eq!(record.last_error, "452 4.3.1 no room");
    for holder in [CARLA, BRUNO] {
        let notices = kinds(&provider.inbox(holder).await);
        let failures = notices.iter().filter(|kind| *kind == "errore-consegna").count();
        assert_eq!(failures, 2, "{notices:?}");
    }
    assert!(peer.transactions().is_empty());
    provider.stop().await;
}

/// RFC 5321 §4.5.3.1.10.
#[tokio::test(flavor = "multi_thread")]
async fn recipients_beyond_what_a_server_takes_at_once_follow_at_once() {
    let peer = Peer::start(|line, moment| {
        let full = line.starts_with("RCPT") && moment.recipients.len() >= 3;
        full.then_some(Manner::Say("452 4.5.3 too many recipients"))
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    provider.run_queue(ALFA, peer.port);
    let to: Vec<String> = (0..8).map(|number| format!("r{number}@pec.alfa.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    submit(&provider, BRUNO, &to).await;
    empty(&provider).await;
    let counts: Vec<usize> =
        peer.transactions().iter().map(|transaction| transaction.recipients.len()).collect();
    assert_eq!(counts, [3, 3, 2]);
    assert_eq!(peer.connections(), 1);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_messages_and_waits_a_moment_for_the_next() {
    let peer = Peer::willing().await;
    let mut provider = Provider::start_with(EngineSettings {
        destination_connections_max: 1,
        messages_per_connection_max: 8,
        ..settings()
    })
    .await;
    for _ in 0..20 {
        submit(&provider, BRUNO, &[ANNA]).await;
    }
    let relay = relay_to(&[(ALFA, peer.port)], 4);
    provider.run_queue_with(relay);
    empty(&provider).await;
    let carried = |connection| {
        let transactions = peer.transactions();
        transactions.iter().filter(|transaction| transaction.connection == connection).count()
    };
    assert_eq!([carried(1), carried(2), carried(3)], [8, 8, 4]);
    // It is still open when the next message comes.
    submit(&provider, BRUNO, &[ANNA]).await;
    empty(&provider).await;
    assert_eq!((carried(3), peer.connections()), (5, 3));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_server_has_closed_costs_no_delay() {
    // The first connection ends with its second message.
    let peer = Peer::start(|line, moment| {
        let second = moment.connection == 1 && moment.taken == 1 && line.starts_with("MAIL");
        second.then_some(Manner::Close)
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    let relay = relay_to(&[(ALFA, peer.port)], 4);
    provider.run_queue_with(relay);
    for _ in 0..2 {
        submit(&provider, BRUNO, &[ANNA]).await;
        empty(&provider).await;
    }
    assert_eq!(peer.transactions().len(), 2);
    assert!(provider.entries(OUTGOING_DESTINATIONS).await.is_empty());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_answer_is_tried_once_for_all_its_messages() {
    // Not on the first three connections.
    let peer = Peer::start(|line, moment| match (line, moment.connection) {
        ("", 1) => Some(Manner::Close),
        ("", 2) => Some(Manner::Say("421 4.3.2 not now")),
        (_, 3) if line.starts_with("MAIL") => Some(Manner::Close),
        _ => None,
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    for _ in 0..12 {
        submit(&provider, BRUNO, &[ANNA]).await;
    }
    provider.run_queue(ALFA, peer.port);
    for (failures, pause) in [(1, 60_000), (2, 120_000), (3, 240_000)] {
        let record = failing(&provider, failures).await;
        let at = provider.engine.now().0 + pause;
        assert_eq!(record.next_attempt_millis, at);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(peer.connections(), failures as usize, "nobody else tries meanwhile");
        provider.clock.advance(pause);
    }
    empty(&provider).await;
    assert_eq!(peer.transactions().len(), 12);
    assert!(provider.entries(OUTGOING_DESTINATIONS).await.is_empty(), "it is forgotten");
    provider.stop().await;
}

/// Two destinations: one accepts connections and never says a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_holds_nobody_else_up() {
    let tarpit = Peer::start(|_, _| Some(Manner::Hang)).await;
    let peer = Peer::willing().await;
    let mut provider =
        Provider::start_with(EngineSettings { connections_max: 2, ..settings() }).await;
    for number in 0..6 {
        submit(&provider, BRUNO, &[&format!("r{number}@pec.gamma.example")]).await;
    }
    provider.run_queue_by(&[(ALFA, peer.port), ("pec.gamma.example", tarpit.port)]);
    eventually("the tarpit has its connection", async || (tarpit.connections() == 1).then_some(()))
        .await;
    for _ in 0..6 {
        submit(&provider, BRUNO, &[ANNA]).await;
    }
    eventually("the others' messages", async || (peer.transactions().len() == 6).then_some(()))
        .await;
    assert_eq!(tarpit.connections(), 1, "it gets no further connection");
    eventually("the others left the queue", async || {
        (provider.entries(OUTGOING_QUEUE).await.len() == 6).then_some(())
    })
    .await;
    provider.stop_soon().await;
}

/// More senders wait for a destination that is down than memory has room for.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_destination_that_is_down_holds_no_other_up() {
    let peer = Peer::willing().await;
    let mut provider =
        Provider::start_with(EngineSettings { work_entries_max: 2, ..settings() }).await;
    provider.run_queue_by(&[(ALFA, peer.port), ("pec.gamma.example", closed_port())]);
    for sender in [BRUNO, CARLA, DARIO] {
        submit(&provider, sender, &["gaia@pec.gamma.example"]).await;
    }
    failing(&provider, 1).await;
    submit(&provider, BRUNO, &[ANNA]).await;
    eventually("the other's message", async || (peer.transactions().len() == 1).then_some(()))
        .await;
    // It is tried again, for all of them.
    provider.clock.advance(60_000);
    failing(&provider, 2).await;
    assert_eq!(provider.entries(OUTGOING_QUEUE).await.len(), 3);
    provider.stop().await;
}

/// The receiver has the message and its answer is lost: it is sent again, with the same octets, so
/// that the receiver can recognise it; nobody whose answer was seen is sent to again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_repeats_the_message_and_a_seen_one_never_does() {
    let peer =
        Peer::start(|line, moment| (line == "." && moment.taken == 1).then_some(Manner::Close))
            .await;
    let mut provider = Provider::start_with(settings()).await;
    provider.run_queue(ALFA, peer.port);
    submit(&provider, BRUNO, &[ANNA]).await;
    empty(&provider).await;
    submit(&provider, CARLA, &[ANNA]).await;
    let record = attempted(&provider, 1).await;
    assert!(record.last_error.contains("closed the connection"), "{record:?}");
    provider.clock.advance(60_000);
    empty(&provider).await;
    let transactions = peer.transactions();
    let seen: Vec<bool> = transactions.iter().map(|transaction| transaction.answered).collect();
    assert_eq!(seen, [true, false, true]);
    assert_eq!(transactions[1].octets, transactions[2].octets);
    assert_ne!(transactions[0].octets, transactions[1].octets);
    provider.stop().await;
}

/// A queue written by an older version, or damaged in part, has its order again after a start.
#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_the_queue_is_mended_at_the_start() {
    let peer = Peer::willing().await;
    let mut provider = Provider::start_with(settings()).await;
    for sender in [BRUNO, CARLA] {
        submit(&provider, sender, &[ANNA]).await;
    }
    let order = provider.entries(OUTGOING_ORDER).await;
    assert_eq!(order.len(), 2);
    let mut batch = Batch::default();
    batch.delete(OUTGOING_ORDER, order[0].0.clone());
    // The turn of a row that is not there, and of one at another time.
    batch.put(OUTGOING_ORDER, vec![7; 48], Vec::new());
    let mut later = order[1].0.to_vec();
    later[31] ^= 1;
    batch.put(OUTGOING_ORDER, later, Vec::new());
    provider.engine.store().commit(batch).await.expect("committed");
    provider.run_queue(ALFA, peer.port);
    empty(&provider).await;
    assert_eq!(peer.transactions().len(), 2);
    provider.stop().await;
}
