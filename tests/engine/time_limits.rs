//! What a sender is told when nothing is heard of a recipient (RFC 6109 §3.1.6).

use ceralacca::pec::records::{RecipientState, TIME_LIMITS};
use storage::catalog::engine::Batch;

use crate::{
    letter::{Letter, kinds, written},
    network::{ALFA, ANNA, Foreign},
    provider::{BRUNO, CARLA, DARIO, Provider, eventually},
    receipts::{anna, delivery, states},
};

const HOUR_MILLIS: i64 = 3_600_000;

/// Bruno has sent a message to Anna; the receipts of her provider go to a service mailbox.
async fn with_a_transmission() -> (Provider, Letter) {
    let provider = Provider::start().await;
    let service = provider.engine.issuer().service_address.to_string();
    provider.set(DARIO, |settings| settings.address = service).await;
    provider.engine.replace_domains(
        ["pec.beta.example", "beta.example"].into_iter().map(str::to_owned).collect(),
    );
    let message = written(BRUNO.address, ANNA, "Reply-To: altro@pec.beta.example\r\n", "ciao\r\n");
    provider.submit(BRUNO, &[ANNA], &message).await.expect("taken");
    provider.settle().await;
    let envelope = provider.queued_letters().await.pop().expect("the envelope");
    (provider, envelope)
}

async fn taken_in_charge(provider: &Provider, envelope: &Letter) {
    let alfa = Foreign::alfa();
    let service = provider.engine.issuer().service_address.clone();
    let facts = &envelope.data().facts;
    let charge = alfa.issuer.take_charge_receipt(facts, &alfa.now(), &[anna()], &service);
    let sender = ALFA.service_address();
    provider.relay(&sender, &[service.as_str()], &alfa.seal(&charge)).await.expect("taken");
    provider.settle().await;
}

async fn delivered(provider: &Provider, envelope: &Letter) {
    let alfa = Foreign::alfa();
    let receipt = alfa.seal(&delivery(&alfa, envelope));
    let sender = ALFA.service_address();
    provider.relay(&sender, &[BRUNO.address], &receipt).await.expect("taken");
    provider.settle().await;
}

/// The deadlines that are left, once `left` of them are.
async fn deadlines(provider: &Provider, left: usize) {
    eventually("the deadlines that have passed are gone", async || {
        let now = provider.entries(TIME_LIMITS).await;
        let passed = |key: &[u8]| {
            let at = key.first_chunk::<8>().map(|at| i64::from_be_bytes(*at));
            at.is_some_and(|at| at <= provider.engine.now().0)
        };
        (now.len() == left && !now.iter().any(|(key, _)| passed(key))).then_some(())
    })
    .await;
}

/// Hours after which the recipient's provider speaks, and what the sender has then heard after 12
/// and after 24 hours.
struct Row {
    name: &'static str,
    taken_in_charge: Option<i64>,
    delivered: Option<i64>,
    notices: [bool; 2],
    end: RecipientState,
}

