//! Messages with viruses, found by a real `clamd`: at the sender's provider, at the recipient's, and what the
//! one does about the notices of the other (RFC 6109 §3.1.3, §3.2.3, §3.2.4).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ceralacca::{
    config::ClamdAddress,
    content::{Checker, Turns, clamd::Clamd as ClamdClient},
    pec::{
        artefacts::{ArtefactRecord, TRANSMISSION_ARTEFACTS, holds_any},
        brief::BriefHash,
        daticert::{Event, RefusalCause},
        facts::{ReceiptType, TransmissionFacts},
        issuer::Unsealed,
        quarantine::{self, FoundAt, QUARANTINE, QuarantineId, QuarantineRecord, unseal},
        receipt::Delivered,
        records::{
            DELIVERY_WORK, INCOMING_MESSAGES, INCOMING_WORK, RecipientState, TIME_LIMITS,
            TRANSMISSIONS, decode,
        },
    },
};
use protocols::smtp::transport::{Refusal, Taken};
use storage::catalog::{engine::Engine, keys::HELD_MESSAGES, simulated::SimulatedEngine};

use crate::{
    checkers::{Clamd, THREAT, VIRUS, shared},
    dying::Dying,
    letter::{Letter, kinds, renamed, written},
    network::{ALFA, ANNA, Foreign, GAMMA, NOON, keys},
    provider::{BRUNO, CARLA, DARIO, Provider, families, quarantine_key},
    receipts::anna,
};

const STRANGER: &str = "ospite@posta.example";
pub(crate) const HOUR_MILLIS: i64 = 3_600_000;

fn asking(clamd: &Clamd) -> Checker {
    let seconds = Duration::from_secs;
    let client = ClamdClient::new(ClamdAddress::Socket(clamd.socket()), seconds(5), seconds(60));
    Checker::new(Box::new(client), Turns::new(4, seconds(60)))
}

/// Beta, with the scanner that all tests share, and Dario as its service mailbox.
async fn scanned() -> Provider {
    let provider = Provider::start_scanned(asking(shared())).await;
    with_service_mailbox(&provider).await;
    provider
}

pub(crate) async fn with_service_mailbox(provider: &Provider) {
    let service = provider.engine.issuer().service_address.to_string();
    provider.set(DARIO, |settings| settings.address = service).await;
    let domains = ["pec.beta.example", "beta.example"].into_iter().map(str::to_owned).collect();
    provider.engine.replace_domains(domains);
}

/// What is in quarantine, opened.
async fn quarantined(provider: &Provider) -> Vec<(QuarantineRecord, Vec<u8>)> {
    let mut found = Vec::new();
    for (key, value) in provider.entries(QUARANTINE).await {
        let id = QuarantineId::from_octets(QUARANTINE, &key).expect("an id");
        let record: QuarantineRecord = decode(QUARANTINE, &key, &value).expect("a record");
        let held = provider.engine.held(&record.message, "quarantine").await.expect("held");
        let sealed = provider.engine.read_held(&held).await.expect("octets");
        assert!(!contains(&sealed, VIRUS), "it is sealed");
        let octets = unseal(&quarantine_key(), id, &sealed).expect("opened");
        found.push((record, octets));
    }
    found
}

fn contains(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}

pub(crate) fn count(events: &[String], word: &str) -> usize {
    events.iter().filter(|event| *event == word).count()
}

fn unchecked(refusal: &Refusal) {
    assert_eq!((refusal.code, refusal.enhanced), (451, "4.7.0"), "{refusal}");
}

