//! What an operator reads about a store that is not sound: Italian, or English where the environment
//! says so; and kinds for programs.

use ::snapshots::keep::{
    SnapshotLimits,
    keys::{self as snapshot_keys, SNAPSHOT_PAGES},
    snapshot::SnapshotKind,
};
use ceralacca::config::Config;
use serde_json::Value;
use storage::{
    catalog::{engine::Batch, keys},
    ids::{AccountId, EmailNumber, MailboxId},
    octets::ChunkPlace,
};
use trust::clock::{Clock as _, SystemClock};

use super::{
    Site, run, stdout,
    store::{account, append, with_store},
};

/// Anna's first message has lost its summary, the second its record, the third an octet of its text.
/// The path of the third one's pack.
fn broken() -> (Site, String) {
    let site = Site::new();
    let pack = with_store(site.folder.path(), async |store| {
        let anna = account(store, 1, "anna@pec.example").await;
        for (seed, octets) in [(1, 5_000), (2, 5_000), (3, 300_000)] {
            append(store, &anna, seed, octets).await;
        }
        let stored = anna.stored(EmailNumber(3)).await.unwrap();
        let uses = store.octets().physical(&stored).await.unwrap();
        let pack = uses.iter().find_map(|chunk| match &chunk.place {
            ChunkPlace::Pack { path, .. } => Some(path.clone()),
            ChunkPlace::Staged => None,
        });
        let mut batch = Batch::default();
        batch.delete(keys::SUMMARIES, keys::message(AccountId(1), EmailNumber(1)));
        batch.delete(keys::MESSAGES, keys::message(AccountId(1), EmailNumber(2)));
        store.engine().commit(batch).await.unwrap();
        pack.expect("the text of the third has a pack of its own")
    });
    let mut config = Config::default();
    config.data.folder = site.folder.path().join("data");
    let file = config.data.objects_folder().join(&pack);
    let mut octets = std::fs::read(&file).unwrap();
    octets[1_000] ^= 1;
    std::fs::write(&file, octets).unwrap();
    (site, pack)
}

/// Fails unless each of `lines` stands in `text`, up to its end where it does not end in `…`.
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        let found = text.lines().any(|shown| match line.strip_suffix('…') {
            Some(begin) => shown.starts_with(begin),
            None => shown == *line,
        });
        assert!(found, "{line:?} in\n{text}");
    }
}

#[test]
fn a_check_says_what_is_wrong_in_the_language_of_the_operator_and_in_kinds_to_programs() {
    let (site, _) = broken();
    let check = ["store", "check"];
    let italian = site.run(&check);
    assert_eq!(italian.status.code(), Some(1));
    assert_lines(
        &stdout(&italian),
        &[
            "  [1] messaggio 1 della casella 1: non ha riassunto",
            "  [1] messaggio 2 della casella 1: ha un riassunto e nessuna riga",
            "  [5] messaggio 3 della casella 1: chunk …",
            "  [9] casella 1: il catalogo la ha, il registro no",
        ],
    );
    assert!(
        stdout(&italian).contains(": gli ottetti non hanno il digest di cui portano il nome\n")
    );
    let english = run(site.folder.path(), &check, "", "en_GB.UTF-8");
    assert_lines(
        &stdout(&english),
        &[
            "  [1] message 1 of account 1: it has no summary",
            "  [1] message 2 of account 1: it has a summary and no record",
            "  [5] message 3 of account 1: chunk …",
            "  [9] account 1: the catalog has it, the registry does not",
        ],
    );
    // Nothing English is left among the Italian lines but names of families, paths and digests.
    let words = [" it ", " is ", " the ", " its ", " of account", "message "];
    let text = stdout(&italian);
    assert!(words.iter().all(|word| !text.contains(word)), "{text}");

    let report = first_value(&stdout(&site.run(&["store", "check", "--json"])));
    let violations = report["first_violations"].as_array().unwrap();
    let of_kind = |kind: &str| violations.iter().find(|violation| violation["kind"] == kind);
    let lost = of_kind("no_message").expect("the row of the second message");
    assert_eq!(lost["detail"], "its message 2 does not exist");
    assert_eq!(lost["fields"]["number"], 2);
    assert!(lost["object"].as_str().unwrap().starts_with("mailbox_rows/"));
    let no_summary = of_kind("no_summary").expect("the first message");
    assert_eq!(
        (&no_summary["object"], &no_summary["fields"]),
        (&"message 1 of account 1".into(), &Value::Null)
    );
    assert!(of_kind("damaged").is_some() && of_kind("not_in_registry").is_some(), "{report:#}");
    assert_eq!(report["violations"].as_u64(), Some(violations.len() as u64));
}