const TABLE: [Row; 6] = [
    Row {
        name: "taken in charge within 12 h, never delivered",
        taken_in_charge: Some(1),
        delivered: None,
        notices: [false, true],
        end: RecipientState::Expired,
    },
    Row {
        name: "never taken in charge, delivered between 12 h and 24 h",
        taken_in_charge: None,
        delivered: Some(13),
        notices: [true, false],
        end: RecipientState::Delivered,
    },
    Row {
        name: "never taken in charge, never delivered",
        taken_in_charge: None,
        delivered: None,
        notices: [true, true],
        end: RecipientState::Expired,
    },
    Row {
        name: "taken in charge and delivered within 12 h",
        taken_in_charge: Some(1),
        delivered: Some(11),
        notices: [false, false],
        end: RecipientState::Delivered,
    },
    Row {
        name: "never taken in charge, delivered within 12 h",
        taken_in_charge: None,
        delivered: Some(11),
        notices: [false, false],
        end: RecipientState::Delivered,
    },
    Row {
        name: "taken in charge between 12 h and 24 h, never delivered",
        taken_in_charge: Some(13),
        delivered: None,
        notices: [true, true],
        end: RecipientState::Expired,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_hears_what_the_table_of_the_two_times_says() {
    for row in TABLE {
        let (provider, envelope) = with_a_transmission().await;
        let mut told = Vec::new();
        for hour in 1..=24 {
            provider.clock.advance(HOUR_MILLIS);
            // Those of both times, or what is left of them.
            let waits = match (hour, row.taken_in_charge, row.delivered) {
                (23.., ..) | (12.., _, Some(11)) => 0,
                _ => 1,
            };
            deadlines(&provider, waits).await;
            if row.taken_in_charge == Some(hour) {
                taken_in_charge(&provider, &envelope).await;
            }
            if row.delivered == Some(hour) {
                delivered(&provider, &envelope).await;
            }
            let notices = kinds(&provider.inbox(BRUNO).await);
            let notices =
                notices.iter().filter(|kind| *kind == "preavviso-errore-consegna").count();
            told.push(notices);
        }
        let [first, last] = row.notices.map(usize::from);
        assert_eq!(told[10], 0, "{}: nothing before hour 12", row.name);
        assert_eq!(told[11], first, "{}: after 12 hours", row.name);
        assert_eq!(told[20], first, "{}: nothing before hour 22", row.name);
        assert_eq!(told[23], first + last, "{}: by hour 24", row.name);
        assert_eq!(states(&provider).await, [row.end], "{}", row.name);
        provider.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_notices_say_what_the_rules_want_and_have_instants_of_their_own() {
    let (provider, envelope) = with_a_transmission().await;
    provider.clock.advance(12 * HOUR_MILLIS);
    deadlines(&provider, 1).await;
    let warned: Vec<i64> =
        provider.recipients().await.iter().map(|row| row.warned_millis).collect();
    assert_eq!(warned, [provider.engine.now().0]);
    provider.clock.advance(11 * HOUR_MILLIS);
    deadlines(&provider, 0).await;
    let letters = provider.inbox(BRUNO).await;
    let notices = ["preavviso-errore-consegna"; 2];
    assert_eq!(kinds(&letters)[1..], notices);
    for (letter, (phrase, code)) in letters[1..]
        .iter()
        .zip([("nelle prime dodici ore", "4.4.7"), ("nelle ventiquattro ore", "5.4.7")])
    {
        assert!(
            letter.subject().starts_with("AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: ")
        );
        let data = letter.data();
        assert_eq!(data.facts, envelope.data().facts, "also its Reply-To");
        assert_eq!((data.event.recipient(), data.event.error()), (Some(ANNA), "altro"));
        assert!(data.event.detail().is_some_and(|detail| detail.starts_with(code)), "{data:?}");
        assert!(letter.included().is_none(), "never the message");
        let text = String::from_utf8_lossy(&letter.entity).replace("=\r\n", "");
        assert!(text.contains(phrase), "{text}");
    }
    assert_ne!(letters[1].data().stamp, letters[2].data().stamp);
    let events = provider.events().await;
    assert_eq!(events.iter().filter(|event| *event == "time-limit-notice").count(), 2);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_here_and_a_failure_leave_nothing_to_be_told() {
    let provider = Provider::start().await;
    let to = [CARLA.address, "nessuno@pec.beta.example", "ospite@posta.example"];
    let message = written(BRUNO.address, &to.join(", "), "", "ciao\r\n");
    provider.submit(BRUNO, &to, &message).await.expect("taken");
    provider.settle().await;
    assert_eq!(provider.entries(TIME_LIMITS).await.len(), 2, "of ordinary mail nothing is heard");
    provider.clock.advance(24 * HOUR_MILLIS);
    deadlines(&provider, 0).await;
    let letters = kinds(&provider.inbox(BRUNO).await);
    assert!(!letters.iter().any(|kind| kind == "preavviso-errore-consegna"), "{letters:?}");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_comes_after_the_end_is_passed_on_and_counts() {
    let (provider, envelope) = with_a_transmission().await;
    provider.clock.advance(12 * HOUR_MILLIS);
    deadlines(&provider, 1).await;
    provider.clock.advance(24 * HOUR_MILLIS);
    deadlines(&provider, 0).await;
    assert_eq!(states(&provider).await, [RecipientState::Expired]);
    delivered(&provider, &envelope).await;
    assert_eq!(states(&provider).await, [RecipientState::Delivered]);
    assert_eq!(provider.newest(BRUNO).await.kind(), "avvenuta-consegna");
    provider.stop().await;
}

/// Whether the envelope is damaged or not: the records say enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_envelope_keeps_no_sender_in_the_dark() {
    let (provider, _) = with_a_transmission().await;
    let mut batch = Batch::default();
    for (key, _) in provider.entries(storage::catalog::keys::HELD_MESSAGES).await {
        batch.delete(storage::catalog::keys::HELD_MESSAGES, key);
    }
    provider.engine.store().commit(batch).await.expect("lost");
    provider.clock.advance(12 * HOUR_MILLIS);
    deadlines(&provider, 1).await;
    let newest = provider.newest(BRUNO).await;
    assert_eq!(newest.kind(), "preavviso-errore-consegna");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_read_keep_nobody_elses_notice_back() {
    let (provider, _) = with_a_transmission().await;
    let mut batch = Batch::default();
    for index in 0..1_100_u32 {
        let key = [&[0; 8][..], &[7; 16], &index.to_be_bytes()].concat();
        batch.put(TIME_LIMITS, key, b"damaged".to_vec());
    }
    provider.engine.store().commit(batch).await.expect("written");
    provider.clock.advance(12 * HOUR_MILLIS);
    eventually("the notice", async || {
        (provider.newest(BRUNO).await.kind() == "preavviso-errore-consegna").then_some(())
    })
    .await;
    provider.stop_soon().await;
}
