//! Transmissions within one provider: the access point's refusals, and which receipt is due.

use ceralacca::pec::{
    facts::ReceiptType,
    records::{TRANSMISSIONS, TransmissionRecord, TransmissionState, decode},
};

use crate::{
    letter::{Letter, kinds, written},
    provider::{BRUNO, CARLA, DARIO, Provider},
};

/// RFC 6109 §3.1.1 and §3.1.2.
#[tokio::test(flavor = "multi_thread")]
async fn a_formal_fault_gives_one_notice_and_no_envelope() {
    let provider = Provider::start().await;
    let message = |from: &str, to: &str, fields: &str| written(from, to, fields, "ciao");
    let (bruno, carla) = (BRUNO.address, CARLA.address);
    let cases = [
        ("Bcc", message(bruno, carla, "Bcc: x@pec.beta.example\r\n"), "(Bcc)"),
        ("no To", message(bruno, "", ""), "(To)"),
        ("another's From", message(carla, carla, ""), "busta SMTP"),
        ("hidden recipient", message(bruno, DARIO.address, ""), carla),
        ("two subjects", message(bruno, carla, "Subject: Altro\r\n"), "Subject"),
    ];
    for (number, (name, message, reason)) in cases.iter().enumerate() {
        provider.submit(BRUNO, &[carla], message).await.expect(name);
        provider.settle().await;
        let letters = provider.inbox(BRUNO).await;
        assert_eq!(kinds(&letters), vec!["non-accettazione"; number + 1], "{name}");
        let event = &letters[number].data().event;
        assert_eq!((event.kind(), event.error()), ("non-accettazione", "altro"));
        let detail = event.detail().expect("a reason");
        assert!(detail.contains(reason), "{name}: {detail}");
        assert_eq!(letters[number].included(), None);
    }
    assert!(provider.queued().await.is_empty());
    for holder in [CARLA, DARIO] {
        assert!(provider.rows(holder).await.is_empty());
    }
    for (key, value) in provider.entries(TRANSMISSIONS).await {
        let record: TransmissionRecord = decode(TRANSMISSIONS, &key, &value).expect("a record");
        assert_eq!(record.state(), TransmissionState::Rejected);
        assert!(record.envelope.is_empty());
    }
    assert!(!provider.events().await.iter().any(|event| event == "transport-envelope"));
    provider.stop().await;
}

/// What the receipt for one recipient holds of `original`.
fn form(letters: &[Letter], recipient: &str, original: &[u8]) -> &'static str {
    let receipts: Vec<_> = letters
        .iter()
        .filter(|letter| letter.data().event.recipient() == Some(recipient))
        .collect();
    let [receipt] = receipts[..] else { panic!("one receipt for {recipient}") };
    match receipt.included() {
        None => "concise",
        Some(included) if included == original => "complete",
        Some(included) => {
            let text = String::from_utf8_lossy(included);
            assert!(text.contains("allegato.txt.hash"), "{text}");
            assert!(text.contains("il testo"), "{text}");
            "brief"
        }
    }
}

const WITH_ATTACHMENT: &str = "--limite\r\nContent-Type: text/plain\r\n\r\nil testo\r\n\
     --limite\r\nContent-Type: text/plain; name=\"allegato.txt\"\r\n\
     Content-Disposition: attachment; filename=\"allegato.txt\"\r\n\r\ncontenuto\r\n--limite--";

/// The table of RFC 6109 §3.3.2.
#[tokio::test(flavor = "multi_thread")]
async fn the_delivery_receipt_follows_the_senders_wish_and_the_recipients_place() {
    for (wish, requested, primary) in [
        ("", ReceiptType::Complete, "complete"),
        ("X-TipoRicevuta: completa\r\n", ReceiptType::Complete, "complete"),
        ("X-TipoRicevuta: breve\r\n", ReceiptType::Brief, "brief"),
        ("X-TipoRicevuta: sintetica\r\n", ReceiptType::Concise, "concise"),
    ] {
        let provider = Provider::start().await;
        let fields = format!(
            "Cc: {}\r\n{wish}MIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=\"limite\"\r\n",
            DARIO.address
        );
        let message = written(BRUNO.address, CARLA.address, &fields, WITH_ATTACHMENT);
        provider.submit(BRUNO, &[CARLA.address, DARIO.address], &message).await.expect("taken");
        provider.settle().await;
        let letters = provider.inbox(BRUNO).await;
        let expected = ["accettazione", "avvenuta-consegna", "avvenuta-consegna"];
        assert_eq!(kinds(&letters), expected);
        let envelopes = provider.inbox(CARLA).await;
        let original = envelopes[0].included().expect("the original");
        assert_eq!(form(&letters, CARLA.address, original), primary, "{wish}");
        assert_eq!(form(&letters, DARIO.address, original), "concise", "{wish}");
        for receipt in letters.iter().filter(|letter| letter.kind() == "avvenuta-consegna") {
            assert_eq!(receipt.data().event.receipt(), Some(requested), "{wish}");
        }
        assert_eq!(provider.inbox(DARIO).await[0].octets, envelopes[0].octets);
        // Nobody takes charge of what never leaves (RFC 6109 §3.2.1).
        assert!(provider.queued().await.is_empty());
        let events = provider.events().await;
        assert!(!events.iter().any(|event| event == "take-charge-receipt"), "{events:?}");
        provider.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_quote_an_encoded_subject_as_it_was_meant() {
    let provider = Provider::start().await;
    let written = "=?utf-8?Q?Citt=C3=A0_pi=C3=B9_belle:?=\r\n =?iso-8859-1?Q?_perch=E9?= no";
    let meant = "Città più belle: perché no";
    let message = format!(
        "From: {}\r\nTo: {}\r\nSubject: {written}\r\n\r\nciao\r\n",
        BRUNO.address, CARLA.address
    );
    provider.submit(BRUNO, &[CARLA.address], message.as_bytes()).await.expect("taken");
    provider.settle().await;
    let mut letters = provider.inbox(BRUNO).await;
    letters.append(&mut provider.inbox(CARLA).await);
    let subjects: Vec<String> = letters.iter().map(Letter::subject).collect();
    let prefixed = ["ACCETTAZIONE", "CONSEGNA", "POSTA CERTIFICATA"];
    assert_eq!(subjects, prefixed.map(|prefix| format!("{prefix}: {meant}")));
    for letter in &letters {
        assert_eq!(letter.data().facts.subject.as_deref(), Some(meant), "oggetto");
        assert!(letter.header.value("Subject").expect("a subject").is_ascii());
    }
    for (_, record) in provider.journal().await {
        // The envelope as a message has the prefix in its own subject.
        assert!(record.subject.ends_with(meant), "{}: {}", record.event, record.subject);
    }
    provider.stop().await;
}
