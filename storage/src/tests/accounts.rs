//! Accounts: settings by version, the tree of mailboxes, what an account is created with.

use super::house::{ANNA, House, request, settings, uid};
use crate::{
    account::{
        Account, MailboxListing,
        quota::Quota,
        settings::{AccountSettings, AccountState, Applied},
        tree::SpecialUse,
    },
    catalog::{
        engine::{Reader as _, Scan},
        keys,
    },
    error::StoreError,
    ids::{AccountId, MailboxId},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
};

async fn names(account: &Account) -> Vec<String> {
    let listing = account.mailboxes().await.expect("list");
    listing.into_iter().filter(|entry| entry.mailbox_id.is_some()).map(|entry| entry.name).collect()
}

async fn entry(account: &Account, name: &str) -> MailboxListing {
    let listing = account.mailboxes().await.expect("list");
    listing.into_iter().find(|entry| entry.name == name).expect(name)
}

#[tokio::test]
async fn a_new_account_has_inbox_and_the_five_mailboxes_that_clients_look_for() {
    let (house, anna) = House::with_anna().await;
    let listing = anna.mailboxes().await.expect("list");
    let found: Vec<_> = listing
        .iter()
        .map(|entry| (entry.name.as_str(), entry.special_use, entry.subscribed))
        .collect();
    assert_eq!(
        found,
        [
            ("INBOX", None, true),
            ("Archivio", Some(SpecialUse::Archive), true),
            ("Bozze", Some(SpecialUse::Drafts), true),
            ("Cestino", Some(SpecialUse::Trash), true),
            ("Inviati", Some(SpecialUse::Sent), true),
            ("Posta indesiderata", Some(SpecialUse::Junk), true),
        ]
    );
    house.is_sound().await;
}

#[tokio::test]
async fn settings_are_applied_once_by_version_and_found_by_address_in_any_case() {
    let (house, anna) = House::with_anna().await;
    let blocked = AccountSettings {
        state: AccountState::Blocked,
        ..settings("Anna.Nuova@PEC.example", Some(5))
    };
    let apply = |version, settings| house.store.apply_account(ANNA, version, settings);
    assert_eq!(apply(3, blocked.clone()).await.expect("apply"), Applied::Changed);
    assert_eq!(apply(3, settings("x@pec.example", None)).await.expect("apply"), Applied::Unchanged);
    assert_eq!(apply(2, settings("x@pec.example", None)).await.expect("apply"), Applied::Unchanged);
    assert_eq!(anna.settings().await.expect("settings"), blocked);
    let found = house.store.account_by_address("anna.nuova@pec.EXAMPLE").await.expect("find");
    assert_eq!(found, Some((ANNA, blocked)));
    let old = house.store.account_by_address("anna@pec.example").await.expect("find");
    assert_eq!(old, None, "the old address is free");
    house.create(AccountId(8), "anna@pec.example", None).await;
    house.is_sound().await;
}

#[tokio::test]
async fn accounts_are_listed_in_pages_with_their_versions() {
    let (house, _) = House::with_anna().await;
    house.create(AccountId(9), "carla@pec.example", Some(3)).await;
    let first = house.store.accounts(None, 1).await.expect("list");
    assert_eq!(first, [(ANNA, 1, settings("anna@pec.example", None))]);
    let second = house.store.accounts(Some(ANNA), 10).await.expect("list");
    assert_eq!(second, [(AccountId(9), 1, settings("carla@pec.example", Some(3)))]);
    assert_eq!(house.store.accounts(Some(AccountId(u64::MAX)), 10).await.expect("list"), []);
    house.is_sound().await;
}

#[tokio::test]
async fn an_address_belongs_to_one_account_also_when_two_take_it_at_once() {
    let (house, _) = House::with_anna().await;
    let taken =
        house.store.apply_account(AccountId(8), 1, settings("ANNA@pec.example", None)).await;
    assert!(matches!(taken, Err(StoreError::AddressTaken { account: ANNA, .. })));
    assert!(matches!(
        house.store.account(AccountId(8)).await,
        Err(StoreError::NoSuchAccount(AccountId(8)))
    ));
    let take = |id| house.store.apply_account(AccountId(id), 1, settings("b@pec.example", None));
    let outcomes: [_; 4] = tokio::join!(take(20), take(21), take(22), take(23)).into();
    let created = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Applied::Created)));
    assert_eq!(created.count(), 1);
    house.is_sound().await;
}

#[tokio::test]
async fn creating_a_mailbox_creates_what_is_missing_above_it() {
    let (house, anna) = House::with_anna().await;
    anna.create_mailbox("Lavori/2026/Comune", None).await.expect("create");
    for name in ["Lavori", "Lavori/2026", "Lavori/2026/Comune"] {
        assert!(names(&anna).await.contains(&name.to_owned()), "{name}");
    }
    let again = anna.create_mailbox("Lavori", None).await;
    assert!(matches!(again, Err(StoreError::MailboxExists(name)) if name == "Lavori"));
    assert!(matches!(anna.create_mailbox("inbox", None).await, Err(StoreError::MailboxExists(_))));
    house.is_sound().await;
}

