//! The filter of ordinary mail: a real `rspamd`, whom it concerns, and what holds while it is gone.

use std::{sync::Arc, time::Duration};

use ceralacca::{
    config::HostPort,
    content::{Checker, ContentCheck as _, Turns, rspamd::Rspamd as RspamdClient},
    pec::{
        content::{SpamFilter, WhenUnavailable},
        incoming_point::IncomingPoint,
    },
};

use crate::{
    checkers::Rspamd,
    letter::{kinds, written},
    network::{ANNA, Foreign, GAMMA, keys},
    ports,
    provider::{BRUNO, Provider},
};

const STRANGER: &str = "ospite@posta.example";
const OCTETS_MAX: u64 = 100_000;

fn client(port: u16) -> RspamdClient {
    let seconds = Duration::from_secs;
    RspamdClient::new(HostPort::new("127.0.0.1", port), seconds(5), seconds(60), OCTETS_MAX)
}

/// Beta, asking the `rspamd` at `port`.
async fn filtering(port: u16, when_unavailable: WhenUnavailable) -> Provider {
    let mut provider = Provider::start().await;
    let turns = Turns::new(4, Duration::from_mins(1));
    let checker = Arc::new(Checker::new(Box::new(client(port)), turns));
    let filter = SpamFilter { checker, when_unavailable };
    provider.incoming_point = IncomingPoint::new(Arc::clone(&provider.engine)).with_filter(filter);
    provider
}

fn ordinary(body: &str) -> Vec<u8> {
    written(STRANGER, BRUNO.address, "", body)
}

async fn started() -> Rspamd {
    let [port] = ports::free();
    tokio::task::spawn_blocking(move || Rspamd::start(port)).await.expect("started")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_filter_makes_of_ordinary_mail_is_obeyed_or_stands_on_the_envelope() {
    let mut rspamd = started().await;
    let provider = filtering(rspamd.port, WhenUnavailable::Defer).await;
    let relay = async |message: Vec<u8>| provider.relay(STRANGER, &[BRUNO.address], &message).await;
    let refused = relay(ordinary("prova-rifiuto")).await.expect_err("refused");
    assert_eq!((refused.code, refused.enhanced), (550, "5.7.1"));
    let later = relay(ordinary("prova-attesa")).await.expect_err("later");
    assert_eq!((later.code, later.enhanced), (451, "4.7.1"));
    assert!(provider.journal().await.is_empty());
    relay(ordinary("prova-segno")).await.expect("taken");
    relay(ordinary("una riga")).await.expect("taken");
    relay(ordinary(&"una riga\r\n".repeat(20_000))).await.expect("taken");
    // A provider's signature says more, whatever its form.
    let to = [BRUNO.address];
    provider
        .relay(ANNA, &to, &Foreign::alfa().envelope(&to, "prova-rifiuto"))
        .await
        .expect("taken");
    let malformed = Foreign::new(GAMMA, &keys().alfa).envelope(&to, "prova-rifiuto");
    provider.relay(ANNA, &to, &malformed).await.expect("propagated");
    provider.settle().await;
    let letters = provider.inbox(BRUNO).await;
    assert_eq!(kinds(&letters), ["errore", "errore", "errore", "errore", "posta-certificata"]);
    let mut said: Vec<String> =
        letters.iter().filter_map(|letter| letter.header.text("X-Spam-Status")).collect();
    said.sort();
    assert_eq!(
        said,
        [
            "No, score=0.00 required=15.00",
            "Unknown, too large to be checked",
            "Yes, score=7.00 required=15.00 action=\"add header\"",
        ]
    );
    let health = client(rspamd.port).health().await.expect("it answers");
    assert_eq!(health.version, "rspamd");
    rspamd.kill();
    provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_filter_is_gone_ordinary_mail_waits_or_says_so() {
    let [port] = ports::free();
    let provider = filtering(port, WhenUnavailable::Defer).await;
    let to = [BRUNO.address];
    let refused = provider.relay(STRANGER, &to, &ordinary("una riga")).await.expect_err("gone");
    assert_eq!((refused.code, refused.enhanced), (451, "4.7.0"));
    provider.relay(ANNA, &to, &Foreign::alfa().envelope(&to, "ciao")).await.expect("certified");
    provider.settle().await;
    assert_eq!(kinds(&provider.inbox(BRUNO).await), ["posta-certificata"]);
    provider.stop().await;

    let provider = filtering(port, WhenUnavailable::Accept).await;
    provider.relay(STRANGER, &to, &ordinary("una riga")).await.expect("taken");
    provider.settle().await;
    let [letter] = &provider.inbox(BRUNO).await[..] else { panic!("one message") };
    let said = letter.header.text("X-Spam-Status");
    assert_eq!(said.as_deref(), Some("Unknown, the filter did not answer"));
    provider.stop().await;
}
