//! Live mail and archive: two sums, two limits, and a message in exactly one of them.

use std::sync::Arc;

use trust::clock::Clock as _;

use super::house::{ANNA, House, message, request, settings, uid};
use crate::{
    account::{
        Account,
        name::MailboxName,
        quota::{ArchiveQuota, QuotaRule},
        settings::AccountSettings,
        tier::Tier,
    },
    catalog::{
        engine::{Batch, Engine as _, Expected, Reader as _},
        keys,
        records::{self, HeadRecord, MailboxRecord},
    },
    error::StoreError,
    ids::{AccountId, MailboxId, Uid},
    mailbox::{
        append::AppendRequest,
        archive::{ArchiveRequest, ArchiveSelection, Archived, Candidate, Full, NoRoom, Restored},
        flags::{FlagChange, Flags},
        live::LiveMailbox,
        view::{MailboxView as _, Origin},
    },
    repair::SettingsSource,
};

const INBOX: MailboxId = MailboxId(1);

/// All that is not flagged goes to one mailbox.
struct Everything(&'static str);

impl ArchiveSelection for Everything {
    fn target(&self, candidate: Candidate<'_>) -> Option<MailboxName> {
        let name = MailboxName::new(self.0).expect("a name");
        (!candidate.flags.flagged).then_some(name)
    }

    fn also(&self, _: &Archived) -> Batch {
        Batch::default()
    }
}

fn all_of<S>(source: MailboxId, uids: Vec<Uid>, selection: S) -> ArchiveRequest<S> {
    ArchiveRequest { source, uids, selection, no_room: NoRoom::default() }
}

fn with_limits(live: Option<u64>, archive: Option<u64>) -> AccountSettings {
    AccountSettings { archive_quota_octets: archive, ..settings("anna@pec.example", live) }
}

async fn limit(house: &House, version: u64, live: Option<u64>, archive: Option<u64>) {
    house.store.apply_account(ANNA, version, with_limits(live, archive)).await.expect("limits");
}

/// Octets of live mail and of the archive.
async fn used(anna: &Account) -> (u64, u64) {
    let quota = anna.quota().await.expect("quota");
    (quota.used_octets, quota.archive.used_octets)
}

async fn charged(house: &House, anna: &Account, mailbox: MailboxId, octets: u64) -> Uid {
    let staged = house.stage(&message(1)).await;
    let request = AppendRequest { charged_octets: Some(octets), ..request(mailbox, &staged) };
    anna.append(request).await.expect("append").uid
}

async fn open(anna: &Account, name: &str) -> Arc<LiveMailbox> {
    anna.mailbox_by_name(name).await.expect(name)
}

fn over(outcome: Result<impl std::fmt::Debug, StoreError>) -> (&'static str, u64, u64) {
    match outcome {
        Err(StoreError::OverQuota { resource, used, limit }) => (resource, used, limit),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_tier_has_its_usage_and_refuses_what_it_has_no_room_for() {
    let (house, anna) = House::with_anna().await;
    limit(&house, 2, Some(100), Some(50)).await;
    let (inbox, archive) = (open(&anna, "INBOX").await, open(&anna, "Archivio").await);
    anna.create_mailbox("Archivio/2025", None).await.expect("create");
    let below = open(&anna, "Archivio/2025").await;
    let first = charged(&house, &anna, INBOX, 40).await;
    let second = charged(&house, &anna, INBOX, 30).await;
    assert_eq!(used(&anna).await, (70, 0));

    inbox.move_to(&[first], archive.id()).await.expect("there is room");
    assert_eq!(used(&anna).await, (30, 40));
    let moved = inbox.move_to(&[second], archive.id()).await;
    assert_eq!(over(moved), ("archive octets", 40, 50));
    let copied = inbox.copy(&[second], below.id()).await;
    assert_eq!(over(copied), ("archive octets", 40, 50));
    let staged = house.stage(&message(2)).await;
    let mut append = AppendRequest { charged_octets: Some(11), ..request(archive.id(), &staged) };
    assert_eq!(over(anna.append(append.clone()).await), ("archive octets", 40, 50));
    append.quota = QuotaRule::Exempt;
    let exempt = anna.append(append).await.expect("exempt").uid;
    assert_eq!(used(&anna).await, (30, 51));

    archive.move_to(&[uid(1), exempt], below.id()).await.expect("within a tier, though full");
    assert_eq!(used(&anna).await, (30, 51));
    limit(&house, 3, Some(69), Some(50)).await;
    let back = below.move_to(&[uid(1)], INBOX).await;
    assert_eq!(over(back), ("octets", 30, 69));
    limit(&house, 4, Some(70), Some(50)).await;
    below.move_to(&[uid(1)], INBOX).await.expect("back");
    assert_eq!(used(&anna).await, (70, 11));
    limit(&house, 5, Some(0), Some(0)).await;
    anna.delete_mailbox("Archivio/2025").await.expect("deletion is never refused");
    let quota = anna.quota().await.expect("quota");
    let rest = ArchiveQuota { limit_octets: Some(0), ..ArchiveQuota::default() };
    assert_eq!((quota.used_octets, quota.used_messages, quota.archive), (70, 2, rest));
    house.is_sound().await;
}

#[tokio::test]
async fn an_empty_mailbox_crosses_the_border_though_the_archive_is_over_its_limit() {
    let (house, anna) = House::with_anna().await;
    limit(&house, 2, None, Some(50)).await;
    let archive = open(&anna, "Archivio").await;
    charged(&house, &anna, archive.id(), 50).await;
    limit(&house, 3, None, Some(10)).await;
    anna.create_mailbox("Vuota", None).await.expect("create");
    anna.rename_mailbox("Vuota", "Archivio/Vuota").await.expect("it needs no room");
    // A message that is charged nothing needs a row, but no octets.
    let free = charged(&house, &anna, INBOX, 0).await;
    let inbox = open(&anna, "INBOX").await;
    inbox.move_to(&[free], archive.id()).await.expect("no limit of messages");
    let uid = charged(&house, &anna, INBOX, 1).await;
    assert_eq!(over(inbox.move_to(&[uid], archive.id()).await), ("archive octets", 50, 10));
}

#[tokio::test]
async fn a_rename_across_the_border_takes_the_usage_along_or_is_refused_whole() {
    let (house, anna) = House::with_anna().await;
    limit(&house, 2, Some(100), Some(49)).await;
    anna.create_mailbox("Lavori/2020", None).await.expect("create");
    let (above, below) = (open(&anna, "Lavori").await.id(), open(&anna, "Lavori/2020").await.id());
    charged(&house, &anna, above, 20).await;
    charged(&house, &anna, below, 30).await;
    charged(&house, &anna, INBOX, 7).await;
    let renamed = anna.rename_mailbox("Lavori", "Archivio/Lavori").await;
    assert_eq!(over(renamed), ("archive octets", 20, 49));
    assert_eq!(used(&anna).await, (57, 0), "nothing was moved");
    assert_eq!(open(&anna, "Lavori").await.id(), above);
    limit(&house, 3, Some(57), Some(50)).await;
    anna.rename_mailbox("Lavori", "Archivio/Lavori").await.expect("there is room");
    assert_eq!(used(&anna).await, (7, 50));
    house.is_sound().await;

    anna.rename_mailbox("INBOX", "Archivio/Tutto").await.map_err(|_| ()).expect_err("no room");
    assert_eq!(used(&anna).await, (7, 50));
    limit(&house, 4, Some(49), Some(57)).await;
    anna.rename_mailbox("INBOX", "Archivio/Tutto").await.expect("there is room");
    assert_eq!(used(&anna).await, (0, 57));
    let whole = anna.rename_mailbox("Archivio", "Vecchio").await;
    assert_eq!(over(whole).0, "octets");
    limit(&house, 5, Some(57), Some(0)).await;
    anna.rename_mailbox("Archivio", "Vecchio").await.expect("there is room");
    assert_eq!(used(&anna).await, (57, 0));
    house.is_sound().await;
}

#[tokio::test]
async fn a_rename_out_of_the_archive_notes_when_and_no_other_rename_does() {
    let (house, anna) = House::with_anna().await;
    anna.create_mailbox("Lavori/2020", None).await.expect("create");
    let since = async |name: &str| {
        let listed = anna.mailboxes().await.expect("list");
        listed.into_iter().find(|listed| listed.name == name).expect(name).live_since
    };
    for (from, to) in
        [("Lavori", "Opere"), ("Opere", "Archivio/Opere"), ("Archivio/Opere", "Archivio/O")]
    {
        anna.rename_mailbox(from, to).await.expect("rename");
        assert_eq!((since(to).await, since(&format!("{to}/2020")).await), (None, None), "{to}");
    }
    house.clock.advance(1_000);
    let now = house.clock.now();
    anna.rename_mailbox("Archivio/O", "Lavori").await.expect("rename");
    assert_eq!((since("Lavori").await, since("Lavori/2020").await), (Some(now), Some(now)));
    house.clock.advance(1_000);
    anna.rename_mailbox("Lavori", "Opere").await.expect("rename");
    assert_eq!(since("Opere").await, Some(now), "it was live before");
    house.is_sound().await;
}

#[tokio::test]
async fn both_tiers_warn_each_for_itself_even_in_one_batch() {
    let (house, anna) = House::with_anna().await;
    limit(&house, 2, Some(100), Some(100)).await;
    let archive = open(&anna, "Archivio").await.id();
    let staged = house.stage(&message(1)).await;
    let of = |mailbox| AppendRequest { charged_octets: Some(85), ..request(mailbox, &staged) };
    anna.append_all(vec![of(INBOX), of(archive)], None).await.expect("one batch");
    let warnings = house.store.quota_warnings(None, 10, &mut drop).await.expect("warnings");
    let told: Vec<_> = warnings.iter().map(|w| (w.tier, w.level, w.used_octets)).collect();
    assert_eq!(told, [(Tier::Live, 80, 85), (Tier::Archive, 80, 85)]);
    for warning in &warnings {
        assert!(anna.warning_stands(warning).await.expect("stands"), "{:?}", warning.tier);
    }
    charged(&house, &anna, archive, 10).await;
    let warnings = house.store.quota_warnings(None, 10, &mut drop).await.expect("warnings");
    let mut stand = Vec::new();
    for warning in &warnings {
        stand.push((warning.tier, anna.warning_stands(warning).await.expect("stands")));
    }
    let expected = [(Tier::Live, true), (Tier::Archive, false), (Tier::Archive, true)];
    assert_eq!(stand, expected, "only a later warning of the same tier says more");
    house.is_sound().await;
}

/// A registry that is not asked.
struct Nobody;

#[async_trait::async_trait]
impl SettingsSource for Nobody {
    async fn settings(&self, _: AccountId) -> Result<Option<(u64, AccountSettings)>, StoreError> {
        Ok(None)
    }
}

/// Makes the account what a program without tiers left.
async fn as_before(house: &House) {
    let mut batch = Batch::default();
    let key = keys::account(ANNA);
    let head = house.engine.get(keys::ACCOUNT_HEADS, &key).await.expect("read").expect("a head");
    let mut record: HeadRecord = records::decode(keys::ACCOUNT_HEADS, &key, &head).expect("head");
    (record.archive_octets, record.archive_messages) = (0, 0);
    (record.archive_level, record.tiers) = (0, false);
    batch.expect(keys::ACCOUNT_HEADS, key.clone(), Expected::Value(head));
    batch.put(keys::ACCOUNT_HEADS, key, records::encode(&record));
    for number in 1..=12 {
        let key = keys::mailbox(ANNA, MailboxId(number));
        let Some(value) = house.engine.get(keys::MAILBOXES, &key).await.expect("read") else {
            continue;
        };
        let mut record: MailboxRecord =
            records::decode(keys::MAILBOXES, &key, &value).expect("mailbox");
        record.tier = 0;
        batch.put(keys::MAILBOXES, key, records::encode(&record));
    }
    house.engine.commit(batch).await.expect("commit");
}

#[tokio::test]
async fn an_account_of_before_is_exact_and_its_first_change_adopts_its_archive() {
    let (house, anna) = House::with_anna().await;
    anna.create_mailbox("Archivio/2019", None).await.expect("create");
    let (archive, below) = (open(&anna, "Archivio").await, open(&anna, "Archivio/2019").await);
    charged(&house, &anna, INBOX, 5).await;
    charged(&house, &anna, archive.id(), 20).await;
    charged(&house, &anna, below.id(), 30).await;
    as_before(&house).await;
    assert_eq!(used(&anna).await, (55, 0), "all was charged as live");
    house.is_sound().await;
    let repaired = house.store.repair(&Nobody, true, &|_| {}).await.expect("repair");
    assert_eq!(repaired.first_changes, [], "and there is nothing to repair");
    assert_eq!(used(&anna).await, (55, 0));

    archive.move_to(&[uid(1)], below.id()).await.expect("any change");
    assert_eq!(used(&anna).await, (5, 50));
    house.is_sound().await;
    let deleted = Flags { deleted: true, ..Flags::default() };
    below.store_flags(&[uid(1), uid(2)], FlagChange::Add, &deleted, None).await.expect("flags");
    below.expunge(&[uid(1), uid(2)]).await.expect("expunge");
    assert_eq!(used(&anna).await, (5, 0));
    house.is_sound().await;
}

#[tokio::test]
async fn a_damaged_mailbox_does_not_keep_an_account_of_before_from_changing() {
    let (house, anna) = House::with_anna().await;
    let trash = open(&anna, "Cestino").await.id();
    as_before(&house).await;
    let key = keys::mailbox(ANNA, trash);
    let intact = house.engine.get(keys::MAILBOXES, &key).await.expect("read").expect("a record");
    let put = async |value: bytes::Bytes| {
        let mut batch = Batch::default();
        batch.put(keys::MAILBOXES, key.clone(), value);
        house.engine.commit(batch).await.expect("commit");
    };
    put(vec![9, 9].into()).await;
    charged(&house, &anna, INBOX, 5).await;
    put(intact).await;
    charged(&house, &anna, open(&anna, "Archivio").await.id(), 6).await;
    assert_eq!(used(&anna).await, (5, 6));
    house.is_sound().await;
}

#[tokio::test]
async fn what_fits_goes_into_the_archive_and_notes_where_it_was() {
    let (house, anna) = House::with_anna().await;
    limit(&house, 2, Some(1_000), Some(25)).await;
    let inbox = open(&anna, "INBOX").await;
    for octets in [10, 1, 10, 10] {
        charged(&house, &anna, INBOX, octets).await;
    }
    let flagged = Flags { flagged: true, ..Flags::default() };
    inbox.store_flags(&[uid(2)], FlagChange::Add, &flagged, None).await.expect("flag");
    let uids: Vec<Uid> = (1..=5).map(uid).collect();
    let selection = Everything("Archivio/2026/INBOX");
    let request = all_of(INBOX, uids.clone(), selection);
    let archived = anna.archive(request).await.expect("archive");
    let full = Full { resource: "archive octets", used: 20, limit: 25 };
    let known = (archived.up_to, archived.messages, archived.octets, archived.full);
    assert_eq!(known, (Some(uid(5)), 2, 20, Some(full)));
    assert_eq!(used(&anna).await, (11, 20));
    let left: Vec<Uid> = inbox.rows().await.expect("rows").1.iter().map(|row| row.uid).collect();
    assert_eq!(left, [uid(2), uid(4)]);

    let listed = anna.mailboxes().await.expect("list");
    let seen: Vec<_> = listed
        .iter()
        .filter(|entry| entry.name.starts_with("Archivio/"))
        .map(|entry| (entry.name.as_str(), entry.mailbox_id.is_some(), entry.subscribed))
        .collect();
    assert_eq!(seen, [("Archivio/2026", true, true), ("Archivio/2026/INBOX", true, true)]);
    let target = open(&anna, "Archivio/2026/INBOX").await;
    let seen = Flags { seen: true, ..Flags::default() };
    target.store_flags(&[uid(1)], FlagChange::Add, &seen, None).await.expect("flags");
    let origins: Vec<_> =
        target.rows().await.expect("rows").1.into_iter().map(|row| row.origin).collect();
    let origin =
        |number| Some(Arc::new(Origin { mailbox: INBOX, name: "INBOX".into(), uid: uid(number) }));
    assert_eq!(origins, [origin(1), origin(3)], "a change of flags keeps it");

    let selection = Everything("Archivio/2026/INBOX");
    let again = all_of(target.id(), vec![uid(1)], selection);
    assert_eq!(anna.archive(again).await.expect("archive").messages, 0, "it is there already");
    let selection = Everything("Lavori");
    let outside = all_of(INBOX, uids, selection);
    let refused = anna.archive(outside).await;
    assert!(matches!(refused, Err(StoreError::InvalidMailboxName { .. })), "{refused:?}");
    house.is_sound().await;
}

/// Each row to the mailbox of its size, a level below one of its own.
struct BySize;

impl ArchiveSelection for BySize {
    fn target(&self, candidate: Candidate<'_>) -> Option<MailboxName> {
        let size = candidate.size;
        Some(MailboxName::new(&format!("Archivio/{size}/{size}")).expect("a name"))
    }

    fn also(&self, _: &Archived) -> Batch {
        Batch::default()
    }
}

#[tokio::test]
async fn what_has_no_room_is_passed_over_with_what_needs_as_much() {
    let (house, anna) = House::with_anna().await;
    let inbox = open(&anna, "INBOX").await;
    for octets in [60, 50, 9, 55, 0, 2, 1] {
        charged(&house, &anna, INBOX, octets).await;
    }
    limit(&house, 2, None, Some(10)).await;
    let uids: Vec<Uid> = (1..=7).map(uid).collect();
    let request = all_of(INBOX, uids, Everything("Archivio/Tutto"));
    let archived = anna.archive(request).await.expect("archive");
    let full = Full { resource: "archive octets", used: 0, limit: 10 };
    assert_eq!((archived.messages, archived.octets, archived.full), (3, 10, Some(full)));
    assert_eq!(archived.up_to, Some(uid(7)));
    let name = MailboxName::new("Archivio/Tutto").expect("a name");
    let known = [0, 1, 2, 60].map(|octets| archived.no_room.is_for(&name, octets));
    assert_eq!(known, [false, false, true, true]);
    let left: Vec<Uid> = inbox.rows().await.expect("rows").1.iter().map(|row| row.uid).collect();
    assert_eq!(left, [1, 2, 4, 6].map(uid));

    let request = all_of(INBOX, left, Everything("Archivio/Tutto"));
    let again = ArchiveRequest { no_room: archived.no_room, ..request };
    assert_eq!(anna.archive(again).await.expect("archive").full, None, "nothing was tried");
    let settings = AccountSettings { archive_quota_messages: Some(4), ..with_limits(None, None) };
    house.store.apply_account(ANNA, 3, settings).await.expect("limits");
    let request = all_of(INBOX, [1, 2, 4, 6].map(uid).into(), Everything("Archivio/Tutto"));
    let archived = anna.archive(request).await.expect("archive");
    let full = Full { resource: "archive messages", used: 4, limit: 4 };
    assert_eq!((archived.messages, archived.full), (1, Some(full)));
    assert_eq!((archived.up_to, archived.no_room.is_at_end()), (Some(uid(1)), true));
    house.is_sound().await;
}

#[tokio::test]
async fn a_mailbox_that_may_not_be_made_keeps_no_row_from_another() {
    let (house, anna) = House::with_anna().await;
    let inbox = open(&anna, "INBOX").await;
    let mut sizes = Vec::new();
    for number in [1, 100, 1, 100] {
        let octets = message(number);
        sizes.push(octets.len());
        anna.append(request(INBOX, &house.stage(&octets).await)).await.expect("append");
    }
    let [small, large, ..] = sizes[..] else { panic!("{sizes:?}") };
    assert_ne!(small, large);
    anna.create_mailbox(&format!("Archivio/{large}/{large}"), None).await.expect("create");
    let mailboxes = anna.quota().await.expect("quota").used_mailboxes;
    let settings =
        AccountSettings { quota_mailboxes: Some(mailboxes + 1), ..with_limits(None, None) };
    house.store.apply_account(ANNA, 2, settings).await.expect("limits");
    let uids: Vec<Uid> = (1..=4).map(uid).collect();
    let archived = anna.archive(all_of(INBOX, uids, BySize)).await.expect("archive");
    let resource = archived.full.expect("full").resource;
    assert_eq!((archived.messages, resource, archived.up_to), (2, "mailboxes", Some(uid(4))));
    let left: Vec<Uid> = inbox.rows().await.expect("rows").1.iter().map(|row| row.uid).collect();
    assert_eq!(left, [uid(1), uid(3)]);
    let made = anna.quota().await.expect("quota").used_mailboxes;
    assert_eq!(made, mailboxes, "none above it is left over");
    house.is_sound().await;
}

#[tokio::test]
async fn who_follows_a_mailbox_hears_what_the_archive_took_and_gave_back() {
    let (house, anna) = House::with_anna().await;
    let inbox = open(&anna, "INBOX").await;
    for octets in [10, 20] {
        charged(&house, &anna, INBOX, octets).await;
    }
    let before = inbox.state().await.expect("state").highest_mod_seq;
    let selection = Everything("Archivio/2026");
    anna.archive(all_of(INBOX, vec![uid(1)], selection)).await.expect("archive");
    let changes = inbox.changes_since(before).await.expect("changes");
    assert_eq!((changes.expunged, changes.incomplete), (vec![uid(1)], false));
    let archive = open(&anna, "Archivio/2026").await;
    let before = archive.state().await.expect("state").highest_mod_seq;
    anna.restore_to_origin(archive.id(), &[uid(1)]).await.expect("back");
    let changes = archive.changes_since(before).await.expect("changes");
    assert_eq!((changes.expunged, changes.incomplete), (vec![uid(1)], false));
    house.is_sound().await;
}

#[tokio::test]
async fn messages_go_back_to_where_they_were_whatever_it_is_called_now() {
    let (house, anna) = House::with_anna().await;
    anna.create_mailbox("Lavori", None).await.expect("create");
    anna.create_mailbox("Breve", None).await.expect("create");
    let (work, brief) = (open(&anna, "Lavori").await, open(&anna, "Breve").await);
    for mailbox in [work.id(), brief.id(), INBOX] {
        charged(&house, &anna, mailbox, 10).await;
        let selection = Everything("Archivio/2026");
        let request = all_of(mailbox, vec![uid(1)], selection);
        assert_eq!(anna.archive(request).await.expect("archive").messages, 1);
    }
    let archive = open(&anna, "Archivio/2026").await;
    charged(&house, &anna, archive.id(), 10).await;
    anna.rename_mailbox("Lavori", "Vecchi lavori").await.expect("rename");
    anna.delete_mailbox("Breve").await.expect("delete");
    limit(&house, 2, Some(39), None).await;
    let uids: Vec<Uid> = (1..=4).map(uid).collect();
    let refused = anna.restore_to_origin(archive.id(), &uids).await;
    assert_eq!(over(refused), ("octets", 0, 39));
    assert_eq!(used(&anna).await, (0, 40));
    limit(&house, 3, Some(40), None).await;
    house.clock.advance(1_000);
    let restored = anna.restore_to_origin(archive.id(), &uids).await.expect("restore");
    let anew = open(&anna, "Breve").await.id();
    let back = |from, mailbox, to| Restored { from: uid(from), mailbox, uid: uid(to) };
    let expected = [back(1, work.id(), 2), back(2, anew, 1), back(3, INBOX, 2), back(4, INBOX, 3)];
    assert_eq!(restored, expected);
    assert_eq!(used(&anna).await, (40, 0));
    let rows = open(&anna, "Vecchi lavori").await.rows().await.expect("rows").1;
    assert_eq!((rows.len(), rows[0].origin.clone()), (1, None));
    assert_eq!(rows[0].save_date, house.clock.now(), "it came back now");
    house.is_sound().await;
}

#[tokio::test]
async fn the_check_names_a_wrong_tier_and_a_wrong_sum_and_a_repair_mends_both() {
    let (house, anna) = House::with_anna().await;
    let archive = open(&anna, "Archivio").await.id();
    charged(&house, &anna, INBOX, 5).await;
    charged(&house, &anna, archive, 20).await;
    let (head_key, mailbox_key) = (keys::account(ANNA), keys::mailbox(ANNA, archive));
    let head = house.engine.get(keys::ACCOUNT_HEADS, &head_key).await.expect("read");
    let mailbox = house.engine.get(keys::MAILBOXES, &mailbox_key).await.expect("read");
    let (head, mailbox) = (head.expect("a head"), mailbox.expect("a mailbox"));
    let mut wrong_head: HeadRecord =
        records::decode(keys::ACCOUNT_HEADS, &head_key, &head).expect("head");
    (wrong_head.archive_octets, wrong_head.archive_messages) = (21, 2);
    let mut wrong_mailbox: MailboxRecord =
        records::decode(keys::MAILBOXES, &mailbox_key, &mailbox).expect("mailbox");
    wrong_mailbox.tier = 0;
    let wrong = [
        (keys::ACCOUNT_HEADS, head_key, records::encode(&wrong_head), 2),
        (keys::MAILBOXES, mailbox_key, records::encode(&wrong_mailbox), 3),
    ];
    for (family, key, value, violations) in wrong {
        let mut batch = Batch::default();
        batch.put(family, key, value);
        house.engine.commit(batch).await.expect("commit");
        let report = house.store.check(&|_| {}).await.expect("check");
        assert_eq!(report.violations.len(), violations, "{:?}", report.violations);
        let report = house.store.repair(&Nobody, true, &|_| {}).await.expect("repair");
        assert!(report.changes > 0 && report.left == 0, "{report:?}");
        assert_eq!(used(&anna).await, (5, 20));
        house.is_sound().await;
    }
}
