//! What operations do to snapshots, and what they must leave alone for them.

use ::snapshots::{
    keep::{
        holds::hold_of,
        keys::{self as snapshot_keys, SNAPSHOT_PAGES, SNAPSHOTS},
        settings::Hold,
        snapshot::{Snapshot, SnapshotKind},
        take::Taken,
    },
    run::walk::StepLimits,
};
use storage::{
    account::erase::EraseRequest, catalog::keys, error::StoreError, ids::Uid,
    mailbox::flags::FlagChange, octets::ErasureReason, summary::Envelope,
};
use trust::clock::{Clock as _, SystemClock, UnixMillis};

use super::*;
use crate::{
    archive::{ARCHIVE_NOTICES, ARCHIVE_RULES, notice::FullRecord},
    control::operations::{
        check::{CheckOutcome, StoreCheck},
        erase::{Category, EraseOutcome, FateView, MessageErase},
        repair::StoreRepair,
        snapshot::{SnapshotForget, SnapshotHold},
    },
    texts::Language,
};

const ANNA: AccountId = AccountId(1);
const BRUNO: AccountId = AccountId(2);

/// A snapshot, `seconds` from now.
async fn take(site: &Site, account: AccountId, seconds: i64) -> Snapshot {
    let now = SystemClock.now().plus_millis(seconds * 1_000);
    match site.runs.snapshots().take(account, SnapshotKind::Operator, now).await.unwrap() {
        Taken::New(snapshot) => snapshot,
        other @ Taken::Unchanged(_) => panic!("{other:?}"),
    }
}

async fn hold(
    site: &Site,
    account: &str,
    instant: Option<&str>,
    reason: Option<&str>,
) -> Result<(), OperationError> {
    let request = SnapshotHold {
        account: account.to_owned(),
        instant: instant.map(str::to_owned),
        reason: reason.map(str::to_owned),
    };
    run(&request, site).await.map(drop)
}

async fn erase(
    site: &Site,
    number: EmailNumber,
    everywhere: bool,
) -> Result<EraseOutcome, OperationError> {
    let request = MessageErase {
        account: "anna@pec.example".to_owned(),
        id: number.0,
        category: Category::Authority,
        reason: "ordinanza 12".to_owned(),
        actor: "Bianchi".to_owned(),
        everywhere,
        dry_run: false,
    };
    run(&request, site).await
}

async fn close(site: Site) {
    site.registry.close().await;
    site.store.close().await.unwrap();
}

#[tokio::test]
async fn after_a_repair_of_a_lost_head_an_expunge_keeps_what_the_latest_snapshot_holds() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, "anna@pec.example").await;
    let number = append(&anna, &stage(&site.store, "uno", 1).await, None).await;
    take(&site, ANNA, 0).await;
    let mut batch = Batch::default();
    batch.delete(keys::ACCOUNT_HEADS, keys::account(ANNA));
    site.store.engine().commit(batch).await.unwrap();

    let repaired = run(&StoreRepair { apply: true }, &site).await.unwrap();
    assert!(repaired.applied && repaired.changes > 0, "{repaired:?}");
    let inbox = anna.mailbox(MailboxId(1)).await.unwrap();
    let uids: Vec<Uid> = inbox.rows().await.unwrap().1.iter().map(|row| row.uid).collect();
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&uids, FlagChange::Add, &deleted, None).await.unwrap();
    inbox.expunge(&uids).await.unwrap();
    assert!(anna.stored(number).await.is_ok(), "the snapshot holds it");
    let report = ::snapshots::check::run(&site.store, &|_| {}).await.unwrap();
    assert_eq!((report.violations, report.seen.snapshots), (Vec::new(), 1));
    close(site).await;
}