#[tokio::test]
async fn a_mailbox_deleted_and_created_again_is_another_one() {
    let (house, anna) = House::with_anna().await;
    let id = anna.create_mailbox("Lavori", None).await.expect("create");
    let old = anna.mailbox(id).await.expect("open");
    let before = old.state().await.expect("state");
    house.fill(&anna, &old, 10).await;
    anna.delete_mailbox("Lavori").await.expect("delete");
    assert!(matches!(old.rows().await, Err(StoreError::NoSuchMailbox { .. })));
    assert_eq!(anna.quota().await.expect("quota").used_octets, 0);
    let new = anna.create_mailbox("Lavori", None).await.expect("create");
    let after = anna.mailbox(new).await.expect("open").state().await.expect("state");
    assert!(new > id && after.uid_validity > before.uid_validity);
    assert_eq!(after.exists, 0);
    house.is_sound().await;
}

#[tokio::test]
async fn a_deletion_that_a_crash_cut_short_is_finished_when_the_store_opens() {
    let (house, anna) = House::with_anna().await;
    let id = anna.create_mailbox("Lavori", None).await.expect("create");
    let mailbox = anna.mailbox(id).await.expect("open");
    house.fill(&anna, &mailbox, 10).await;
    let mut changes = anna.changes();
    changes.mark_unchanged();
    let deleting = tokio::spawn({
        let anna = anna.clone();
        async move { anna.delete_mailbox("Lavori").await }
    });
    changes.changed().await.expect("the first step");
    let engine = house.engine.crash();
    assert!(deleting.await.expect("a task").is_err(), "ten rows take several steps");
    let left = Scan::prefix(keys::MAILBOX_DELETIONS, &[], 9);
    assert_eq!(engine.scan(&left).await.expect("scan").len(), 1);
    let house = House::open(engine, house.objects.clone()).await;
    let anna = house.store.account(ANNA).await.expect("the account");
    assert_eq!(anna.quota().await.expect("quota").used_messages, 0);
    assert_eq!(house.engine.scan(&left).await.expect("scan"), []);
    house.is_sound().await;
}

#[tokio::test]
async fn deleting_leaves_what_is_below_and_inbox_stays() {
    let (house, anna) = House::with_anna().await;
    anna.create_mailbox("Lavori/2026", None).await.expect("create");
    anna.delete_mailbox("Lavori").await.expect("delete");
    let above = entry(&anna, "Lavori").await;
    assert_eq!(above.mailbox_id, None, "only a name above others");
    assert!(entry(&anna, "Lavori/2026").await.mailbox_id.is_some());
    assert!(matches!(anna.delete_mailbox("Inbox").await, Err(StoreError::ProtectedMailbox(_))));
    let missing = anna.delete_mailbox("Altro").await;
    assert!(matches!(missing, Err(StoreError::NoSuchMailboxName(name)) if name == "Altro"));
    house.is_sound().await;
}

#[tokio::test]
async fn a_rename_takes_the_whole_subtree_along_and_keeps_identities() {
    let (house, anna) = House::with_anna().await;
    let child = anna.create_mailbox("a/b/c", None).await.expect("create");
    anna.create_mailbox("a/bc", None).await.expect("create");
    let before = anna.mailbox(child).await.expect("open").state().await.expect("state");
    anna.rename_mailbox("a/b", "z/y").await.expect("rename");
    let found = names(&anna).await;
    for name in ["a", "a/bc", "z", "z/y", "z/y/c"] {
        assert!(found.contains(&name.to_owned()), "{name} in {found:?}");
    }
    assert!(!found.iter().any(|name| name.starts_with("a/b/") || name == "a/b"));
    assert_eq!(entry(&anna, "z/y/c").await.mailbox_id, Some(child));
    let after = anna.mailbox(child).await.expect("open").state().await.expect("state");
    assert_eq!(after, before);
    let below_itself = anna.rename_mailbox("z", "z/y/x").await;
    assert!(matches!(below_itself, Err(StoreError::InvalidMailboxName { .. })));
    let taken = anna.rename_mailbox("a", "z/y/c").await;
    assert!(matches!(taken, Err(StoreError::MailboxExists(_))));
    let missing = anna.rename_mailbox("nulla", "altro/nome").await;
    assert!(matches!(missing, Err(StoreError::NoSuchMailboxName(_))));
    assert!(!names(&anna).await.contains(&"altro".to_owned()), "nothing was created for it");
    house.is_sound().await;
}

