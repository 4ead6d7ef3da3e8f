//! Our client against our server, and against servers that break every rule.

#![allow(missing_docs)]

mod support;

use std::{sync::Arc, time::Duration};

use openssl::{sha::sha256, x509::X509};
use protocols::{
    net::{
        dane::{DaneCheck, TlsaRecord},
        tls::TlsClient,
    },
    smtp::{
        client::{
            ClientSettings, ConnectError, Interrupted, Outcome, OutgoingDsn, SmtpConnection,
            TlsPolicy,
        },
        grammar::{EnvelopeId, Notify, OriginalRecipient, Ret},
        server::ServerSettings,
        transport::RecipientDsn,
    },
};
use support::{
    certificates,
    post::{Door, OCTETS_MAX, Office, open, open_with, settings},
    servers::{
        Pieces, SOON,
        Step::{self, Close, Hear, HearData, Say, Sleep},
        client, codes, fake, message, server,
    },
};
use tokio::{io::AsyncWriteExt, net::TcpListener, time::timeout};
use trust::clock::UnixMillis;

async fn connect_to(port: u16, tls: &TlsPolicy) -> Result<SmtpConnection, ConnectError> {
    SmtpConnection::connect(&client(), &[server(port, tls)]).await
}

async fn connected(office: &Office, tls: TlsPolicy) -> SmtpConnection {
    connect_to(office.address.port(), &tls).await.unwrap()
}

/// RFC 6531 §3.2.
#[tokio::test]
async fn an_address_outside_ascii_goes_with_smtputf8_or_not_at_all() {
    let office = open(Door::Relay, settings()).await;
    let mut connection = connected(&office, TlsPolicy::Never).await;
    let (outgoing, mut source) = message("", &["josé@one.example"], b"Subject: x\r\n\r\n");
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["taken 250"]);
    let taken = office.post.taken().pop().unwrap();
    assert_eq!(taken.envelope.forward_paths, ["josé@one.example"]);
    assert!(taken.envelope.smtp_utf8);
    let (outgoing, mut source) = message("", &["jose@one.example"], b"Subject: x\r\n\r\n");
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["taken 250"]);
    assert!(!office.post.taken().pop().unwrap().envelope.smtp_utf8);

    // Submission offers no SMTPUTF8.
    let office = open(Door::SubmissionStartTls, settings()).await;
    let mut connection = connected(&office, TlsPolicy::Never).await;
    let (outgoing, mut source) = message("", &["josé@one.example"], b"Subject: x\r\n\r\n");
    let outcomes = connection.send(&outgoing, &mut source).await;
    let Outcome::Refused(reply) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!((reply.code, reply.enhanced.as_deref()), (553, Some("5.6.7")));
    assert!(connection.is_usable());
}

#[tokio::test]
async fn every_recipient_gets_his_own_outcome_and_the_connection_is_used_again() {
    let office = open(Door::Relay, settings()).await;
    let tls = TlsClient::verified_by(&office.made.authority).unwrap();
    for policy in [TlsPolicy::Never, TlsPolicy::Required(tls)] {
        let mut connection = connected(&office, policy).await;
        let to = ["a@one.example", "refused@one.example", "later@one.example", "Postmaster"];
        let text = "Subject: caff\u{e8}\r\n\r\n.dot\r\n..\r\n";
        let (outgoing, mut source) = message("x@two.example", &to, text.as_bytes());
        let outcomes = connection.send(&outgoing, &mut source).await;
        assert_eq!(codes(&outcomes), ["taken 250", "refused 550", "put off 451", "taken 250"]);
        assert!(matches!(&outcomes[1], Outcome::Refused(reply)
            if reply.enhanced.as_deref() == Some("5.7.1")));
        let taken = office.post.taken().pop().unwrap();
        assert_eq!(taken.octets, text.as_bytes());
        assert_eq!(taken.envelope.forward_paths, ["a@one.example", "Postmaster"]);
        assert_eq!(taken.envelope.declared_size, Some(text.len() as u64));
        assert!(taken.envelope.eight_bit);
        // A transaction that nobody takes, then one that is taken, on the same connection.
        let (outgoing, mut source) = message("", &["refused@one.example"], b"x\r\n");
        assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["refused 550"]);
        let (outgoing, mut source) = message("refused@x.example", &["a@one.example"], b"x\r\n");
        assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["refused 550"]);
        let (outgoing, mut source) = message("nodata@x.example", &["a@one.example"], b"x\r\n");
        assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["put off 452"]);
        let (outgoing, mut source) = message("badend@x.example", &["a@one.example"], b"x\r\n");
        assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["refused 554"]);
        let (outgoing, mut source) = message("", &["a@one.example"], b"last");
        assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["taken 250"]);
        assert_eq!(office.post.taken().pop().unwrap().octets, b"last\r\n");
        assert!(connection.is_usable());
        connection.quit().await;
    }
    assert_eq!(office.post.taken()[0].peer.tls, None);
    assert!(office.post.taken()[2].peer.tls.as_ref().unwrap().starts_with("TLSv1.3"));
}