#[tokio::test]
async fn check_counts_snapshots_and_names_one_that_has_lost_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, "anna@pec.example").await;
    append(&anna, &stage(&site.store, "uno", 1).await, None).await;
    let snapshot = take(&site, ANNA, 0).await;
    let of_six = |outcome: &CheckOutcome| {
        let six = outcome.first_violations.iter().filter(|one| one.invariant == 6);
        six.map(|one| (one.kind.clone(), one.line(Language::Italian))).collect::<Vec<_>>()
    };
    let sound = run(&StoreCheck {}, &site).await.unwrap();
    assert_eq!(of_six(&sound), []);
    assert_eq!((sound.snapshots, sound.snapshot_rows, sound.snapshots_going), (1, 1, 0));
    assert!(sound.snapshot_pages >= 2 && sound.invariants.iter().any(|one| one.number == 6));
    assert!(sound.not_checked.iter().all(|one| one.number != 6));

    let open = site.runs.snapshots().open(ANNA, snapshot.number).await.unwrap();
    let page = open.state().mailboxes[&MailboxId(1)].content.page;
    let mut batch = Batch::default();
    batch.delete(SNAPSHOT_PAGES, snapshot_keys::page(ANNA, page));
    site.store.engine().commit(batch).await.unwrap();
    let damaged = run(&StoreCheck {}, &site).await.unwrap();
    let line = format!(
        "istantanea 1 della casella 1: la sua pagina {} manca o è danneggiata: manca",
        page.id
    );
    assert_eq!(of_six(&damaged), [("snapshot_page_lost".to_owned(), line)]);
    assert_eq!((damaged.violations, damaged.clean), (sound.violations + 1, false));
    close(site).await;
}

/// Kinds and lines of the violations of an invariant.
fn of(outcome: &CheckOutcome, invariant: u8) -> Vec<(&str, String)> {
    let found = outcome.first_violations.iter().filter(|one| one.invariant == invariant);
    found.map(|one| (one.kind.as_str(), one.line(Language::Italian))).collect()
}

#[tokio::test]
async fn check_names_a_run_that_somebody_else_signed_and_rows_of_archives_that_do_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    account(&site.store, 1, "anna@pec.example").await;
    let (now, limits) = (SystemClock.now(), StepLimits { accounts_max: 9, concurrency: 1 });
    site.runs.begin(now, now).await.unwrap();
    let schedule = &site.config.snapshots;
    while !site.runs.step(limits, schedule, &SystemClock).await.unwrap().done {}
    let closed = site.runs.close(SystemClock.now()).await.unwrap().unwrap();
    let before = run(&StoreCheck {}, &site).await.unwrap();
    assert_eq!(of(&before, 6), []);
    site.runs.seal(closed.number(), Some(b"signature".to_vec()), None).await.unwrap();
    let mut batch = Batch::default();
    batch.put(ARCHIVE_RULES, keys::account(ANNA), "?");
    let full = FullRecord { resource: "mailboxes".to_owned(), used: 1, limit: 1, at: 1 };
    batch.put(ARCHIVE_NOTICES, keys::account(AccountId(99)), crate::pec::records::encode(&full));
    site.store.engine().commit(batch).await.unwrap();
    let after = run(&StoreCheck {}, &site).await.unwrap();
    let line = &of(&after, 6)[0];
    assert_eq!(line.0, "run_seal");
    assert!(line.1.starts_with("giro 1 delle istantanee: la firma del giro non vale"), "{line:?}");
    let kinds: Vec<&str> = of(&after, 9).into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&"damaged") && kinds.contains(&"no_account"), "{kinds:?}");
    assert_eq!(after.violations, before.violations + 3);
    close(site).await;
}

