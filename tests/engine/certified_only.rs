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

/// A report is never answered (RFC 3461 §6): what it was for is in the journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_one_of_two_does_not_take_is_journalled_and_answered_by_nothing() {
    let provider = with_carla_refusing().await;
    let both = [BRUNO.address, CARLA.address];
    provider.relay("", &both, &ordinary(&both)).await.expect("taken");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore"]);
    assert!(provider.queued().await.is_empty());
    let journal = provider.journal().await;
    let lost = journal.iter().find(|(_, record)| record.event == "undeliverable");
    let (_, lost) = lost.expect("a record");
    assert_eq!(
        (&lost.recipients[..], lost.detail.as_str()),
        (&[CARLA.address.to_owned()][..], "CertifiedMailOnly")
    );
    provider.stop().await;
}
