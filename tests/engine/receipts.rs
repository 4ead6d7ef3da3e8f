//! Receipts that other providers send for our transmissions.

use std::sync::Arc;

use ceralacca::pec::{
    address::{Address, Domain},
    artefacts::{
        ArtefactKind, ArtefactRecord, RECEIVED_BESIDE_OCTETS, RECEIVED_MAX, TRANSMISSION_ARTEFACTS,
    },
    brief::BriefHash,
    delivery_point::deliver_all,
    directory::Directory,
    facts::ReceiptType,
    issuer::Unsealed,
    receipt::{Delivered, DeliveryFault},
    records::{
        DELIVERY_WORK, DeliveryRecord, IncomingId, IncomingKind, RecipientRecord, RecipientState,
        decode, encode, indexed_key,
    },
    work::Source,
};
use storage::{
    account::settings::{AccountSettings, AccountState},
    catalog::engine::Batch,
};

use crate::{
    letter::{Letter, kinds, written},
    network::{ALFA, ANNA, Foreign, GAMMA, directory},
    provider::{BRUNO, CARLA, DARIO, Provider},
};

/// Bruno has sent a message to Anna; returns the envelope that waits for Alfa.
async fn with_a_transmission() -> (Provider, Letter) {
    let provider = Provider::start().await;
    let message = written(BRUNO.address, ANNA, "", &"una riga\r\n".repeat(500));
    provider.submit(BRUNO, &[ANNA], &message).await.expect("taken");
    provider.settle().await;
    let envelope = provider.queued_letters().await.pop().expect("the envelope");
    assert_eq!(envelope.kind(), "posta-certificata");
    assert_eq!(states(&provider).await, [RecipientState::Accepted]);
    (provider, envelope)
}

pub(crate) async fn states(provider: &Provider) -> Vec<RecipientState> {
    provider.recipients().await.iter().map(RecipientRecord::state).collect()
}

pub(crate) fn delivery(by: &Foreign, envelope: &Letter) -> Unsealed {
    let delivered = Delivered {
        recipient: &anna(),
        requested: ReceiptType::Complete,
        due: ReceiptType::Complete,
        original: envelope.included().expect("the original"),
        hash: BriefHash::Encoded,
    };
    by.issuer.delivery_receipt(&envelope.data().facts, &by.now(), &delivered)
}

