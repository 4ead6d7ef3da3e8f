//! A provider whose data folder is lost under load comes back from its back-up alone.

#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/mod.rs"]
mod support;

mod instants;

use std::{path::Path, time::Duration};

use serde_json::Value;
use support::{
    Pair, Provider, json, list,
    load::{Load, counts},
    wait_until,
};
use trust::clock::{Clock as _, SystemClock};

const BACKUP: &str = "[backup]\ntarget = \"backup\"\nrecovery_certificate_file = \"tls.pem\"\n\
                      passphrase_file = \"backup.passphrase\"\ninterval = \"500 ms\"\n";

fn pair() -> Pair {
    pair_with(BACKUP)
}

/// Two providers with more settings, those of the back-up among them.
fn pair_with(settings: &str) -> Pair {
    let pair = Pair::new(settings);
    for provider in [&pair.alfa, &pair.beta] {
        std::fs::create_dir(provider.folder.join("backup")).expect("a folder");
        let phrase = provider.folder.join("backup.passphrase");
        std::fs::write(phrase, "una frase per le copie\n").expect("written");
    }
    pair.alfa.let_flood(&pair.alfa.address("mario"));
    pair
}

fn restore(provider: &Provider, into: &str, more: &[&str]) -> std::process::Output {
    let (from, into) = (provider.folder.join("backup"), provider.folder.join(into));
    let key = provider.folder.join("tls.key");
    let words = [from, into, key].map(|path| path.to_string_lossy().into_owned());
    let [from, into, key] = words.each_ref().map(String::as_str);
    let mut arguments = vec!["restore", "--from", from, "--into", into, "--json"];
    if !more.contains(&"--passphrase-file") {
        arguments.extend(["--recovery-key", key]);
    }
    if !more.contains(&"--rehearsal") {
        arguments.push("--replace");
    }
    arguments.extend(more);
    provider.run(&arguments, "")
}

