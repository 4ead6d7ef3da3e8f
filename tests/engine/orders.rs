//! What operators may do about queued messages.

use std::time::Duration;

use ceralacca::pec::{
    engine::EngineSettings,
    queue::orders::{Obeyed, Order, Queue, QueueState, Queued, Selection, obey, obey_beside},
    records::{LaneId, OUTGOING_DESTINATIONS, OUTGOING_QUEUE, QueueId},
};

use crate::{
    letter::{kinds, written},
    network::ANNA,
    peer::{Manner, Peer},
    provider::{BRUNO, CARLA, Holder, Provider, eventually},
};

const ALFA: &str = "pec.alfa.example";
const GAMMA: &str = "pec.gamma.example";
const HOUR_MILLIS: i64 = 3_600_000;

fn settings() -> EngineSettings {
    EngineSettings {
        retry_first_millis: HOUR_MILLIS,
        retry_longest_millis: HOUR_MILLIS,
        retry_jitter_percent: 0,
        ..EngineSettings::default()
    }
}

async fn submit(provider: &Provider, sender: Holder, to: &str) {
    let message = written(sender.address, to, "", "ciao");
    provider.submit(sender, &[to], &message).await.expect("taken");
    provider.settle().await;
}

async fn listed(provider: &Provider, selection: &Selection) -> Vec<Queued> {
    let engine = provider.engine.clone();
    let now = engine.now();
    let queue = Queue::read(&**provider.engine.store().engine(), now, move |id| {
        engine.queue().is_claimed(id)
    });
    let queue = queue.await.expect("read");
    queue.list(selection, 100).await.expect("listed").0
}

async fn all(provider: &Provider) -> Vec<Queued> {
    listed(provider, &Selection::default()).await
}

/// Gives an order as the command does in a running server.
async fn order(provider: &Provider, id: QueueId, order: &Order) -> Obeyed {
    let (engine, now) = (&provider.engine, provider.engine.now());
    let catalog = &**engine.store().engine();
    obey_beside(engine.queue(), catalog, id, order, 1, now).await.expect("obeyed")
}

/// Gives an order to the catalog alone.
async fn order_of_catalog(provider: &Provider, id: QueueId, order: &Order) -> Obeyed {
    let (engine, now) = (&provider.engine, provider.engine.now());
    obey(&**engine.store().engine(), id, order, 1, now).await.expect("obeyed")
}

async fn state(provider: &Provider, id: QueueId, state: QueueState) {
    eventually("the state", async || {
        let rows = all(provider).await;
        rows.iter().any(|row| row.id == id && row.state == state).then_some(())
    })
    .await;
}

fn hold() -> Order {
    Order::Hold { why: "prova".to_owned() }
}

