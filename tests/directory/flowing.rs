//! A signing pair is rolled over while messages flow: no message becomes an anomaly, none is late.

use std::{path::Path, sync::Arc};

use ceralacca::pec::directory::Directory;
use trust::{authority::DevelopmentAuthority, clock::SystemClock, random::SystemRandom};

use crate::{
    central::{Central, World},
    publishing::{configure, entry, publish},
    support::{PASSWORD, Pair, Provider, json, list, mail_client, run, wait_until},
};

/// Sends `count` messages from Mario to Anna, numbered from `first`.
fn send(alfa: &Provider, authority: &Path, to: &str, first: u32, count: u32) {
    let (port, mario) = (alfa.ports.submissions.to_string(), alfa.address("mario"));
    let (first, number) = (first.to_string(), count.to_string());
    let authority = authority.to_string_lossy();
    let output = run(
        mail_client(&["submit", "localhost", &port, &authority, &mario, &first, &number, to]),
        PASSWORD,
    );
    let accepted = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(accepted, count as usize, "{}", String::from_utf8_lossy(&output.stderr));
}

/// How many messages of Anna are envelopes signed now, and how many are anything else.
fn envelopes(beta: &Provider, authority: &Path) -> (usize, usize) {
    let all = list(beta, authority, &beta.address("anna"), "INBOX");
    let certified =
        all.iter().filter(|one| one["headers"]["X-Trasporto"] == "posta-certificata").count();
    (certified, all.len() - certified)
}

/// An instant that has passed.
const PAST: &str = "2026-01-01T00:00:00Z";

/// What a command says that conflicts with how things stand.
fn refused(provider: &Provider, arguments: &[&str]) -> String {
    let refused = provider.run(arguments, "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    said
}

/// What the central server does every day: it fetches every entry, verifies it, and signs the whole.
fn gather(world: &World, entries: &[u16], authority: &Path) -> Vec<u8> {
    let records = entries.iter().flat_map(|port| entry(world, *port, authority).records().to_vec());
    let whole = Directory::new(records.collect()).expect("a directory");
    world.sign(&whole.to_ldif(), "agency")
}

/// Both providers take the copy of a central server that has their entries.
fn both_fetch(pair: &mut Pair, world: &World, entries: &[u16]) -> Central {
    let central = Central::start(
        world,
        &world.sign(b"version: 1\n\ndn: o=postacert\no: postacert\n", "agency"),
    );
    for provider in [&pair.alfa, &pair.beta] {
        let settings = format!(
            "url = {:?}\ntls_authority_file = {:?}\nsigner_subject = \"Agenzia Esempio\"\n",
            central.url(),
            pair.authority.to_string_lossy(),
        );
        configure(provider, &settings);
    }
    // The file tells them of each other to begin with; from here on the copy does.
    pair.alfa.start();
    pair.beta.start();
    central.give(&gather(world, entries, &pair.authority));
    for provider in [&pair.alfa, &pair.beta] {
        provider.administer(&["directory", "fetch"], "");
        assert!(json(provider, &["directory", "show"])["digest"].is_string());
    }
    central
}

/// Gives the provider a new pair, and returns the certificate's SHA-1.
fn add_renewed(world: &World, provider: &Provider) -> String {
    let renewed = world
        .authority
        .issue_provider("Gestore alfa.example", "posta-certificata@alfa.example")
        .expect("issued");
    world.write("renewed", &renewed);
    let files =
        ["renewed.pem", "renewed.key"].map(|name| world.path(name).to_string_lossy().into_owned());
    provider.administer(&["keys", "add", "--certificate", &files[0], "--key", &files[1]], "");
    renewed.certificate.sha1_hex()
}

#[test]
fn two_providers_roll_a_pair_over_while_messages_flow_and_nothing_becomes_an_anomaly() {
    let mut pair = Pair::new("");
    let shared = pair.authority.parent().expect("a folder").to_owned();
    let authority =
        DevelopmentAuthority::open(&shared, Arc::new(SystemClock), Arc::new(SystemRandom))
            .expect("the authority of both");
    let world = World::of(tempfile::tempdir().expect("a folder"), authority);
    let entries = [publish(&pair.alfa, ""), publish(&pair.beta, "")];
    let central = both_fetch(&mut pair, &world, &entries);
    let anna = pair.beta.address("anna");
    let Pair { alfa, beta, authority, .. } = &mut pair;
    send(alfa, authority, &anna, 1, 3);

    let sha1 = add_renewed(&world, alfa);
    // First the central server has not fetched it yet, then the others cannot have it.
    assert!(!refused(alfa, &["keys", "roll", &sha1]).contains("48"));
    central.give(&gather(&world, &entries, authority));
    alfa.administer(&["directory", "fetch"], "");
    assert!(refused(alfa, &["keys", "roll", &sha1, "--at", PAST]).contains("48"));
    beta.administer(&["directory", "fetch"], "");
    let listed = json(beta, &["directory", "list", "--hash", &sha1]);
    assert_eq!(listed[0]["certificates"].as_array().map(Vec::len), Some(2), "{listed}");

    // Messages are on their way under the old pair while the new one takes over.
    let (sending, rolling) = (&*alfa, &*alfa);
    std::thread::scope(|scope| {
        scope.spawn(|| send(sending, authority, &anna, 4, 12));
        let rolled = json(rolling, &["keys", "roll", &sha1[..10], "--force"]);
        assert_eq!(
            (&rolled[0]["sha1"], &rolled[0]["state"]),
            (&sha1.as_str().into(), &"signs".into())
        );
        assert_eq!(rolled[1]["state"], "old");
    });
    send(alfa, authority, &anna, 16, 3);
    // A restart signs with the new pair too.
    assert!(alfa.stop(), "{}", alfa.log());
    alfa.start();
    send(alfa, authority, &anna, 19, 2);
    wait_until("all are there", || envelopes(beta, authority).0 >= 20);
    assert_eq!(envelopes(beta, authority), (20, 0));

    let mario = alfa.address("mario");
    let receipts = || {
        let all = list(alfa, authority, &mario, "INBOX");
        let of = |kind| all.iter().filter(|one| one["headers"]["X-Ricevuta"] == kind).count();
        (of("accettazione"), of("avvenuta-consegna"), all.len())
    };
    wait_until("all receipts are there", || receipts().2 >= 40);
    assert_eq!(receipts(), (20, 20, 40));
    // It signs.
    refused(alfa, &["keys", "remove", &sha1]);
}
