//! What two providers must hold after the kills, whichever of them was killed.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::support::{Filling, PASSWORD, Pair, json, list, load::counts, wait_until};

/// A doubled receipt would come late: the time that a retry takes.
const LATE_TIME: Duration = Duration::from_secs(6);

/// The accented subject reads the same in the header and in the certification data.
fn assert_subject(message: &Value, prefix: &str) {
    let subject = message["headers"]["Subject"].as_str().unwrap_or_default();
    let original = message["daticert"]["oggetto"].as_str().unwrap_or_default();
    assert!(original.starts_with("Perizia è numero "), "{message:#}");
    assert_eq!(subject, format!("{prefix}{original}"), "{message:#}");
}

/// Fails unless each message of `whole` is once of `kind` in a mailbox, and nothing else is there.
fn assert_one_each(messages: &[Value], kind: &str, whole: &BTreeSet<u64>) {
    let counts = counts(messages, kind);
    assert!(counts.values().all(|count| *count == 1), "{kind}: {counts:?}");
    let found: BTreeSet<u64> = counts.into_keys().collect();
    assert_eq!(found, *whole, "{kind}: nothing missing, nothing that was not sent");
    assert_eq!(messages.len(), whole.len(), "{kind}: nothing else");
}

/// Waits until every transmission has come to its end, and fails unless each of `acknowledged` is
/// complete, each of `in_doubt` complete or not there at all, and nothing doubled anywhere. Returns
/// how many of `in_doubt` are complete.
pub(crate) fn assert_each_exactly_once(
    pair: &Pair,
    acknowledged: &BTreeSet<u64>,
    in_doubt: &BTreeSet<u64>,
) -> usize {
    let (mario, anna) = (pair.alfa.address("mario"), pair.beta.address("anna"));
    let service = format!("posta-certificata@{}", pair.alfa.mail_domain);
    pair.alfa.administer(&["account", "password", &service], PASSWORD);
    let (mut inbox, mut of_service) = (Filling::default(), Filling::default());
    wait_until("every receipt is there", || {
        let received = inbox.read(&pair.alfa, &pair.authority, &mario, "INBOX");
        let accepted = counts(received, "accettazione").len();
        let taken = of_service.read(&pair.alfa, &pair.authority, &service, "INBOX").len();
        accepted >= acknowledged.len() && received.len() >= 2 * accepted && taken >= accepted
    });
    std::thread::sleep(LATE_TIME);

    let received = list(&pair.alfa, &pair.authority, &mario, "INBOX");
    let whole: BTreeSet<u64> = counts(&received, "accettazione").into_keys().collect();
    let (accepted, delivered): (Vec<Value>, Vec<Value>) =
        received.into_iter().partition(|message| message["daticert"]["tipo"] == "accettazione");
    assert!(whole.is_superset(acknowledged), "lost: {:?}", acknowledged - &whole);
    let invented = &(&whole - acknowledged) - in_doubt;
    assert!(invented.is_empty(), "nobody sent {invented:?}");
    assert_one_each(&accepted, "accettazione", &whole);
    assert_one_each(&delivered, "avvenuta-consegna", &whole);
    for message in &accepted {
        assert_subject(message, "ACCETTAZIONE: ");
    }
    for message in &delivered {
        assert_subject(message, "CONSEGNA: ");
        assert_eq!(message["daticert"]["consegna"], anna, "{message:#}");
    }

    let taken = list(&pair.alfa, &pair.authority, &service, "INBOX");
    assert_one_each(&taken, "presa-in-carico", &whole);
    let envelopes = list(&pair.beta, &pair.authority, &anna, "INBOX");
    assert_one_each(&envelopes, "posta-certificata", &whole);

    whole.intersection(in_doubt).count()
}

/// Stops both providers; their stores are sound, and a message is rebuilt as it was read.
pub(crate) fn stop_and_check(mut pair: Pair) {
    let anna = pair.beta.address("anna");
    let read = list(&pair.beta, &pair.authority, &anna, "INBOX");
    assert!(pair.alfa.stop(), "{}", pair.alfa.log());
    assert!(pair.beta.stop(), "{}", pair.beta.log());
    for provider in [&pair.alfa, &pair.beta] {
        let report = json(provider, &["store", "check"]);
        assert_eq!(report["clean"], true, "{report:#}");
        assert!(report["messages"].as_u64() >= Some(read.len() as u64), "{report:#}");
    }
    let message = json(&pair.beta, &["message", "show", &anna, "1"]);
    assert_eq!(message["intact"], true, "{message:#}");
    assert_eq!(message["logical_octets"], read[0]["octets"], "{message:#}");
}