/// Restores a data folder that was lost, and returns the instant that it is of.
fn comes_back(provider: &Provider) -> i64 {
    let printed = restore(provider, "data", &[]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let restored: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(restored["epoch"], 2);
    let configuration = restored["outside"].as_array().expect("a list").iter();
    let mut configuration = configuration.filter_map(Value::as_str);
    assert!(configuration.any(|file| file.ends_with("/ceralacca.toml")), "{restored:#}");
    let report = json(provider, &["store", "check"]);
    assert_eq!(report["clean"], true, "{report:#}");
    restored["instant_millis"].as_i64().expect("an instant")
}

#[test]
fn a_data_folder_lost_under_load_comes_back_with_all_that_was_acknowledged_before_the_increment() {
    let mut pair = pair();
    pair.alfa.start();
    pair.beta.start();
    let (mario, anna) = (pair.alfa.address("mario"), pair.beta.address("anna"));
    let delivered = Load::start(&pair, 0, 10).end();
    assert_eq!(delivered.len(), 10);
    let mut before = Vec::new();
    wait_until("all receipts of the first ten are there", || {
        before = list(&pair.alfa, &pair.authority, &mario, "INBOX");
        before.len() == 20
    });
    // Now nobody takes envelopes: they wait in the queue, and stand there in the checkpoint.
    pair.beta.kill();
    let load = Load::start(&pair, 10, 10_000);
    wait_until("twenty more are acknowledged", || load.acknowledged() >= 20);
    let asked = SystemClock.now().0;
    let increment = json(&pair.alfa, &["backup", "now"]);
    assert!(increment["instant_millis"].as_i64() >= Some(asked), "{increment:#}");
    let status = json(&pair.alfa, &["backup", "status"]);
    assert_eq!(status["late"], false, "{status:#}");
    let enough = load.acknowledged() + 10;
    wait_until("more are acknowledged", || load.acknowledged() >= enough);
    pair.alfa.kill();
    std::fs::remove_dir_all(pair.alfa.folder.join("data")).expect("lost");
    let acknowledged = load.end();

    let instant = comes_back(&pair.alfa);
    assert!(Some(instant) >= increment["instant_millis"].as_i64(), "{instant} {increment:#}");

    pair.alfa.start();
    pair.beta.start();
    let after = list(&pair.alfa, &pair.authority, &mario, "INBOX");
    assert_eq!(after[..before.len()], before, "what was read before reads the same");
    let held = json(&pair.alfa, &["transmission", "held"]);
    assert!(held.as_array().map(Vec::len) >= Some(20), "{held:#}");
    // Nothing goes by itself: give a send the time that it would take.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(list(&pair.beta, &pair.authority, &anna, "INBOX").len(), 10);

    let released = json(&pair.alfa, &["transmission", "release", "--all"]);
    assert_eq!(released["released"].as_u64(), held.as_array().map(|held| held.len() as u64));
    assert_eq!(json(&pair.alfa, &["transmission", "held"]), serde_json::json!([]));
    let must: Vec<u64> =
        acknowledged.iter().filter(|(_, at)| **at < instant).map(|(number, _)| *number).collect();
    assert!(must.len() >= 20, "{must:?} before {instant}");
    let mut receipts = Vec::new();
    wait_until("everything acknowledged before the increment is delivered", || {
        receipts = list(&pair.alfa, &pair.authority, &mario, "INBOX");
        let counts = counts(&receipts, "avvenuta-consegna");
        must.iter().all(|number| counts.contains_key(number))
    });
    let taken = list(&pair.beta, &pair.authority, &anna, "INBOX");
    for (kind, messages) in [
        ("accettazione", &receipts),
        ("avvenuta-consegna", &receipts),
        ("posta-certificata", &taken),
    ] {
        let counts = counts(messages, kind);
        for number in must.iter().chain(delivered.keys()) {
            assert_eq!(counts.get(number), Some(&1), "{kind} of {number}");
        }
        assert!(counts.values().all(|count| *count == 1), "{kind}: {counts:?}");
    }
    let newest = receipts.last().and_then(|last| last["uid"].as_u64()).expect("a UID");
    assert!(newest > 1 << 20, "UIDs go on far above those of the lost time: {newest}");
    the_node_goes_on_in_its_new_epoch(&mut pair, &mario);
}

fn the_node_goes_on_in_its_new_epoch(pair: &mut Pair, mario: &str) {
    assert_eq!(Load::start(pair, 20_000, 1).end().len(), 1);
    let mut identifier = Value::Null;
    wait_until("the first message of the new epoch is accepted", || {
        let messages = list(&pair.alfa, &pair.authority, mario, "INBOX");
        let found = messages.iter().find(|message| {
            let data = &message["daticert"];
            data["tipo"] == "accettazione" && data["msgid"] == "<prova.20000@client.example>"
        });
        identifier = found.map_or(Value::Null, |found| found["daticert"]["identificativo"].clone());
        !identifier.is_null()
    });
    assert!(
        identifier.as_str().is_some_and(|name| name.starts_with("ceralacca2.")),
        "{identifier}"
    );
    let checkpoint = json(&pair.alfa, &["backup", "now"])["checkpoint"].clone();
    assert!(checkpoint.as_str().is_some_and(|name| name.starts_with("00000002-")), "{checkpoint}");
    assert!(pair.alfa.stop(), "{}", pair.alfa.log());
    assert!(pair.beta.stop(), "{}", pair.beta.log());
    for provider in [&pair.alfa, &pair.beta] {
        let report = json(provider, &["store", "check"]);
        assert_eq!(report["clean"], true, "{report:#}");
    }
    let journal = json(&pair.alfa, &["journal", "verify"]);
    assert_eq!(journal["whole"], true, "{journal:#}");
    let lost = journal["lost_time"].as_array().expect("a list");
    assert_eq!(lost.len(), 1, "the lost time is explained: {journal:#}");
}

fn first_piece(folder: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let path = paths.into_iter().next().expect("an entry");
    if path.is_dir() { first_piece(&path) } else { path }
}

#[test]
fn a_flipped_octet_a_wrong_key_and_a_folder_in_use_are_refused_with_what_to_do() {
    let mut pair = pair();
    let none = pair.alfa.run(&["backup", "status"], "");
    assert_eq!(none.status.code(), Some(1), "no checkpoint yet");
    pair.alfa.start();
    let checkpoint = json(&pair.alfa, &["backup", "now"])["checkpoint"].clone();
    let checkpoint = checkpoint.as_str().expect("a name");
    assert!(pair.alfa.stop(), "{}", pair.alfa.log());
    let names = json(&pair.alfa, &["backup", "list"]);
    let names = names.as_array().expect("a list");
    assert!(names.iter().any(|name| name["checkpoint"] == checkpoint), "{names:#?}");
    assert_ne!(names.last().expect("one")["checkpoint"], checkpoint, "a stop takes a last one");
    assert_eq!(json(&pair.alfa, &["backup", "verify", checkpoint])["whole"], true);

    let busy = restore(&pair.alfa, "data", &[]);
    assert_eq!(busy.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("non è vuota"));
    let phrase = pair.alfa.folder.join("other.passphrase");
    std::fs::write(&phrase, "una frase di qualcun altro\n").expect("written");
    let phrase = phrase.to_string_lossy().into_owned();
    let wrong = restore(&pair.alfa, "new", &["--passphrase-file", &phrase]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("provarne un'altra"));

    let piece = first_piece(&pair.alfa.folder.join("backup/backup/pieces"));
    let whole = std::fs::read(&piece).expect("read");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    std::fs::write(&piece, changed).expect("written");
    let name = piece.file_name().expect("a name").to_string_lossy().into_owned();
    let mut found = 0;
    for checkpoint in names {
        let checkpoint = checkpoint["checkpoint"].as_str().expect("a name");
        let verified = pair.alfa.run(&["backup", "verify", checkpoint, "--json"], "");
        if verified.status.success() {
            continue;
        }
        assert!(String::from_utf8_lossy(&verified.stdout).contains(&name));
        let refused = restore(&pair.alfa, "new", &["--checkpoint", checkpoint]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(&name), "{said}");
        found += 1;
        // The same command goes on when the object is mended.
        std::fs::write(&piece, &whole).expect("written");
        let phrase = pair.alfa.folder.join("backup.passphrase").to_string_lossy().into_owned();
        let mended =
            restore(&pair.alfa, "new", &["--checkpoint", checkpoint, "--passphrase-file", &phrase]);
        assert!(mended.status.success(), "{}", String::from_utf8_lossy(&mended.stderr));
        break;
    }
    assert_eq!(found, 1, "a checkpoint that has the piece is found damaged");
}

#[test]
fn a_node_that_is_replaced_closes_its_doors_and_a_rehearsal_replaces_nobody() {
    let mut pair = pair();
    pair.alfa.start();
    assert_eq!(Load::start(&pair, 0, 3).end().len(), 3);
    json(&pair.alfa, &["backup", "now"]);
    let unsaid = pair.alfa.run(&["restore", "--into", "spare", "--recovery-key", "tls.key"], "");
    assert_eq!(unsaid.status.code(), Some(2), "{unsaid:?}");
    let rehearsed = restore(&pair.alfa, "rehearsed", &["--rehearsal"]);
    assert!(rehearsed.status.success(), "{}", String::from_utf8_lossy(&rehearsed.stderr));
    json(&pair.alfa, &["backup", "now"]);
    let folder = |name: &str| pair.alfa.folder.join(name).to_string_lossy().into_owned();
    let (rehearsal, other) = (folder("rehearsed"), folder("other"));
    let (backup, away) = (folder("backup"), folder("away"));
    let with_folder = |folder: &str, arguments: &[&str]| {
        pair.alfa.run_with(&[("CERALACCA_DATA_FOLDER", folder)], arguments)
    };
    let checked = with_folder(&rehearsal, &["store", "check", "--json"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let refused = with_folder(&rehearsal, &["serve"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--rehearsal"));

    let replaced = restore(&pair.alfa, "other", &[]);
    assert!(replaced.status.success(), "{}", String::from_utf8_lossy(&replaced.stderr));
    assert_eq!(pair.alfa.ended(), Some(4), "{}", pair.alfa.log());
    // It knows without an answer of the back-up, too.
    std::fs::rename(&backup, &away).expect("moved");
    let again = pair.alfa.run(&["serve"], "");
    assert_eq!(again.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&again.stderr).contains("take-over"), "{again:?}");
    std::fs::rename(&away, &backup).expect("moved back");
    let checked = pair.alfa.run_with(&[("CERALACCA_DATA_FOLDER", &other)], &["store", "check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    let unsure = pair.alfa.run(&["store", "take-over"], "");
    assert_eq!(unsure.status.code(), Some(2));
    let taken = json(&pair.alfa, &["store", "take-over", "--yes"]);
    assert_eq!(taken["epoch"], 3, "{taken:#}");
    assert_eq!(taken["lost_packs"], serde_json::json!([]), "{taken:#}");
    let held = json(&pair.alfa, &["transmission", "held"]);
    assert_eq!(taken["held"].as_u64(), held.as_array().map(|held| held.len() as u64), "{taken:#}");
    pair.alfa.start();
    assert_eq!(Load::start(&pair, 10, 3).end().len(), 3, "it takes mail again");
    assert!(pair.alfa.stop(), "{}", pair.alfa.log());
}
