//! One message to users of two providers and to ordinary mail, while one of the two is down and receipts
//! come in whatever order (RFC 6109 §3.5, §3.1.6).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ceralacca::pec::{
    address::Address,
    brief::BriefHash,
    facts::ReceiptType,
    receipt::Delivered,
    records::{OUTGOING_QUEUE, RecipientState},
};

use crate::{
    letter::{Letter, written},
    network::{ANNA, Foreign},
    peer::{Manner, Peer},
    provider::{BRUNO, DARIO, Provider, eventually},
    receipts::states,
};

const GAIA: &str = "gaia@pec.gamma.example";
const GUEST: &str = "ospite@posta.example";
const HOUR_MILLIS: i64 = 3_600_000;

/// Beta, the servers of the other two, and the envelope that left.
struct World {
    beta: Provider,
    alfa: Peer,
    gamma: Peer,
    /// Whether Alfa's server answers.
    alfa_is_up: Arc<AtomicBool>,
    envelope: Letter,
}

impl World {
    /// Bruno has written to Anna, whose provider is down, to Gaia and to a guest.
    async fn start() -> Self {
        let up = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&up);
        let alfa =
            Peer::start(move |_, _| (!seen.load(Ordering::SeqCst)).then_some(Manner::Close)).await;
        let gamma = Peer::willing().await;
        let mut beta = Provider::start().await;
        // The receipts of providers for each other have a mailbox.
        let service = beta.engine.issuer().service_address.to_string();
        beta.set(DARIO, |settings| settings.address = service).await;
        let domains = ["pec.beta.example", "beta.example"];
        beta.engine.replace_domains(domains.into_iter().map(str::to_owned).collect());
        beta.run_queue_by(&[
            ("pec.alfa.example", alfa.port),
            ("pec.gamma.example", gamma.port),
            ("posta.example", gamma.port),
        ]);
        let to = [ANNA, GAIA, GUEST];
        beta.submit(BRUNO, &to, &written(BRUNO.address, &to.join(", "), "", "ciao"))
            .await
            .expect("taken");
        let octets = eventually("both others have the envelope", async || {
            let taken = gamma.transactions();
            (taken.len() == 2).then(|| taken[0].octets.clone())
        })
        .await;
        let envelope = Letter::open(octets.into(), beta.engine.verifier(), beta.engine.now());
        Self { beta, alfa, gamma, alfa_is_up: up, envelope }
    }

    /// Gives the clock some hours, one by one, and the queue its turn in each.
    async fn hours(&self, count: i64) {
        for _ in 0..count {
            self.beta.clock.advance(HOUR_MILLIS);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn receive(&self, by: &Foreign, to: &str, receipt: &[u8]) {
        let sender = by.issuer.service_address.to_string();
        self.beta.relay(&sender, &[to], receipt).await.expect("taken");
        self.beta.settle().await;
    }

    async fn delivered(&self, by: &Foreign, recipient: &str) {
        let delivered = Delivered {
            recipient: &address(recipient),
            requested: ReceiptType::Complete,
            due: ReceiptType::Complete,
            original: self.envelope.included().expect("the original"),
            hash: BriefHash::Encoded,
        };
        let facts = &self.envelope.data().facts;
        let receipt = by.seal(&by.issuer.delivery_receipt(facts, &by.now(), &delivered));
        self.receive(by, BRUNO.address, &receipt).await;
    }

    async fn taken_in_charge(&self, by: &Foreign, recipient: &str) {
        let service = self.beta.engine.issuer().service_address.clone();
        let (facts, taken) = (&self.envelope.data().facts, [address(recipient)]);
        let receipt = by.issuer.take_charge_receipt(facts, &by.now(), &taken, &service);
        self.receive(by, service.as_str(), &by.seal(&receipt)).await;
    }

    /// What Bruno has heard: kind and recipient, once there are `count` of them.
    async fn heard(&self, count: usize) -> Vec<(String, String)> {
        eventually(&format!("{count} messages"), async || {
            let letters = self.beta.inbox(BRUNO).await;
            let said = letters.iter().map(|letter| {
                let recipient = letter.data().event.recipient().unwrap_or_default();
                (letter.kind(), recipient.to_owned())
            });
            (letters.len() >= count).then(|| said.collect())
        })
        .await
    }

    async fn queue_is_empty(&self) {
        eventually("an empty queue", async || {
            self.beta.entries(OUTGOING_QUEUE).await.is_empty().then_some(())
        })
        .await;
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn said(kind: &str, recipient: &str) -> (String, String) {
    (kind.to_owned(), recipient.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_for_13_hours_costs_its_own_recipient_one_notice_and_nobody_else_any()
 {
    let world = World::start().await;
    let (alfa, gamma) = (Foreign::alfa(), Foreign::gamma());
    world.hours(11).await;
    // Out of order: the delivery is told before the charge.
    world.delivered(&gamma, GAIA).await;
    let mut expected = vec![said("accettazione", ""), said("avvenuta-consegna", GAIA)];
    assert_eq!(world.heard(2).await, expected);
    world.hours(2).await;
    expected.push(said("preavviso-errore-consegna", ANNA));
    assert_eq!(world.heard(3).await, expected);
    assert!(world.alfa.transactions().is_empty());

    world.alfa_is_up.store(true, Ordering::SeqCst);
    world.hours(1).await;
    world.queue_is_empty().await;
    let taken = world.alfa.transactions();
    assert_eq!(taken.len(), 1, "the envelope arrives once");
    assert_eq!(taken[0].octets.as_bytes(), world.envelope.octets);
    world.delivered(&alfa, ANNA).await;
    world.taken_in_charge(&gamma, GAIA).await;
    world.taken_in_charge(&alfa, ANNA).await;
    // Repeated, and still one.
    world.delivered(&alfa, ANNA).await;
    world.hours(12).await;
    world.beta.settle().await;
    expected.push(said("avvenuta-consegna", ANNA));
    let heard = world.heard(4).await;
    assert_eq!(heard[..4], expected);
    assert_eq!(world.gamma.transactions().len(), 2, "whoever had it gets it no more");
    let states = states(&world.beta).await;
    assert_eq!(states[..2], [RecipientState::Delivered; 2]);
    world.beta.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_for_25_hours_costs_its_own_recipient_both_notices_and_gets_nothing()
 {
    let world = World::start().await;
    let gamma = Foreign::gamma();
    world.delivered(&gamma, GAIA).await;
    world.taken_in_charge(&gamma, GAIA).await;
    let mut expected = vec![said("accettazione", ""), said("avvenuta-consegna", GAIA)];
    world.hours(12).await;
    expected.push(said("preavviso-errore-consegna", ANNA));
    assert_eq!(world.heard(3).await, expected);
    world.hours(13).await;
    expected.push(said("preavviso-errore-consegna", ANNA));
    assert_eq!(world.heard(4).await, expected);
    world.queue_is_empty().await;
    world.alfa_is_up.store(true, Ordering::SeqCst);
    world.hours(2).await;
    assert!(world.alfa.transactions().is_empty(), "the transmission is closed");
    assert_eq!(world.heard(4).await, expected);
    let states = states(&world.beta).await;
    assert_eq!(states[..2], [RecipientState::Expired, RecipientState::Delivered]);
    world.beta.stop().await;
}
