//! Exchanges without faults, in both directions (RFC 6109 §3.4, §3.5).

use serde_json::json;

use crate::world::{ANNA, BRUNO, GUEST, NOBODY, ROSA, SARA, SERVICE, SORTS, World, said};

/// What a letter asks for: those with something to replace, or with reasons not to, the brief receipt.
fn wish(at: usize, sort: &str) -> &'static str {
    match sort {
        "odd_names" | "attached_message" | "megabytes" | "signed" | "enveloped" | "html" => "breve",
        _ => ["", "completa", "sintetica"][at % 3],
    }
}

/// What the receipt of a primary recipient then is.
fn due(wish: &'static str, sort: &str) -> &'static str {
    match (wish, sort) {
        // Nothing in it has a name, or nothing in it can be replaced.
        ("", _) | ("breve", "html" | "enveloped") => "completa",
        (wish, _) => wish,
    }
}

#[test]
fn letters_of_every_sort_reach_the_peer_and_its_receipts_come_back() {
    let mut world = World::start();
    let mut expected = Vec::new();
    for (at, sort) in SORTS.into_iter().enumerate() {
        let letter = world.submit(sort, &[ROSA], &[SARA], wish(at, sort));
        expected.push(format!("accettazione letter {letter}"));
    }
    // Half of them are answered in the manner of an old provider.
    world.taken_with(SORTS.len(), &json!({"manner": "mixed"}));
    let own = |message: &str| message.starts_with("own ");
    let letters = world.new_messages(ANNA, 3 * SORTS.len());
    let (receipts, acceptances): (Vec<String>, _) = letters.into_iter().partition(|said| own(said));
    expected.sort();
    assert_eq!(acceptances, expected);
    assert_eq!(receipts.len(), 2 * SORTS.len(), "as the peer has written them");
    let charges = world.new_messages(SERVICE, SORTS.len());
    assert!(charges.iter().all(|said| own(said)), "{charges:?}");
}

#[test]
fn letters_of_every_sort_come_from_the_peer_and_our_receipts_have_no_fault() {
    let mut world = World::start();
    let mut sent = Vec::new();
    let mut expected = Vec::new();
    for (at, sort) in SORTS.into_iter().enumerate() {
        let (wish, manner) = (wish(at, sort), ["new", "old"][at % 2]);
        let asked = (!wish.is_empty()).then_some(wish);
        let more = json!({"cc": [BRUNO], "wish": asked, "manner": manner});
        let envelope = world.send(sort, &[ANNA], &more).accepted();
        let (letter, due) = (&envelope.0["letter"], due(wish, sort));
        sent.push(format!("own sent {}", envelope.number()));
        expected.push(format!("presa-in-carico letter {letter}"));
        expected.push(format!("avvenuta-consegna letter {letter} {ANNA} {due}"));
        expected.push(format!("avvenuta-consegna letter {letter} {BRUNO} sintetica"));
    }
    let mut taken: Vec<String> = world.taken(3 * SORTS.len()).iter().map(said).collect();
    taken.sort();
    expected.sort();
    assert_eq!(taken, expected);
    sent.sort();
    for user in [ANNA, BRUNO] {
        assert_eq!(world.new_messages(user, SORTS.len()), sent, "{user}");
    }
}

#[test]
fn each_recipient_of_one_letter_has_the_outcome_that_is_his() {
    let mut world = World::start();
    let unknown = "nessuno@pec.alfa.example";
    let letter = world.submit("odd_names", &[ROSA, NOBODY, GUEST], &[BRUNO, unknown], "breve");
    // One envelope for the users of the peer, one for ordinary mail.
    let kinds: Vec<String> = world.taken(2).iter().map(said).collect();
    assert_eq!(kinds, [format!("posta-certificata letter {letter}"), kinds[1].clone()]);
    let found = world.read(ANNA, 5);
    let mut kinds: Vec<String> =
        found.iter().filter(|message| message["kind"] != "own").map(said).collect();
    kinds.sort();
    let expected = [
        format!("accettazione letter {letter}"),
        format!("avvenuta-consegna letter {letter} {BRUNO} sintetica"),
        format!("errore-consegna letter {letter} {unknown} no-dest"),
    ];
    assert_eq!(kinds, expected, "of ordinary mail nothing is heard");
    let envelope = world.new_messages(BRUNO, 1);
    assert_eq!(envelope, [format!("posta-certificata letter {letter}")]);
    assert_eq!(world.new_messages(SERVICE, 1).len(), 1, "one take-charge receipt for both");
}

#[test]
fn letters_within_one_provider_are_certified_like_all_others() {
    let mut world = World::start();
    let mut expected = Vec::new();
    for (at, sort) in SORTS.into_iter().enumerate() {
        let letter = world.submit(sort, &[BRUNO], &[], wish(at + 1, sort));
        expected.push(format!("posta-certificata letter {letter}"));
    }
    // The envelopes first: receipts are compared with what they include.
    expected.sort();
    assert_eq!(world.new_messages(BRUNO, SORTS.len()), expected);
    let receipts = world.new_messages(ANNA, 2 * SORTS.len());
    let delivered = |said: &&String| said.starts_with("avvenuta-consegna");
    assert_eq!(receipts.iter().filter(delivered).count(), SORTS.len());
    assert_eq!(receipts.iter().filter(|said| said.ends_with(" breve")).count(), 4);
}

/// RFC 6109 §3.1.2.
#[test]
fn a_letter_against_the_rules_is_answered_by_a_notice_without_fault_and_goes_nowhere() {
    let mut world = World::start();
    for sort in ["plain", "beyond_latin", "without_id", "eight_bits"] {
        let hidden = json!({"sort": sort, "sender": ANNA, "to": [ROSA], "hidden": [BRUNO]});
        let letter = world.peer.order("submit", hidden)["letter"].clone();
        let expected = format!("non-accettazione letter {letter} altro");
        assert_eq!(world.new_messages(ANNA, 1), [expected], "{sort}");
    }
    // What comes later comes alone.
    let letter = world.submit("plain", &[ROSA, BRUNO], &[], "");
    assert_eq!(world.taken(1)[0]["letter"], letter);
    assert_eq!(world.new_messages(BRUNO, 1), [format!("posta-certificata letter {letter}")]);
}
