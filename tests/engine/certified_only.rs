//! Mailboxes that take certified mail only, each by its own settings.

use crate::{
    letter::{kinds, written},
    network::{ANNA, Foreign, GAMMA, keys},
    provider::{BRUNO, CARLA, Provider},
};

const STRANGER: &str = "ospite@posta.example";

async fn with_carla_refusing() -> Provider {
    let provider = Provider::start().await;
    provider.set(CARLA, |settings| settings.certified_mail_only = true).await;
    provider
}

fn ordinary(to: &[&str]) -> Vec<u8> {
    written(STRANGER, &to.join(", "), "", "una riga\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_certified_mail_only_gets_all_that_a_provider_has_signed() {
    let provider = with_carla_refusing().await;
    let to = [CARLA.address];
    provider.relay(ANNA, &to, &Foreign::alfa().envelope(&to, "ciao")).await.expect("certified");
    let malformed = Foreign::new(GAMMA, &keys().alfa).envelope(&to, "ciao di nuovo");
    provider.relay(ANNA, &to, &malformed).await.expect("propagated");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(CARLA).await), ["errore", "posta-certificata"]);
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_mail_for_nobody_who_takes_it_is_refused_at_its_end() {
    let provider = with_carla_refusing().await;
    let refused = provider.relay(STRANGER, &[CARLA.address], &ordinary(&[CARLA.address])).await;
    let refused = refused.expect_err("certified mail only");
    assert_eq!((refused.code, refused.enhanced), (550, "5.7.1"));
    provider.settle().await;
    assert!(provider.journal().await.is_empty());
    assert!(provider.rows(CARLA).await.is_empty());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_get_ordinary_mail_and_its_sender_a_report_about_who_does_not() {
    let provider = with_carla_refusing().await;
    let both = [BRUNO.address, CARLA.address];
    for _ in 0..2 {
        provider.relay(STRANGER, &both, &ordinary(&both)).await.expect("taken");
        provider.settle().await;
        assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore"]);
        assert!(provider.rows(CARLA).await.is_empty());
        let [(record, report)] = &provider.queued().await[..] else { panic!("one report") };
        assert_eq!(record.recipients[0].address, STRANGER);
        let fields = report.status_fields().expect("a report");
        assert!(
            fields.contains(&format!("Final-Recipient: rfc822; {}", CARLA.address)),
            "{fields}"
        );
        assert!(fields.contains("Action: failed\r\nStatus: 5.7.1"), "{fields}");
        assert!(!fields.contains(BRUNO.address), "{fields}");
    }
    provider.stop().await;
}

/// A report is never answered (RFC 3461 §6), nor is a holder of ours who sends from elsewhere: there everybody has
/// the message alone, and hears of the refusal by SMTP.
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_could_be_told_who_refuses_has_the_message_alone() {
    let provider = with_carla_refusing().await;
    for from in ["", "gianna@pec.beta.example"] {
        for both in [[BRUNO.address, CARLA.address], [CARLA.address, BRUNO.address]] {
            let put_off = provider.relay(from, &both, &ordinary(&both)).await;
            let put_off = put_off.expect_err("one at a time");
            assert_eq!((put_off.code, put_off.enhanced), (452, "4.5.3"), "{from:?} {both:?}");
        }
        provider.relay(from, &[BRUNO.address], &ordinary(&[BRUNO.address])).await.expect("taken");
        let refused = provider.relay(from, &[CARLA.address], &ordinary(&[CARLA.address])).await;
        assert_eq!(refused.expect_err("certified mail only").code, 550);
    }
    provider.settle().await;
    assert!(provider.queued().await.is_empty());
    let journal = provider.journal().await;
    assert!(!journal.iter().any(|(_, record)| record.event == "undeliverable"));
    provider.stop().await;
}

/// What she sends to an ordinary address, nobody certifies to have failed.
#[tokio::test(flavor = "multi_thread")]
async fn who_wants_certified_mail_only_still_hears_that_her_own_message_failed() {
    let provider = with_carla_refusing().await;
    let message = written(CARLA.address, STRANGER, "", "ciao");
    provider.submit(CARLA, &[STRANGER], &message).await.expect("taken");
    provider.settle().await;
    let envelope = provider.queued_letters().await.pop().expect("the envelope");
    let id = envelope.data().facts.identifier.as_str().to_owned();
    let report = |id: &str| {
        format!(
            "From: mailer-daemon@posta.example\r\nTo: {}\r\nSubject: Undeliverable\r\n\
             Date: Sat, 28 Nov 2026 10:00:00 +0100\r\nMessage-ID: <r-{id}>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n\
             --x\r\n\r\nUser unknown\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; mx.posta.example\r\n\r\nFinal-Recipient: rfc822; {STRANGER}\r\n\
             Action: failed\r\nStatus: 5.1.1\r\n\r\n--x\r\nContent-Type: text/rfc822-headers\r\n\r\n\
             Message-ID: <{id}>\r\n\r\n--x--\r\n",
            CARLA.address
        )
    };
    let to = [CARLA.address];
    let from_somebody = provider.relay(STRANGER, &to, report(&id).as_bytes()).await;
    assert_eq!(from_somebody.expect_err("no report").code, 550);
    let other = provider.relay("", &to, report("altro@pec.beta.example").as_bytes()).await;
    assert_eq!(other.expect_err("about nothing of hers").code, 550);
    provider.relay("", &to, report(&id).as_bytes()).await.expect("she awaits it");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(CARLA).await), ["accettazione", "errore"]);
    provider.stop().await;
}