#[tokio::test]
async fn more_recipients_than_a_server_takes_are_put_off_in_groups() {
    let office = open(Door::RelayClear, settings()).await;
    let mut connection = connected(&office, TlsPolicy::Never).await;
    let paths: Vec<String> = (0..130).map(|number| format!("r{number}@one.example")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (outgoing, mut source) = message("x@two.example", &paths, b"x\r\n");
    let outcomes = codes(&connection.send(&outgoing, &mut source).await);
    assert!(outcomes[..100].iter().all(|outcome| outcome == "taken 250"));
    assert!(outcomes[100..].iter().all(|outcome| outcome == "put off 452"));
    assert_eq!(office.post.taken()[0].envelope.forward_paths[99], "r99@one.example");
}

#[tokio::test]
async fn what_the_server_cannot_take_is_not_sent() {
    let office = open(Door::RelayClear, settings()).await;
    let mut connection = connected(&office, TlsPolicy::Never).await;
    let (mut outgoing, mut source) = message("x@two.example", &["a@one.example"], b"x\r\n");
    outgoing.octets = OCTETS_MAX + 1;
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["refused 552"]);
    // The connection is as it was, and a bare line end closes it without ending the message.
    let smuggling = b"Subject: x\r\n\r\nbody\n.\r\nMAIL FROM:<ceo@one.example>\r\n";
    let (outgoing, mut source) = message("x@two.example", &["a@one.example"], smuggling);
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["refused 554"]);
    assert!(!connection.is_usable());
    let (outgoing, mut source) = message("x@two.example", &["a@one.example"], b"x\r\n");
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["not sent"]);
    assert!(office.post.taken().is_empty());
}

#[tokio::test]
async fn a_large_message_arrives_whole_and_a_failing_source_sends_nothing() {
    let lax = ServerSettings { header_octets_max: 100 << 20, ..settings() };
    let office = open_with(Door::Relay, lax, 100 << 20).await;
    let policy = TlsPolicy::Opportunistic(TlsClient::opportunistic().unwrap());
    let mut connection = connected(&office, policy).await;
    assert!(connection.tls_description().is_some());
    let (mut outgoing, _) = message("x@two.example", &["a@one.example"], b"");
    outgoing.octets = 100 * 65_000;
    let outcomes = connection.send(&outgoing, &mut Pieces { left: 100, fails: false }).await;
    assert_eq!(codes(&outcomes), ["taken 250"]);
    let octets = office.post.taken().remove(0).octets;
    assert_eq!(octets.len(), 6_500_000);
    assert!(octets.chunks(1_000).all(|line| line[..998].iter().all(|octet| *octet == b'.')));
    let outcomes = connection.send(&outgoing, &mut Pieces { left: 3, fails: true }).await;
    assert!(matches!(&outcomes[0], Outcome::NotSent(Interrupted::Source { .. })));
    assert!(!connection.is_usable());
    assert_eq!(office.post.taken().len(), 1);
}