pub(crate) fn anna() -> Address {
    Address::parse(ANNA).expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_moves_the_recipient_on_and_reaches_even_a_sender_blocked_and_full() {
    let (provider, envelope) = with_a_transmission().await;
    let blocked_and_full = |settings: &mut AccountSettings| {
        (settings.state, settings.quota_octets) = (AccountState::Blocked, Some(1));
    };
    provider.set(BRUNO, blocked_and_full).await;
    let (alfa, facts) = (Foreign::alfa(), &envelope.data().facts);
    let service = provider.engine.issuer().service_address.clone();
    let charge = alfa.issuer.take_charge_receipt(facts, &alfa.now(), &[anna()], &service);
    // It goes to the service mailbox, which has an account of its own.
    provider.set(DARIO, |settings| settings.address = service.to_string()).await;
    provider.engine.replace_domains(
        ["pec.beta.example", "beta.example"].into_iter().map(str::to_owned).collect(),
    );
    provider
        .relay(&ALFA.service_address(), &[service.as_str()], &alfa.seal(&charge))
        .await
        .expect("taken");
    provider.settle().await;
    assert_eq!(states(&provider).await, [RecipientState::TakenInCharge]);

    let receipt = alfa.seal(&delivery(&alfa, &envelope));
    provider.relay(&ALFA.service_address(), &[BRUNO.address], &receipt).await.expect("taken");
    provider.settle().await;
    assert_eq!(states(&provider).await, [RecipientState::Delivered]);
    let letters = provider.inbox(BRUNO).await;
    assert_eq!(kinds(&letters), ["accettazione", "avvenuta-consegna"]);
    let row = provider.rows(BRUNO).await.pop().expect("the receipt's row");
    let own = letters[1].included().expect("his message").len() as u64;
    assert_eq!(row.charged_octets, row.size - own, "his own message is not charged to him");
    assert!(own > 4_000 && row.charged_octets > 0);

    // States only move forward: a take-charge receipt that comes late changes nothing.
    let late = alfa.seal(&charge);
    provider.relay(&ALFA.service_address(), &[BRUNO.address], &late).await.expect("taken");
    provider.settle().await;
    assert_eq!(states(&provider).await, [RecipientState::Delivered]);
    provider.stop().await;
}

/// Anybody may send a genuine receipt to anybody: it is owed to nobody but whose message it is about.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_about_what_a_holder_did_not_send_comes_only_while_he_has_room() {
    let (provider, envelope) = with_a_transmission().await;
    let alfa = Foreign::alfa();
    let from = ALFA.service_address();
    let foreign = alfa.envelope(&[BRUNO.address], "ciao");
    let foreign = Letter::open(foreign, provider.engine.verifier(), provider.engine.now());
    let about_bruno = alfa.seal(&delivery(&alfa, &envelope));
    let about_anna = alfa.seal(&delivery(&alfa, &foreign));
    for holder in [BRUNO, CARLA] {
        provider.set(holder, |settings| settings.quota_octets = Some(1)).await;
    }
    // Around it somebody may put whatever he likes.
    let padded = [&about_bruno[..], "una riga ".repeat(10).as_bytes(), b"\r\n"].concat();
    let refused =
        [(CARLA, &about_bruno), (CARLA, &about_anna), (BRUNO, &about_anna), (BRUNO, &padded)];
    for (holder, receipt) in refused {
        let refused = provider.relay(&from, &[holder.address], receipt).await;
        let refused = refused.expect_err("there is no room");
        assert_eq!((refused.code, refused.enhanced), (452, "4.2.2"), "{refused}");
    }
    provider.relay(&from, &[BRUNO.address], &about_bruno).await.expect("it is his");
    provider.set(CARLA, |settings| settings.quota_octets = Some(1 << 20)).await;
    provider.relay(&from, &[CARLA.address], &about_anna).await.expect("there is room");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione", "avvenuta-consegna"]);
    let row = provider.rows(CARLA).await.pop().expect("the receipt");
    assert_eq!(row.charged_octets, row.size, "it takes her room like other mail");
    // The same again, now that it takes no room any more.
    provider.set(CARLA, |settings| settings.quota_octets = Some(1)).await;
    provider.relay(&from, &[CARLA.address], &about_anna).await.expect("a repeat");
    provider.settle().await;
    assert_eq!(provider.rows(CARLA).await.len(), 1);
    provider.stop().await;
}

/// Room that was there at the end of DATA may be gone: what nobody is owed does not go over the limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_is_owed_to_nobody_never_takes_more_room_than_there_is() {
    let (provider, envelope) = with_a_transmission().await;
    let alfa = Foreign::alfa();
    let receipt = alfa.seal(&delivery(&alfa, &envelope));
    provider.set(CARLA, |settings| settings.quota_octets = Some(1)).await;
    for (not_owed, filed) in [(true, 0), (false, 1)] {
        let mut batch = Batch::default();
        let (held, _) = provider.engine.hold(&receipt, &mut batch).await.expect("held");
        let delivery = DeliveryRecord {
            kind: IncomingKind::Notification.into(),
            message: held.0.to_vec(),
            recipient: CARLA.address.to_owned(),
            seen_key: vec![u8::from(not_owed); 32],
            not_owed,
            ..DeliveryRecord::default()
        };
        let source =
            Source::Incoming(IncomingId::draw(provider.engine.now(), provider.engine.random()));
        batch.put(DELIVERY_WORK, indexed_key(&source.key(), 0), encode(&delivery));
        provider.engine.store().commit(batch).await.expect("written");
        deliver_all(&provider.engine, source).await.expect("delivered");
        assert_eq!(provider.rows(CARLA).await.len(), filed);
    }
    let events = provider.events().await;
    assert_eq!(events.iter().filter(|event| *event == "undeliverable").count(), 1);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_cannot_speak_for_a_recipient_of_another() {
    let (provider, envelope) = with_a_transmission().await;
    let gamma = Foreign::gamma();
    let facts = &envelope.data().facts;
    let fault = DeliveryFault::unknown_mailbox();
    for unsealed in [
        delivery(&gamma, &envelope),
        gamma.issuer.non_delivery_notice(facts, &gamma.now(), &anna(), &fault),
        gamma.issuer.take_charge_receipt(
            facts,
            &gamma.now(),
            &[anna()],
            &Address::parse(BRUNO.address).expect("an address"),
        ),
    ] {
        let forged = gamma.seal(&unsealed);
        provider.relay(&GAMMA.service_address(), &[BRUNO.address], &forged).await.expect("taken");
        provider.settle().await;
        assert_eq!(states(&provider).await, [RecipientState::Accepted]);
    }
    assert_eq!(received(&provider).await, 0, "it is no artefact of the transmission");
    assert_eq!(kinds(&provider.inbox(BRUNO).await).len(), 4, "he has it all the same");
    assert_eq!(provider.queued().await.len(), 1, "nothing answers a receipt");
    provider.stop().await;
}