#[tokio::test]
async fn a_repair_makes_a_damaged_list_of_departed_pages_anew() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, "anna@pec.example").await;
    for number in 0..3 {
        append(&anna, &stage(&site.store, "uno", number).await, None).await;
        take(&site, ANNA, i64::try_from(number).unwrap()).await;
    }
    let list = snapshot_keys::snapshot(ANNA, 1);
    let scan = Scan::prefix(snapshot_keys::DEPARTED_PAGES, &list, 9);
    let (key, _) = site.store.engine().scan(&scan).await.unwrap().swap_remove(0);
    let mut batch = Batch::default();
    batch.put(snapshot_keys::DEPARTED_PAGES, key, "?");
    site.store.engine().commit(batch).await.unwrap();
    assert_ne!(of(&run(&StoreCheck {}, &site).await.unwrap(), 6), []);
    let foretold = run(&StoreRepair { apply: false }, &site).await.unwrap();
    let repaired = run(&StoreRepair { apply: true }, &site).await.unwrap();
    assert_eq!(foretold.first_changes, repaired.first_changes);
    let detail =
        "1 lists of pages that departed are made anew, 0 pages that no snapshot has are removed";
    assert!(repaired.first_changes.contains(&("account 1".to_owned(), detail.to_owned())));
    assert!(crate::texts::below::is_known(detail));
    assert_eq!(of(&repaired.check.unwrap(), 6), []);
    close(site).await;
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_named_by_the_check_and_taken_out_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, "anna@pec.example").await;
    let old = append(&anna, &stage(&site.store, "uno", 1).await, None).await;
    take(&site, ANNA, 0).await;
    let new = append(&anna, &stage(&site.store, "due", 2).await, None).await;
    take(&site, ANNA, 2).await;
    let inbox = anna.mailbox(MailboxId(1)).await.unwrap();
    let uids: Vec<Uid> = inbox.rows().await.unwrap().1.iter().map(|row| row.uid).collect();
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&uids, FlagChange::Add, &deleted, None).await.unwrap();
    inbox.expunge(&uids).await.unwrap();
    let mut batch = Batch::default();
    batch.put(SNAPSHOTS, snapshot_keys::snapshot(ANNA, 2), "?");
    site.store.engine().commit(batch).await.unwrap();

    let found = run(&StoreCheck {}, &site).await.unwrap();
    let [(kind, line)] = &of(&found, 6)[..] else { panic!("{:?}", found.first_violations) };
    let command = "`ceralacca snapshot forget anna@pec.example --number 2`";
    assert!(*kind == "snapshot_damaged" && line.ends_with(command), "{kind} {line}");
    let forget = async |number| {
        run(&SnapshotForget { account: "ANNA@pec.example".to_owned(), number }, &site).await
    };
    assert_eq!(forget(1).await.unwrap_err().kind, Kind::Conflict, "it can be read");
    assert_eq!(forget(3).await.unwrap_err().kind, Kind::NotFound);
    hold(&site, "anna@pec.example", None, Some("causa 12")).await.unwrap();
    let refused = forget(2).await.unwrap_err();
    let text = refused.text.get(Language::Italian);
    assert!(refused.kind == Kind::Conflict && text.contains("(causa 12)"), "{text}");
    hold(&site, "anna@pec.example", None, None).await.unwrap();
    assert!(anna.stored(new).await.is_ok(), "nobody knows which messages it has");

    let gone = forget(2).await.unwrap();
    assert_eq!((gone.account.as_str(), gone.number), ("anna@pec.example", 2));
    assert_eq!(gone.messages_removed, 1);
    assert!(matches!(anna.stored(new).await, Err(StoreError::NoSuchMessage { .. })));
    assert!(anna.stored(old).await.is_ok(), "the first snapshot has it");
    assert_eq!(of(&run(&StoreCheck {}, &site).await.unwrap(), 6), []);
    let journal = site.store.engine().scan(&Scan::prefix(JOURNAL, b"", 9)).await.unwrap();
    let (key, value) = journal.last().unwrap();
    let JournalRecord { event, detail, .. } = decode(JOURNAL, key, value).unwrap();
    assert_eq!(
        (journal.len(), event.as_str(), detail.as_str()),
        (3, "snapshot-forgotten", "snapshot 2, which cannot be read")
    );
    close(site).await;
}

