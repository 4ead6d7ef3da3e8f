//! IMAP and POP3 clients that ask for what is not there or announce what nobody takes, and
//! messages whose MIME structure is broken.

use crate::{
    assert_reply, assert_tagged,
    notices::submit,
    world::{User, trial},
};

#[test]
fn a_literal_of_four_gigabytes_is_refused_before_it_comes() {
    trial(|world| {
        let mut wire = world.imap(User::Mario);
        assert_tagged(&wire.imap("APPEND INBOX {4294967296}"), "NO [TOOBIG] ");
        assert_tagged(&wire.imap("APPEND INBOX {99999999999999999999999}"), "NO [TOOBIG] ");
        assert_tagged(&wire.imap("LOGIN {4294967296}"), "NO [TOOBIG] ");
        assert_tagged(&wire.imap("APPEND INBOX {0}"), "NO [CANNOT] ");
        assert_tagged(&wire.imap("NOOP"), "OK ");
        // One that does not wait cannot be skipped: the connection ends (RFC 7888 §4).
        for command in ["APPEND INBOX {4294967296+}", "SELECT {4294967296+}"] {
            let mut wire = world.imap(User::Mario);
            let refused = wire.imap(command);
            assert_tagged(&refused, "BAD [TOOBIG] ");
            assert!(wire.rest().starts_with("* BYE "));
        }
        let mut wire = world.tls(50, world.alfa().ports.imaps);
        wire.line();
        assert_tagged(&wire.imap("LOGIN {4294967295}"), "NO [TOOBIG] ");
        assert_tagged(&wire.imap("APPEND INBOX {10}"), "BAD ");
    });
}

#[test]
fn lines_without_end_and_commands_without_sense_end_the_session() {
    trial(|world| {
        let mut wire = world.imap(User::Mario);
        for _ in 0..64 {
            if !wire.send_until_cut(vec![b'x'; 64 << 10]) {
                break;
            }
        }
        assert!(!wire.rest().contains("OK"));
        let mut wire = world.imap(User::Mario);
        // Whose tag it was is not known before the line is whole (RFC 3501 §7.1.3).
        let long = wire.imap(format!("SEARCH {}", "OR ".repeat(40_000)));
        assert!(long.first().is_some_and(|line| line.starts_with("* BAD ")), "{long:?}");
        assert!(long.last().is_some_and(|line| line.starts_with("* BYE ")), "{long:?}");

        let mut wire = world.imap(User::Mario);
        assert_tagged(&wire.imap("SELECT INBOX"), "OK ");
        for command in [
            &format!("SEARCH {}ALL{}", "(".repeat(10_000), ")".repeat(10_000)),
            &format!("SEARCH {}ALL", "NOT ".repeat(10_000)),
            "FETCH 1:* (BODY[1.2.3.4.5.6.7.8.9.NONSENSE])",
            "FETCH 0 FLAGS",
            "FETCH 4294967296 FLAGS",
            "STORE 1 FLAGS (\\",
            "UID",
            "\u{0}",
        ] {
            let what: String = command.chars().take(40).collect();
            let lines = wire.imap(command);
            assert!(
                lines.last().is_some_and(|line| line.starts_with("zq7 BAD ")),
                "{what}: {lines:?}"
            );
        }
        assert_tagged(&wire.imap("NOOP"), "OK ");

        let mut wire = world.pop3(User::Mario);
        assert!(wire.say("R".repeat(5_000)).starts_with("-ERR "));
        assert_eq!(wire.rest(), "");
    });
}

#[test]
fn mailboxes_and_messages_that_do_not_exist_are_named_as_such() {
    trial(|world| {
        let mut wire = world.imap(User::Mario);
        assert_tagged(&wire.imap("SELECT Nessuna"), "NO [NONEXISTENT] ");
        assert_tagged(&wire.imap("STATUS Nessuna (MESSAGES)"), "NO [NONEXISTENT] ");
        assert_tagged(&wire.imap("DELETE Nessuna"), "NO [NONEXISTENT] ");
        assert_tagged(&wire.imap("RENAME Nessuna Altra"), "NO [NONEXISTENT] ");
        assert_tagged(&wire.imap("CREATE INBOX"), "NO [ALREADYEXISTS] ");
        assert_tagged(&wire.imap("APPEND Nessuna {10}"), "NO [TRYCREATE] ");
        assert_tagged(&wire.imap("FETCH 1 FLAGS"), "BAD ");
        assert_tagged(&wire.imap("SELECT INBOX"), "OK ");
        assert_tagged(&wire.imap("UID COPY 1:* Nessuna"), "NO [TRYCREATE] ");
        assert_tagged(&wire.imap("FETCH 999999 FLAGS"), "BAD ");
        assert_tagged(&wire.imap("UID FETCH 999999 FLAGS"), "OK ");

        let mut wire = world.pop3(User::Mario);
        for command in ["RETR 999999", "DELE 0", "TOP 1", "LIST -1", "UIDL x", "RETR"] {
            let reply = wire.say(command);
            assert!(reply.starts_with("-ERR "), "{command}: {reply}");
        }
        assert!(wire.say("NOOP").starts_with("+OK"));
    });
}

