//! Submissions that SMTP takes and the rules of certified mail do not: the sender finds a notice
//! in its mailbox (RFC 6109 §3.1.1, §3.1.2), nobody else finds anything.

use crate::{
    assert_reply,
    wire::Wire,
    world::{User, World, trial},
};

/// Submits `message` and returns the reply to it.
pub(crate) fn submit(wire: &mut Wire, sender: &str, recipients: &[&str], message: &str) -> String {
    assert_reply(&wire.say(format!("MAIL FROM:<{sender}>")), "250 2.1.0", "MAIL");
    for recipient in recipients {
        assert_reply(&wire.say(format!("RCPT TO:<{recipient}>")), "250 2.1.5", "RCPT");
    }
    assert_reply(&wire.say("DATA"), "354", "DATA");
    wire.send(message);
    wire.say("\r\n.")
}

/// Headers that break a rule, each with the identifier by which its notice is known.
fn against_the_rules(world: &World) -> Vec<(&'static str, String)> {
    let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
    let bruno = world.address(User::Bruno);
    let table = [
        ("from-altrui", format!("From: {anna}\r\nTo: {anna}\r\n")),
        ("from-doppio", format!("From: {mario}, {anna}\r\nTo: {anna}\r\n")),
        ("from-assente", format!("To: {anna}\r\n")),
        ("bcc", format!("From: {mario}\r\nTo: {anna}\r\nBcc: {bruno}\r\n")),
        ("to-assente", format!("From: {mario}\r\nCc: {anna}\r\n")),
        ("to-vuoto", format!("From: {mario}\r\nTo:\r\nCc: {anna}\r\n")),
        ("to-gruppo", format!("From: {mario}\r\nTo: undisclosed-recipients:;\r\n")),
        ("to-non-inoltrato", format!("From: {mario}\r\nTo: {anna}, {bruno}\r\n")),
        ("inoltrato-non-to", format!("From: {mario}\r\nTo: {bruno}\r\n")),
        ("to-guasto", format!("From: {mario}\r\nTo: <<{anna}\r\n")),
        ("campo-doppio", format!("From: {mario}\r\nTo: {anna}\r\nTo: {anna}\r\n")),
        ("otto-bit", format!("From: {mario}\r\nTo: {anna}\r\nX-Nota: perch\u{e9}\r\n")),
        ("non-un-campo", format!("From: {mario}\r\nTo: {anna}\r\nquesta riga non ha nome\r\n")),
    ];
    let identified = |(id, header): (&'static str, String)| {
        // Identifier and subject first: they are quoted as far as the header can be read.
        let known = format!("Message-ID: <{id}@client.example>\r\nSubject: {id}\r\n");
        (id, format!("{known}{header}\r\ntesto\r\n"))
    };
    table.map(identified).into()
}

#[test]
fn a_message_against_the_rules_is_answered_by_one_notice_and_goes_nowhere() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let before = world.count(User::Mario);
        let mut wire = world.logged_in();
        let table = against_the_rules(world);
        let count = table.len();
        for (id, message) in table {
            let reply = submit(&mut wire, &mario, &[&anna], &message);
            assert_reply(&reply, "250 2.0.0", id);
            // A header that cannot be read at all names no message.
            let named = if id == "non-un-campo" { "-" } else { &format!("<{id}@client.example>") };
            world.expect(User::Mario, format!("non-accettazione altro {named} -"));
        }
        crate::support::wait_until("the notices are there", || {
            world.count(User::Mario) >= before + count
        });
        for notice in &world.messages(User::Mario, 1)[before..] {
            let headers = &notice["headers"];
            let subject = headers["Subject"].as_str().unwrap_or_default();
            assert!(subject.starts_with("AVVISO DI NON ACCETTAZIONE"), "{subject}");
            assert_eq!(headers["X-Ricevuta"], "non-accettazione");
        }
    });
}

#[test]
fn paths_that_are_not_allowed_are_refused_at_once() {
    trial(|world| {
        let (mario, anna) = (world.address(User::Mario), world.address(User::Anna));
        let mut wire = world.logged_in();
        // RFC 6109 §5.2: the sender is the one who logged in.
        let reply = wire.say(format!("MAIL FROM:<{anna}>"));
        assert_reply(&reply, "553 5.7.1", "another sender");
        assert_reply(&wire.say("MAIL FROM:<>"), "553 5.7.1", "the null sender");
        assert_reply(&wire.say("MAIL FROM:<mario"), "501 5.5.4", "half a path");
        assert_reply(&wire.say(format!("RCPT TO:<{anna}>")), "503 5.5.1", "RCPT before MAIL");
        assert_reply(&wire.say("DATA"), "503 5.5.1", "DATA before MAIL");
        assert_reply(&wire.say(format!("MAIL FROM:<{mario}>")), "250 2.1.0", "the holder");
        assert_reply(&wire.say("RCPT TO:<>"), "501 5.5.4", "no recipient");
        assert_reply(&wire.say("RCPT TO:<anna@>"), "501 5.5.4", "no domain");
        assert_reply(&wire.say("DATA"), "554 5.5.1", "DATA without recipients");
        wire.send("BDAT 6 LAST\r\nQUIT\r\n");
        assert_reply(&wire.reply(), "554 5.5.1", "BDAT without recipients");

        let mut wire = world.relay(crate::world::HONEST);
        assert_reply(&wire.say("MAIL FROM:<io@altrove.example>"), "250 2.1.0", "MAIL");
        let nobody = world.beta().address("nessuno");
        assert_reply(&wire.say(format!("RCPT TO:<{nobody}>")), "550 5.1.1", "unknown here");
        assert_reply(&wire.say(format!("RCPT TO:<{mario}>")), "550 5.7.1", "no relaying");
        assert_reply(&wire.say("RSET"), "250 2.0.0", "RSET");
        assert_reply(&wire.say("AUTH PLAIN AA=="), "502 5.5.1", "nobody logs in here");
    });
}

#[test]
fn a_recipient_who_does_not_exist_costs_one_notice_of_failed_delivery() {
    trial(|world| {
        let mario = world.address(User::Mario);
        let mut wire = world.logged_in();
        let strangers = [
            ("ignoto-qui", world.alfa().address("nessuno")),
            ("ignoto-altrove", world.beta().address("nessuno")),
        ];
        for (id, stranger) in strangers {
            let message = format!(
                "From: {mario}\r\nTo: {stranger}\r\nSubject: {id}\r\n\
                 Message-ID: <{id}@client.example>\r\n\r\ntesto\r\n"
            );
            assert_reply(&submit(&mut wire, &mario, &[&stranger], &message), "250 2.0.0", id);
            world.expect(User::Mario, format!("accettazione - <{id}@client.example> -"));
            let notice = format!("errore-consegna no-dest <{id}@client.example> {stranger}");
            world.expect(User::Mario, notice);
        }
    });
}