#[tokio::test]
async fn tls_is_had_as_the_policy_wants_it() {
    let clear = open(Door::RelayClear, settings()).await;
    let relay = open(Door::Relay, settings()).await;
    let stranger = certificates();
    let required = TlsPolicy::Required(TlsClient::verified_by(&stranger.authority).unwrap());
    let to_clear = connect_to(clear.address.port(), &required).await;
    assert!(matches!(to_clear, Err(ConnectError::TlsNotOffered { .. })));
    let to_relay = connect_to(relay.address.port(), &required).await;
    assert!(matches!(to_relay, Err(ConnectError::Tls { .. })));
    // What DNS says of the server: the record of its own key, and of another's.
    let own = X509::stack_from_pem(&relay.made.chain).unwrap().remove(0);
    let other = X509::stack_from_pem(&stranger.chain).unwrap().remove(0);
    for (certificate, known) in [(own, true), (other, false)] {
        let key = certificate.public_key().unwrap().public_key_to_der().unwrap();
        let record = TlsaRecord { usage: 3, selector: 1, matching: 1, data: sha256(&key).to_vec() };
        let check = DaneCheck::new(vec![record], Vec::new(), UnixMillis(0)).unwrap();
        let pinned = TlsPolicy::Required(TlsClient::opportunistic().unwrap().with_dane(check));
        match connect_to(relay.address.port(), &pinned).await {
            Ok(connection) => assert_eq!((known, connection.assurance()), (true, Some("dane"))),
            Err(error) => assert!(!known && error.is_policy(), "{error}"),
        }
    }
    // Opportunistic: in the clear where TLS is not offered, and where its handshake fails.
    let policy = TlsPolicy::Opportunistic(TlsClient::opportunistic().unwrap());
    assert_eq!(connected(&clear, policy.clone()).await.tls_description(), None);
    let broken = fake(&[
        Say("220 x"),
        Hear("EHLO"),
        Say("250-x\r\n250 STARTTLS"),
        Hear("STARTTLS"),
        Say("220 go"),
        Close,
        Say("220 x"),
        Hear("EHLO"),
        Say("250 x"),
    ])
    .await;
    let connection = connect_to(broken, &policy).await.unwrap();
    assert_eq!(connection.tls_description(), None);
}

#[tokio::test]
async fn hosts_are_tried_in_their_order() {
    let office = open(Door::RelayClear, settings()).await;
    // A port that nobody listens on, and a server that wants nobody.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let unwilling = fake(&[Say("554 5.3.2 go away")]).await;
    let servers =
        [nobody, unwilling, office.address.port()].map(|port| server(port, &TlsPolicy::Never));
    let settings = client();
    let connection = SmtpConnection::connect(&settings, &servers).await.unwrap();
    assert_eq!(connection.host(), &servers[2].host);
    // Every address of one server is tried before the next server.
    let mut moved = server(office.address.port(), &TlsPolicy::Never);
    moved.addresses.insert(0, servers[0].addresses[0]);
    SmtpConnection::connect(&settings, &[moved]).await.unwrap();
    let unwilling = fake(&[Say("554 5.3.2 go away"), Close, Say("554 5.3.2 go away")]).await;
    let refused = connect_to(unwilling, &TlsPolicy::Never).await.unwrap_err();
    assert!(refused.is_permanent() && refused.to_string().contains("go away"), "{refused}");
    let unreachable = SmtpConnection::connect(&settings, &servers[..1]).await.unwrap_err();
    assert!(!unreachable.is_permanent());
    // One that does not answer may serve us next time.
    let servers = [servers[0].clone(), server(unwilling, &TlsPolicy::Never)];
    let refused = SmtpConnection::connect(&settings, &servers).await.unwrap_err();
    assert!(!refused.is_permanent(), "{refused}");
    let none = SmtpConnection::connect(&settings, &[]).await.unwrap_err();
    assert!(matches!(none, ConnectError::NoHost));
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_keeps_nobody_from_the_next() {
    let office = open(Door::RelayClear, settings()).await;
    let silent = fake(&[Sleep]).await;
    let quick = Duration::from_millis(300);
    let settings = Arc::new(ClientSettings {
        reply_time_max: SOON,
        address_time_max: quick,
        ..ClientSettings::clone(&client())
    });
    let servers = [silent, office.address.port()].map(|port| server(port, &TlsPolicy::Never));
    let connecting = SmtpConnection::connect(&settings, &servers);
    let connection = timeout(SOON / 2, connecting).await.unwrap().unwrap();
    assert_eq!(connection.host(), &servers[1].host);
    // The servers share the time that there is, however long each may take.
    let silent = fake(&[Sleep]).await;
    let settings = Arc::new(ClientSettings {
        address_time_max: SOON,
        servers_time_max: quick,
        ..ClientSettings::clone(&settings)
    });
    let servers = [silent, office.address.port()].map(|port| server(port, &TlsPolicy::Never));
    let connecting = SmtpConnection::connect(&settings, &servers);
    let connection = timeout(SOON / 2, connecting).await.unwrap().unwrap();
    assert_eq!(connection.host(), &servers[1].host);
}

#[tokio::test]
async fn where_tls_is_required_a_refusal_in_the_clear_is_never_for_good() {
    let table: [&'static [Step]; 3] = [
        &[Say("554 5.3.2 go away")],
        &[Say("220 x"), Hear("EHLO"), Say("550 5.7.1 not you")],
        &[
            Say("220 x"),
            Hear("EHLO"),
            Say("250-x"),
            Say("250 STARTTLS"),
            Hear("STARTTLS"),
            Say("554 no"),
        ],
    ];
    let tls = TlsPolicy::Required(TlsClient::opportunistic().unwrap());
    for steps in table {
        let refused = connect_to(fake(steps).await, &tls).await.unwrap_err();
        assert!(refused.is_policy() && !refused.is_permanent(), "{steps:?}: {refused}");
        assert!(refused.to_string().contains("before TLS"), "{refused}");
    }
}

#[tokio::test]
async fn what_a_server_says_unasked_is_no_reply_to_the_next_message() {
    let port = fake(until_data![
        Say("354 go"),
        HearData,
        Say("250 ok"),
        Say("451 4.4.2 idle for too long"),
        Sleep
    ])
    .await;
    let mut connection = connect_to(port, &TlsPolicy::Never).await.unwrap();
    let (outgoing, mut source) = message("x@two.example", &["a@one.example"], b"x\r\n");
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["taken 250"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (outgoing, mut source) = message("x@two.example", &["b@one.example"], b"x\r\n");
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["not sent"]);
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn a_reply_in_the_middle_of_the_data_is_that_of_the_message_and_ends_the_connection() {
    let port = fake(until_data![Say("354 go"), Say("552 5.3.4 too large"), HearData, Say("250 x")]);
    let mut connection = connect_to(port.await, &TlsPolicy::Never).await.unwrap();
    let octets = b"x\r\n".repeat(1 << 20);
    let (outgoing, mut source) = message("x@two.example", &["a@one.example"], &octets);
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["refused 552"]);
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn a_reply_of_many_words_is_kept_and_shown_in_part() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let line = "a".repeat(3_000);
        let text = format!("{}554 {line}\r\n", format!("554-{line}\r\n").repeat(100));
        stream.write_all(text.as_bytes()).await.unwrap();
        tokio::time::sleep(SOON).await;
    });
    let refused = connect_to(port, &TlsPolicy::Never).await.unwrap_err();
    let ConnectError::Refused { reply, .. } = &refused else { panic!("{refused}") };
    assert!(reply.lines.iter().map(String::len).sum::<usize>() <= 8_192);
    assert!(refused.is_permanent() && refused.to_string().len() < 1_000);
}