#[tokio::test]
async fn renaming_inbox_gives_its_messages_away_and_leaves_it_empty_with_its_children() {
    let (house, anna) = House::with_anna().await;
    anna.create_mailbox("INBOX/figlia", None).await.expect("create");
    let inbox = anna.mailbox_by_name("INBOX").await.expect("INBOX");
    let uids = house.fill(&anna, &inbox, 5).await;
    let seen = Flags { seen: true, ..Flags::default() };
    inbox.store_flags(&uids[1..2], FlagChange::Add, &seen, None).await.expect("store");
    let before = inbox.state().await.expect("state");
    let quota = anna.quota().await.expect("quota");
    anna.rename_mailbox("inbox", "Vecchia/posta").await.expect("rename");
    let after = inbox.state().await.expect("state");
    assert_eq!((after.exists, after.unseen), (0, 0));
    assert_eq!((after.mailbox_id, after.uid_validity), (before.mailbox_id, before.uid_validity));
    assert_eq!(after.uid_next, Some(uid(6)));
    let changes = inbox.changes_since(before.highest_mod_seq).await.expect("changes");
    assert_eq!(changes.expunged, uids);
    let moved = anna.mailbox_by_name("Vecchia/posta").await.expect("the new mailbox");
    let state = moved.state().await.expect("state");
    assert_eq!((state.exists, state.unseen), (5, 4));
    // `Vecchia` and `Vecchia/posta`.
    let expected = Quota { used_mailboxes: quota.used_mailboxes + 2, ..quota };
    assert_eq!(anna.quota().await.expect("quota"), expected);
    assert!(names(&anna).await.contains(&"INBOX/figlia".to_owned()));
    house.is_sound().await;
}

#[tokio::test]
async fn subscriptions_are_names_and_outlive_mailboxes() {
    let (house, anna) = House::with_anna().await;
    anna.create_mailbox("Lavori", None).await.expect("create");
    assert!(!entry(&anna, "Lavori").await.subscribed);
    anna.subscribe("Lavori", true).await.expect("subscribe");
    anna.subscribe("Lavori", true).await.expect("twice");
    anna.delete_mailbox("Lavori").await.expect("delete");
    let left = entry(&anna, "Lavori").await;
    assert!(left.subscribed && left.mailbox_id.is_none());
    anna.subscribe("Lavori", false).await.expect("unsubscribe");
    assert!(anna.mailboxes().await.expect("list").iter().all(|entry| entry.name != "Lavori"));
    house.is_sound().await;
}

#[tokio::test]
async fn a_listing_tells_the_counters_of_each_mailbox() {
    let (house, anna) = House::with_anna().await;
    let lavori = anna.create_mailbox("Lavori/Uno", None).await.expect("create");
    let staged = house.stage(b"Subject: Ciao\r\n\r\nx\r\n").await;
    anna.append(request(lavori, &staged)).await.expect("append");
    anna.subscribe("Nessuna", true).await.expect("subscribe");
    for listed in anna.mailboxes().await.expect("list") {
        let Some(id) = listed.mailbox_id else {
            assert_eq!((listed.name.as_str(), listed.state), ("Nessuna", None));
            continue;
        };
        let state = anna.mailbox(id).await.expect("open").state().await.expect("state");
        assert_eq!(state.exists, u64::from(id == lavori));
        assert_eq!(listed.state, Some(state), "{}", listed.name);
    }
    house.is_sound().await;
}

#[tokio::test]
async fn one_mailbox_at_most_has_each_special_use() {
    let (house, anna) = House::with_anna().await;
    let new = anna.create_mailbox("Spedita", None).await.expect("create");
    anna.set_special_use(new, Some(SpecialUse::Sent)).await.expect("set");
    assert_eq!(entry(&anna, "Spedita").await.special_use, Some(SpecialUse::Sent));
    assert_eq!(entry(&anna, "Inviati").await.special_use, None);
    let taken = anna.create_mailbox("Spedite", Some(SpecialUse::Sent)).await;
    assert!(matches!(taken, Err(StoreError::SpecialUseTaken(name)) if name == "Spedita"));
    house.is_sound().await;
}

#[tokio::test]
async fn mailboxes_of_an_account_are_bounded() {
    let (house, anna) = House::with_anna().await;
    for number in 6..40 {
        anna.create_mailbox(&format!("m{number}"), None).await.expect("create");
    }
    let outcome = anna.create_mailbox("a/b", None).await;
    assert!(matches!(
        outcome,
        Err(StoreError::OverQuota { resource: "mailboxes", used: 40, limit: 40 })
    ));
    anna.delete_mailbox("m6").await.expect("delete");
    let two_levels = anna.create_mailbox("a/b", None).await;
    assert!(two_levels.is_err(), "the level above needs a place too");
    assert!(!names(&anna).await.contains(&"a".to_owned()), "and is not left behind");
    anna.create_mailbox("a", None).await.expect("create");
    house.is_sound().await;
}

#[tokio::test]
async fn a_closed_store_answers_closed() {
    let (house, anna) = House::with_anna().await;
    let staged = house.stage(b"Subject: tardi\r\n\r\n").await;
    house.store.close().await.expect("close");
    assert!(matches!(anna.create_mailbox("a", None).await, Err(StoreError::Closed)));
    let late = anna.append(request(MailboxId(1), &staged)).await;
    assert!(matches!(late, Err(StoreError::Closed)));
}
