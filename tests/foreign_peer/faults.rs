//! A peer that answers badly, at each stage of SMTP, or whose answers are lost (RFC 5321 §4.2.1, §4.5.4).

use serde_json::json;

use crate::world::{ANNA, BRUNO, ROSA, SERVICE, World, said};

/// The stages of a transaction, in order.
const STAGES: [&str; 7] = ["connect", "EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "end"];

/// What is refused for good before TLS may have been said by anybody on the way: it is tried again.
#[test]
fn a_temporary_refusal_or_one_before_tls_delays_the_message_and_doubles_nothing() {
    let mut world = World::start();
    let later = STAGES.map(|stage| (stage, "451 4.3.0 later"));
    let before =
        [("connect", "554 5.3.2 no"), ("EHLO", "550 5.3.2 no"), ("STARTTLS", "502 5.5.1 no")];
    for (stage, reply) in later.into_iter().chain(before) {
        world.peer.order("manners", json!({"stage": stage, "reply": reply, "times": 2}));
        let letter = world.submit("plain", &[ROSA], &[], "sintetica");
        world.taken(1);
        let kinds = world.new_messages(ANNA, 2);
        assert_eq!(kinds[0], format!("accettazione letter {letter}"), "{stage}");
        assert!(kinds[1].starts_with("own "), "{stage}: {kinds:?}");
        world.new_messages(SERVICE, 1);
    }
}

#[test]
fn a_refusal_for_good_of_sender_recipient_or_message_is_one_notice_to_the_sender() {
    let mut world = World::start();
    for stage in ["MAIL", "RCPT", "DATA", "end"] {
        world.peer.order("manners", json!({"stage": stage, "reply": "550 5.7.1 no", "times": 1}));
        let letter = world.submit("plain", &[ROSA], &[], "");
        let kinds = world.new_messages(ANNA, 2);
        let notice = format!("errore-consegna letter {letter} {ROSA} altro");
        assert_eq!(kinds, [format!("accettazione letter {letter}"), notice], "{stage}");
    }
    world.taken(0);
}

#[test]
fn what_the_peer_took_without_a_reply_comes_again_with_the_same_octets() {
    let mut world = World::start();
    world.peer.order("manners", json!({"stage": "end", "reply": "close", "times": 2}));
    let letter = world.submit("eight_bits", &[ROSA], &[], "");
    let taken = world.taken_silently(3);
    for again in &taken {
        assert_eq!(again["kind"], "posta-certificata");
        assert_eq!(again["digest"], taken[0]["digest"], "the peer can tell that it had it");
    }
    assert_eq!(world.new_messages(ANNA, 1), [format!("accettazione letter {letter}")]);

    // The same with what we answer.
    world.peer.order("manners", json!({"stage": "end", "reply": "close", "times": 2}));
    let sent = world.send("plain", &[ANNA], &json!({})).accepted();
    let taken = world.taken_silently(4);
    let mut digests: Vec<&str> =
        taken.iter().map(|taken| taken["digest"].as_str().expect("text")).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 2, "one take-charge receipt, one delivery receipt");
    assert_eq!(world.new_messages(ANNA, 1), [format!("own sent {}", sent.number())]);
    world.queue_empties();
}

#[test]
fn an_envelope_that_comes_again_is_taken_and_neither_delivered_nor_answered_again() {
    let mut world = World::start();
    let first = world.send("odd_names", &[ANNA, BRUNO], &json!({"wish": "breve"})).accepted();
    assert_eq!(world.taken(3).len(), 3);
    for _ in 0..3 {
        let again = world.peer.order("repeat", json!({"sent": first.number()}));
        assert_eq!(again["reply"][0], 250, "{again:?}");
    }
    let last = world.send("plain", &[ANNA], &json!({})).accepted();
    for answer in world.taken(2) {
        assert_eq!(answer["letter"], last.0["letter"], "of the last one alone");
    }
    let own = |sent: u64| format!("own sent {sent}");
    assert_eq!(world.new_messages(ANNA, 2), [own(first.number()), own(last.number())]);
    assert_eq!(world.new_messages(BRUNO, 1), [own(first.number())]);
}

#[test]
fn an_envelope_for_who_cannot_take_it_is_answered_by_a_notice_for_him_alone() {
    let mut world = World::start();
    // A start applies what commands have changed.
    assert!(world.alfa.stop(), "{}", world.alfa.log());
    world.alfa.administer(&["account", "block", BRUNO, "--reason", "prova"], "");
    world.alfa.start();
    let sent = world.send("plain", &[BRUNO], &json!({})).accepted();
    let letter = &sent.0["letter"];
    let mut answers: Vec<String> = world.taken(2).iter().map(said).collect();
    answers.sort();
    let notice = format!("errore-consegna letter {letter} {BRUNO} no-dest");
    assert_eq!(answers, [notice, format!("presa-in-carico letter {letter}")]);
    // Who is not there at all is refused before.
    let refused = world.send("plain", &["nessuno@pec.alfa.example", ANNA], &json!({}));
    assert_eq!(refused.0["refused"]["nessuno@pec.alfa.example"][0], 550, "{refused:?}");
    assert_eq!(world.taken(2).len(), 2);
    assert_eq!(world.new_messages(ANNA, 1), [format!("own sent {}", refused.number())]);
}