#[tokio::test]
async fn an_outcome_says_whether_sending_again_can_double() {
    let table: [(&'static [Step], &str); 13] = [
        (until_data![Say("354 go"), HearData, Say("250 ok")], "taken 250"),
        (until_data![Say("354 go"), HearData, Say("451 no")], "put off 451"),
        (until_data![Say("354 go"), HearData, Say("354 what")], "put off 354"),
        (until_data![Say("354 go"), HearData, Say("421-bye"), Say("421 now")], "put off 421"),
        // The reply that is dropped, that is late, and that cannot be understood.
        (until_data![Say("354 go"), HearData], "unknown"),
        (until_data![Say("354 go"), HearData, Sleep], "unknown"),
        (until_data![Say("354 go"), HearData, Say("certainly")], "unknown"),
        (until_data![Say("354 go"), HearData, Say("250-ok"), Say("550 no")], "unknown"),
        // Before the data is whole nothing can double.
        (until_data![], "not sent"),
        (until_data![Sleep], "not sent"),
        (until_data![Say("250 ok")], "not sent"),
        (until_data![Say("552 full")], "refused 552"),
        (until_data![Say("451 full")], "put off 451"),
    ];
    for (steps, expected) in table {
        let port = fake(steps).await;
        let mut connection = connect_to(port, &TlsPolicy::Never).await.unwrap();
        let (outgoing, mut source) = message("x@two.example", &["a@one.example"], b"x\r\n");
        let outcomes = timeout(SOON, connection.send(&outgoing, &mut source)).await.unwrap();
        assert_eq!(codes(&outcomes), [expected], "{steps:?}: {outcomes:?}");
    }
}

#[tokio::test]
async fn a_server_without_extensions_gets_plain_commands_and_old_codes_are_understood() {
    let port = fake(&[
        Say("220 x"),
        Hear("EHLO"),
        Say("500 what"),
        Hear("HELO mail.two.example"),
        Say("250 x"),
        Hear("MAIL FROM:<x@two.example>\r\n"),
        Say("250 ok"),
        Hear("RCPT TO:<a@one.example>"),
        Say("250 ok"),
        Hear("RCPT TO:<b@one.example>"),
        Say("552 too many"),
        Hear("DATA"),
        Say("354 go"),
        HearData,
        Say("250 ok"),
        Hear("QUIT"),
        Say("221 bye"),
    ])
    .await;
    let mut connection = connect_to(port, &TlsPolicy::Never).await.unwrap();
    let to = ["a@one.example", "b@one.example"];
    let (outgoing, mut source) = message("x@two.example", &to, b"x\r\n");
    let outcomes = connection.send(&outgoing, &mut source).await;
    assert_eq!(codes(&outcomes), ["taken 250", "put off 552"]);
    // What it does not take in 8 bits is not converted.
    let (outgoing, mut source) = message("x@two.example", &to[..1], "\u{e8}\r\n".as_bytes());
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["refused 554"]);
    connection.quit().await;
}