#[tokio::test]
async fn a_message_under_a_hold_is_not_erased_until_the_hold_ends() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, "anna@pec.example").await;
    let old = append(&anna, &stage(&site.store, "uno", 1).await, None).await;
    let snapshot = take(&site, ANNA, 0).await;
    let new = append(&anna, &stage(&site.store, "due", 2).await, None).await;

    hold(&site, "anna@pec.example", None, Some("causa 12")).await.unwrap();
    let refused = erase(&site, new, false).await.unwrap_err();
    let text = refused.text.get(Language::Italian);
    assert!(refused.kind == Kind::Conflict && text.contains("(causa 12)"), "{text}");
    assert!(anna.stored(new).await.is_ok());

    hold(&site, "anna@pec.example", None, None).await.unwrap();
    // By the beginning of its name.
    let name = snapshot.name();
    hold(&site, "anna@pec.example", Some(&name[..19]), Some("causa 13")).await.unwrap();
    let refused = erase(&site, old, true).await.unwrap_err();
    let text = refused.text.get(Language::Italian);
    assert!(refused.kind == Kind::Conflict && text.contains("(causa 13)"), "{text}");
    assert!(text.contains(&name) && anna.stored(old).await.is_ok(), "{text}");
    erase(&site, new, false).await.expect("it came after the snapshot");

    hold(&site, "anna@pec.example", Some("latest"), None).await.unwrap();
    erase(&site, old, false).await.expect("no hold is left");
    assert!(matches!(anna.stored(old).await, Err(StoreError::Erased { .. })));
    close(site).await;
}

#[tokio::test]
async fn an_erasure_everywhere_passes_over_accounts_under_a_hold_and_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, "anna@pec.example").await;
    let bruno = account(&site.store, 2, "bruno@pec.example").await;
    let message = stage(&site.store, "uno", 1).await;
    let annas = append(&anna, &message, None).await;
    let brunos = append(&bruno, &message, None).await;
    take(&site, BRUNO, 0).await;
    hold(&site, "bruno@pec.example", Some("latest"), Some("causa 12")).await.unwrap();

    let outcome = erase(&site, annas, true).await.unwrap();
    let fates: Vec<_> =
        outcome.places.iter().map(|place| (place.account.as_deref(), place.fate)).collect();
    assert_eq!(
        fates,
        [
            (Some("bruno@pec.example"), FateView::UnderHold),
            (Some("anna@pec.example"), FateView::Erased),
        ]
    );
    assert_eq!(outcome.holds.len(), 1);
    assert_eq!(
        (outcome.holds[0].account.as_str(), outcome.holds[0].reason.as_str()),
        ("bruno@pec.example", "causa 12")
    );
    assert!(bruno.stored(brunos).await.is_ok());
    assert!(matches!(anna.stored(annas).await, Err(StoreError::Erased { .. })));
    close(site).await;
}

#[tokio::test]
async fn a_hold_that_comes_while_a_message_is_being_erased_is_respected() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, "anna@pec.example").await;
    let number = append(&anna, &stage(&site.store, "uno", 1).await, None).await;
    let first = take(&site, ANNA, 0).await;
    let snapshots = site.runs.snapshots();
    let why = || Some(Hold { reason: "causa 12".to_owned(), since: UnixMillis(0) });
    for case in ["the account", "a snapshot", "a new snapshot"] {
        let mut also = Batch::default();
        assert_eq!(hold_of(&anna, number, &mut also).await.unwrap(), None, "{case}");
        let held = match case {
            "the account" => None,
            "a snapshot" => Some(first.number),
            _ => {
                append(&anna, &stage(&site.store, "due", 2).await, None).await;
                Some(take(&site, ANNA, 2).await.number)
            }
        };
        snapshots.hold(ANNA, held, why(), Batch::default()).await.unwrap();
        let (reason, envelope) = (ErasureReason::Authority, Envelope::default());
        let request = EraseRequest { email_number: number, reason, envelope, also };
        let erased = anna.erase(request).await;
        assert!(matches!(erased, Err(StoreError::Conflict)), "{case}: {erased:?}");
        snapshots.hold(ANNA, held, None, Batch::default()).await.unwrap();
    }
    close(site).await;
}
