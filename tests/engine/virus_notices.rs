//! What a sender's provider does about the notices of another one that found a virus (RFC 6109 §3.2.4).

use ceralacca::pec::{
    address::Address,
    daticert::{DeliveryFailure, Event},
    records::RecipientState,
};

use crate::{
    letter::{Letter, kinds, written},
    network::{ALFA, ANNA, Foreign, keys},
    provider::{BRUNO, DARIO, Provider},
    receipts::anna,
    virus::{HOUR_MILLIS, count, with_service_mailbox},
};

/// Bruno has sent a message to Anna and to Gino.
async fn with_a_transmission() -> (Provider, Letter) {
    let provider = Provider::start().await;
    with_service_mailbox(&provider).await;
    let to = [ANNA, "gino@pec.gamma.example"];
    let message = written(BRUNO.address, &to.join(", "), "", "ciao");
    provider.submit(BRUNO, &to, &message).await.expect("taken");
    provider.settle().await;
    let envelope = provider.queued_letters().await.pop().expect("the envelope");
    (provider, envelope)
}

/// `from` says that a virus was found in what `envelope` brought to `recipient`.
async fn detected(provider: &Provider, from: &Foreign, envelope: &Letter, recipient: &Address) {
    let service = provider.engine.issuer().service_address.clone();
    let facts = &envelope.data().facts;
    let notice =
        from.issuer.virus_detection_notice(facts, &from.now(), recipient, "Win.Prova", &service);
    let sender = from.issuer.service_address.to_string();
    provider.relay(&sender, &[service.as_str()], &from.seal(&notice)).await.expect("taken");
    provider.settle().await;
}

async fn states(provider: &Provider) -> Vec<RecipientState> {
    provider
        .recipients()
        .await
        .iter()
        .map(ceralacca::pec::records::RecipientRecord::state)
        .collect()
}

/// Row 10 of the table of messages.
#[tokio::test(flavor = "multi_thread")]
async fn row_10_a_notice_of_a_virus_is_filed_and_told_to_the_sender_once() {
    let (provider, envelope) = with_a_transmission().await;
    let alfa = Foreign::alfa();
    for _ in 0..3 {
        // Each is a message of its own: only the recipient's state tells them to be the same.
        detected(&provider, &alfa, &envelope, &anna()).await;
        let letters = provider.inbox(BRUNO).await;
        assert_eq!(kinds(&letters), ["accettazione", "errore-consegna"]);
        let notice = letters.last().expect("the notice");
        assert_eq!(notice.subject(), "AVVISO DI MANCATA CONSEGNA PER VIRUS: Offerta");
        assert_eq!(notice.header.text("X-VerificaSicurezza").as_deref(), Some("errore"));
        let Event::DeliveryError { cause: DeliveryFailure::Virus, recipient, detail } =
            &notice.data().event
        else {
            panic!("{:?}", notice.data().event)
        };
        assert_eq!(recipient, ANNA);
        let quoted = |detail: &String| {
            detail.contains("secondo il gestore Alfa PEC: «5.7.1 - Alfa PEC - presenza di un virus nel messaggio: Win.Prova»")
        };
        assert!(detail.as_ref().is_some_and(quoted), "{detail:?}");
        assert_eq!(notice.data().facts, envelope.data().facts, "the facts never change");
        assert_eq!(notice.included(), None);
        let states = states(&provider).await;
        assert_eq!(states, [RecipientState::Infected, RecipientState::Accepted]);
    }
    assert_eq!(provider.inbox(DARIO).await.len(), 3, "all are filed");
    assert_eq!(count(&provider.events().await, "virus-non-delivery-notice"), 1);
    // The times of the other recipient run on, his do not.
    provider.clock.advance(25 * HOUR_MILLIS);
    crate::provider::eventually("the time of the other is over", async || {
        (states(&provider).await[1] == RecipientState::Expired).then_some(())
    })
    .await;
    provider.settle().await;
    let letters = provider.inbox(BRUNO).await;
    let late = letters.iter().filter(|letter| letter.kind() == "preavviso-errore-consegna");
    let late: Vec<_> =
        late.map(|letter| letter.data().event.recipient().map(str::to_owned)).collect();
    assert_eq!(late, [Some("gino@pec.gamma.example".to_owned())]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_of_a_virus_is_believed_from_the_recipients_own_provider_alone() {
    let (provider, envelope) = with_a_transmission().await;
    let (alfa, gamma) = (Foreign::alfa(), Foreign::gamma());
    // About Anna, from a provider that has no say about her.
    detected(&provider, &gamma, &envelope, &anna()).await;
    // About somebody who is no recipient.
    let stranger: Address = "estranea@pec.alfa.example".parse().expect("an address");
    detected(&provider, &alfa, &envelope, &stranger).await;
    // About a transmission that nobody made.
    let foreign = alfa.envelope(&[BRUNO.address], "ciao");
    let foreign = Letter::open(foreign, provider.engine.verifier(), provider.engine.now());
    detected(&provider, &alfa, &foreign, &anna()).await;
    // Signed by nobody's certificate: it comes as an anomaly.
    let unlisted = Foreign::new(ALFA, &keys().unlisted);
    detected(&provider, &unlisted, &envelope, &anna()).await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione"]);
    assert_eq!(states(&provider).await, [RecipientState::Accepted, RecipientState::Accepted]);
    let filed = kinds(&provider.inbox(DARIO).await);
    assert_eq!(filed, ["errore", "rilevazione-virus", "rilevazione-virus", "rilevazione-virus"]);
    assert_eq!(count(&provider.events().await, "virus-non-delivery-notice"), 0);
    provider.stop().await;
}
