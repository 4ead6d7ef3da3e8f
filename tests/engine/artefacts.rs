//! What came of a transmission: found, listed, shown, let go of.

use ceralacca::pec::{
    address::Address,
    artefacts::{
        Artefact, ArtefactKind, TRANSMISSION_ARTEFACTS, TRANSMISSION_INDEX, of_transmission,
    },
    disposal::dispose,
    records::{
        RecipientState, TRANSMISSION_IDENTIFIERS, TRANSMISSION_RECIPIENTS, TRANSMISSIONS,
        TransmissionId, TransmissionRecord, decode, held_id,
    },
    transmissions::{self, Selection},
};
use storage::{
    catalog::{engine::Batch, keys::HELD_MESSAGES},
    error::StoreError,
};
use trust::{clock::Clock as _, digest::Sha256Digest};

use crate::{
    keeping::{DAY, MINUTE},
    letter::written,
    network::{ANNA, Foreign},
    provider::{BRUNO, CARLA, DARIO, NOBODY, Provider},
    receipts::{anna, delivery},
};

const SERVICE: &str = "posta-certificata@alfa.example";

async fn only(provider: &Provider, text: &str) -> TransmissionId {
    let engine = &**provider.engine.store().engine();
    let found = transmissions::find(engine, text).await.expect("found");
    let [id] = found.as_slice() else { panic!("{text}: {found:?}") };
    *id
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_transmission_is_noted_with_digest_and_octets_and_charged_to_nobody() {
    use ArtefactKind::{
        AcceptanceReceipt, DeliveryReceipt, NonDeliveryNotice, Original, TakeChargeReceipt,
        TransportEnvelope,
    };
    let provider = Provider::start_without_looks().await;
    let to = [CARLA.address, NOBODY, ANNA];
    let message = written(BRUNO.address, &to.join(", "), "", "ciao");
    let taken = provider.submit(BRUNO, &to, &message).await.expect("taken");
    provider.settle().await;
    let (_, envelope) = provider.queued().await.remove(0);
    let alfa = Foreign::alfa();
    let bruno = Address::parse(BRUNO.address).expect("an address");
    let facts = &envelope.data().facts;
    let charge = alfa.issuer.take_charge_receipt(facts, &alfa.now(), &[anna()], &bruno);
    for receipt in [charge, delivery(&alfa, &envelope)] {
        provider.relay(SERVICE, &[BRUNO.address], &alfa.seal(&receipt)).await.expect("taken");
        provider.settle().await;
    }
    let id = only(&provider, &taken.identifier).await;
    let engine = &**provider.engine.store().engine();
    let artefacts = of_transmission(engine, &id.0).await.expect("read");
    let kinds: Vec<ArtefactKind> = artefacts.iter().map(|(_, one)| one.kind()).collect();
    let expected = [
        Original,
        TransportEnvelope,
        AcceptanceReceipt,
        TakeChargeReceipt,
        DeliveryReceipt,
        DeliveryReceipt,
        NonDeliveryNotice,
    ];
    assert_eq!(kinds, expected);
    let in_mailbox = provider.inbox(BRUNO).await;
    for (_, one) in &artefacts {
        let held = provider.engine.held(&one.held, "an artefact").await.expect("held");
        let octets = provider.engine.read_held(&held).await.expect("octets");
        assert_eq!(Sha256Digest::of(&octets).0.to_vec(), one.digest, "{one:?}");
        assert_eq!(octets.len() as u64, one.size);
        assert!(!one.message_id.is_empty(), "{one:?}");
        let put = in_mailbox.iter().any(|letter| letter.octets == octets);
        assert_eq!(put, !matches!(one.kind(), Original | TransportEnvelope), "{one:?}");
    }
    let notice = &artefacts[6].1;
    assert_eq!(
        (notice.recipients.as_slice(), notice.issuer.as_str()),
        (&[NOBODY.to_owned()][..], "Beta PEC")
    );
    let charged: u64 = provider.rows(BRUNO).await.iter().map(|row| row.charged_octets).sum();
    assert_eq!(provider.used_octets(BRUNO).await, charged, "what is held is charged to nobody");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transmissions_are_listed_by_address_state_and_time_from_the_newest_page_by_page() {
    let provider = Provider::start_without_looks().await;
    let start = provider.engine.now();
    for (sender, recipient) in
        [(BRUNO, CARLA), (CARLA, BRUNO), (BRUNO, DARIO), (DARIO, CARLA), (BRUNO, CARLA)]
    {
        let message = written(sender.address, recipient.address, "", "ciao");
        provider.submit(sender, &[recipient.address], &message).await.expect("taken");
        provider.settle().await;
        provider.clock.advance(MINUTE);
    }
    let message = written(BRUNO.address, NOBODY, "", "ciao");
    provider.submit(BRUNO, &[NOBODY], &message).await.expect("taken");
    provider.settle().await;
    let engine = &**provider.engine.store().engine();
    let minutes = async |selection: Selection| {
        let selection = Selection { limit: 100, ..selection };
        let listed = transmissions::list(engine, &selection).await.expect("listed");
        assert_eq!(listed.cursor, None);
        let minute = |at: i64| (at - start.0) / MINUTE;
        let found = listed.transmissions.iter().map(|one| minute(one.record.instant_millis));
        found.collect::<Vec<i64>>()
    };
    let address = |text: &str| Some(text.to_owned());
    let of = Selection::default;
    assert_eq!(minutes(of()).await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(
        minutes(Selection { sender: address("Bruno@PEC.beta.example"), ..of() }).await,
        [5, 4, 2, 0]
    );
    assert_eq!(minutes(Selection { recipient: address(CARLA.address), ..of() }).await, [4, 3, 0]);
    let both =
        Selection { sender: address(BRUNO.address), recipient: address(CARLA.address), ..of() };
    assert_eq!(minutes(both).await, [4, 0]);
    let failed = Selection { state: Some(RecipientState::Failed), ..of() };
    assert_eq!(minutes(failed).await, [5]);
    let (since, until) = (start.plus_millis(MINUTE), start.plus_millis(4 * MINUTE));
    let some = Selection {
        sender: address(BRUNO.address),
        since: Some(since),
        until: Some(until),
        ..of()
    };
    assert_eq!(minutes(some).await, [4, 2]);
    let (mut before, mut pages) = (None, Vec::new());
    loop {
        let selection = Selection { sender: address(BRUNO.address), before, limit: 3, ..of() };
        let listed = transmissions::list(engine, &selection).await.expect("listed");
        pages.push(listed.transmissions.len());
        before = listed.cursor;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(pages, [3, 1]);
    let alike = transmissions::find(engine, "1@client.example").await.expect("found");
    assert_eq!(alike.len(), 6, "all have the client's Message-ID");
    assert!(transmissions::find(engine, "<2@client.example>").await.expect("found").is_empty());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_go_with_the_original_and_the_rows_when_the_journals_time_is_over() {
    let provider = Provider::start_without_looks().await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    let taken = provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    let (store, id) = (provider.engine.store(), only(&provider, &taken.identifier).await);
    let held = async || {
        let artefacts = of_transmission(&**store.engine(), &id.0).await.expect("read");
        artefacts.iter().filter(|(_, one)| held_id(&one.held).is_some()).count()
    };
    assert_eq!((held().await, provider.entries(HELD_MESSAGES).await.len()), (4, 4));
    provider.clock.advance(31 * DAY);
    dispose(store, provider.engine.now(), 30 * DAY).await.expect("a round");
    assert_eq!((held().await, provider.entries(HELD_MESSAGES).await.len()), (0, 0));
    let engine = &**store.engine();
    let gone =
        async || transmissions::dispose(engine, provider.clock.now(), 30).await.expect("a round");
    assert_eq!(gone().await, 0);
    assert_eq!(provider.entries(TRANSMISSION_ARTEFACTS).await.len(), 4, "the facts stay");
    provider.clock.advance(900 * DAY);
    assert_eq!(gone().await, 1);
    for family in [
        TRANSMISSIONS,
        TRANSMISSION_IDENTIFIERS,
        TRANSMISSION_RECIPIENTS,
        TRANSMISSION_ARTEFACTS,
        TRANSMISSION_INDEX,
    ] {
        assert!(provider.entries(family).await.is_empty(), "{family:?}");
    }
    provider.stop().await;
}

/// What is noted at the same time as the transmission lets go would be held for thirty months.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_held_under_a_transmission_that_lets_go_meanwhile() {
    let provider = Provider::start_without_looks().await;
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    let taken = provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    provider.settle().await;
    let id = only(&provider, &taken.identifier).await;
    let store = provider.engine.store();
    let engine = &**store.engine();
    let value = engine.get(TRANSMISSIONS, &id.0).await.expect("read").expect("a record");
    let record: TransmissionRecord = decode(TRANSMISSIONS, &id.0, &value).expect("a record");
    let now = provider.engine.now();
    let late = || {
        let kind = ArtefactKind::DeliveryReceipt;
        Artefact::to_sender((id, &record), kind, now, Vec::new(), "Alfa PEC")
    };
    let (mut artefact, mut batch) = (late(), Batch::default());
    artefact.while_held(engine, &mut batch).await.expect("read");
    assert!(artefact.keeps);
    artefact.note(
        &mut batch,
        "<tardi@alfa.example>",
        (Sha256Digest::of(b"x"), 1),
        &record.original,
    );
    provider.clock.advance(31 * DAY);
    let report = dispose(store, provider.engine.now(), 30 * DAY).await.expect("a round");
    assert_eq!(report.transmissions, 1);
    let refused = store.commit(batch).await.expect_err("it has let go");
    assert!(matches!(refused, StoreError::Conflict), "{refused}");
    let (mut artefact, mut batch) = (late(), Batch::default());
    artefact.while_held(engine, &mut batch).await.expect("read");
    assert!(!artefact.keeps, "and is noted without octets");
    provider.stop().await;
}