async fn empty(provider: &Provider) {
    eventually("an empty queue", async || {
        provider.entries(OUTGOING_QUEUE).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_not_sent_until_it_is_released() {
    let peer = Peer::willing().await;
    let mut provider = Provider::start_with(settings()).await;
    submit(&provider, BRUNO, ANNA).await;
    submit(&provider, CARLA, ANNA).await;
    let from_bruno =
        Selection { sender: Some("Bruno@pec.beta.example".to_owned()), ..Selection::default() };
    let id = listed(&provider, &from_bruno).await[0].id;
    assert!(matches!(order(&provider, id, &hold()).await, Obeyed::Yes(None)));
    assert_eq!(order(&provider, id, &hold()).await, Obeyed::Already(None));
    // The queue starts afterwards, as after a restart.
    provider.run_queue(ALFA, peer.port);
    eventually("the other is sent", async || (all(&provider).await.len() == 1).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let [row] = &all(&provider).await[..] else { panic!("one row") };
    assert_eq!((row.id, row.state, row.next_attempt()), (id, QueueState::Held, None));
    assert_eq!(order(&provider, id, &Order::Retry).await, Obeyed::Already(None), "it is held");
    assert!(matches!(order(&provider, id, &Order::Release).await, Obeyed::Yes(Some(_))));
    empty(&provider).await;
    assert_eq!(peer.transactions().len(), 2);
    let events = provider.events().await;
    for event in ["queue-held", "queue-released"] {
        assert_eq!(events.iter().filter(|found| *found == event).count(), 1, "{events:?}");
    }
    assert_eq!(order(&provider, id, &hold()).await, Obeyed::Gone);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_not_wait_for_message_nor_destination() {
    let peer = Peer::start(|line, moment| match (line, moment.connection) {
        ("", 1) => Some(Manner::Say("421 4.3.2 not now")),
        (_, 2) if line.starts_with("RCPT") => Some(Manner::Say("451 4.7.1 not now")),
        _ => None,
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    provider.run_queue(ALFA, peer.port);
    submit(&provider, BRUNO, ANNA).await;
    eventually("the destination fails", async || {
        (!provider.entries(OUTGOING_DESTINATIONS).await.is_empty()).then_some(())
    })
    .await;
    state(&provider, all(&provider).await[0].id, QueueState::Unreachable).await;
    let [row] = &all(&provider).await[..] else { panic!("one row") };
    assert!(row.last_answer().contains("421 4.3.2 not now"), "{row:?}");
    let at = provider.engine.now().0 + HOUR_MILLIS;
    assert_eq!(row.next_attempt().map(|next| next.0), Some(at));
    order(&provider, row.id, &Order::Retry).await;
    provider.engine.queue().hurry(LaneId::of(ALFA));
    state(&provider, row.id, QueueState::Waiting).await;
    assert_eq!(peer.connections(), 2);
    order(&provider, row.id, &Order::Retry).await;
    empty(&provider).await;
    assert_eq!(peer.connections(), 3);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_answered_like_a_failure_whatever_its_destination_does() {
    let peer = Peer::start(|_, _| Some(Manner::Close)).await;
    let mut provider = Provider::start_with(settings()).await;
    provider.run_queue_by(&[(ALFA, peer.port), ("posta.example", peer.port)]);
    for to in [ANNA, "ospite@posta.example"] {
        submit(&provider, BRUNO, to).await;
    }
    eventually("both destinations fail", async || {
        (provider.entries(OUTGOING_DESTINATIONS).await.len() == 2).then_some(())
    })
    .await;
    let give_up = Order::Drop { why: "richiesta 12/2026".to_owned() };
    for row in all(&provider).await {
        state(&provider, row.id, QueueState::Unreachable).await;
        assert!(matches!(order(&provider, row.id, &give_up).await, Obeyed::Yes(Some(_))));
        assert_ne!(order(&provider, row.id, &hold()).await, Obeyed::Yes(None), "no way back");
    }
    empty(&provider).await;
    let letters = provider.inbox(BRUNO).await;
    let expected = ["accettazione", "accettazione", "errore-consegna", "report"];
    assert_eq!(kinds(&letters), expected);
    let notice = letters.iter().find(|letter| letter.kind() == "errore-consegna").expect("one");
    let detail = notice.data().event.detail().expect("a detail");
    assert_eq!(detail, "5.7.1 - Beta PEC - invio annullato dal gestore");
    let journal = provider.journal().await;
    let dropped: Vec<_> =
        journal.iter().filter(|(_, record)| record.event == "queue-dropped").collect();
    assert_eq!(dropped.len(), 2);
    assert!(dropped.iter().all(|(_, record)| record.detail.contains("richiesta 12/2026")));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ordered_of_what_is_being_sent_until_it_is_answered() {
    let late = Duration::from_millis(1_500);
    let peer = Peer::start(move |line, _| {
        (line == ".").then_some(Manner::Late(late, "451 4.3.0 not now"))
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    submit(&provider, BRUNO, ANNA).await;
    let id = all(&provider).await[0].id;
    provider.run_queue(ALFA, peer.port);
    state(&provider, id, QueueState::Sending).await;
    let give_up = Order::Drop { why: "prova".to_owned() };
    for asked in [&hold(), &give_up, &Order::Retry] {
        assert_eq!(order(&provider, id, asked).await, Obeyed::Sending);
    }
    state(&provider, id, QueueState::Waiting).await;
    let events = provider.events().await;
    assert!(!events.iter().any(|event| event.starts_with("queue-")), "{events:?}");
    assert!(matches!(order(&provider, id, &give_up).await, Obeyed::Yes(Some(_))));
    empty(&provider).await;
    provider.stop().await;
}

/// The destination fails while the message is given up: the notice does not wait for its hour.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_while_its_destination_is_called_in_vain_leaves_the_queue() {
    let late = Duration::from_millis(1_500);
    let peer = Peer::start(move |_, _| Some(Manner::Late(late, "421 4.3.2 not now"))).await;
    let mut provider = Provider::start_with(settings()).await;
    submit(&provider, BRUNO, ANNA).await;
    let id = all(&provider).await[0].id;
    provider.run_queue(ALFA, peer.port);
    state(&provider, id, QueueState::Sending).await;
    let give_up = Order::Drop { why: "prova".to_owned() };
    let obeyed = order_of_catalog(&provider, id, &give_up).await;
    let Obeyed::Yes(Some(due)) = obeyed else { panic!("{obeyed:?}") };
    provider.engine.queue().announce(due, provider.engine.now());
    empty(&provider).await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione", "errore-consegna"]);
    provider.stop().await;
}

/// A connection is at the message: what it brings and what stands in the row by then both hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_an_attempt_is_not_lost_and_loses_no_answer() {
    let peer = Peer::start(|line, moment| {
        let reply = match moment.recipients.first() {
            Some(line) if line.contains("later@") => "451 4.3.0 not now",
            _ => "250 2.0.0 taken",
        };
        (line == ".").then_some(Manner::Late(Duration::from_millis(1_500), reply))
    })
    .await;
    let mut provider = Provider::start_with(settings()).await;
    submit(&provider, BRUNO, ANNA).await;
    submit(&provider, CARLA, "later@pec.gamma.example").await;
    let rows = all(&provider).await;
    provider.run_queue_by(&[(ALFA, peer.port), (GAMMA, peer.port)]);
    for row in &rows {
        state(&provider, row.id, QueueState::Sending).await;
        let obeyed = order_of_catalog(&provider, row.id, &hold()).await;
        assert!(matches!(obeyed, Obeyed::Yes(None)));
    }
    let later = rows.iter().find(|row| row.record.domain == GAMMA).expect("one").id;
    state(&provider, later, QueueState::Held).await;
    eventually("the other left", async || (all(&provider).await.len() == 1).then_some(())).await;
    let [row] = &all(&provider).await[..] else { panic!("one row") };
    assert_eq!((row.id, row.record.attempts), (later, 1));
    assert_eq!(row.last_answer(), "451 4.3.0 not now");
    provider.clock.advance(2 * HOUR_MILLIS);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(all(&provider).await[0].state, QueueState::Held);
    assert_eq!(peer.transactions().len(), 1, "what was taken is not sent again");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_by_domain_sender_state_and_age() {
    let provider = Provider::start_with(settings()).await;
    submit(&provider, BRUNO, ANNA).await;
    provider.clock.advance(HOUR_MILLIS);
    submit(&provider, CARLA, "gaia@pec.gamma.example").await;
    let all = all(&provider).await;
    assert_eq!(all.len(), 2);
    let whole = Selection::default;
    for (selection, expected) in [
        (Selection { domain: Some(ALFA.to_owned()), ..whole() }, vec![all[0].id]),
        (Selection { sender: Some(CARLA.address.to_owned()), ..whole() }, vec![all[1].id]),
        (Selection { age_millis: Some(HOUR_MILLIS), ..whole() }, vec![all[0].id]),
        (Selection { age_millis: Some(0), ..whole() }, vec![all[0].id, all[1].id]),
        (Selection { state: Some(QueueState::Held), ..whole() }, vec![]),
        (Selection { state: Some(QueueState::Ready), ..whole() }, vec![all[0].id, all[1].id]),
        (Selection { ids: Some(vec![all[1].id, QueueId([9; 16])]), ..whole() }, vec![all[1].id]),
        (
            Selection {
                domain: Some(GAMMA.to_owned()),
                sender: Some(BRUNO.address.to_owned()),
                ..whole()
            },
            vec![],
        ),
    ] {
        let found: Vec<QueueId> =
            listed(&provider, &selection).await.into_iter().map(|row| row.id).collect();
        assert_eq!(found, expected, "{selection:?}");
    }
    provider.stop().await;
}
