//! Delivery status notifications (RFC 3461, RFC 3464): for ordinary mail, never for certified mail.

use ceralacca::pec::{
    distribution::distribute,
    engine::EngineSettings,
    records::{
        IncomingId, OUTGOING_QUEUE, QueueKind, RecipientRecord, RecipientState, TRANSMISSIONS,
        TransmissionRecord, decode,
    },
};
use protocols::smtp::{
    grammar::{EnvelopeId, Notify, OriginalRecipient, Ret},
    transport::{EnvelopeDsn, RecipientDsn},
};
use storage::account::settings::AccountState;

use crate::{
    letter::{Letter, kinds, written},
    network::ANNA,
    peer::{Manner, Peer},
    provider::{BRUNO, CARLA, Provider, eventually},
};

const ORDINARY: &str = "posta.example";
const OSPITE: &str = "ospite@posta.example";
const HOUR_MILLIS: i64 = 3_600_000;

fn on(success: bool, failure: bool, delay: bool) -> Notify {
    Notify::On { success, failure, delay }
}

/// Asks the same about each of `recipients`.
fn asking(ret: Option<Ret>, notify: Notify, recipients: usize) -> EnvelopeDsn {
    let original = OriginalRecipient::from_text("rfc822;Ospite@posta.example");
    EnvelopeDsn {
        ret,
        envelope_id: EnvelopeId::from_text("prova=1"),
        recipients: vec![RecipientDsn { notify, original }; recipients],
    }
}

async fn submit(provider: &Provider, to: &[&str], dsn: EnvelopeDsn) {
    let message = written(BRUNO.address, &to.join(", "), "", "buongiorno");
    provider.submit_asking(BRUNO, to, dsn, &message).await.expect("taken");
    provider.settle().await;
}

async fn empty(provider: &Provider) {
    eventually("an empty queue", async || {
        provider.entries(OUTGOING_QUEUE).await.is_empty().then_some(())
    })
    .await;
}

/// The one report in the mailbox of Bruno.
async fn the_report(provider: &Provider) -> Letter {
    let letters = provider.inbox(BRUNO).await;
    assert_eq!(kinds(&letters), ["accettazione", "report"]);
    letters.into_iter().find(|letter| letter.kind() == "report").expect("a report")
}

async fn original_of(provider: &Provider) -> Vec<u8> {
    let (key, value) = provider.entries(TRANSMISSIONS).await.remove(0);
    let record: TransmissionRecord = decode(TRANSMISSIONS, &key, &value).expect("a record");
    let held = provider.engine.held(&record.original, "the original").await.expect("held");
    provider.engine.read_held(&held).await.expect("octets").to_vec()
}

async fn states(provider: &Provider) -> Vec<RecipientState> {
    provider.recipients().await.iter().map(RecipientRecord::state).collect()
}

