//! What an operator does with snapshots, without a server: looks, compares, searches, holds, erases.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use storage::{
    account::Account,
    catalog::{engine::Batch, keys},
    ids::MailboxId,
    mailbox::{live::LiveMailbox, view::MailboxView as _},
    store::Store,
};

use super::{
    Site,
    damages::first_value,
    stderr, stdout,
    store::{account, append, with_store},
};

const ANNA: &str = "anna@pec.example";

/// Takes a snapshot of Anna's account, and returns its name.
fn take(site: &Site) -> String {
    // At most one in a second.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let taken = site.json(&["snapshot", "take", ANNA]);
    assert_eq!(taken["new"], true, "{taken}");
    taken["name"].as_str().expect("a name").to_owned()
}

/// Anna's INBOX had two messages at the first of two instants; then the first one was moved to
/// `Pratiche`, and a third one came. Returns the names of both instants.
fn two_instants() -> (Site, String, String) {
    let site = Site::new();
    with_store(site.folder.path(), async |store| {
        let anna = account(store, 1, ANNA).await;
        anna.create_mailbox("Pratiche", None).await.unwrap();
        append(store, &anna, 1, 5_000).await;
        append(store, &anna, 2, 5_000).await;
    });
    let first = take(&site);
    with_store(site.folder.path(), async |store| {
        let anna = account(store, 1, ANNA).await;
        let to = anna.mailbox_by_name("Pratiche").await.unwrap().id();
        let inbox = anna.mailbox(MailboxId(1)).await.unwrap();
        let uid = inbox.rows().await.unwrap().1[0].uid;
        inbox.move_to(&[uid], to).await.unwrap();
        append(store, &anna, 3, 5_000).await;
    });
    let second = take(&site);
    (site, first, second)
}

/// Hands what a command prints as JSON to a script in Python, with the names of both instants.
fn python_reads(site: &Site, kind: &str, arguments: &[&str], instants: [&str; 2]) {
    let printed = site.run(&[arguments, &["--json"]].concat());
    assert!(printed.status.success(), "{arguments:?}: {}", stderr(&printed));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/commands/instants.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(kind).args(instants);
    python.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().expect("python3 runs");
    child.stdin.take().expect("a pipe").write_all(&printed.stdout).expect("written");
    let read = child.wait_with_output().expect("python3 ends");
    assert!(read.status.success(), "{kind}: {}{}", stderr(&read), stdout(&printed));
}

#[test]
fn scripts_read_what_is_listed_browsed_compared_and_found() {
    let (site, first, second) = two_instants();
    let instants = [first.as_str(), second.as_str()];
    for (kind, arguments) in [
        ("list", &["snapshot", "list", ANNA][..]),
        ("browse", &["snapshot", "browse", ANNA, &first]),
        ("messages", &["snapshot", "browse", ANNA, &first, "INBOX"]),
        ("page", &["snapshot", "browse", ANNA, &first, "INBOX", "--limit", "1"]),
        ("diff", &["snapshot", "diff", ANNA, &first, &second]),
        ("same", &["snapshot", "diff", ANNA, &second, "now"]),
        ("search", &["snapshot", "search", ANNA, "--text", "1"]),
        ("nothing", &["snapshot", "search", ANNA, "--text", "nessuno"]),
    ] {
        python_reads(&site, kind, arguments, instants);
    }
    let nobody = ["snapshot", "list", "nessuno@pec.example"];
    assert_eq!(site.refusal(&nobody), (3, "not_found".to_owned()));
    let never = ["snapshot", "browse", ANNA, "2001-01-01"];
    assert_eq!(site.refusal(&never), (3, "not_found".to_owned()));
    let nowhere = ["snapshot", "browse", ANNA, "latest", "Mai"];
    assert_eq!(site.refusal(&nowhere), (3, "not_found".to_owned()));
}

