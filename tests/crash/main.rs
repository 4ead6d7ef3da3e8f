//! Nothing acknowledged is lost and nothing is doubled when a provider is killed in the middle.

#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use support::{PASSWORD, Pair, list, mail_client, run, wait_until};

/// Messages in flight while the receiving provider is killed.
const TRANSMISSIONS: usize = 200;

/// Counts what a mailbox holds by kind of receipt and by the identifier and recipient it is for.
fn count(messages: &[serde_json::Value], kind: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        let data = &message["daticert"];
        if data["tipo"] == kind {
            let of = format!(
                "{} {}",
                data["msgid"].as_str().unwrap_or("-"),
                data["consegna"].as_str().unwrap_or("-")
            );
            *counts.entry(of).or_default() += 1;
        }
    }
    counts
}

fn assert_one_each(messages: &[serde_json::Value], kind: &str, recipient: &str) {
    let counts = count(messages, kind);
    for number in 0..TRANSMISSIONS {
        let of = format!("<prova.{number}@client.example> {recipient}");
        assert_eq!(counts.get(&of), Some(&1), "{kind} of {of}");
    }
    assert_eq!(counts.len(), TRANSMISSIONS, "{kind}: nothing that was not sent");
}

/// The accented subject reads the same in the header and in the certification data.
fn assert_subject(message: &serde_json::Value, prefix: &str) {
    let subject = message["headers"]["Subject"].as_str().unwrap_or_default();
    let original = message["daticert"]["oggetto"].as_str().unwrap_or_default();
    assert!(original.starts_with("Perizia è numero "), "{message:#}");
    assert_eq!(subject, format!("{prefix}{original}"), "{message:#}");
}

#[test]
fn a_provider_killed_in_the_middle_of_200_transmissions_answers_each_exactly_once() {
    let mut pair = Pair::new("");
    let (mario, anna) = (pair.alfa.address("mario"), pair.beta.address("anna"));
    pair.alfa.let_flood(&mario);
    pair.alfa.start();
    pair.beta.start();
    let authority = pair.authority.to_string_lossy().into_owned();
    let port = pair.alfa.ports.submissions.to_string();
    let submit =
        ["submit", "localhost", &port, &authority, &mario, "0", &TRANSMISSIONS.to_string(), &anna];
    let client = {
        let (command, input) = (mail_client(&submit), PASSWORD);
        std::thread::spawn(move || run(command, input))
    };

    // In the middle: some are delivered, most are not. Three times, at different points.
    for share in [TRANSMISSIONS / 10, TRANSMISSIONS / 4, TRANSMISSIONS / 2] {
        let mut delivered = 0;
        wait_until("some are delivered", || {
            delivered = list(&pair.beta, &pair.authority, &anna, "INBOX").len();
            delivered >= share
        });
        pair.beta.kill();
        assert!(delivered < TRANSMISSIONS, "the kill must come while some are on their way");
        pair.beta.start();
    }
    let submitted = client.join().expect("the client ends");
    assert!(submitted.status.success(), "{}", String::from_utf8_lossy(&submitted.stderr));

    let mut received = Vec::new();
    wait_until("every receipt is there", || {
        received = list(&pair.alfa, &pair.authority, &mario, "INBOX");
        received.len() >= 2 * TRANSMISSIONS
    });
    // A doubled receipt would come late: give it the time that a retry takes.
    std::thread::sleep(std::time::Duration::from_secs(6));
    received = list(&pair.alfa, &pair.authority, &mario, "INBOX");
    assert_one_each(&received, "accettazione", "-");
    assert_one_each(&received, "avvenuta-consegna", &anna);
    assert_eq!(received.len(), 2 * TRANSMISSIONS, "nothing but one receipt of each kind");
    for message in &received {
        let acceptance = message["daticert"]["tipo"] == "accettazione";
        assert_subject(message, if acceptance { "ACCETTAZIONE: " } else { "CONSEGNA: " });
    }
    let service = format!("posta-certificata@{}", pair.alfa.mail_domain);
    pair.alfa.administer(&["account", "password", &service], PASSWORD);
    let taken = list(&pair.alfa, &pair.authority, &service, "INBOX");
    assert_one_each(&taken, "presa-in-carico", "-");
    assert_eq!(taken.len(), TRANSMISSIONS, "one take-charge receipt for each transmission");

    let delivered = list(&pair.beta, &pair.authority, &anna, "INBOX");
    assert_one_each(&delivered, "posta-certificata", "-");
    assert_eq!(delivered.len(), TRANSMISSIONS);

    assert!(pair.alfa.stop(), "{}", pair.alfa.log());
    assert!(pair.beta.stop(), "{}", pair.beta.log());
    for provider in [&pair.alfa, &pair.beta] {
        let printed = provider.administer(&["store", "check", "--json"], "");
        let report: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(report["clean"], true, "{report:#}");
        assert!(report["messages"].as_u64() >= Some(TRANSMISSIONS as u64), "{report:#}");
    }
    let printed = pair.beta.administer(&["message", "show", &anna, "1", "--json"], "");
    let message: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(message["intact"], true, "{message:#}");
    assert_eq!(message["logical_octets"], delivered[0]["octets"], "{message:#}");
}