/// Bodies with the fields that describe them, each broken in its own way.
fn broken_mime() -> Vec<(&'static str, String)> {
    let mixed = |boundary: &str, body: &str| {
        format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n{body}"
        )
    };
    vec![
        ("senza-confine", "Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\ntesto\r\n".to_owned()),
        ("confine-mai-visto", mixed("mai", "testo\r\n")),
        ("confine-aperto", mixed("a", "--a\r\nContent-Type: text/plain\r\n\r\ntesto\r\n")),
        ("confine-a-meta", mixed("a", "--a\r\nContent-Type: text/plain")),
        ("confine-vuoto", mixed("", "--\r\n\r\ntesto\r\n----\r\n")),
        ("confini-simili", mixed("a", "--a\r\n\r\nuno\r\n--ab\r\n\r\ndue\r\n--a--\r\n--a\r\n\r\n")),
        (
            "base64-guasto",
            "Content-Transfer-Encoding: base64\r\n\r\n===%%%non e' base64\u{e9}\r\n".to_owned(),
        ),
        (
            "codifica-ignota",
            "Content-Type: ;;;=/\r\nContent-Transfer-Encoding: inesistente\r\n\r\n=\r\n=Z\r\n"
                .to_owned(),
        ),
        ("annidato", nested(150)),
        ("messaggi-annidati", nested_messages(100)),
    ]
}

/// A multipart inside a multipart, `levels` deep and never closed.
fn nested(levels: usize) -> String {
    let level = |number: usize| {
        format!("Content-Type: multipart/mixed; boundary=b{number}\r\n\r\n--b{number}\r\n")
    };
    (0..levels).map(level).chain(["\r\ntesto\r\n".to_owned()]).collect()
}

/// A message inside a message, `levels` deep.
fn nested_messages(levels: usize) -> String {
    "Content-Type: message/rfc822\r\n\r\n".repeat(levels) + "\r\ntesto\r\n"
}

/// What makes the server look into every part.
const LOOKS: [&str; 6] = [
    "FETCH 1:* (BODYSTRUCTURE ENVELOPE RFC822.SIZE)",
    "FETCH 1:* (BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[1.1.1.1] BODY.PEEK[2])",
    "FETCH 1:* (BODY.PEEK[TEXT]<10.20> BODY.PEEK[HEADER.FIELDS (SUBJECT)])",
    "SEARCH TEXT testo",
    "SEARCH CHARSET UTF-8 BODY testo",
    "SEARCH HEADER Content-Type multipart",
];

#[test]
fn broken_mime_is_carried_as_it_is_and_can_be_read() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let mut wire = world.logged_in();
        for (id, body) in broken_mime() {
            let message = format!("{}{body}", world.header(id));
            assert_reply(&submit(&mut wire, &mario, &[&anna], &message), "250 2.0.0", id);
            world.expect_exchange(id);
        }
        let count = broken_mime().len();
        let mut wire = world.imap(User::Mario);
        assert_tagged(&wire.imap("CREATE Guasti"), "OK ");
        let deep = [("assai-annidato", nested(5_000)), ("messaggi", nested_messages(5_000))];
        let deep_count = deep.len();
        for (id, body) in broken_mime().into_iter().chain(deep) {
            let message = format!("{}{body}", world.header(id));
            wire.send(format!("zq7 APPEND Guasti {{{}}}\r\n", message.len()));
            assert!(wire.line().is_some_and(|line| line.starts_with("+ ")), "{id}");
            wire.send(message);
            wire.send("\r\n");
            assert_tagged(&wire.imap_response(), "OK [APPENDUID ");
        }
        wire.send("zq7 APPEND Guasti {4}\r\n");
        wire.line();
        wire.send("a\0b\n\r\n");
        assert_tagged(&wire.imap_response(), "NO [CANNOT] ");
        assert_tagged(&wire.imap("SELECT Guasti"), "OK ");
        for look in LOOKS {
            assert_tagged(&wire.imap(look), "OK ");
        }
        let found = wire.imap("SEARCH HEADER Message-ID client.example");
        let numbers: Vec<String> = (1..=count + deep_count).map(|at| at.to_string()).collect();
        let all = format!("* SEARCH {}", numbers.join(" "));
        assert_eq!(found.first(), Some(&all), "every message is there");

        // Anna reads the envelopes and what is in them.
        crate::support::wait_until("all are delivered", || {
            let mut wire = world.imap(User::Anna);
            wire.imap("SELECT INBOX");
            let found = wire.imap("SEARCH SUBJECT messaggi-annidati");
            found.first().is_some_and(|line| line != "* SEARCH")
        });
        let mut wire = world.imap(User::Anna);
        assert_tagged(&wire.imap("SELECT INBOX"), "OK ");
        for look in LOOKS {
            assert_tagged(&wire.imap(look), "OK ");
        }
    });
}