/// Nobody is told of a receipt that finds no mailbox (RFC 6109 §3.3.3): only envelopes are answered.
#[tokio::test(flavor = "multi_thread")]
async fn failure_of_a_receipt_is_answered_by_nothing_and_still_counts() {
    let (provider, envelope) = with_a_transmission().await;
    let alfa = Foreign::alfa();
    let receipt = alfa.seal(&delivery(&alfa, &envelope));
    provider.set(BRUNO, |settings| settings.state = AccountState::Closed).await;
    provider.relay_to_the_gone(BRUNO.address, &receipt).await;
    provider.settle().await;
    assert_eq!(states(&provider).await, [RecipientState::Delivered]);
    assert_eq!(kinds(&provider.queued_letters().await), ["posta-certificata"], "and no answer");
    provider.stop().await;
}

/// Names are compared without case (RFC 6109 §4.5.3): two records of one provider may write it otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_speaks_for_its_recipients_whatever_the_case_of_its_name() {
    let (provider, envelope) = with_a_transmission().await;
    let mut records = directory().records().to_vec();
    let mut other = records[0].clone();
    (other.name, other.unit) = (other.name.to_uppercase(), Some("Due".to_owned()));
    other.certificates = vec![b"another".to_vec()];
    other.certificate_hashes = vec!["00".repeat(20)];
    let of_mailboxes = |domain: &Domain| domain == anna().domain();
    other.managed_domains.retain(of_mailboxes);
    records[0].managed_domains.retain(|domain| !of_mailboxes(domain));
    records.push(other);
    provider.engine.replace_directory(Arc::new(Directory::new(records).expect("a directory")));
    let alfa = Foreign::alfa();
    let receipt = alfa.seal(&delivery(&alfa, &envelope));
    provider.relay(&ALFA.service_address(), &[BRUNO.address], &receipt).await.expect("taken");
    provider.settle().await;
    assert_eq!(states(&provider).await, [RecipientState::Delivered]);
    provider.stop().await;
}