#[tokio::test]
async fn replies_without_end_and_injected_before_tls_are_not_believed() {
    let endless = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = endless.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = endless.accept().await.unwrap();
        let mut written = 0_usize;
        while written < 50 << 20 && stream.write_all(b"220-x\r\n").await.is_ok() {
            written += 7;
        }
        written
    });
    let refused = connect_to(port, &TlsPolicy::Never).await.unwrap_err();
    assert!(matches!(
        refused,
        ConnectError::Interrupted { cause: Interrupted::BadReply { .. }, .. }
    ));
    assert!(timeout(SOON, server).await.unwrap().unwrap() < 50 << 20);
    let injecting = fake(&[
        Say("220 x"),
        Hear("EHLO"),
        Say("250-x\r\n250 STARTTLS"),
        Hear("STARTTLS"),
        Say("220 go\r\n250-x\r\n250 SIZE 1"),
    ])
    .await;
    let made = certificates();
    let required = TlsPolicy::Required(TlsClient::verified_by(&made.authority).unwrap());
    let refused = connect_to(injecting, &required).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Interrupted { .. }), "{refused}");
}

#[tokio::test]
async fn what_the_sender_asks_to_be_told_reaches_servers_that_tell() {
    let asked = OutgoingDsn {
        ret: Some(Ret::Headers),
        envelope_id: EnvelopeId::from_text("prova+1"),
        recipients: vec![
            RecipientDsn {
                notify: Notify::On { success: true, failure: true, delay: false },
                original: OriginalRecipient::from_text("rfc822;anna@two.example"),
            },
            RecipientDsn::default(),
        ],
    };
    let office = open(Door::RelayClear, settings()).await;
    let mut connection = connected(&office, TlsPolicy::Never).await;
    assert!(connection.extensions().dsn);
    let to = ["a@one.example", "b@one.example"];
    let (mut outgoing, mut source) = message("x@two.example", &to, b"x\r\n");
    outgoing.dsn = Some(asked.clone());
    let outcomes = connection.send(&outgoing, &mut source).await;
    assert_eq!(codes(&outcomes), ["taken 250", "taken 250"]);
    let taken = office.post.taken().remove(0).envelope.dsn;
    assert_eq!((taken.ret, taken.envelope_id), (asked.ret, asked.envelope_id.clone()));
    assert_eq!(taken.recipients, asked.recipients);
    // Others would answer 555 to it.
    let silent = fake(&[
        Say("220 x"),
        Hear("EHLO"),
        Say("250-x\r\n250 8BITMIME"),
        Hear("MAIL FROM:<x@two.example>\r\n"),
        Say("250 ok"),
        Hear("RCPT TO:<a@one.example>\r\n"),
        Say("250 ok"),
        Hear("DATA"),
        Say("354 go"),
        HearData,
        Say("250 ok"),
    ])
    .await;
    let mut connection = connect_to(silent, &TlsPolicy::Never).await.unwrap();
    let (mut outgoing, mut source) = message("x@two.example", &to[..1], b"x\r\n");
    outgoing.dsn = Some(asked);
    assert_eq!(codes(&connection.send(&outgoing, &mut source).await), ["taken 250"]);
}
