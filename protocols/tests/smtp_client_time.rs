//! Servers that take their time over a message, each step by itself or all together.

#![allow(missing_docs)]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use protocols::smtp::client::{
    ClientSettings, Interrupted, MessageSource, Outcome, SmtpConnection, TlsPolicy, WholeMessage,
};
use support::servers::{
    Pieces, SOON,
    Step::{Dawdle, Drip, Hear, HearData, Say, Sleep},
    client, codes, fake, message, server,
};
use tokio::time::timeout;

#[tokio::test]
async fn a_server_that_reads_nothing_is_given_up() {
    let server = server(fake(until_data![Say("354 go"), Sleep]).await, &TlsPolicy::Never);
    let mut connection = SmtpConnection::connect(&client(), &[server]).await.unwrap();
    let (outgoing, _) = message("x@two.example", &["a@one.example"], b"");
    let mut source = Pieces { left: 1_000, fails: false };
    let outcomes = timeout(SOON, connection.send(&outgoing, &mut source)).await.unwrap();
    assert!(matches!(outcomes[0], Outcome::NotSent(Interrupted::TimeOut { .. })), "{outcomes:?}");
    assert!(source.left > 0, "everything was read though nothing was taken");
}

/// A client that gives a whole message a second and a half.
fn hurried() -> Arc<ClientSettings> {
    Arc::new(ClientSettings {
        transaction_time_max: Duration::from_millis(1_500),
        recipient_time: Duration::ZERO,
        octets_per_second_min: u64::MAX,
        ..ClientSettings::clone(&client())
    })
}

async fn send_hurriedly(port: u16, to: &[&str], source: &mut dyn MessageSource) -> Vec<Outcome> {
    let server = server(port, &TlsPolicy::Never);
    let mut connection = SmtpConnection::connect(&hurried(), &[server]).await.unwrap();
    let (outgoing, _) = message("x@two.example", to, b"");
    let outcomes = timeout(SOON, connection.send(&outgoing, source)).await.unwrap();
    let taken = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Taken(_)));
    assert_eq!(connection.is_usable(), taken, "{outcomes:?}");
    outcomes
}

#[tokio::test]
async fn a_server_that_takes_a_little_before_each_time_is_over_is_given_up() {
    let port = fake(until_data![Say("354 go"), Drip]).await;
    let mut source = Pieces { left: 10_000, fails: false };
    let outcomes = send_hurriedly(port, &["a@one.example"], &mut source).await;
    assert!(matches!(outcomes[0], Outcome::NotSent(Interrupted::TooSlow { .. })), "{outcomes:?}");
    // The envelope counts too.
    let port = fake(&[
        Say("220 x"),
        Hear("EHLO"),
        Say("250 x"),
        Hear("MAIL"),
        Say("250 ok"),
        Hear("RCPT"),
        Say("550 5.1.1 no"),
        Hear("RCPT"),
        Dawdle,
        Say("250 ok"),
        Hear("DATA"),
    ])
    .await;
    let mut source = WholeMessage(Bytes::from_static(b"x\r\n"));
    let outcomes = send_hurriedly(port, &["a@one.example", "b@one.example"], &mut source).await;
    assert_eq!(codes(&outcomes), ["refused 550", "not sent"]);
}

#[tokio::test]
async fn the_reply_to_the_end_of_data_has_all_its_time() {
    let steps = until_data![Say("354 go"), HearData, Dawdle, Say("250 ok")];
    let mut source = WholeMessage(Bytes::from_static(b"x\r\n"));
    let outcomes = send_hurriedly(fake(steps).await, &["a@one.example"], &mut source).await;
    assert_eq!(codes(&outcomes), ["taken 250"], "given up earlier, it would double");
}