/// How many messages that came in are noted.
async fn received(provider: &Provider) -> usize {
    let rows = provider.entries(TRANSMISSION_ARTEFACTS).await;
    let kinds = rows.iter().map(|(key, value)| {
        let row: ArtefactRecord = decode(TRANSMISSION_ARTEFACTS, key, value).expect("a row");
        row.kind()
    });
    let own =
        [ArtefactKind::Original, ArtefactKind::TransportEnvelope, ArtefactKind::AcceptanceReceipt];
    kinds.filter(|kind| !own.contains(kind)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_repeats_itself_is_noted_so_many_times_and_no_more() {
    let (provider, envelope) = with_a_transmission().await;
    let alfa = Foreign::alfa();
    for _ in 0..RECEIVED_MAX + 3 {
        let again = alfa.seal(&delivery(&alfa, &envelope));
        provider.relay(&ALFA.service_address(), &[BRUNO.address], &again).await.expect("taken");
        provider.settle().await;
        provider.clock.advance(1_000);
    }
    assert_eq!(received(&provider).await, RECEIVED_MAX);
    assert_eq!(provider.inbox(BRUNO).await.len(), 1 + RECEIVED_MAX + 3);
    provider.stop().await;
}

/// Its sender would have neither the receipt nor a notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_moves_nobody_on_unless_it_comes_for_whom_it_is_meant() {
    let (provider, envelope) = with_a_transmission().await;
    let service = provider.engine.issuer().service_address.clone();
    provider.set(DARIO, |settings| settings.address = service.to_string()).await;
    provider.engine.replace_domains(
        ["pec.beta.example", "beta.example"].into_iter().map(str::to_owned).collect(),
    );
    let (alfa, from) = (Foreign::alfa(), ALFA.service_address());
    let facts = &envelope.data().facts;
    let charge = alfa.issuer.take_charge_receipt(facts, &alfa.now(), &[anna()], &service);
    let fault = DeliveryFault::unknown_mailbox();
    let failure = alfa.issuer.non_delivery_notice(facts, &alfa.now(), &anna(), &fault);
    let receipt = delivery(&alfa, &envelope);
    for (unsealed, to) in [
        (&charge, CARLA.address),
        (&failure, CARLA.address),
        (&failure, service.as_str()),
        (&receipt, CARLA.address),
        (&receipt, service.as_str()),
    ] {
        provider.relay(&from, &[to], &alfa.seal(unsealed)).await.expect("taken");
        provider.settle().await;
        assert_eq!(states(&provider).await, [RecipientState::Accepted]);
    }
    assert_eq!(received(&provider).await, 0);
    // Beside others it comes for him too.
    let both = [BRUNO.address, CARLA.address];
    provider.relay(&from, &both, &alfa.seal(&receipt)).await.expect("taken");
    provider.settle().await;
    assert_eq!(states(&provider).await, [RecipientState::Delivered]);
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione", "avvenuta-consegna"]);
    provider.stop().await;
}

/// Who takes a message in certifies nothing of how it was sent: a proof would have two acceptances.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_senders_provider_issues_is_not_noted_from_another() {
    let (provider, envelope) = with_a_transmission().await;
    let alfa = Foreign::alfa();
    let (facts, at) = (&envelope.data().facts, alfa.now());
    for unsealed in [
        alfa.issuer.acceptance_receipt(facts, &at),
        alfa.issuer.formal_non_acceptance_notice(facts, &at, "un motivo"),
    ] {
        let receipt = alfa.seal(&unsealed);
        provider.relay(&ALFA.service_address(), &[BRUNO.address], &receipt).await.expect("taken");
        provider.settle().await;
    }
    assert_eq!(received(&provider).await, 0);
    assert_eq!(provider.inbox(BRUNO).await.len(), 3, "they go to the mailbox");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_much_larger_than_what_was_sent_is_noted_without_its_octets() {
    let (provider, envelope) = with_a_transmission().await;
    let alfa = Foreign::alfa();
    for more in [RECEIVED_BESIDE_OCTETS, 0] {
        let sent = envelope.included().expect("the original");
        let more = "x\r\n".repeat(usize::try_from(more / 3 + 1).expect("a size"));
        let delivered = Delivered {
            recipient: &anna(),
            requested: ReceiptType::Complete,
            due: ReceiptType::Complete,
            original: &[sent, more.as_bytes()].concat(),
            hash: BriefHash::Encoded,
        };
        let receipt = alfa.seal(&alfa.issuer.delivery_receipt(
            &envelope.data().facts,
            &alfa.now(),
            &delivered,
        ));
        provider.relay(&ALFA.service_address(), &[BRUNO.address], &receipt).await.expect("taken");
        provider.settle().await;
        provider.clock.advance(1_000);
    }
    let rows = provider.entries(TRANSMISSION_ARTEFACTS).await;
    let rows = rows.iter().map(|(key, value)| {
        decode::<ArtefactRecord>(TRANSMISSION_ARTEFACTS, key, value).expect("a row")
    });
    let held: Vec<bool> = rows
        .filter(|row| row.kind() == ArtefactKind::DeliveryReceipt)
        .map(|row| !row.held.is_empty())
        .collect();
    assert_eq!(held, [false, true]);
    provider.stop().await;
}
