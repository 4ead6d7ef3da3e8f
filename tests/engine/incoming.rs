//! Valid envelopes of other providers (RFC 6109 §3.2.1, §3.3.2).

use ceralacca::pec::{daticert::Event, records::INCOMING_MESSAGES};

use crate::{
    letter::{Letter, kinds, renamed},
    network::{ALFA, ANNA, Foreign},
    provider::{BRUNO, CARLA, Provider},
};

const SERVICE: &str = "posta-certificata@alfa.example";

fn taken_charge_of(letters: &[Letter]) -> Vec<Vec<String>> {
    let taken = |letter: &Letter| match &letter.data().event {
        Event::TakeCharge { recipients } => Some(recipients.clone()),
        _ => None,
    };
    letters.iter().filter_map(taken).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_of_another_provider_is_delivered_once_and_answered_twice() {
    let provider = Provider::start().await;
    let envelope = Foreign::alfa().envelope(&[BRUNO.address], "ciao");
    provider.relay(SERVICE, &[BRUNO.address], &envelope).await.expect("taken");
    provider.settle().await;
    let [delivered] = &provider.inbox(BRUNO).await[..] else { panic!("one message") };
    assert!(delivered.octets.ends_with(&envelope), "only the trace field stands before it");
    assert!(delivered.octets.starts_with(b"Received: "));
    let mut queued = provider.queued().await;
    queued.sort_by_key(|(_, letter)| letter.kind());
    let [(delivery, delivery_receipt), (charge, charge_receipt)] = &queued[..] else {
        panic!("two answers: {queued:?}")
    };
    assert_eq!(delivery_receipt.kind(), "avvenuta-consegna");
    assert_eq!(delivery.recipients[0].address, ANNA);
    assert_eq!(delivery_receipt.data().event.recipient(), Some(BRUNO.address));
    assert!(delivery_receipt.included().is_some(), "a complete receipt");
    assert_eq!(charge_receipt.kind(), "presa-in-carico");
    assert_eq!(charge.recipients[0].address, ALFA.service_address());
    for (record, letter) in &queued {
        assert_eq!(record.reverse_path, "posta-certificata@beta.example");
        assert_eq!(letter.data().facts, delivered.data().facts, "the facts never change");
    }
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_recipients_are_one_charge_and_two_deliveries() {
    let provider = Provider::start().await;
    let both = [BRUNO.address, CARLA.address];
    let envelope = Foreign::alfa().envelope(&both, "ciao");
    provider.relay(SERVICE, &both, &envelope).await.expect("taken");
    provider.settle().await;
    for holder in [BRUNO, CARLA] {
        assert_eq!(kinds(&provider.inbox(holder).await), ["posta-certificata"]);
    }
    let letters = provider.queued_letters().await;
    assert_eq!(kinds(&letters), ["avvenuta-consegna", "avvenuta-consegna", "presa-in-carico"]);
    assert_eq!(taken_charge_of(&letters), [both]);
    let mut delivered: Vec<_> =
        letters.iter().filter_map(|letter| letter.data().event.recipient()).collect();
    delivered.sort_unstable();
    assert_eq!(delivered, both);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_transaction_again_is_taken_and_changes_nothing() {
    let provider = Provider::start().await;
    let envelope = Foreign::alfa().envelope(&[BRUNO.address], "ciao");
    for _ in 0..2 {
        provider.relay(SERVICE, &[BRUNO.address], &envelope).await.expect("taken");
        provider.settle().await;
        assert_eq!(provider.rows(BRUNO).await.len(), 1);
        let letters = provider.queued_letters().await;
        assert_eq!(kinds(&letters), ["avvenuta-consegna", "presa-in-carico"]);
    }
    assert_eq!(provider.events().await.iter().filter(|event| *event == "repeat").count(), 1);
    provider.stop().await;
}

/// The Message-ID stands outside of what is signed.
#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_whose_identifier_is_written_in_another_way_is_the_same() {
    let provider = Provider::start().await;
    let envelope = Foreign::alfa().envelope(&[BRUNO.address], "ciao");
    for (before, after) in [("<", ">"), ("", ""), ("\r\n  <", ">  ")] {
        let written = renamed(&envelope, |id| format!("{before}{id}{after}"));
        provider.relay(SERVICE, &[BRUNO.address], &written).await.expect("taken");
        provider.settle().await;
        assert_eq!(provider.rows(BRUNO).await.len(), 1);
        let letters = provider.queued_letters().await;
        assert_eq!(kinds(&letters), ["avvenuta-consegna", "presa-in-carico"]);
    }
    assert_eq!(provider.events().await.iter().filter(|event| *event == "repeat").count(), 2);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_transactions_with_the_same_envelope_at_the_same_time_deliver_it_once() {
    let provider = Provider::start().await;
    for round in 1..=5 {
        let envelope = Foreign::alfa().envelope(&[BRUNO.address], &format!("numero {round}"));
        // Every provider made anew draws the same identifiers; the entities differ.
        let send = || provider.relay(SERVICE, &[BRUNO.address], &envelope);
        let (one, other) = tokio::join!(send(), send());
        one.and(other).expect("both taken");
        provider.settle().await;
        assert_eq!(provider.rows(BRUNO).await.len(), round);
        assert_eq!(provider.queued().await.len(), 2 * round);
        assert_eq!(provider.entries(INCOMING_MESSAGES).await.len(), round);
    }
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_that_comes_for_one_more_recipient_is_delivered_to_him_alone() {
    let provider = Provider::start().await;
    let both = [BRUNO.address, CARLA.address];
    let envelope = Foreign::alfa().envelope(&both, "ciao");
    provider.relay(SERVICE, &[BRUNO.address], &envelope).await.expect("taken");
    provider.settle().await;
    provider.relay(SERVICE, &both, &envelope).await.expect("taken");
    provider.settle().await;
    for holder in [BRUNO, CARLA] {
        assert_eq!(kinds(&provider.inbox(holder).await), ["posta-certificata"]);
    }
    let letters = provider.queued_letters().await;
    let mut charges = taken_charge_of(&letters);
    charges.sort();
    assert_eq!(charges, [[BRUNO.address], [CARLA.address]], "nobody is taken charge of twice");
    assert_eq!(letters.len(), 4, "two charges, two deliveries");
    provider.stop().await;
}
