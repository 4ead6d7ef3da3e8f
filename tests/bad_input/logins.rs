//! Those who are not who they say.

use crate::{
    assert_reply, assert_tagged,
    support::PASSWORD,
    world::{User, auth_plain, trial},
};

/// Sources of those who guess, one for each protocol.
const SMTP_GUESSER: u8 = 20;
const IMAP_GUESSER: u8 = 21;
const POP3_GUESSER: u8 = 22;

/// The source of one who trusts the network.
const CARELESS: u8 = 23;

#[test]
fn a_wrong_password_is_refused_like_an_unknown_login_and_guessing_soon_ends() {
    trial(|world| {
        let mario = world.address(User::Mario);
        let nobody = world.alfa().address("nessuno");
        let wrong = "Non-e-questa-la-password";

        // RFC 4954 §6: 535 for the credentials; the third closes the session.
        let mut wire = world.submission(SMTP_GUESSER);
        let of_mario = wire.say(auth_plain(&mario, wrong));
        assert_reply(&of_mario, "535 5.7.8", "a wrong password");
        assert_eq!(wire.say(auth_plain(&nobody, wrong)), of_mario, "an unknown login");
        assert_reply(&wire.say("AUTH PLAIN !"), "501 5.5.2", "no base64");
        assert_reply(&wire.say("MAIL FROM:<>"), "530 5.7.0", "MAIL without login");
        assert_reply(&wire.say(auth_plain(&mario, wrong)), "535 5.7.8", "a wrong password");
        assert_reply(&wire.reply(), "421 4.7.0", "the third failure");
        assert_eq!(wire.rest(), "");

        // Five wrong passwords in all close the pair of login and source, even for the right password;
        // the holder comes in from elsewhere.
        for number in 0..4 {
            let mut wire = world.submission(SMTP_GUESSER);
            wire.say(auth_plain(&mario, &format!("{wrong}-{number}")));
        }
        let mut wire = world.submission(SMTP_GUESSER);
        assert_reply(&wire.say(auth_plain(&mario, PASSWORD)), "421 4.7.0", "a right guess");
        assert_eq!(wire.rest(), "");
        world.logged_in();
    });
}

#[test]
fn no_password_is_taken_in_the_clear() {
    trial(|world| {
        let mut wire = crate::wire::Wire::plain(CARELESS, world.alfa().ports.submission);
        assert_reply(&wire.reply(), "220", "the greeting");
        assert_reply(&wire.say("EHLO client.example"), "250", "EHLO");
        let login = auth_plain(&world.address(User::Mario), PASSWORD);
        assert_reply(&wire.say(&login), "538 5.7.11", "AUTH without TLS");
        assert_reply(&wire.say("MAIL FROM:<>"), "530 5.7.0", "MAIL without TLS");
        assert_reply(&wire.say("STARTTLS"), "220 2.0.0", "STARTTLS");
        let mut wire = wire.secured(&world.pair.authority);
        assert_reply(
            &wire.say("MAIL FROM:<>"),
            "503 5.5.1",
            "what was said before TLS is forgotten",
        );
        assert_reply(&wire.say("EHLO client.example"), "250", "EHLO");
        assert_reply(&wire.say(&login), "235 2.7.0", "AUTH under TLS");
        assert_reply(&wire.say(&login), "503 5.5.1", "AUTH twice");
    });
}

#[test]
fn imap_and_pop3_refuse_wrong_passwords_and_end_after_the_third() {
    trial(|world| {
        let mario = world.address(User::Mario);
        let mut wire = world.tls(IMAP_GUESSER, world.alfa().ports.imaps);
        wire.line();
        let refused = "NO [AUTHENTICATIONFAILED] ";
        assert_tagged(&wire.imap("SELECT INBOX"), "BAD ");
        assert_tagged(&wire.imap(format!("LOGIN {mario} sbagliata")), refused);
        assert_tagged(&wire.imap("LOGIN nessuno@pec.alfa.example sbagliata"), refused);
        let end = wire.imap(format!("LOGIN {mario} sbagliata"));
        assert!(end.iter().any(|line| line.contains(refused)), "{end:?}");
        assert!(end.last().is_some_and(|line| line.starts_with("* BYE ")), "{end:?}");
        for number in 0..4 {
            let mut wire = world.tls(IMAP_GUESSER, world.alfa().ports.imaps);
            wire.line();
            assert_tagged(&wire.imap(format!("LOGIN {mario} sbagliata{number}")), refused);
        }
        let mut wire = world.tls(IMAP_GUESSER, world.alfa().ports.imaps);
        wire.line();
        assert_tagged(&wire.imap(format!("LOGIN {mario} {PASSWORD}")), "NO [LIMIT] ");
        world.imap(User::Mario);

        let mut wire = world.tls(POP3_GUESSER, world.alfa().ports.pop3s);
        assert!(wire.reply().starts_with("+OK"));
        assert!(wire.say("STAT").starts_with("-ERR "), "STAT without login");
        for attempt in 1..=3 {
            assert!(wire.say(format!("USER {mario}")).starts_with("+OK"));
            let reply = wire.say("PASS sbagliata");
            assert!(reply.starts_with("-ERR "), "attempt {attempt}: {reply}");
        }
        assert!(wire.reply().starts_with("-ERR "));
        assert_eq!(wire.rest(), "");
        world.pop3(User::Mario);
    });
}
