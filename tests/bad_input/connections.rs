//! Connections that do not do what connections do.

use crate::{
    assert_reply, rubbish,
    wire::Wire,
    world::{HONEST, User, trial},
};

/// Sources of those who open too many connections, and of those who send rubbish.
const CROWD: u8 = 40;
const NOISE: u8 = 41;

/// Connections that one source may have.
const CONNECTIONS_PER_SOURCE_MAX: usize = 64;

#[test]
fn half_closed_connections_are_answered_and_ended_and_half_a_message_is_none() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        world.exchange_honestly();
        let mut wire = world.relay(HONEST);
        wire.send("NOOP\r\nNOO");
        wire.half_close();
        let rest = wire.rest();
        assert_eq!(rest.lines().count(), 1, "{rest}");
        assert_reply(rest.trim_end(), "250 2.0.0", "the whole command is answered");

        let header = world.header("mezzo");
        for octets in ["", "\r\ntesto", "\r\ntesto\r\n", "\r\ntesto\r\n.", "\r\ntesto\r\n.\r"] {
            for mut wire in [world.logged_in(), world.relay(HONEST)] {
                wire.say(format!("MAIL FROM:<{mario}>"));
                wire.say(format!("RCPT TO:<{anna}>"));
                assert_reply(&wire.say("DATA"), "354", "DATA");
                wire.send(format!("{header}{octets}"));
                wire.half_close();
                let rest = wire.rest();
                assert!(!rest.contains("250"), "half a message was taken: {rest}");
            }
        }

        let mut wire = world.imap(User::Mario);
        wire.send("a APPEND INBOX {1000}\r\n");
        assert!(wire.line().is_some_and(|line| line.starts_with("+ ")));
        wire.send("Subject: mezzo\r\n\r\n");
        wire.half_close();
        assert!(!wire.rest().contains("a OK"), "half a message was appended");

        let mut wire = world.pop3(User::Mario);
        assert!(wire.say("DELE 1").starts_with("+OK"));
        wire.half_close();
        assert!(!wire.rest().contains("-ERR"), "no update without QUIT (RFC 1939 §6)");
    });
}

#[test]
fn rubbish_instead_of_tls_ends_the_connection_and_nothing_else() {
    trial(|world| {
        let ports = world.alfa().ports;
        let mut record = vec![22, 3, 1, 0x3f, 0xff];
        record.extend(rubbish(1_000));
        let noises: [&[u8]; 5] = [
            &rubbish(64 << 10),
            b"EHLO client.example\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            &record,
            b"",
        ];
        for port in [ports.submissions, ports.imaps, ports.pop3s] {
            for noise in noises {
                let mut wire = Wire::plain(NOISE, port);
                wire.send_until_cut(noise);
                wire.half_close();
                let rest = wire.rest();
                let spoken = ["220", "* OK", "+OK"].iter().any(|word| rest.contains(word));
                assert!(!spoken, "{port}: {rest:?}");
            }
        }
        for port in [ports.submission, ports.relay] {
            for noise in noises {
                let mut wire = Wire::plain(NOISE, port);
                assert_reply(&wire.reply(), "220", "the greeting");
                assert_reply(&wire.say("STARTTLS"), "220 2.0.0", "STARTTLS");
                wire.send_until_cut(noise);
                wire.half_close();
                assert!(!wire.rest().contains("250"), "{port}: {}", noise.escape_ascii());
            }
            // RFC 3207 §6: what was put behind STARTTLS must not run under TLS.
            let mut wire = Wire::plain(NOISE, port);
            assert_reply(&wire.reply(), "220", "the greeting");
            wire.send("STARTTLS\r\nEHLO intruso.example\r\n");
            assert_reply(&wire.reply(), "554 5.5.1", "commands behind STARTTLS");
            assert_eq!(wire.rest(), "");
        }
    });
}

#[test]
fn rubbish_on_every_protocol_is_answered_with_errors_and_then_with_the_end() {
    trial(|world| {
        let lines: Vec<u8> = rubbish(200 << 10);
        let ports = world.alfa().ports;
        let farewells =
            [(ports.submissions, "421 4.7.0 "), (ports.imaps, "* BYE "), (ports.pop3s, "-ERR ")];
        for (port, farewell) in farewells {
            let mut wire = world.tls(NOISE, port);
            for line in lines.chunks(400).take(500) {
                let sent = wire.send_until_cut([line, b"\r\n"].concat());
                if !sent {
                    break;
                }
            }
            let rest = wire.rest();
            let last = rest.lines().last().unwrap_or_default();
            assert!(last.starts_with(farewell), "{port}: {last}");
        }
    });
}

#[test]
fn one_source_cannot_take_all_connections() {
    trial(|world| {
        let port = world.beta().ports.relay;
        let mut crowd: Vec<Wire> =
            (0..CONNECTIONS_PER_SOURCE_MAX).map(|_| Wire::plain(CROWD, port)).collect();
        for wire in &mut crowd {
            assert_reply(&wire.reply(), "220", "the greeting");
        }
        let mut wire = Wire::plain(CROWD, port);
        assert_reply(&wire.reply(), "421", "one more");
        assert_eq!(wire.rest(), "");
        let mut wire = world.relay(HONEST);
        assert_reply(&wire.say("QUIT"), "221 2.0.0", "another source");
        drop(crowd);
        crate::support::wait_until("the places are free again", || {
            Wire::plain(CROWD, port).reply().starts_with("220 ")
        });
    });
}
