//! What an operator does to an account is in the journal.

use bytes::Bytes;
use storage::{account::settings::AccountState, catalog::keys};

use super::*;
use crate::{
    archive::{
        ARCHIVE_RULES, ARCHIVE_RUNS,
        rules::{Rule, TARGET},
    },
    control::operations::{
        archive::{ArchiveRestore, ArchiveRules, ArchiveStatus, RulesChange},
        snapshot::{
            SnapshotBrowse, SnapshotChange, SnapshotHold, SnapshotTake,
            compare::{SnapshotDiff, SnapshotSearch},
            export::{ExportFormat, SnapshotExport},
            restore::{RestoreChange, SnapshotRestore},
        },
    },
};

const ANNA: &str = "anna@pec.example";

/// Event and detail of every record; all of them are about Anna.
async fn journal(site: &Site) -> Vec<(String, String)> {
    let scan = Scan::prefix(JOURNAL, b"", 100);
    let entries = site.store.engine().scan(&scan).await.unwrap();
    let told = entries.iter().map(|(key, value)| {
        let record: JournalRecord = decode(JOURNAL, key, value).unwrap();
        assert_eq!(record.recipients, [ANNA]);
        (record.event, record.detail)
    });
    told.collect()
}

#[tokio::test]
async fn holds_settings_rules_and_restores_are_noted_with_what_they_are_about() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, ANNA).await;
    append(&anna, &stage(&site.store, "uno", 1).await, None).await;
    let take = SnapshotTake { account: ANNA.to_owned(), holder: false };
    let taken = run(&take, &site).await.unwrap().name;
    let hold = async |instant: Option<&str>, reason: Option<&str>| {
        let hold = SnapshotHold {
            account: "ANNA@pec.example".to_owned(),
            instant: instant.map(str::to_owned),
            reason: reason.map(str::to_owned),
        };
        run(&hold, &site).await.unwrap()
    };
    hold(Some("latest"), Some("causa 12")).await;
    hold(None, None).await;
    let settings = async |every_minutes: Option<u32>, reset| {
        let change = SnapshotChange {
            account: ANNA.to_owned(),
            change: true,
            every_minutes,
            monthly_months: every_minutes.map(|_| 60),
            reset,
            ..SnapshotChange::default()
        };
        run(&change, &site).await.map(drop)
    };
    settings(Some(120), false).await.unwrap();
    settings(None, true).await.unwrap();
    let often = settings(Some(59), false).await.unwrap_err();
    assert_eq!(often.kind, Kind::Invalid, "runs come by every hour");
    let rule = Rule {
        older_than_days: 30,
        mailboxes: Vec::new(),
        larger_than_octets: 0,
        only_read: false,
        except_flagged: true,
        target: TARGET.to_owned(),
    };
    for change in [RulesChange::Keep, RulesChange::Set(vec![rule]), RulesChange::Reset] {
        run(&ArchiveRules { account: ANNA.to_owned(), change }, &site).await.unwrap();
    }
    let restore = async |mailbox: Option<&str>, dry_run| {
        let mailbox = mailbox.map(str::to_owned);
        run(&ArchiveRestore { account: ANNA.to_owned(), mailbox, dry_run }, &site).await
    };
    assert_eq!(restore(None, true).await.unwrap().messages, 0);
    assert_eq!(restore(None, false).await.unwrap().messages, 0);
    assert_eq!(restore(Some("INBOX"), false).await.unwrap_err().kind, Kind::Invalid);
    let rules = "[{\"older_than_days\":30,\"mailboxes\":[],\"larger_than_octets\":0,\"only_read\":false,\
                 \"except_flagged\":true,\"target\":\"Archivio/{year}/{mailbox}\"}]";
    let of_snapshot = format!("snapshot {taken}: causa 12");
    let noted = [
        ("snapshots-held", &*of_snapshot),
        ("snapshots-released", "all snapshots"),
        ("snapshot-settings", "every_minutes 120, monthly_months 60"),
        ("snapshot-settings", "as the plan"),
        ("archive-rules", rules),
        ("archive-rules", "those of the plan"),
    ];
    let noted = noted.map(|(event, detail)| (event.to_owned(), detail.to_owned()));
    assert_eq!(journal(&site).await, noted);
    site.registry.close().await;
    site.store.close().await.unwrap();
}

/// The rule of so many days.
fn older_than(days: u32) -> Rule {
    serde_json::from_str(&format!("{{\"older_than_days\":{days}}}")).unwrap()
}

#[tokio::test]
async fn rules_and_runs_that_cannot_be_read_are_counted_and_rules_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    account(&site.store, 1, ANNA).await;
    let damage = async |family| {
        let mut batch = Batch::default();
        for id in [1, 2] {
            batch.put(family, keys::account(AccountId(id)), Bytes::from_static(b"\x00"));
        }
        site.store.commit(batch).await.unwrap();
    };
    let change = async |change| {
        let rules = ArchiveRules { account: ANNA.to_owned(), change };
        run(&rules, &site).await.map(|outcome| (outcome.own, outcome.rules))
    };
    damage(ARCHIVE_RUNS).await;
    damage(ARCHIVE_RULES).await;
    let status = run(&ArchiveStatus::default(), &site).await.unwrap();
    assert_eq!((status.accounts, status.own_rules, status.unreadable), (0, 2, 4));
    change(RulesChange::Keep).await.unwrap_err();
    change(RulesChange::Add(older_than(7))).await.unwrap_err();
    let own = change(RulesChange::Set(vec![older_than(5)])).await.unwrap();
    assert_eq!(own, (true, vec![older_than(5)]));
    damage(ARCHIVE_RULES).await;
    assert!(!change(RulesChange::Reset).await.unwrap().0);
    site.registry.close().await;
    site.store.close().await.unwrap();
}

