//! Too much, too long, too many.

use crate::{
    assert_reply,
    notices::submit,
    support::PASSWORD,
    wire::Wire,
    world::{User, World, auth_plain, trial},
};

/// What a submission may have, and what may come from another server.
const MESSAGE_OCTETS_MAX: usize = 50 << 20;
const RELAY_OCTETS_MAX: usize = 72 << 20;

/// What the server reads beyond the limit before it closes.
const EXCESS_OCTETS: usize = 64 << 20;

/// Recipients of a message at either door: the account's plan would allow more.
const RECIPIENTS_MAX: usize = 250;

/// Opens a transaction up to DATA on both doors: from Mario at alfa, from anybody at beta.
fn both_doors(world: &World) -> [(&'static str, Wire); 2] {
    let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
    let mut doors =
        [("submission", world.logged_in()), ("relay", world.relay(crate::world::HONEST))];
    for (_, wire) in &mut doors {
        open(wire, &mario, &anna);
    }
    doors
}

fn open(wire: &mut Wire, sender: &str, recipient: &str) {
    assert_reply(&wire.say(format!("MAIL FROM:<{sender}>")), "250 2.1.0", "MAIL");
    assert_reply(&wire.say(format!("RCPT TO:<{recipient}>")), "250 2.1.5", "RCPT");
    assert_reply(&wire.say("DATA"), "354", "DATA");
}

/// Sends `octets` of lines; false when the server closed meanwhile.
fn pour(wire: &mut Wire, octets: usize) -> bool {
    let piece = format!("{}\r\n", "x".repeat(998)).repeat(64);
    (0..octets.div_ceil(piece.len())).all(|_| wire.send_until_cut(&piece))
}

#[test]
fn a_message_over_the_limit_is_refused_announced_or_not_and_the_session_goes_on() {
    trial(|world| {
        let mario = world.address(User::Mario);
        let mut wire = world.logged_in();
        let declared = format!("MAIL FROM:<{mario}> SIZE={}", MESSAGE_OCTETS_MAX + 1);
        assert_reply(&wire.say(declared), "552 5.3.4", "an announced size");
        let huge = format!("MAIL FROM:<{mario}> SIZE=99999999999999999999");
        assert_reply(&wire.say(huge), "552 5.3.4", "a size beyond any number");
        let wrong = format!("MAIL FROM:<{mario}> SIZE=-1");
        assert_reply(&wire.say(wrong), "501 5.5.4", "a size that is none");

        for (door, mut wire) in both_doors(world) {
            let limit = if door == "relay" { RELAY_OCTETS_MAX } else { MESSAGE_OCTETS_MAX };
            wire.send(format!("{}\r\n", world.header("troppo")));
            assert!(pour(&mut wire, limit), "{door}: read to its end");
            assert_reply(&wire.say("\r\n."), "552 5.3.4", door);
            assert_reply(&wire.say("NOOP"), "250 2.0.0", door);
        }
    });
}

#[test]
fn a_message_without_end_is_cut_off() {
    trial(|world| {
        let (mut submission, mut relay) = {
            let [(_, submission), (_, relay)] = both_doors(world);
            (submission, relay)
        };
        pour(&mut relay, RELAY_OCTETS_MAX + EXCESS_OCTETS + (4 << 20));
        assert_reply(&relay.reply(), "552 5.3.4", "lines without end");
        assert_eq!(relay.rest(), "");
        // Line feeds alone are no lines, and they do not escape the count either.
        let piece = vec![b'\n'; 1 << 20];
        let total = (MESSAGE_OCTETS_MAX + EXCESS_OCTETS) >> 20;
        for _ in 0..total + 4 {
            if !submission.send_until_cut(&piece) {
                break;
            }
        }
        assert_reply(&submission.reply(), "552 5.3.4", "line feeds without end");
        assert_eq!(submission.rest(), "");
    });
}

#[test]
fn large_messages_on_their_way_hold_nobody_up_however_many_they_are() {
    trial(|world| {
        let anna = world.address(User::Anna);
        // In memory, with the copies that are made of each, these would be 1.3 GB of 512 MB.
        let mut large: Vec<Wire> = (32..38).map(|source| world.relay(source)).collect();
        for wire in &mut large {
            open(wire, "io@altrove.example", &anna);
            wire.send(format!("{}\r\n", world.header("grande")));
            assert!(pour(wire, 70 << 20), "read as it comes");
        }
        world.exchange_honestly();
        // What has come of them is forgotten with their connections.
        drop(large);
    });
}

#[test]
fn a_header_of_ten_megabytes_is_refused_on_both_doors() {
    trial(|world| {
        for (door, mut wire) in both_doors(world) {
            wire.send(world.header("testata"));
            let field = format!("X-Riempitivo: {}\r\n", "x".repeat(900));
            for _ in 0..(10 << 20) / field.len() {
                wire.send(&field);
            }
            wire.send("\r\ntesto\r\n");
            assert_reply(&wire.say("."), "552 5.3.4", door);
            assert_reply(&wire.say("NOOP"), "250 2.0.0", door);
        }
    });
}

#[test]
fn a_line_without_end_is_refused_within_its_bound() {
    trial(|world| {
        for (door, mut wire) in both_doors(world) {
            wire.send(format!("{}\r\n", world.header("riga")));
            for _ in 0..64 {
                wire.send(vec![b'x'; 64 << 10]);
            }
            assert_reply(&wire.say("\r\n."), "500 5.6.0", door);
            // A command may have 512 octets (RFC 5321 §4.5.3.1.4).
            assert_reply(&wire.say("N".repeat(5_000)), "500 5.5.2", "a long command");
            assert_reply(&wire.say("N".repeat(500_000)), "500 5.5.2", "a very long command");
            assert_reply(&wire.say("NOOP"), "250 2.0.0", door);
            for _ in 0..64 {
                if !wire.send_until_cut(vec![b'x'; 64 << 10]) {
                    break;
                }
            }
            assert!(!wire.rest().contains("250"), "{door}: a command without end is given up");
        }
        let mut wire = world.submission(30);
        assert_reply(&wire.say(format!("AUTH PLAIN {}", "A".repeat(20_000))), "500 5.5.2", "AUTH");
        let login =
            auth_plain(&world.address(User::Mario), &format!("{PASSWORD}{}", "x".repeat(5_000)));
        assert_reply(&wire.say(login), "535 5.7.8", "a password of 5,000 octets");
    });
}

#[test]
fn ten_thousand_recipients_get_as_many_replies_and_only_the_allowed_ones_are_taken() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let doors = [
            ("submission", world.logged_in(), RECIPIENTS_MAX),
            ("relay", world.relay(crate::world::HONEST), RECIPIENTS_MAX),
        ];
        for (door, mut wire, allowed) in doors {
            assert_reply(&wire.say(format!("MAIL FROM:<{mario}>")), "250 2.1.0", "MAIL");
            let (mut taken, mut later) = (0, 0);
            for _ in 0..100 {
                wire.send(format!("RCPT TO:<{anna}>\r\n").repeat(100));
                for _ in 0..100 {
                    let reply = wire.reply();
                    if reply.starts_with("250 2.1.5 ") {
                        taken += 1;
                    } else {
                        assert_reply(&reply, "452 4.5.3", door);
                        later += 1;
                    }
                }
            }
            assert_eq!((taken, later), (allowed, 10_000 - allowed), "{door}");
            assert_reply(&wire.say("RSET"), "250 2.0.0", door);
        }

        // A relay that tries names is sent away.
        let mut wire = world.relay(31);
        assert_reply(&wire.say("MAIL FROM:<io@altrove.example>"), "250 2.1.0", "MAIL");
        for name in 0..200 {
            wire.send_until_cut(format!("RCPT TO:<nome{name}@pec.beta.example>\r\n"));
        }
        let replies = wire.rest();
        assert_eq!(replies.lines().filter(|line| line.starts_with("550 5.1.1 ")).count(), 101);
        assert!(replies.lines().last().is_some_and(|line| line.starts_with("421 4.7.0 ")));

        // The same crowd in the header: too long a header, or other recipients than the paths.
        let crowd = |count: usize| {
            let names: Vec<String> =
                (0..count).map(|name| format!(" destinatario{name}@pec.beta.example")).collect();
            world
                .header("folla")
                .replace(&format!("To: {anna}"), &format!("To:{}", names.join(",\r\n")))
        };
        let (refused, noticed) = (crowd(10_000), crowd(5_000));
        let mut wire = world.logged_in();
        let reply = submit(&mut wire, &mario, &[&anna], &format!("{refused}\r\ntesto\r\n"));
        assert_reply(&reply, "552 5.3.4", "10,000 recipients in the header");
        let reply = submit(&mut wire, &mario, &[&anna], &format!("{noticed}\r\ntesto\r\n"));
        assert_reply(&reply, "250 2.0.0", "5,000 recipients in the header");
        world.expect(User::Mario, "non-accettazione altro <folla@client.example> -".to_owned());
    });
}
