//! What is not certified mail (RFC 6109 §3.2.2).

use std::sync::Arc;

use ceralacca::pec::{
    directory::Directory,
    encoded_word::decode,
    engine::{EngineSettings, OrdinaryMail},
    records::{AnomalyKind, INCOMING_MESSAGES, IncomingRecord},
};
use protocols::smtp::transport::{Envelope, Service, Transport as _};
use storage::account::settings::AccountState;

use crate::{
    letter::{kinds, written},
    network::{ALFA, ANNA, Foreign, GAMMA, authority, directory, issue, keys},
    provider::{BRUNO, CARLA, DARIO, Holder, Provider, peer},
};

const STRANGER: &str = "ospite@posta.example";

fn ordinary() -> Vec<u8> {
    written(STRANGER, BRUNO.address, "", &"una riga\r\n".repeat(50))
}

/// An envelope of Alfa with one octet of the signed entity changed.
fn changed() -> Vec<u8> {
    let mut envelope = Foreign::alfa().envelope(&[BRUNO.address], "cento euro");
    let at = envelope.windows(10).position(|octets| octets == b"cento euro").expect("the body");
    envelope[at] = b'C';
    envelope
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_certified_arrives_in_an_anomaly_envelope_and_is_not_answered() {
    let provider = Provider::start().await;
    let another = authority();
    let unknown_authority = Foreign::new(ALFA, &issue(&another, ALFA));
    // Alfa's certificate may not speak in the name of Gamma.
    let wrong_name = Foreign::new(GAMMA, &keys().alfa);
    let unlisted = Foreign::new(ALFA, &keys().unlisted);
    let to = [BRUNO.address];
    let cases = [
        ("ordinary", ordinary(), AnomalyKind::OrdinaryMail),
        ("changed", changed(), AnomalyKind::InvalidSignature),
        ("unknown authority", unknown_authority.envelope(&to, "a"), AnomalyKind::InvalidSignature),
        ("unlisted signer", unlisted.envelope(&to, "b"), AnomalyKind::OrdinaryMail),
        ("another's name", wrong_name.envelope(&to, "c"), AnomalyKind::Malformed),
    ];
    for (number, (name, message, kind)) in cases.iter().enumerate() {
        let taken = provider.relay(ANNA, &to, message).await.expect(name);
        provider.settle().await;
        let letters = provider.inbox(BRUNO).await;
        assert_eq!(kinds(&letters), vec!["errore"; number + 1], "{name}");
        let letter = letters.last().expect("an anomaly envelope");
        assert!(letter.subject().starts_with("ANOMALIA MESSAGGIO: "), "{}", letter.subject());
        let included = letter.included().expect("the message");
        assert!(included.ends_with(message), "{name}: as received, but for the trace field");
        assert!(included.starts_with(b"Received: "), "{name}");
        let id = hex::decode(taken.identifier).expect("an incoming id");
        let record = provider.engine.record::<IncomingRecord>(INCOMING_MESSAGES, &id).await;
        let (record, _) = record.expect("a record").expect("the message's");
        assert_eq!(record.anomaly(), *kind, "{name}: {}", record.reason);
    }
    assert!(provider.queued().await.is_empty(), "an anomaly is not answered");
    let events = provider.events().await;
    assert_eq!(events.iter().filter(|event| *event == "anomaly-envelope").count(), cases.len());
    assert!(!events.iter().any(|event| event.ends_with("-receipt") || event.ends_with("-notice")));
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_to_a_full_mailbox_is_refused_before_it_is_taken() {
    let provider = Provider::start().await;
    provider.set(BRUNO, |settings| settings.quota_octets = Some(400)).await;
    let refusal = provider.relay(STRANGER, &[BRUNO.address], &ordinary()).await.expect_err("full");
    assert_eq!((refusal.code, refusal.enhanced), (452, "4.2.2"));
    provider.settle().await;
    assert!(provider.journal().await.is_empty());
    assert!(provider.rows(BRUNO).await.is_empty());
    provider.stop().await;
}

/// Servers send to the others in a transaction of their own (RFC 5321 §4.5.3.1.10).
#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_takes_no_message_from_the_other_recipients() {
    let provider = Provider::start().await;
    provider.set(BRUNO, |settings| settings.quota_octets = Some(400)).await;
    let point = &provider.incoming_point;
    let peer = peer(Service::Relay, None);
    let begun = |size: u64, taken: &[Holder]| Envelope {
        reverse_path: STRANGER.to_owned(),
        declared_size: Some(size),
        forward_paths: taken.iter().map(|holder| holder.address.to_owned()).collect(),
        ..Envelope::default()
    };
    for (size, taken, next, answer) in [
        (500, &[][..], BRUNO, None),
        (500, &[BRUNO], CARLA, Some((452, "4.5.3"))),
        (500, &[CARLA], BRUNO, Some((452, "4.5.3"))),
        (500, &[CARLA], DARIO, None),
        (400, &[CARLA], BRUNO, None),
    ] {
        let answered = point.recipient(&peer, &begun(size, taken), next.address).await;
        let answered = answered.err().map(|refusal| (refusal.code, refusal.enhanced));
        assert_eq!(answered, answer, "{size} octets to {} beside {taken:?}", next.address);
    }
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_that_comes_again_was_taken_even_if_the_mailbox_is_full_by_now() {
    let provider = Provider::start().await;
    let to = [BRUNO.address];
    provider.relay(STRANGER, &to, &ordinary()).await.expect("taken");
    provider.settle().await;
    provider.set(BRUNO, |settings| settings.quota_octets = Some(400)).await;
    provider.relay(STRANGER, &to, &ordinary()).await.expect("the reply was lost, not the message");
    let other = written(STRANGER, BRUNO.address, "X-Altro: si\r\n", &"una riga\r\n".repeat(50));
    let refusal = provider.relay(STRANGER, &to, &other).await.expect_err("full");
    assert_eq!((refusal.code, refusal.enhanced), (452, "4.2.2"));
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore"]);
    provider.stop().await;
}

/// The envelope around a message takes more room than the message did when room was looked for.
#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_that_was_taken_is_delivered_although_its_envelope_is_over_the_quota() {
    let provider = Provider::start().await;
    let message = ordinary();
    let room = message.len() as u64 + 200;
    provider.set(BRUNO, |settings| settings.quota_octets = Some(room)).await;
    provider.relay(STRANGER, &[BRUNO.address], &message).await.expect("there is room for it");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore"]);
    provider.stop().await;
}

/// A device may say the same every night; nobody knows whether it is a repeat.
#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_without_a_message_id_is_another_message_each_time() {
    let provider = Provider::start().await;
    let text = format!("From: {STRANGER}\r\nTo: {}\r\n\r\nspento\r\n", BRUNO.address);
    for _ in 0..2 {
        provider.relay(STRANGER, &[BRUNO.address], text.as_bytes()).await.expect("taken");
        provider.settle().await;
    }
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore", "errore"]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_learns_no_more_of_a_blocked_mailbox_than_of_an_unknown_one() {
    let provider = Provider::start().await;
    provider.set(BRUNO, |settings| settings.state = AccountState::Blocked).await;
    let blocked =
        provider.relay(STRANGER, &[BRUNO.address], &ordinary()).await.expect_err("blocked");
    let nobody = BRUNO.address.replace("bruno", "nessuno");
    let unknown = provider.relay(STRANGER, &[&nobody], &ordinary()).await.expect_err("unknown");
    assert_eq!(blocked, unknown);
    provider.settle().await;
    assert!(provider.rows(BRUNO).await.is_empty());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_may_refuse_ordinary_mail_but_never_what_a_provider_has_signed() {
    let settings =
        EngineSettings { ordinary_mail: OrdinaryMail::Refuse, ..EngineSettings::default() };
    let provider = Provider::start_with(settings).await;
    let refusal = provider.relay(STRANGER, &[BRUNO.address], &ordinary()).await.expect_err("mail");
    assert_eq!((refusal.code, refusal.enhanced), (550, "5.7.1"));
    assert!(provider.journal().await.is_empty());
    let malformed = Foreign::new(GAMMA, &keys().alfa).envelope(&[BRUNO.address], "ciao");
    provider.relay(ANNA, &[BRUNO.address], &malformed).await.expect("signed by a provider");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore"]);
    provider.stop().await;
}

/// RFC 6531: addresses and header fields in UTF-8.
#[tokio::test(flavor = "multi_thread")]
async fn internationalised_mail_is_kept_octet_for_octet_and_its_envelope_says_on_whose_behalf() {
    let provider = Provider::start().await;
    let sender = "josé@bücher.example";
    let message = format!(
        "From: José <{sender}>\r\nTo: {}\r\nSubject: Perché così\r\nMessage-ID: <1@bücher.example>\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nè\r\n",
        BRUNO.address
    );
    provider.relay(sender, &[BRUNO.address], message.as_bytes()).await.expect("taken");
    provider.settle().await;
    let [letter] = &provider.inbox(BRUNO).await[..] else { panic!("one message") };
    assert_eq!(letter.kind(), "errore");
    assert!(letter.included().expect("the message").ends_with(message.as_bytes()));
    assert_eq!(letter.subject(), "ANOMALIA MESSAGGIO: Perché così");
    // Fields of the message are inherited as they are (RFC 6109 §2.1.1.2); ours are ASCII.
    let from = letter.header.value("From").expect("a sender");
    assert!(from.is_ascii());
    let expected = format!("Per conto di: {sender} <posta-certificata@beta.example>");
    assert_eq!(decode(&from), expected);
    provider.stop().await;
}

/// RFC 6109 §7: a provider that is not as strict as the rule recommends.
#[tokio::test(flavor = "multi_thread")]
async fn t5_domain_of_from_counts_unless_the_configuration_says_that_the_signature_is_enough() {
    let wrong_name = Foreign::new(GAMMA, &keys().alfa).envelope(&[BRUNO.address], "c");
    for (from_must_be_managed, kind) in [(true, "errore"), (false, "posta-certificata")] {
        let settings = EngineSettings { from_must_be_managed, ..EngineSettings::default() };
        let provider = Provider::start_with(settings).await;
        provider.relay(ANNA, &[BRUNO.address], &wrong_name).await.expect("taken");
        provider.settle().await;
        assert_eq!(kinds(&provider.inbox(BRUNO).await), [kind], "{from_must_be_managed}");
    }
}

/// A record may write any mailbox as its own: it opens no other provider's domain.
#[tokio::test(flavor = "multi_thread")]
async fn t5_the_domain_of_a_service_mailbox_counts_unless_another_provider_manages_it() {
    let wrong_name = Foreign::new(GAMMA, &keys().alfa).envelope(&[BRUNO.address], "c");
    let known = directory();
    let with = |gammas: &[&str]| {
        let mut records = known.records().to_vec();
        records[0].service_mailbox = records[2].service_mailbox.clone();
        records[2].managed_domains =
            gammas.iter().map(|domain| domain.parse().expect("a domain")).collect();
        Arc::new(Directory::new(records).expect("a directory"))
    };
    for (gammas, kind) in [
        (&["gamma.example", "pec.gamma.example"][..], "errore"),
        (&["pec.gamma.example"], "posta-certificata"),
    ] {
        let provider = Provider::start().await;
        provider.engine.replace_directory(with(gammas));
        provider.relay(ANNA, &[BRUNO.address], &wrong_name).await.expect("taken");
        provider.settle().await;
        assert_eq!(kinds(&provider.inbox(BRUNO).await), [kind], "{gammas:?}");
    }
}
