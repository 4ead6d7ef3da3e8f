//! What comes from the peer and is not what it says: changed envelopes, signatures that do not count,
//! receipts that certify nothing (RFC 6109 §2.2.2, §3.2.2); and receipts as the network brings them.

use serde_json::json;

use crate::world::{ANNA, BRUNO, ROSA, SERVICE, Sent, World};

/// The peer answers letter `letter`, with further arguments of `Peer.answer`; what was replied.
fn answer(world: &mut World, letter: u64, what: &str, mut more: serde_json::Value) -> Sent {
    (more["letter"], more["what"]) = (letter.into(), what.into());
    Sent(world.peer.order("answer", more)).accepted()
}

/// Anna writes to Rosa, whose provider stays silent.
fn unanswered(world: &mut World, to: &[&str]) -> u64 {
    let letter = world.submit("plain", to, &[], "");
    world.taken_silently(1);
    letter
}

#[test]
fn envelopes_that_do_not_count_are_delivered_as_anomalies_and_never_answered() {
    let mut world = World::start();
    let cases = [
        ("one octet changed", json!({"change": ["Saluti", "Salute"]})),
        ("a certificate that is not in the directory", json!({"signer": "unlisted"})),
        ("an expired certificate", json!({"signer": "expired"})),
        ("a revoked certificate", json!({"signer": "revoked"})),
        (
            "well signed, its data of another kind",
            json!({"spoil": ["tipo=\"posta-certificata\"", "tipo=\"accettazione\""]}),
        ),
        (
            "well signed, without certification data",
            json!({"spoil": ["daticert.xml", "altro.xml"]}),
        ),
    ];
    for (case, more) in cases {
        let sent = world.send("plain", &[ANNA], &more).accepted().number();
        assert_eq!(world.new_messages(ANNA, 1), [format!("errore inside {sent}")], "{case}");
    }
    // A whole one afterwards: had any of the others been answered, its receipts would have come first.
    let sent = world.send("plain", &[ANNA], &json!({})).accepted();
    for answer in world.taken(2) {
        assert_eq!(answer["letter"], sent.0["letter"]);
    }
    assert_eq!(world.new_messages(ANNA, 1), [format!("own sent {}", sent.number())]);
}

#[test]
fn receipts_of_a_wrong_signer_are_anomalies_and_of_a_stranger_move_nothing() {
    let mut world = World::start();
    let letter = unanswered(&mut world, &[ROSA]);
    assert_eq!(world.new_messages(ANNA, 1), [format!("accettazione letter {letter}")]);
    for signer in ["unlisted", "expired", "revoked"] {
        let forged =
            answer(&mut world, letter, "delivery", json!({"recipient": ROSA, "signer": signer}));
        assert_eq!(
            world.new_messages(ANNA, 1),
            [format!("errore inside {}", forged.number())],
            "{signer}"
        );
    }
    let forged =
        answer(&mut world, letter, "charge", json!({"recipient": ROSA, "signer": "unlisted"}));
    assert_eq!(world.new_messages(SERVICE, 1), [format!("errore inside {}", forged.number())]);
    // The true ones still count.
    let charge = answer(&mut world, letter, "charge", json!({"recipient": ROSA}));
    let delivery = answer(&mut world, letter, "delivery", json!({"recipient": ROSA}));
    assert_eq!(world.new_messages(SERVICE, 1), [format!("own sent {}", charge.number())]);
    assert_eq!(world.new_messages(ANNA, 1), [format!("own sent {}", delivery.number())]);
}

/// They are certified, so they reach their reader as they are (RFC 6109 §2.2.2); what they claim is not
/// noted, for the true receipts are noted afterwards.
#[test]
fn receipts_for_recipients_of_others_and_for_no_transmission_are_passed_on_and_answered_by_nobody()
{
    let mut world = World::start();
    let letter = unanswered(&mut world, &[ROSA, BRUNO]);
    world.new_messages(BRUNO, 1);
    world.new_messages(ANNA, 2);
    let of_bruno = answer(&mut world, letter, "failure", json!({"recipient": BRUNO}));
    let of_nothing = answer(
        &mut world,
        letter,
        "delivery",
        json!({"recipient": ROSA, "identifier": "mai.esistito@alfa.example"}),
    );
    let mut expected = [of_bruno, of_nothing].map(|sent| format!("own sent {}", sent.number()));
    expected.sort();
    assert_eq!(world.new_messages(ANNA, 2), expected);
    let delivery = answer(&mut world, letter, "delivery", json!({"recipient": ROSA}));
    assert_eq!(world.new_messages(ANNA, 1), [format!("own sent {}", delivery.number())]);
    world.queue_empties();
    world.taken(0);
}

#[test]
fn receipts_in_any_order_and_any_number_are_each_in_the_mailbox_once() {
    let mut world = World::start();
    let letter = unanswered(&mut world, &[ROSA]);
    let delivery = answer(&mut world, letter, "delivery", json!({"recipient": ROSA})).number();
    let charge = answer(&mut world, letter, "charge", json!({"recipient": ROSA})).number();
    for _ in 0..3 {
        for sent in [charge, delivery] {
            let again = world.peer.order("repeat", json!({"sent": sent}));
            assert_eq!(again["reply"][0], 250, "{again:?}");
        }
    }
    // What comes last is there last.
    let last = answer(&mut world, letter, "delivery", json!({"recipient": ROSA, "manner": "old"}))
        .number();
    let expected = [
        format!("accettazione letter {letter}"),
        format!("own sent {delivery}"),
        format!("own sent {last}"),
    ];
    assert_eq!(world.new_messages(ANNA, 3), expected);
    assert_eq!(world.new_messages(SERVICE, 1), [format!("own sent {charge}")]);
}

#[test]
fn ordinary_mail_is_wrapped_and_certifies_nothing() {
    let mut world = World::start();
    let fields = [
        "Subject: ordinaria\r\nMessage-ID: <1@posta.example>\r\n",
        // Headers alone certify nothing.
        "Subject: =?utf-8?Q?perch=C3=A9?=\r\nX-Trasporto: posta-certificata\r\nReply-To: altro@posta.example\r\n",
        "X-Ricevuta: avvenuta-consegna\r\nCc: bruno@pec.alfa.example\r\n",
    ];
    for fields in fields {
        let order = json!({"sender": "ospite@posta.example", "to": [ANNA], "fields": fields});
        let sent = Sent(world.peer.order("ordinary", order)).accepted().number();
        assert_eq!(world.new_messages(ANNA, 1), [format!("errore inside {sent}")], "{fields}");
    }
    world.queue_empties();
    world.taken(0);
}
