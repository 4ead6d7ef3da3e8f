//! Back-ups made while snapshots are taken and thinned and mail moves into the archive: whatever instant a
//! checkpoint is of, it comes back with every one of its snapshots whole.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use serde_json::Value;

use super::{BACKUP, pair_with, restore};
use crate::support::{Pair, Provider, json, load::Load, wait_until};

/// Runs every second that keep the latest snapshot and those asked for; a quick collector.
const QUICK: &str = "[snapshots]\ninterval = \"1 s\"\nspread = \"0 s\"\nevery = \"1 s\"\nhourly_hours = 0\n\
                     daily_days = 0\nmonthly_months = 0\non_demand_days = 35\n\
                     [collector]\ninterval = \"1 s\"\ngrace = \"0 s\"\ncold_after = \"0 s\"\n\
                     cold_octets_min = \"1 KB\"\n";

/// Runs commands on Mario's account until they are told to end; those that lost a race are tried again.
fn change_until(end: &AtomicBool, alfa: &Provider, mario: &str) -> u64 {
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                let output = alfa.run(&["snapshot", "take", mario, "--json"], "");
                taken.fetch_add(u64::from(output.status.success()), Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                alfa.administer(&["archive", "run", mario], "");
            }
        });
    });
    taken.into_inner()
}

/// Names and state roots of the snapshots of an account in a data folder.
fn instants(pair: &Pair, folder: &str, account: &str) -> BTreeMap<String, Value> {
    let listed = in_folder(pair, folder, &["snapshot", "list", account, "--json"]);
    let listed = listed.as_array().expect("a list").clone();
    let name = |one: &Value| one["name"].as_str().expect("a name").to_owned();
    listed.iter().map(|one| (name(one), one["state_root"].clone())).collect()
}

fn in_folder(pair: &Pair, folder: &str, arguments: &[&str]) -> Value {
    let folder = pair.alfa.folder.join(folder).to_string_lossy().into_owned();
    let output = pair.alfa.run_with(&[("CERALACCA_DATA_FOLDER", &folder)], arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Restores a checkpoint elsewhere, checks it, and reads every message of every snapshot in it.
fn is_whole(pair: &Pair, folder: &str, checkpoint: &str, known: &BTreeMap<String, Value>) -> usize {
    let (alfa, mario) = (&pair.alfa, pair.alfa.address("mario"));
    let restored = restore(alfa, folder, &["--rehearsal", "--checkpoint", checkpoint]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let report = in_folder(pair, folder, &["store", "check", "--json"]);
    assert_eq!(report["clean"], true, "{checkpoint}: {report:#}");
    let found = instants(pair, folder, &mario);
    assert!(report["snapshots"].as_u64() >= Some(found.len() as u64), "{report:#}");
    for (name, root) in &found {
        if let Some(known) = known.get(name) {
            assert_eq!(root, known, "{checkpoint}: {name}");
        }
        let out = alfa.folder.join(format!("{folder}-{}.tar", name.replace(':', "")));
        let out = out.to_string_lossy().into_owned();
        let export =
            ["snapshot", "export", &mario, name, "--format", "tar", "--out", &out, "--json"];
        let exported = in_folder(pair, folder, &export);
        assert_eq!(exported["unreadable"], 0, "{checkpoint}: {name}: {exported:#}");
    }
    found.len()
}

#[test]
fn checkpoints_taken_while_snapshots_come_and_go_come_back_with_all_of_them() {
    let mut pair = pair_with(&format!("{BACKUP}{QUICK}"));
    pair.alfa.start();
    pair.beta.start();
    let mario = pair.alfa.address("mario");
    pair.alfa.administer(&["archive", "rules", "set", &mario, "--older-than", "0"], "");
    let load = Load::start(&pair, 0, 60);
    let (end, mut checkpoints) = (AtomicBool::new(false), Vec::new());
    let taken = std::thread::scope(|scope| {
        let changes = scope.spawn(|| change_until(&end, &pair.alfa, &mario));
        for number in 1..=3 {
            wait_until("more is acknowledged", || load.acknowledged() >= 15 * number);
            let now = json(&pair.alfa, &["backup", "now"]);
            checkpoints.push(now["checkpoint"].as_str().expect("a name").to_owned());
        }
        end.store(true, Ordering::Relaxed);
        changes.join().expect("no panic")
    });
    assert_eq!(load.end().len(), 60);
    assert!(taken > 2, "{taken}");
    let known = instants(&pair, "data", &mario);
    assert!(pair.alfa.stop(), "{}", pair.alfa.log());
    let archived = json(&pair.alfa, &["snapshot", "browse", &mario, "latest"]);
    let boxes = archived["mailboxes"].as_array().expect("a list").iter();
    let filled = |one: &&Value| {
        one["name"].as_str().is_some_and(|name| name.starts_with("Archivio/"))
            && one["messages"] != 0
    };
    assert!(boxes.filter(filled).count() > 0, "mail moved: {archived:#}");
    let mut snapshots = 0;
    for (number, checkpoint) in checkpoints.iter().enumerate() {
        snapshots += is_whole(&pair, &format!("restored{number}"), checkpoint, &known);
    }
    assert!(snapshots > 2, "{snapshots}");
}
