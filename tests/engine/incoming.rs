//! Valid envelopes of other providers (RFC 6109 §3.2.1, §3.3.2).

use ceralacca::pec::{
    daticert::Event,
    records::{INCOMING_MESSAGES, INCOMING_SEEN, KnownBy, Seen, seen_key},
};
use storage::catalog::engine::Batch;
use trust::digest::Sha256Digest;

use crate::{
    letter::{Letter, kinds, renamed},
    network::{ALFA, ANNA, Foreign},
    provider::{BRUNO, CARLA, Provider},
    receipts::delivery,
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

/// Nobody has signed the header: who has a message may write its Message-ID as he likes.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_makes_of_a_message_id_certified_mail_comes_once() {
    let provider = Provider::start().await;
    let alfa = Foreign::alfa();
    let envelope = alfa.envelope(&[BRUNO.address], "ciao");
    let letter = Letter::open(envelope.clone(), provider.engine.verifier(), provider.engine.now());
    let identifier = letter.data().facts.identifier.as_str().to_owned();
    let receipt = alfa.seal(&delivery(&alfa, &letter));
    let id = Letter::open(receipt.clone(), provider.engine.verifier(), provider.engine.now());
    let id = id.header.text("Message-ID").expect("an id").trim().to_owned();
    let bracketed = format!("<{identifier}>");
    let envelopes = [bracketed.clone(), identifier, format!("\u{b}{bracketed}")]
        .map(|written| exchanged(&envelope, &bracketed, &written));
    let receipts = [id.clone(), "<altro@alfa.example>".to_owned()]
        .map(|written| exchanged(&receipt, &id, &written));
    for message in envelopes.into_iter().chain(receipts) {
        provider.relay(SERVICE, &[BRUNO.address], &message).await.expect("taken");
        provider.settle().await;
    }
    let kinds_of = kinds(&provider.inbox(BRUNO).await);
    assert_eq!(kinds_of, ["avvenuta-consegna", "posta-certificata"]);
    assert_eq!(kinds(&provider.queued_letters().await), ["avvenuta-consegna", "presa-in-carico"]);
    assert_eq!(provider.events().await.iter().filter(|event| *event == "repeat").count(), 3);
    provider.stop().await;
}

/// `octets` with the first `from` exchanged, which stands in the header.
fn exchanged(octets: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(octets.to_vec()).expect("text");
    let (header, body) = text.split_once("\r\n\r\n").expect("a header");
    assert!(header.contains(from), "{header}");
    [&header.replacen(from, to, 1), "\r\n\r\n", body].concat().into_bytes()
}

/// What a version took that looked at the Message-ID is a repeat for this one too.
#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_that_an_older_version_took_is_known_again() {
    let provider = Provider::start().await;
    let envelope = Foreign::alfa().envelope(&[BRUNO.address], "ciao");
    let letter = Letter::open(envelope.clone(), provider.engine.verifier(), provider.engine.now());
    let signer = Sha256Digest::of(letter.signer.to_der()).0;
    let message_id = letter.header.value("Message-ID").expect("an id");
    let digest = Sha256Digest::of(&letter.entity).0;
    let key = seen_key(&signer, KnownBy::Name(&message_id), &digest, Seen::Taken(BRUNO.address));
    let mut batch = Batch::default();
    batch.put(INCOMING_SEEN, key, provider.engine.now().0.to_be_bytes().to_vec());
    provider.engine.store().commit(batch).await.expect("written");
    provider.relay(SERVICE, &[BRUNO.address], &envelope).await.expect("taken");
    provider.settle().await;
    assert_eq!(provider.events().await, ["repeat"]);
    assert!(provider.rows(BRUNO).await.is_empty());
    provider.stop().await;
}

/// One envelope serves all its recipients: one of them can bring ours a malformed copy before it comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_of_which_a_malformed_copy_came_first_is_delivered_and_answered() {
    let provider = Provider::start().await;
    let envelope = Foreign::alfa().envelope(&[BRUNO.address], "ciao");
    let malformed = exchanged(&envelope, "X-Trasporto", "X-Altro");
    for _ in 0..2 {
        provider.relay(SERVICE, &[BRUNO.address], &malformed).await.expect("taken");
        provider.settle().await;
    }
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore"], "a repeat is known");
    assert!(provider.queued().await.is_empty(), "nothing is answered to an anomaly");
    provider.relay(SERVICE, &[BRUNO.address], &envelope).await.expect("taken");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore", "posta-certificata"]);
    assert_eq!(provider.queued().await.len(), 2, "taken in charge and delivered");
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