#[tokio::test]
async fn a_rule_is_added_to_those_that_a_closed_account_has() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    account(&site.store, 1, ANNA).await;
    let change = async |change| {
        let rules = ArchiveRules { account: ANNA.to_owned(), change };
        run(&rules, &site).await.unwrap().rules
    };
    change(RulesChange::Set(vec![older_than(5)])).await;
    let settings = async |version, state| {
        let address = ANNA.to_owned();
        let settings = AccountSettings { address, state, ..AccountSettings::default() };
        site.store.apply_account(AccountId(1), version, settings).await.unwrap();
    };
    settings(2, AccountState::Closed).await;
    assert_eq!(
        change(RulesChange::Add(older_than(7))).await,
        [],
        "a closed account is not archived"
    );
    settings(3, AccountState::Active).await;
    assert_eq!(change(RulesChange::Keep).await, [older_than(5), older_than(7)]);
    site.registry.close().await;
    site.store.close().await.unwrap();
}

#[tokio::test]
async fn a_restore_of_what_the_archive_holds_is_noted_whatever_room_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, ANNA).await;
    append(&anna, &stage(&site.store, "uno", 1).await, Some(9)).await;
    let archive = anna.mailbox_by_name("Archivio").await.unwrap().id();
    let inbox = anna.mailbox(MailboxId(1)).await.unwrap();
    let uids = [inbox.rows().await.unwrap().1[0].uid];
    inbox.move_to(&uids, archive).await.unwrap();
    let (address, quota_octets) = (ANNA.to_owned(), Some(8));
    let settings = AccountSettings { address, quota_octets, ..AccountSettings::default() };
    site.store.apply_account(AccountId(1), 2, settings).await.unwrap();
    let restore = ArchiveRestore { account: ANNA.to_owned(), mailbox: None, dry_run: false };
    let outcome = run(&restore, &site).await.unwrap();
    assert_eq!((outcome.messages, outcome.full.as_deref()), (0, Some("octets")));
    let noted = ("archive-restored".to_owned(), "what Archivio holds".to_owned());
    assert_eq!(journal(&site).await, [noted]);
    site.registry.close().await;
    site.store.close().await.unwrap();
}

#[tokio::test]
async fn whatever_an_operator_reads_in_snapshots_takes_out_of_them_or_brings_back_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let anna = account(&site.store, 1, ANNA).await;
    append(&anna, &stage(&site.store, "uno", 1).await, None).await;
    let take = SnapshotTake { account: ANNA.to_owned(), holder: false };
    let taken = run(&take, &site).await.unwrap().name;
    let (address, latest) = (|| ANNA.to_owned(), || "latest".to_owned());
    let browse = |mailbox: Option<&str>| SnapshotBrowse {
        account: address(),
        instant: latest(),
        mailbox: mailbox.map(str::to_owned),
        after_uid: None,
        limit: 9,
    };
    run(&browse(None), &site).await.unwrap();
    run(&browse(Some("INBOX")), &site).await.unwrap();
    let diff = SnapshotDiff { account: address(), from: latest(), to: "now".to_owned(), limit: 9 };
    run(&diff, &site).await.unwrap();
    let text = Some("uno".to_owned());
    let search = SnapshotSearch { account: address(), text, limit: 9, ..SnapshotSearch::default() };
    run(&search, &site).await.unwrap();
    let export = |mailbox: Option<&str>| SnapshotExport {
        account: address(),
        instant: latest(),
        mailbox: mailbox.map(str::to_owned),
        only: false,
        uid: None,
        format: ExportFormat::Zip,
    };
    assert!(run(&export(Some("Altra")), &site).await.is_err(), "what is refused is no act");
    // Nobody takes the octets: it is noted before the first one goes out.
    let _ = run(&export(None), &site).await;
    let restore = |uid| SnapshotRestore {
        account: address(),
        instant: latest(),
        mailbox: Some("INBOX".to_owned()),
        uid: Some(uid),
        ..SnapshotRestore::default()
    };
    let number = run(&restore(1), &site).await.unwrap().number;
    for resume in [true, false, false, true] {
        // Once: it has not stopped, it runs, it is cancelled, and nothing resumes it.
        run(&RestoreChange { account: address(), number, resume }, &site).await.unwrap();
    }
    assert!(run(&restore(2), &site).await.is_err(), "no such message");
    let noted = [
        ("snapshot-read", format!("browse {taken}: the list of mailboxes")),
        ("snapshot-read", format!("browse {taken}: INBOX")),
        ("snapshot-read", format!("diff {taken} now")),
        ("snapshot-read", "search text uno".to_owned()),
        ("snapshot-exported", format!("{taken}: the whole account")),
        ("snapshot-restored", format!("{taken}: UID 1 of INBOX, beside the rest")),
        ("snapshot-restored", format!("restore {number}: cancelled")),
    ];
    assert_eq!(journal(&site).await, noted.map(|(event, detail)| (event.to_owned(), detail)));
    site.registry.close().await;
    site.store.close().await.unwrap();
}
