//! What comes from other servers and is not certified (RFC 6109 §2.2.2, §3.2.2).

use crate::{
    assert_reply,
    support::wait_until,
    wire::Wire,
    world::{HONEST, User, trial},
};

/// Relays `message` as it is; it must end in CR LF.
fn relay(wire: &mut Wire, sender: &str, recipient: &str, message: &[u8]) -> String {
    assert_reply(&wire.say(format!("MAIL FROM:<{sender}>")), "250 2.1.0", "MAIL");
    assert_reply(&wire.say(format!("RCPT TO:<{recipient}>")), "250 2.1.5", "RCPT");
    assert_reply(&wire.say("DATA"), "354", "DATA");
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.send(b".");
        }
        wire.send(line);
    }
    wire.say(".")
}

#[test]
fn ordinary_mail_arrives_in_an_anomaly_envelope() {
    trial(|world| {
        let anna = world.address(User::Anna);
        let messages = [
            ("ordinaria", "text/plain\r\n\r\ntesto\r\n".to_owned()),
            // Headers alone certify nothing.
            ("travestita", "text/plain\r\nX-Trasporto: posta-certificata\r\n\r\ntesto\r\n".into()),
            (
                "firma-finta",
                "multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=f\r\n\
                 X-Trasporto: posta-certificata\r\n\r\n--f\r\n\r\ntesto\r\n--f\r\n\
                 Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n\
                 MIIBBg==\r\n--f--\r\n"
                    .into(),
            ),
        ];
        for (subject, rest) in messages {
            let message = format!(
                "From: io@altrove.example\r\nTo: {anna}\r\nSubject: {subject}\r\n\
                 Message-ID: <{subject}@altrove.example>\r\nContent-Type: {rest}"
            );
            let mut wire = world.relay(HONEST);
            let reply = relay(&mut wire, "io@altrove.example", &anna, message.as_bytes());
            assert_reply(&reply, "250 2.0.0", subject);
            world.expect(User::Anna, format!("X-Trasporto: errore ANOMALIA MESSAGGIO: {subject}"));
        }
    });
}

#[test]
fn a_transport_envelope_with_one_octet_changed_is_an_anomaly_and_a_repeated_one_is_nothing() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let id = "manomessa";
        let before = world.count(User::Anna);
        let mut wire = world.logged_in();
        let message = format!("{}\r\nSi pagano 1000 euro.\r\n", world.header(id));
        let reply = crate::notices::submit(&mut wire, &mario, &[&anna], &message);
        assert_reply(&reply, "250 2.0.0", id);
        world.expect_exchange(id);
        wait_until("the envelope is delivered", || world.count(User::Anna) > before);
        let mut wire = world.imap(User::Anna);
        wire.imap("EXAMINE INBOX");
        let envelope = wire.imap_literal("FETCH * BODY.PEEK[]");
        let service = "posta-certificata@alfa.example";

        let mut wire = world.relay(HONEST);
        assert_reply(&relay(&mut wire, service, &anna, &envelope), "250 2.0.0", "a repeat");

        let place = envelope
            .windows(4)
            .position(|window| window == b"1000")
            .expect("the sum stands in the signed part");
        for (at, octet, what) in [(place, b'9', "text"), (place + 3, b'1', "another octet")] {
            let mut changed = envelope.clone();
            changed[at] = octet;
            let reply = relay(&mut wire, service, &anna, &changed);
            assert_reply(&reply, "250 2.0.0", what);
            let subject = format!("ANOMALIA MESSAGGIO: POSTA CERTIFICATA: {id}");
            world.expect(User::Anna, format!("X-Trasporto: errore {subject}"));
        }
    });
}
