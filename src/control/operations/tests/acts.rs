//! What an operator does to an account is in the journal.

use super::*;
use crate::{
    archive::rules::{Rule, TARGET},
    control::operations::{
        archive::{ArchiveRestore, ArchiveRules, RulesChange},
        snapshot::{SnapshotChange, SnapshotHold, SnapshotTake},
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
    let of_one = format!("snapshot {taken}: causa 12");
    let noted = [
        ("snapshots-held", &*of_one),
        ("snapshots-released", "all snapshots"),
        ("snapshot-settings", "every_minutes 120, monthly_months 60"),
        ("snapshot-settings", "as the plan"),
        ("archive-rules", rules),
        ("archive-rules", "those of the plan"),
        ("archive-restored", "0 messages of Archivio"),
    ];
    let noted = noted.map(|(event, detail)| (event.to_owned(), detail.to_owned()));
    assert_eq!(journal(&site).await, noted);
    site.registry.close().await;
    site.store.close().await.unwrap();
}