#[test]
fn a_check_names_the_snapshot_that_has_lost_a_page() {
    let site = Site::new();
    with_store(site.folder.path(), async |store| {
        let anna = account(store, 1, "anna@pec.example").await;
        append(store, &anna, 1, 5_000).await;
        let runs = ceralacca::snapshots::open(store, SnapshotLimits::default());
        let (id, now) = (AccountId(1), SystemClock.now());
        runs.snapshots().take(id, SnapshotKind::Operator, now).await.unwrap();
        let open = runs.snapshots().open(id, 1).await.unwrap();
        let page = open.state().mailboxes[&MailboxId(1)].content.page;
        let mut batch = Batch::default();
        batch.delete(SNAPSHOT_PAGES, snapshot_keys::page(id, page));
        store.engine().commit(batch).await.unwrap();
    });
    let italian = site.run(&["store", "check"]);
    assert_eq!(italian.status.code(), Some(1));
    assert_lines(&stdout(&italian), &["  [6] istantanea 1 della casella 1: la sua pagina …"]);
    assert!(stdout(&italian).contains(" manca o è danneggiata: manca\n"), "{}", stdout(&italian));
    let english = run(site.folder.path(), &["store", "check"], "", "en_GB.UTF-8");
    assert_lines(&stdout(&english), &["  [6] snapshot 1 of account 1: its page …"]);
    let report = first_value(&stdout(&site.run(&["store", "check", "--json"])));
    let violations = report["first_violations"].as_array().unwrap();
    let lost = violations.iter().find(|violation| violation["kind"] == "snapshot_page_lost");
    assert_eq!(lost.expect("the page")["invariant"], 6);
    assert_eq!(report["snapshots"], 1);
    assert_eq!(report["not_checked"].as_array().unwrap().len(), 1);
}

/// The first JSON value of a text: after a report comes the error that the exit code stands for.
pub(crate) fn first_value(text: &str) -> Value {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.next().expect("a value").expect("JSON")
}

#[test]
fn a_scrub_and_a_repair_name_damages_and_changes_in_the_language_of_the_operator() {
    let (site, pack) = broken();
    let scrub = site.run(&["store", "scrub"]);
    assert_eq!(scrub.status.code(), Some(1));
    let text = stdout(&scrub);
    assert!(text.contains(&format!(" di {pack}: gli ottetti non hanno")), "{text}");
    assert_lines(
        &text,
        &[
            "Messaggi che ne hanno bisogno:",
            "  messaggio 3 della casella 1",
            "Caselle: anna@pec.example",
        ],
    );
    let english = run(site.folder.path(), &["store", "scrub"], "", "en_GB.UTF-8");
    assert_lines(&stdout(&english), &["Messages that need them:", "  message 3 of account 1"]);

    let repair = site.run(&["store", "repair"]);
    assert_lines(
        &stdout(&repair),
        &[
            "  messaggio 1 della casella 1: il riassunto è rifatto",
            "  UID 2 nella cartella 1 della casella 1: il suo messaggio 2 manca",
        ],
    );
    let english = run(site.folder.path(), &["store", "repair"], "", "en_GB.UTF-8");
    assert_lines(
        &stdout(&english),
        &[
            "  message 1 of account 1: its summary was made again",
            "  UID 2 of mailbox 1 of account 1: its message 2 is missing",
        ],
    );
}