/// Row 3 of the table of messages.
#[tokio::test(flavor = "multi_thread")]
async fn row_3_a_virus_in_a_submitted_message_is_told_to_its_sender_and_goes_nowhere() {
    let provider = scanned().await;
    let message = written(BRUNO.address, ANNA, "", &format!("ecco {VIRUS}"));
    provider.submit(BRUNO, &[ANNA], &message).await.expect("the client hears 250");
    provider.settle().await;
    let [notice] = &provider.inbox(BRUNO).await[..] else { panic!("one notice") };
    assert_eq!(notice.kind(), "non-accettazione");
    assert_eq!(notice.header.text("X-VerificaSicurezza").as_deref(), Some("errore"));
    assert_eq!(notice.subject(), "AVVISO DI NON ACCETTAZIONE PER VIRUS: Offerta");
    let Event::NonAcceptance { cause: RefusalCause::Virus, detail: Some(detail) } =
        &notice.data().event
    else {
        panic!("{:?}", notice.data().event)
    };
    assert!(detail.contains(THREAT), "{detail}");
    assert_eq!(notice.included(), None);
    assert!(!contains(&notice.octets, VIRUS));
    assert!(provider.queued().await.is_empty());
    assert!(provider.entries(TIME_LIMITS).await.is_empty());
    let [(record, octets)] = &quarantined(&provider).await[..] else { panic!("one message") };
    assert_eq!(*octets, message, "as it was submitted");
    assert_eq!((record.found_at(), record.threat.as_str()), (FoundAt::AccessPoint, THREAT));
    assert_eq!(
        (record.sender.as_str(), &record.recipients[..]),
        (BRUNO.address, &[ANNA.to_owned()][..])
    );
    assert_eq!(record.identifier, notice.data().facts.identifier.as_str());
    assert_eq!(provider.entries(HELD_MESSAGES).await.len(), 2, "what is sealed, and the notice");
    let engine = &**provider.engine.store().engine();
    let artefacts = provider.entries(TRANSMISSION_ARTEFACTS).await;
    let noted: ArtefactRecord =
        decode(TRANSMISSION_ARTEFACTS, &artefacts[0].0, &artefacts[0].1).expect("a record");
    let held = provider.engine.held(&noted.held, "the notice").await.expect("held");
    assert_eq!(provider.engine.read_held(&held).await.expect("octets"), notice.octets);
    assert!(
        holds_any(engine, &artefacts[0].0[..16]).await.expect("read"),
        "disposal lets go of it"
    );
    let events = provider.events().await;
    assert_eq!(events, ["submission", "quarantined", "virus-non-acceptance-notice"]);
    assert_eq!(provider.recipients().await[0].state(), RecipientState::Rejected);
    assert_eq!(provider.engine.store().check(&|_| {}).await.expect("check").violations, []);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_form_is_told_before_a_virus_and_the_virus_is_kept_all_the_same() {
    let provider = scanned().await;
    let message = written(BRUNO.address, ANNA, "Bcc: carla@pec.beta.example\r\n", VIRUS);
    provider.submit(BRUNO, &[ANNA], &message).await.expect("the client hears 250");
    provider.settle().await;
    let [notice] = &provider.inbox(BRUNO).await[..] else { panic!("one notice") };
    let event = &notice.data().event;
    assert!(matches!(event, Event::NonAcceptance { cause: RefusalCause::Formal, .. }), "{event:?}");
    assert_eq!(quarantined(&provider).await.len(), 1);
    provider.stop().await;
}

/// Row 9 of the table of messages, and the second of the table of the incoming point.
#[tokio::test(flavor = "multi_thread")]
async fn row_9_a_virus_in_an_envelope_is_taken_in_charge_and_told_for_each_recipient() {
    let provider = scanned().await;
    let both = [BRUNO.address, CARLA.address];
    let envelope = Foreign::alfa().envelope(&both, VIRUS);
    for _ in 0..2 {
        provider.relay(ANNA, &both, &envelope).await.expect("taken");
        provider.settle().await;
        for holder in [BRUNO, CARLA] {
            assert!(provider.rows(holder).await.is_empty());
        }
        let queued = provider.queued().await;
        let mut told = Vec::new();
        for (record, letter) in &queued {
            assert_eq!(record.recipients[0].address, ALFA.service_address());
            assert!(!contains(&letter.octets, VIRUS));
            assert_eq!(letter.included(), None);
            if let Event::VirusDetection { recipient, detail } = &letter.data().event {
                assert_eq!(letter.subject(), "PROBLEMA DI SICUREZZA: Offerta");
                assert_eq!(letter.header.text("X-Mittente").as_deref(), Some(ANNA));
                assert!(detail.as_ref().is_some_and(|detail| detail.contains(THREAT)));
                told.extend(recipient.clone());
            }
        }
        told.sort();
        assert_eq!(told, both);
        let letters: Vec<Letter> = queued.into_iter().map(|(_, letter)| letter).collect();
        assert_eq!(kinds(&letters), ["presa-in-carico", "rilevazione-virus", "rilevazione-virus"]);
        let [(record, octets)] = &quarantined(&provider).await[..] else { panic!("one message") };
        assert_eq!((record.found_at(), octets), (FoundAt::IncomingPoint, &envelope));
        assert_eq!(record.provider, "Alfa PEC");
    }
    let events = provider.events().await;
    assert_eq!(count(&events, "virus-detection-notice"), 2);
    assert_eq!(count(&events, "quarantined"), 1);
    assert_eq!(count(&events, "repeat"), 1, "the repeat changes nothing");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_with_a_virus_is_known_again_whatever_is_written_around_it() {
    let provider = scanned().await;
    let alfa = Foreign::alfa();
    let both = [BRUNO.address, CARLA.address];
    let envelope = alfa.envelope(&both, VIRUS);
    provider.relay(ANNA, &[BRUNO.address], &envelope).await.expect("taken");
    provider.settle().await;
    // The same identifier, written in another way.
    for (number, around) in [("", ""), ("\r\n <", ">"), ("   ", "  ")].into_iter().enumerate() {
        let again = renamed(&envelope, |id| format!("{}{id}{}", around.0, around.1));
        provider.relay(ANNA, &[BRUNO.address], &again).await.expect("taken");
        provider.settle().await;
        let told = kinds(&provider.queued_letters().await);
        assert_eq!(told, ["presa-in-carico", "rilevazione-virus"], "nothing is told again");
        assert_eq!(quarantined(&provider).await.len(), 1, "nor kept");
        assert_eq!(count(&provider.events().await, "repeat"), number + 1);
    }
    // Under another one it is no envelope, whoever it is for.
    for recipient in both {
        let other = renamed(&envelope, |_| "<altro@altrove.example>".to_owned());
        infected(provider.relay(ANNA, &[recipient], &other).await);
    }
    assert_eq!(quarantined(&provider).await.len(), 1, "what is signed is there already");
    assert_eq!(count(&provider.events().await, "repeat"), 5);
    // Of whom it has not come for yet its provider hears, and of nobody else again.
    provider.relay(ANNA, &both, &envelope).await.expect("taken");
    provider.settle().await;
    let of = |letter: &Letter| letter.data().event.recipient().map(str::to_owned);
    let letters = provider.queued_letters().await;
    let mut told: Vec<String> = letters.iter().filter_map(of).collect();
    told.sort();
    assert_eq!(told, both);
    // Another transmission with the same virus is another one.
    let other = alfa.envelope(&[BRUNO.address], VIRUS);
    provider.relay(ANNA, &[BRUNO.address], &other).await.expect("taken");
    provider.settle().await;
    assert_eq!(count(&provider.events().await, "virus-detection-notice"), 3);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_of_a_virus_that_are_interrupted_go_on_where_they_stopped() {
    let all = [BRUNO.address, CARLA.address, DARIO.address];
    let envelope = Foreign::alfa().envelope(&all, VIRUS);
    let (mut cut, mut complete) = (0, false);
    while !complete {
        let catalog = Dying::new();
        let provider = Provider::start_scanned_on(catalog.clone(), asking(shared())).await;
        catalog.let_pass(cut);
        if provider.relay(ANNA, &all, &envelope).await.is_ok() {
            crate::provider::eventually("the end, or the cut", async || {
                // In the order in which work passes through them.
                let distributed = provider.entries(INCOMING_WORK).await.is_empty();
                complete = distributed && provider.entries(DELIVERY_WORK).await.is_empty();
                (complete || catalog.has_died()).then_some(())
            })
            .await;
            complete &= !catalog.has_died();
            catalog.let_pass(i64::MAX);
        } else {
            catalog.let_pass(i64::MAX);
            provider.relay(ANNA, &all, &envelope).await.expect("taken");
        }
        provider.settle().await;
        let letters = provider.queued_letters().await;
        let of = |letter: &Letter| letter.data().event.recipient().map(str::to_owned);
        let mut told: Vec<String> = letters.iter().filter_map(of).collect();
        told.sort();
        assert_eq!((told, letters.len()), (all.map(str::to_owned).to_vec(), 4), "cut at {cut}");
        let events = provider.events().await;
        for (word, times) in
            [("quarantined", 1), ("take-charge-receipt", 1), ("virus-detection-notice", all.len())]
        {
            assert_eq!(count(&events, word), times, "cut at {cut}: {events:?}");
        }
        assert_eq!(catalog.most_held.load(Ordering::SeqCst), 1, "one message in each batch");
        provider.stop().await;
        cut += 1;
    }
    assert!(cut >= 5, "each commit was the last one once: {cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_infected_envelope_that_was_taken_before_a_crash_is_told_of_once_after_it() {
    let catalog = SimulatedEngine::new(&families());
    let start = async |catalog: Arc<dyn Engine>, workers, now| {
        Provider::start_scanned_with(catalog, asking(shared()), workers, now).await
    };
    // Nobody works on what is taken.
    let provider = start(catalog.clone(), 0, NOON).await;
    let both = [BRUNO.address, CARLA.address];
    provider.relay(ANNA, &both, &Foreign::alfa().envelope(&both, VIRUS)).await.expect("taken");
    assert_eq!(provider.events().await, ["incoming", "quarantined"]);
    assert_eq!(provider.entries(INCOMING_WORK).await.len(), 1);
    provider.stop_soon().await;

    let mut now = NOON;
    let mut catalog = catalog.crash();
    for _ in 0..2 {
        now = now.plus_millis(60_000);
        let provider = start(catalog.clone(), 16, now).await;
        provider.settle().await;
        let told = kinds(&provider.queued_letters().await);
        assert_eq!(told, ["presa-in-carico", "rilevazione-virus", "rilevazione-virus"]);
        let events = provider.events().await;
        assert_eq!(count(&events, "take-charge-receipt"), 1, "{events:?}");
        assert_eq!(count(&events, "virus-detection-notice"), 2, "{events:?}");
        assert_eq!(quarantined(&provider).await.len(), 1);
        for holder in [BRUNO, CARLA] {
            assert!(provider.rows(holder).await.is_empty());
        }
        let found = provider.engine.store().check(&|_| {}).await.expect("check");
        assert_eq!(found.violations, []);
        provider.stop_soon().await;
        catalog = catalog.crash();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_with_a_virus_is_refused_and_leaves_nothing() {
    let provider = scanned().await;
    let plain = written(STRANGER, BRUNO.address, "", VIRUS);
    // Who only says that he sends a receipt is looked at like anybody else.
    let disguised = written(STRANGER, BRUNO.address, "X-Ricevuta: accettazione\r\n", VIRUS);
    for message in [plain, disguised] {
        let refused = provider.relay(STRANGER, &[BRUNO.address], &message).await;
        let refused = refused.expect_err("a virus");
        assert_eq!((refused.code, refused.enhanced), (550, "5.7.1"));
    }
    provider.settle().await;
    assert!(provider.rows(BRUNO).await.is_empty());
    assert!(provider.journal().await.is_empty());
    assert!(provider.entries(QUARANTINE).await.is_empty());
    assert!(provider.entries(HELD_MESSAGES).await.is_empty());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_of_a_provider_with_a_virus_is_refused_and_kept() {
    let provider = scanned().await;
    // Alfa's certificate may not speak in the name of Gamma.
    let malformed = Foreign::new(GAMMA, &keys().alfa).envelope(&[BRUNO.address], VIRUS);
    for _ in 0..3 {
        infected(provider.relay(ANNA, &[BRUNO.address], &malformed).await);
    }
    provider.settle().await;
    assert!(provider.rows(BRUNO).await.is_empty());
    assert!(provider.queued().await.is_empty());
    let [(record, octets)] = &quarantined(&provider).await[..] else { panic!("one message") };
    assert_eq!((record.found_at(), octets), (FoundAt::Malformed, &malformed));
    assert_eq!(provider.events().await, ["quarantined", "repeat", "repeat"]);
    provider.stop().await;
}

/// The complete delivery receipt of `from` about the transmission of `facts`, which holds `original`.
fn complete_receipt(from: &Foreign, facts: &TransmissionFacts, original: &[u8]) -> Unsealed {
    let recipient = anna();
    let delivered = Delivered {
        recipient: &recipient,
        requested: ReceiptType::Complete,
        due: ReceiptType::Complete,
        original,
        hash: BriefHash::Encoded,
    };
    from.issuer.delivery_receipt(facts, &from.now(), &delivered)
}

fn infected(refused: Result<Taken, Refusal>) {
    let refused = refused.expect_err("a virus");
    assert_eq!((refused.code, refused.enhanced), (550, "5.7.1"), "{refused}");
}

/// What the scanner comes to know only after it was sent.
const LATER: &str = "CERALACCA-PROVA-DI-UN-VIRUS-NUOVO";

/// Bruno has sent a message with [`LATER`] to Anna, and then the scanner has learned of it.
async fn infected_later() -> (Provider, Letter, Clamd) {
    let mut clamd = tokio::task::spawn_blocking(Clamd::start).await.expect("started");
    let provider = Provider::start_scanned(asking(&clamd)).await;
    with_service_mailbox(&provider).await;
    let message = written(BRUNO.address, ANNA, "", &format!("ecco {LATER}"));
    provider.submit(BRUNO, &[ANNA], &message).await.expect("taken");
    provider.settle().await;
    let envelope = provider.queued_letters().await.pop().expect("the envelope");
    clamd.learn(LATER);
    clamd.kill();
    clamd.start_again();
    (provider, envelope, clamd)
}

/// The fourth row of the table of the incoming point: "receipt or notice, –".
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_brings_a_holder_back_what_he_sent_whatever_it_holds() {
    let (provider, envelope, _clamd) = infected_later().await;
    let alfa = Foreign::alfa();
    let sent = envelope.included().expect("the original");
    let receipt = alfa.seal(&complete_receipt(&alfa, &envelope.data().facts, sent));
    let service = provider.engine.issuer().service_address.to_string();
    let from = ALFA.service_address();
    // Genuine as it is, it brings nobody else a virus, and nothing can be hidden around it.
    infected(provider.relay(&from, &[CARLA.address], &receipt).await);
    infected(provider.relay(&from, &[BRUNO.address, CARLA.address], &receipt).await);
    infected(provider.relay(&from, &[&service], &receipt).await);
    let body = receipt.windows(4).position(|octets| octets == b"\r\n\r\n").expect("a body") + 4;
    let note = format!("{}\r\n", "una riga ".repeat(10));
    let before = [&receipt[..body], note.as_bytes(), &receipt[body..]].concat();
    let after = [&receipt[..], note.as_bytes()].concat();
    for padded in [before, after] {
        infected(provider.relay(&from, &[BRUNO.address], &padded).await);
    }
    assert!(provider.rows(CARLA).await.is_empty());
    let [(record, _)] = &quarantined(&provider).await[..] else { panic!("it is there once") };
    assert_eq!(record.found_at(), FoundAt::Receipt);

    provider.relay(&from, &[BRUNO.address], &receipt).await.expect("taken");
    provider.settle().await;
    let kinds = kinds(&provider.inbox(BRUNO).await);
    assert_eq!(kinds, ["accettazione", "avvenuta-consegna"]);
    assert_eq!(quarantined(&provider).await.len(), 1);
    provider.stop().await;
}

/// A provider, or who has its key, may write what it likes into a receipt about a transmission of ours.
#[tokio::test(flavor = "multi_thread")]
async fn no_virus_passes_inside_a_receipt_but_in_the_message_that_was_sent() {
    let (provider, envelope, _clamd) = infected_later().await;
    let (alfa, gamma) = (Foreign::alfa(), Foreign::gamma());
    let facts = &envelope.data().facts;
    let sent = envelope.included().expect("the original");
    // Another message than the one that was sent.
    let bare = complete_receipt(&alfa, facts, LATER.as_bytes());
    let longer = complete_receipt(&alfa, facts, &[sent, b"altro\r\n"].concat());
    // The one that was sent, and something beside it.
    let mut beside = complete_receipt(&alfa, facts, sent);
    let entity = String::from_utf8(std::mem::take(&mut beside.entity)).expect("text");
    let boundary = entity.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next());
    let closing = format!("--{}--", boundary.expect("a boundary"));
    let part = format!("{}\r\n\r\n{LATER}\r\n{closing}", closing.trim_end_matches("--"));
    beside.entity = entity.replacen(&closing, &part, 1).into_bytes();
    assert!(beside.entity.len() > entity.len());
    let refused = [
        (ALFA, alfa.seal(&bare)),
        (ALFA, alfa.seal(&longer)),
        (ALFA, alfa.seal(&beside)),
        // Of a provider that has no say about Anna.
        (GAMMA, gamma.seal(&complete_receipt(&gamma, facts, sent))),
    ];
    for (from, receipt) in &refused {
        infected(provider.relay(&from.service_address(), &[BRUNO.address], receipt).await);
    }
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione"]);
    assert_eq!(quarantined(&provider).await.len(), refused.len());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_with_a_virus_about_what_nobody_here_sent_is_refused_and_kept_once() {
    let provider = scanned().await;
    let alfa = Foreign::alfa();
    let envelope = alfa.envelope(&[BRUNO.address], "ciao");
    let foreign = Letter::open(envelope, provider.engine.verifier(), provider.engine.now());
    let receipt = alfa.seal(&complete_receipt(&alfa, &foreign.data().facts, VIRUS.as_bytes()));
    for again in ["", "Message-ID: <altro@pec.alfa.example>\r\n"] {
        let receipt = [again.as_bytes(), &receipt].concat();
        infected(provider.relay(&ALFA.service_address(), &[BRUNO.address], &receipt).await);
    }
    provider.settle().await;
    assert!(provider.rows(BRUNO).await.is_empty());
    assert_eq!(quarantined(&provider).await.len(), 1);
    assert_eq!(provider.events().await, ["quarantined", "repeat"]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_scanner_is_gone_nothing_is_taken() {
    let mut clamd = tokio::task::spawn_blocking(Clamd::start).await.expect("started");
    let provider = Provider::start_scanned(asking(&clamd)).await;
    let submitted = written(BRUNO.address, ANNA, "", "ciao");
    let envelope = Foreign::alfa().envelope(&[BRUNO.address], "ciao");
    let ordinary = written(STRANGER, BRUNO.address, "", "ciao");
    clamd.kill();
    unchecked(&provider.submit(BRUNO, &[ANNA], &submitted).await.expect_err("not checked"));
    unchecked(&provider.relay(ANNA, &[BRUNO.address], &envelope).await.expect_err("not checked"));
    unchecked(
        &provider.relay(STRANGER, &[BRUNO.address], &ordinary).await.expect_err("not checked"),
    );
    assert!(provider.journal().await.is_empty());
    for family in [TRANSMISSIONS, INCOMING_MESSAGES, HELD_MESSAGES, QUARANTINE] {
        assert!(provider.entries(family).await.is_empty(), "{family:?}");
    }
    clamd.start_again();
    provider.submit(BRUNO, &[ANNA], &submitted).await.expect("taken");
    provider.relay(ANNA, &[BRUNO.address], &envelope).await.expect("taken");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_scanner_does_not_look_at_whole_is_not_taken() {
    let small = "StreamMaxLength 100K\nMaxFileSize 80K\nMaxScanSize 80K\n";
    let clamd = tokio::task::spawn_blocking(|| Clamd::start_with(small)).await.expect("started");
    let provider = Provider::start_scanned(asking(&clamd)).await;
    for octets in [90_000, 300_000] {
        let message = written(BRUNO.address, ANNA, "", &"abcdefgh\r\n".repeat(octets / 10));
        let refused = provider.submit(BRUNO, &[ANNA], &message).await.expect_err("not whole");
        unchecked(&refused);
    }
    let seconds = Duration::from_secs;
    let client = ClamdClient::new(ClamdAddress::Socket(clamd.socket()), seconds(5), seconds(5));
    assert!(client.takes(90_000).await.expect("an answer"));
    assert!(!client.takes(300_000).await.expect("an answer"));
    let large = ClamdClient::new(ClamdAddress::Socket(shared().socket()), seconds(5), seconds(5));
    assert!(large.takes(72 << 20).await.expect("an answer"));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_thirty_months_what_was_in_quarantine_is_disposed_of_with_a_record() {
    let provider = scanned().await;
    let message = written(BRUNO.address, ANNA, "", VIRUS);
    provider.submit(BRUNO, &[ANNA], &message).await.expect("taken");
    provider.settle().await;
    let (store, node) = (provider.engine.store(), provider.engine.settings().node);
    let dispose =
        async || quarantine::dispose(store, provider.engine.now(), node).await.expect("a round");
    let day = 24 * HOUR_MILLIS;
    provider.clock.advance(900 * day);
    assert_eq!(dispose().await, 0, "29 months");
    let retention = 30 * day;
    let now = provider.engine.now();
    ceralacca::pec::disposal::dispose(store, now, retention).await.expect("a round");
    assert_eq!(quarantined(&provider).await.len(), 1, "its octets are not taken for unneeded");
    provider.clock.advance(30 * day);
    assert_eq!(dispose().await, 1);
    let now = provider.engine.now();
    let report = ceralacca::pec::disposal::dispose(store, now, retention).await.expect("a round");
    assert_eq!(report.released, 1);
    assert!(provider.entries(HELD_MESSAGES).await.is_empty());
    let (_, last) = provider.journal().await.pop().expect("a record");
    assert_eq!(last.event, "quarantine-disposed");
    assert!(last.detail.contains(THREAT), "{}", last.detail);
    assert_eq!(last.sender, BRUNO.address);
    provider.stop().await;
}