#[test]
fn a_message_whose_summary_cannot_be_read_hides_no_others() {
    let (site, first, _) = two_instants();
    with_store(site.folder.path(), async |store| {
        let anna = account(store, 1, ANNA).await;
        let row = anna.mailbox(MailboxId(1)).await.unwrap().rows().await.unwrap().1.remove(0);
        let mut damage = Batch::default();
        damage.put(keys::SUMMARIES, keys::message(anna.id(), row.email_number), "");
        store.commit(damage).await.unwrap();
    });
    let browsed = site.json(&["snapshot", "browse", ANNA, &first, "INBOX"]);
    let subjects: Vec<&str> = browsed["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|one| one["subject"].as_str().expect("a text"))
        .collect();
    assert!(!subjects[0].is_empty() && subjects[1].is_empty(), "{browsed}");
    assert_eq!(browsed["unreadable"], 1, "{browsed}");
    let found = site.json(&["snapshot", "search", ANNA, "--text", subjects[0]]);
    assert_eq!(found["messages"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["unreadable"], 1, "{found}");
    let said = stderr(&site.run(&["snapshot", "search", ANNA, "--text", subjects[0]]));
    assert!(said.contains("store check"), "{said}");
}

async fn inbox_of(store: &Store) -> (Arc<LiveMailbox>, Account) {
    let anna = account(store, 1, ANNA).await;
    (anna.mailbox(MailboxId(1)).await.unwrap(), anna)
}

#[test]
fn more_moves_than_are_held_are_said_to_be_told_apart() {
    let site = Site::new();
    let file = site.folder.path().join("ceralacca.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config + "[snapshots.limits]\ndifferences_held_max = 1000\n").unwrap();
    with_store(site.folder.path(), async |store| {
        let (inbox, anna) = inbox_of(store).await;
        anna.create_mailbox("Pratiche", None).await.unwrap();
        append(store, &anna, 1, 500).await;
        for _ in 0..11 {
            let uids: Vec<_> = inbox.rows().await.unwrap().1.iter().map(|row| row.uid).collect();
            inbox.copy(&uids, MailboxId(1)).await.unwrap();
        }
    });
    let first = take(&site);
    let same = site.json(&["snapshot", "diff", ANNA, &first, "now"]);
    assert_eq!((&same["moves_complete"], &same["notes"]), (&true.into(), &serde_json::json!([])));
    with_store(site.folder.path(), async |store| {
        let (inbox, anna) = inbox_of(store).await;
        let to = anna.mailbox_by_name("Pratiche").await.unwrap().id();
        let uids: Vec<_> = inbox.rows().await.unwrap().1.iter().map(|row| row.uid).collect();
        inbox.move_to(&uids, to).await.unwrap();
    });
    let compared = site.json(&["snapshot", "diff", ANNA, &first, "now"]);
    assert_eq!(compared["moves_complete"], false, "{}", compared["notes"]);
    assert!(compared["removed"].as_u64() > Some(0));
    let said = stderr(&site.run(&["snapshot", "diff", ANNA, &first, "now", "--limit", "1"]));
    assert!(said.contains("differences_held_max"), "{said}");
}

#[test]
fn what_one_snapshot_holds_is_erased_only_when_the_hold_ends() {
    let (site, first, _) = two_instants();
    let erase = |id: &str| {
        let why = ["--reason", "causa 7", "--category", "other", "--by", "Ufficio", "--yes"];
        site.run(&[&["message", "erase", ANNA, id][..], &why].concat())
    };
    let hold = ["snapshot", "hold", ANNA, "--at", &first, "--reason", "causa 12"];
    let shown = site.json(&hold);
    assert_eq!(shown["held_snapshots"], serde_json::json!([first]), "{shown}");
    assert_eq!(shown["held"], serde_json::Value::Null);
    let refused = erase("1");
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    let said = stderr(&refused);
    assert!(said.contains("causa 12") && said.contains(&first), "{said}");
    // The third message came after the snapshot that is held.
    let erased = erase("3");
    assert!(erased.status.success(), "{}", stderr(&erased));
    let released = site.json(&["snapshot", "hold", ANNA, "--at", &first, "--release"]);
    assert_eq!(released["held_snapshots"], serde_json::json!([]), "{released}");
    let erased = erase("1");
    assert!(erased.status.success(), "{}", stderr(&erased));
    let browsed = site.json(&["snapshot", "browse", ANNA, &first, "INBOX"]);
    assert_eq!(browsed["messages"].as_array().map(Vec::len), Some(2), "its row stands: {browsed}");
    // Nobody made the account but this test: nothing else is wrong.
    let checked = first_value(&stdout(&site.run(&["store", "check", "--json"])));
    let kinds = checked["first_violations"].as_array().unwrap().iter().map(|one| &one["kind"]);
    assert_eq!(kinds.collect::<Vec<_>>(), ["not_in_registry"], "{checked:#}");
    // All of the account, those to come too.
    site.json(&["snapshot", "hold", ANNA, "--reason", "causa 13"]);
    assert_eq!(erase("2").status.code(), Some(4));
    let released = site.json(&["snapshot", "hold", ANNA, "--release"]);
    assert_eq!(released["held"], serde_json::Value::Null);
    assert!(erase("2").status.success());
}

#[test]
fn a_holder_who_asks_for_more_than_the_limit_of_a_day_is_put_off_and_operators_are_not() {
    let site = Site::new();
    let file = site.folder.path().join("ceralacca.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config + "[snapshots]\non_demand_per_day = 2\n").unwrap();
    let grow = |seed| {
        with_store(site.folder.path(), async |store| {
            let anna = account(store, 1, ANNA).await;
            append(store, &anna, seed, 100).await;
        });
        std::thread::sleep(std::time::Duration::from_millis(1_100));
    };
    let ask = ["snapshot", "take", ANNA, "--holder"];
    for seed in 1..=2 {
        grow(seed);
        assert_eq!(site.json(&ask)["new"], true);
    }
    grow(3);
    assert_eq!(site.refusal(&ask), (75, "temporary".to_owned()));
    assert!(stderr(&site.run(&ask)).contains('2'), "{}", stderr(&site.run(&ask)));
    assert_eq!(site.json(&["snapshot", "take", ANNA])["new"], true);
    let listed = site.json(&["snapshot", "list", ANNA]);
    let kinds: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["on_demand", "on_demand", "operator"]);
}
