//! One message must stay one, however its end is disguised (RFC 5321 §2.3.8, §4.1.1.4).

use crate::{
    assert_reply,
    notices::submit,
    world::{User, trial},
};

/// What some servers take for the end of data, or pass on so that the next one does.
const FALSE_ENDS: [&[u8]; 15] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\n\r.\r\n",
    b"\n\n.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\0.\r\n",
    b"\r\n.\r\0\n",
];

#[test]
fn a_false_end_of_data_never_makes_a_second_message() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let outer = world.header("esca");
        let inner = world.header("contrabbando");
        for (door, mut wire) in
            [("submission", world.logged_in()), ("relay", world.relay(crate::world::HONEST))]
        {
            for end in FALSE_ENDS {
                let what = format!("{door}: {}", end.escape_ascii());
                assert_reply(&wire.say(format!("MAIL FROM:<{mario}>")), "250 2.1.0", &what);
                assert_reply(&wire.say(format!("RCPT TO:<{anna}>")), "250 2.1.5", &what);
                assert_reply(&wire.say("DATA"), "354", &what);
                wire.send(format!("{outer}\r\ntesto"));
                wire.send(end);
                wire.send(format!(
                    "MAIL FROM:<{mario}>\r\nRCPT TO:<{anna}>\r\nDATA\r\n{inner}\r\ntesto\r\n.\r\n"
                ));
                // One reply for all of it, and then that of NOOP.
                assert_reply(&wire.reply(), "554 5.6.0", &what);
                assert_reply(&wire.say("NOOP"), "250 2.0.0", &what);
            }
        }
    });
}

#[test]
fn a_false_end_in_a_chunk_never_makes_a_second_message() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let (outer, inner) = (world.header("esca"), world.header("contrabbando"));
        for (door, mut wire) in
            [("submission", world.logged_in()), ("relay", world.relay(crate::world::HONEST))]
        {
            for end in FALSE_ENDS {
                let what = format!("{door}: {}", end.escape_ascii());
                assert_reply(&wire.say(format!("MAIL FROM:<{mario}>")), "250 2.1.0", &what);
                assert_reply(&wire.say(format!("RCPT TO:<{anna}>")), "250 2.1.5", &what);
                let hidden = format!(
                    "MAIL FROM:<{mario}>\r\nRCPT TO:<{anna}>\r\nDATA\r\n{inner}\r\ntesto\r\n.\r\n"
                );
                let chunk =
                    [format!("{outer}\r\ntesto").as_bytes(), end, hidden.as_bytes()].concat();
                wire.send(format!("BDAT {} LAST\r\n", chunk.len()));
                wire.send(chunk);
                assert_reply(&wire.reply(), "554 5.6.0", &what);
                assert_reply(&wire.say("NOOP"), "250 2.0.0", &what);
            }
        }
    });
}

#[test]
fn commands_cannot_be_hidden_behind_a_bare_line_end_or_a_nul() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let mut wire = world.logged_in();
        for hidden in ["\n", "\r", "\0", "\r\0\n"] {
            let command = format!("MAIL FROM:<{mario}>{hidden}RCPT TO:<{anna}>");
            assert_reply(&wire.say(command), "500 5.5.2", &hidden.escape_debug().to_string());
        }
        assert_reply(&wire.say(format!("RCPT TO:<{anna}>")), "503 5.5.1", "no transaction is open");
    });
}

#[test]
fn a_line_of_one_dot_travels_as_text() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let commands = format!("\r\n.\r\nMAIL FROM:<{mario}>\r\nRCPT TO:<{anna}>\r\nDATA\r\n");
        let stuffed = commands.replace("\r\n.\r\n", "\r\n..\r\n");
        let message = format!("{}\r\ntesto{stuffed}\r\n", world.header("punto"));
        let before = world.count(User::Anna);
        let mut wire = world.logged_in();
        assert_reply(&submit(&mut wire, &mario, &[&anna], &message), "250 2.0.0", "the message");
        world.expect_exchange("punto");
        crate::support::wait_until("it is delivered", || world.count(User::Anna) > before);
        let mut wire = world.imap(User::Anna);
        wire.imap("EXAMINE INBOX");
        let envelope = wire.imap_literal("FETCH * BODY.PEEK[]");
        let found = memchr_all(&envelope, commands.as_bytes());
        assert_eq!(found, 1, "the text stands in the envelope as it was written");
    });
}

fn memchr_all(octets: &[u8], wanted: &[u8]) -> usize {
    octets.windows(wanted.len()).filter(|window| *window == wanted).count()
}
