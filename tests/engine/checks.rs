//! Checks of ordinary mail at the incoming point: whom they concern, and what the holder sees.

use std::sync::Arc;

use ceralacca::{
    config::{Config, DnsSettings, OrdinaryMailSettings, units::Millis},
    names::Names,
    ordinary_mail::OrdinaryMailChecks,
    pec::incoming_point::IncomingPoint,
};

use crate::{
    letter::{kinds, written},
    name_server::{NameServer, Signing, Wrong, WrongServer, Zone},
    network::{ANNA, Foreign, GAMMA, keys},
    provider::{BRUNO, Provider},
};

const STRANGER: &str = "ospite@posta.example";

/// Beta, asking `server` about the senders of ordinary mail.
async fn checking(
    server: std::net::SocketAddr,
    change: impl FnOnce(&mut OrdinaryMailSettings),
) -> Provider {
    let names = Names::open(&DnsSettings {
        servers: vec![server],
        timeout: Millis::seconds(5),
        ..Config::default().dns
    });
    let mut settings = Config::default().ordinary_mail;
    change(&mut settings);
    let mut provider = Provider::start().await;
    let checks =
        OrdinaryMailChecks::new(&settings, &names.expect("names"), provider.engine.host_name());
    provider.incoming_point = IncomingPoint::new(Arc::clone(&provider.engine)).with_checks(checks);
    provider
}

fn ordinary() -> Vec<u8> {
    written(STRANGER, BRUNO.address, "", "una riga\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_domain_of_the_sender_disowns_is_refused_and_leaves_nothing() {
    let reject = "_dmarc TXT \"v=DMARC1; p=reject\"\n@ TXT \"v=spf1 -all\"\n";
    let server = NameServer::start(&[Zone::new("posta.example", Signing::Unsigned, reject)]);
    let provider = checking(server.address, |_| {}).await;
    let refusal = provider.relay(STRANGER, &[BRUNO.address], &ordinary()).await;
    let refusal = refusal.expect_err("disowned");
    assert_eq!((refusal.code, refusal.enhanced), (550, "5.7.26"));
    assert!(refusal.text.contains("posta.example"), "{refusal}");
    provider.settle().await;
    assert!(provider.journal().await.is_empty());
    assert!(provider.rows(BRUNO).await.is_empty());
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_stand_on_top_of_the_envelope_and_the_message_keeps_its_octets() {
    let allow = "@ TXT \"v=spf1 ip4:127.0.0.1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"\n";
    let server = NameServer::start(&[Zone::new("posta.example", Signing::Unsigned, allow)]);
    let provider = checking(server.address, |_| {}).await;
    let forged =
        "Authentication-Results: mail.beta.example; dmarc=fail header.from=banca.example\r\n";
    let message = written(STRANGER, BRUNO.address, forged, "una riga\r\n");
    provider.relay(STRANGER, &[BRUNO.address], &message).await.expect("taken");
    provider.settle().await;
    let letters = provider.inbox(BRUNO).await;
    assert_eq!(kinds(&letters), ["errore"]);
    let octets = String::from_utf8_lossy(&letters[0].octets).into_owned();
    assert!(
        octets.starts_with("Authentication-Results: mail.beta.example;\r\n\tspf=pass"),
        "{octets}"
    );
    let (header, _) = octets.split_once("\r\n\r\n").expect("a header");
    assert!(header.contains("dmarc=pass header.from=posta.example"), "{header}");
    assert_eq!(header.matches("Authentication-Results").count(), 1, "{header}");
    let included = letters[0].included().expect("the message");
    assert!(included.ends_with(&message), "as received, the forged field too");
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_has_signed_is_never_checked() {
    let dead = WrongServer::start(Wrong::Refuses);
    let patient = |settings: &mut OrdinaryMailSettings| settings.defer_on_dns_failure = true;
    let provider = checking(dead.address, patient).await;
    let to = [BRUNO.address];
    let refusal = provider.relay(STRANGER, &to, &ordinary()).await.expect_err("DNS is dead");
    assert_eq!((refusal.code, refusal.enhanced), (451, "4.4.3"));
    let asked = dead.questions();
    assert!(asked > 0);
    provider.relay(ANNA, &to, &Foreign::alfa().envelope(&to, "ciao")).await.expect("certified");
    // Alfa's certificate may not speak in the name of Gamma: malformed, and still a provider's.
    let malformed = Foreign::new(GAMMA, &keys().alfa).envelope(&to, "ciao di nuovo");
    provider.relay(ANNA, &to, &malformed).await.expect("propagated");
    provider.settle().await;
    assert_eq!(dead.questions(), asked, "nothing was asked about a provider");
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["errore", "posta-certificata"]);
    provider.stop().await;
}