async fn refusing() -> Peer {
    Peer::start(|line, _| line.starts_with("RCPT").then_some(Manner::Say("550 5.1.1 no such user")))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_outside_certified_mail_becomes_one_report_for_all_its_recipients() {
    let peer = refusing().await;
    let mut provider = Provider::start().await;
    provider.run_queue(ORDINARY, peer.port);
    let to = [OSPITE, "altro@posta.example"];
    submit(&provider, &to, EnvelopeDsn::default()).await;
    empty(&provider).await;
    let report = the_report(&provider).await;
    assert_eq!(report.subject(), "Rapporto di mancato recapito: Offerta");
    assert_eq!(report.header.text("Return-Path").as_deref(), Some("<>"));
    assert_eq!(report.header.text("In-Reply-To").as_deref(), Some("<1@client.example>"));
    let fields = report.status_fields().expect("fields");
    for recipient in to {
        assert!(fields.contains(&format!("Final-Recipient: rfc822; {recipient}\r\n")), "{fields}");
    }
    assert!(fields.starts_with("Reporting-MTA: dns; mail.beta.example\r\n"), "{fields}");
    assert_eq!(fields.matches("Action: failed\r\nStatus: 5.1.1\r\n").count(), 2, "{fields}");
    assert!(fields.contains("Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"), "{fields}");
    let header = report.part("text/rfc822-headers").expect("the header");
    let original = original_of(&provider).await;
    assert!(original.starts_with(header), "{}", String::from_utf8_lossy(header));
    assert!(header.ends_with(b"\r\n") && !header.windows(4).any(|end| end == b"\r\n\r\n"));
    assert_eq!(states(&provider).await, [RecipientState::Failed; 2]);
    let events = provider.events().await;
    assert_eq!(events[3..], ["relay-failed", "relay-failed", "status-notification"]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_message_comes_back_to_who_asks_for_it() {
    let peer = refusing().await;
    let mut provider = Provider::start().await;
    provider.run_queue(ORDINARY, peer.port);
    submit(&provider, &[OSPITE], asking(Some(Ret::Full), on(false, true, false), 1)).await;
    empty(&provider).await;
    let report = the_report(&provider).await;
    assert_eq!(report.included(), Some(&original_of(&provider).await[..]));
    let fields = report.status_fields().expect("fields");
    assert!(fields.starts_with("Original-Envelope-Id: prova=1\r\n"), "{fields}");
    assert!(fields.contains("Original-Recipient: rfc822; Ospite@posta.example\r\n"), "{fields}");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_hear_nothing_hears_nothing() {
    let peer = refusing().await;
    let mut provider = Provider::start().await;
    provider.run_queue(ORDINARY, peer.port);
    submit(&provider, &[OSPITE], asking(None, Notify::Never, 1)).await;
    submit(&provider, &[OSPITE], asking(None, on(true, false, true), 1)).await;
    empty(&provider).await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione"; 2]);
    assert_eq!(states(&provider).await, [RecipientState::Failed; 2]);
    let events = provider.events().await;
    assert_eq!(events.iter().filter(|event| *event == "relay-failed").count(), 2, "{events:?}");
    provider.stop().await;
}

/// RFC 3461 §5.2.1, §5.2.2.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reports_is_asked_to_and_of_another_it_is_said_that_it_does_not() {
    for reports in [true, false] {
        let peer = Peer::start(move |line, _| {
            let greeting = "250-peer.example\r\n250-8BITMIME\r\n250 DSN";
            (reports && line.starts_with("EHLO")).then_some(Manner::Say(greeting))
        })
        .await;
        let mut provider = Provider::start().await;
        provider.run_queue(ORDINARY, peer.port);
        let dsn = asking(Some(Ret::Headers), on(true, true, false), 1);
        submit(&provider, &[OSPITE], dsn).await;
        empty(&provider).await;
        let transaction = peer.transactions().remove(0);
        if reports {
            assert!(transaction.mail.ends_with("> RET=HDRS ENVID=prova+3D1"), "{transaction:?}");
            let asked = "> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Ospite@posta.example";
            assert!(transaction.recipients[0].ends_with(asked), "{transaction:?}");
            assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione"]);
        } else {
            assert!(transaction.mail.ends_with('>'), "{transaction:?}");
            assert!(transaction.recipients[0].ends_with('>'), "{transaction:?}");
            let fields = the_report(&provider).await.status_fields().expect("fields");
            assert!(fields.contains("Action: relayed\r\nStatus: 2.0.0\r\n"), "{fields}");
        }
        assert_eq!(states(&provider).await, [RecipientState::Relayed]);
        provider.stop().await;
    }
}

/// RFC 3461 §5.2.1: DELAY must not be excluded.
#[tokio::test(flavor = "multi_thread")]
async fn a_delay_is_told_once_to_who_has_not_excluded_it() {
    let peer = Peer::start(|line, _| {
        line.starts_with("RCPT").then_some(Manner::Say("451 4.7.1 come back later"))
    })
    .await;
    let mut provider = Provider::start().await;
    provider.run_queue(ORDINARY, peer.port);
    submit(&provider, &[OSPITE], EnvelopeDsn::default()).await;
    submit(&provider, &[OSPITE], asking(None, on(true, true, false), 1)).await;
    eventually("both were tried", async || {
        let queued = provider.queued().await;
        queued.iter().all(|(record, _)| record.attempts > 0).then_some(())
    })
    .await;
    provider.clock.advance(4 * HOUR_MILLIS - 1_000);
    tokio::time::sleep(std::time::Duration::from_millis(1_300)).await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione"; 2]);
    provider.clock.advance(1_000);
    let report = eventually("the report", async || {
        let letters = provider.inbox(BRUNO).await;
        letters.into_iter().find(|letter| letter.kind() == "report")
    })
    .await;
    let fields = report.status_fields().expect("fields");
    assert!(fields.contains("Action: delayed\r\nStatus: 4.4.7\r\n"), "{fields}");
    assert!(fields.contains("Will-Retry-Until: Sun, 22 Nov 2026 12:00:00 +0100\r\n"), "{fields}");
    provider.clock.advance(HOUR_MILLIS);
    tokio::time::sleep(std::time::Duration::from_millis(1_300)).await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["accettazione", "accettazione", "report"]);
    assert_eq!(provider.entries(OUTGOING_QUEUE).await.len(), 2, "both are still tried");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certified_recipients_have_receipts_and_notices_whatever_is_asked() {
    let peer = Peer::start(|line, _| match line {
        _ if line.starts_with("EHLO") => Some(Manner::Say("250-peer.example\r\n250 DSN")),
        _ if line.contains("unknown@") => Some(Manner::Say("550 5.1.1 no such user")),
        _ => None,
    })
    .await;
    let mut provider = Provider::start().await;
    provider.run_queue("pec.alfa.example", peer.port);
    let to = [ANNA, "unknown@pec.alfa.example", CARLA.address];
    submit(&provider, &to, asking(Some(Ret::Full), on(true, false, false), 3)).await;
    empty(&provider).await;
    let transaction = peer.transactions().remove(0);
    assert!(transaction.mail.ends_with('>') && transaction.recipients[0].ends_with('>'));
    let expected = ["accettazione", "avvenuta-consegna", "errore-consegna"];
    assert_eq!(kinds(&provider.inbox(BRUNO).await), expected, "also against NOTIFY=SUCCESS");
    provider.stop().await;
}

/// The row of a report to another server.
async fn queued_report(provider: &Provider) -> Letter {
    let mut queued = provider.queued().await;
    assert_eq!(queued.len(), 1, "one report");
    let (record, letter) = queued.remove(0);
    assert_eq!(record.kind(), QueueKind::StatusNotification);
    assert_eq!(record.reverse_path, "", "nothing answers a report");
    assert_eq!(record.recipients[0].address, OSPITE);
    letter
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_is_reported_as_delivered_to_who_asks_and_a_report_is_never_answered() {
    let mut provider = Provider::start().await;
    let message = written(OSPITE, BRUNO.address, "", "ciao");
    for (sender, notify) in [
        (OSPITE, Notify::Unspecified),
        (OSPITE, Notify::Never),
        ("", on(true, true, true)),
        (CARLA.address, on(true, true, true)),
    ] {
        let dsn = asking(None, notify, 1);
        // Each is another message.
        let message = [&message[..], format!("{sender} {notify:?}\r\n").as_bytes()].concat();
        provider.relay_asking(sender, &[BRUNO.address], dsn, &message).await.expect("taken");
    }
    provider.settle().await;
    assert!(provider.queued().await.is_empty());
    let dsn = asking(None, on(true, false, false), 1);
    provider.relay_asking(OSPITE, &[BRUNO.address], dsn, &message).await.expect("taken");
    provider.settle().await;
    assert_eq!(provider.rows(BRUNO).await.len(), 5);
    let fields = queued_report(&provider).await.status_fields().expect("fields");
    assert!(fields.contains("Action: delivered\r\nStatus: 2.0.0\r\n"), "{fields}");
    assert!(fields.contains("Original-Recipient: rfc822; Ospite@posta.example\r\n"), "{fields}");
    // The sender's server does not want it: that is the end.
    let peer = refusing().await;
    provider.run_queue(ORDINARY, peer.port);
    empty(&provider).await;
    assert_eq!(provider.rows(BRUNO).await.len(), 5);
    let events = provider.events().await;
    assert_eq!(events.last().map(String::as_str), Some("relay-failed"));
    provider.stop().await;
}

/// RFC 5321 §6.1: taken, and then undeliverable after all.
#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_that_was_taken_and_cannot_be_delivered_is_reported() {
    for (notify, told) in [(Notify::Unspecified, true), (Notify::Never, false)] {
        let settings = EngineSettings { workers_max: 0, ..EngineSettings::default() };
        let provider = Provider::start_with(settings).await;
        let message = written(OSPITE, BRUNO.address, "", "ciao");
        let dsn = asking(None, notify, 1);
        let taken = provider.relay_asking(OSPITE, &[BRUNO.address], dsn, &message).await;
        let id: Vec<u8> = hex::decode(taken.expect("taken").identifier).expect("an id");
        provider.set(BRUNO, |settings| settings.state = AccountState::Closed).await;
        let id = IncomingId(id.try_into().expect("16 octets"));
        distribute(&provider.engine, id).await.expect("distributed");
        if told {
            let fields = queued_report(&provider).await.status_fields().expect("fields");
            assert!(fields.contains("Action: failed\r\nStatus: 5.1.1\r\n"), "{fields}");
        } else {
            assert!(provider.queued().await.is_empty());
        }
        provider.stop().await;
    }
}

/// RFC 6531 §3.2, RFC 6533 §4: with SMTPUTF8, or not at all; and then the journal says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_outside_ascii_is_told_where_his_server_can_take_it() {
    const JOSE: &str = "josé@bücher.example";
    for offered in [true, false] {
        let peer = Peer::start(move |line, _| {
            let greeting = "250-peer.example\r\n250-8BITMIME\r\n250 SMTPUTF8";
            (offered && line.starts_with("EHLO")).then_some(Manner::Say(greeting))
        })
        .await;
        let mut provider = Provider::start().await;
        let dsn = asking(None, on(true, true, false), 1);
        let message = written(JOSE, BRUNO.address, "", "ciao");
        provider.relay_asking(JOSE, &[BRUNO.address], dsn, &message).await.expect("taken");
        provider.settle().await;
        let queued = provider.queued().await;
        assert_eq!(queued[0].0.domain, "xn--bcher-kva.example");
        provider.run_queue("xn--bcher-kva.example", peer.port);
        empty(&provider).await;
        let last = provider.events().await.pop();
        let transactions = peer.transactions();
        if offered {
            assert_eq!(transactions[0].mail, "MAIL FROM:<> BODY=8BITMIME SMTPUTF8");
            assert_eq!(transactions[0].recipients, [format!("RCPT TO:<{JOSE}>")]);
            let octets = &transactions[0].octets;
            assert!(octets.contains(&format!("\r\nTo: {JOSE}\r\n")), "{octets}");
            assert!(octets.contains("Content-Type: message/global-delivery-status\r\n"));
            assert!(octets.contains("Content-Type: message/global-headers\r\n"), "{octets}");
            assert_eq!(last.as_deref(), Some("relayed"));
        } else {
            assert!(transactions.is_empty());
            assert_eq!(last.as_deref(), Some("relay-failed"));
        }
        provider.stop().await;
    }
}

/// Forwarders write long local parts; a domain outside ASCII alone needs no SMTPUTF8.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_can_be_reached_is_told_and_nothing_is_taken_from_who_cannot() {
    let long = format!("bounce+{}@posta.example", "a".repeat(80));
    for (sender, told, domain) in [
        (long.as_str(), long.as_str(), "posta.example"),
        ("jose@bücher.example", "jose@xn--bcher-kva.example", "xn--bcher-kva.example"),
    ] {
        let provider = Provider::start().await;
        let dsn = asking(None, on(true, false, false), 1);
        let message = written(OSPITE, BRUNO.address, "", "ciao");
        provider.relay_asking(sender, &[BRUNO.address], dsn, &message).await.expect("taken");
        provider.settle().await;
        let (record, letter) = provider.queued().await.remove(0);
        assert_eq!((record.domain.as_str(), record.recipients[0].address.as_str()), (domain, told));
        assert!(letter.status_fields().is_some());
        provider.stop().await;
    }
    let provider = Provider::start().await;
    let refused = provider.mail("jose@xn--bücher.example").await.expect_err("nobody could be told");
    assert_eq!((refused.code, refused.enhanced), (553, "5.1.7"));
    for known in ["", OSPITE, "josé@bücher.example", &long] {
        assert_eq!(provider.mail(known).await, Ok(()), "{known}");
    }
    provider.stop().await;
}
