//! Quota is exact, also under concurrency, and refuses only what it must.

use std::sync::Arc;

use bytes::Bytes;
use trust::random::{RandomSource as _, SeededRandom};

use super::house::{ANNA, House, message, request, settings};
use crate::{
    account::{
        Account,
        quota::{ArchiveQuota, Quota, QuotaRule, QuotaWarning, REARMED_BELOW, WARNING_LEVELS},
        settings::AccountSettings,
        tier::Tier,
    },
    catalog::{
        engine::{Batch, Engine as _},
        keys,
    },
    error::StoreError,
    ids::{AccountId, MailboxId},
    mailbox::{
        append::AppendRequest,
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
};

const INBOX: MailboxId = MailboxId(1);

#[tokio::test]
async fn an_append_that_fills_the_quota_is_stored_and_one_octet_more_is_refused() {
    let size = message(1).len() as u64;
    for (limit, fits) in [(2 * size, true), (2 * size - 1, false)] {
        let house = House::new().await;
        let anna = house.create(ANNA, "anna@pec.example", Some(limit)).await;
        house.append(&anna, INBOX, 1).await.expect("the first");
        let second = house.append(&anna, INBOX, 2).await;
        assert_eq!(second.is_ok(), fits);
        if let Err(error) = second {
            assert!(matches!(
                error,
                StoreError::OverQuota { resource: "octets", used, limit: l } if used == size && l == limit
            ));
            let state = anna.mailbox(INBOX).await.expect("open").state().await.expect("state");
            assert_eq!(state.uid_next, crate::ids::Uid::new(2), "nothing was changed");
        }
        house.is_sound().await;
    }
}

#[tokio::test]
async fn receipts_are_stored_over_quota_and_room_can_always_be_made() {
    let size = message(1).len() as u64;
    let house = House::new().await;
    let anna = house.create(ANNA, "anna@pec.example", Some(size)).await;
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let trash = anna.mailbox_by_name("Cestino").await.expect("Cestino");
    let first = house.append(&anna, INBOX, 1).await.expect("append").uid;
    let staged = house.stage(&message(2)).await;
    let mut receipt = request(INBOX, &staged);
    receipt.quota = QuotaRule::Exempt;
    let second = anna.append(receipt).await.expect("a receipt").uid;
    let quota = anna.quota().await.expect("quota");
    let expected = Quota {
        used_octets: 2 * size,
        limit_octets: Some(size),
        used_messages: 2,
        limit_messages: None,
        used_mailboxes: 6,
        limit_mailboxes: 40,
        archive: ArchiveQuota::default(),
    };
    assert_eq!(quota, expected);
    let copy = inbox.copy(&[first], trash.id()).await;
    assert!(matches!(copy, Err(StoreError::OverQuota { .. })));
    assert_eq!(anna.quota().await.expect("quota"), quota);
    inbox.move_to(&[first], trash.id()).await.expect("a move is never refused");
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&[second], FlagChange::Add, &deleted, None).await.expect("flags");
    inbox.expunge(&[second]).await.expect("expunge");
    house.store.apply_account(ANNA, 2, settings("anna@pec.example", Some(0))).await.expect("lower");
    anna.delete_mailbox("Cestino").await.expect("delete");
    assert_eq!(anna.quota().await.expect("quota").used_octets, 0);
    house.is_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_together_fill_the_quota_exactly_and_never_exceed_it() {
    const TASKS: usize = 24;
    const EACH: usize = 8;
    // All messages have the same size; 100 of the 192 fit.
    let size = message(100).len() as u64;
    let house = Arc::new(House::new().await);
    let anna = house.create(ANNA, "anna@pec.example", Some(100 * size + size / 2)).await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (house, anna) = (Arc::clone(&house), anna.clone());
        tasks.push(tokio::spawn(async move {
            let mut stored = 0_u64;
            for number in 0..EACH {
                match house.append(&anna, INBOX, 100 + task * EACH + number).await {
                    Ok(_) => stored += 1,
                    Err(StoreError::OverQuota { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            stored
        }));
    }
    let mut stored = 0;
    for task in tasks {
        stored += task.await.expect("a task");
    }
    assert_eq!(stored, 100);
    let quota = anna.quota().await.expect("quota");
    assert_eq!((quota.used_octets, quota.used_messages), (100 * size, 100));
    let rows = anna.mailbox(INBOX).await.expect("open").rows().await.expect("rows").1;
    assert_eq!(rows.iter().map(|row| row.charged_octets).sum::<u64>(), quota.used_octets);
    house.is_sound().await;
}

#[tokio::test]
async fn limits_of_messages_and_of_mailboxes_are_checked_in_the_batch() {
    let house = House::new().await;
    let anna = house.create(ANNA, "anna@pec.example", None).await;
    let limited = AccountSettings {
        quota_messages: Some(2),
        quota_mailboxes: Some(7),
        ..settings("anna@pec.example", None)
    };
    house.store.apply_account(ANNA, 2, limited).await.expect("limit");
    let first = house.append(&anna, INBOX, 1).await.expect("the first").uid;
    house.append(&anna, INBOX, 2).await.expect("the second");
    let third = house.append(&anna, INBOX, 3).await;
    assert!(matches!(
        third,
        Err(StoreError::OverQuota { resource: "messages", used: 2, limit: 2 })
    ));
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let trash = anna.mailbox_by_name("Cestino").await.expect("Cestino");
    let copy = inbox.copy(&[first], trash.id()).await;
    assert!(matches!(copy, Err(StoreError::OverQuota { resource: "messages", .. })));
    inbox.move_to(&[first], trash.id()).await.expect("a move is never refused");
    anna.create_mailbox("Settima", None).await.expect("the seventh mailbox");
    let eighth = anna.create_mailbox("Ottava", None).await;
    assert!(matches!(
        eighth,
        Err(StoreError::OverQuota { resource: "mailboxes", used: 7, limit: 7 })
    ));
    let quota = anna.quota().await.expect("quota");
    assert_eq!((quota.limit_messages, quota.limit_mailboxes), (Some(2), 7));
    house.is_sound().await;
}

/// Appends a message that is charged `octets`, whatever space is left.
async fn charge(house: &House, account: &Account, octets: u64) -> crate::ids::Uid {
    let staged = house.stage(&message(1)).await;
    let request = AppendRequest {
        charged_octets: Some(octets),
        quota: QuotaRule::Exempt,
        ..request(INBOX, &staged)
    };
    account.append(request).await.expect("append").uid
}

async fn expunge(account: &Account, uid: crate::ids::Uid) {
    let inbox = account.mailbox(INBOX).await.expect("open");
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&[uid], FlagChange::Add, &deleted, None).await.expect("flags");
    assert_eq!(inbox.expunge(&[uid]).await.expect("expunge"), [uid]);
}

async fn warnings(house: &House) -> Vec<QuotaWarning> {
    house.store.quota_warnings(None, 100, &mut drop).await.expect("warnings")
}

#[tokio::test]
async fn a_level_warns_once_until_usage_has_fallen_well_below_it() {
    let house = House::new().await;
    let anna = house.create(ANNA, "anna@pec.example", Some(1_000)).await;
    charge(&house, &anna, 799).await;
    assert_eq!(warnings(&house).await, []);
    let last = charge(&house, &anna, 1).await;
    let [warning] = &*warnings(&house).await else { panic!("one warning") };
    assert_eq!((warning.account, warning.level), (ANNA, 80));
    assert_eq!((warning.used_octets, warning.limit_octets), (800, 1_000));
    assert!(anna.warning_stands(warning).await.expect("stands"));
    expunge(&anna, last).await;
    charge(&house, &anna, 1).await;
    assert_eq!(warnings(&house).await.len(), 1, "not again around the level");

    let large = charge(&house, &anna, 160).await;
    let all = warnings(&house).await;
    let levels: Vec<u32> = all.iter().map(|warning| warning.level).collect();
    assert_eq!(levels, [80, 95], "a jump over two levels warns of the higher one");
    assert!(!anna.warning_stands(&all[0]).await.expect("stands"), "a later one says more");
    assert!(anna.warning_stands(&all[1]).await.expect("stands"));
    expunge(&anna, large).await;
    assert!(!anna.warning_stands(&all[1]).await.expect("stands"), "usage has fallen");

    house
        .store
        .apply_account(ANNA, 2, settings("anna@pec.example", Some(4_000)))
        .await
        .expect("up");
    house
        .store
        .apply_account(ANNA, 3, settings("anna@pec.example", Some(840)))
        .await
        .expect("down");
    let all = warnings(&house).await;
    assert_eq!(all.last().expect("a warning").level, 95, "a lower limit warns too");
    house.is_sound().await;
}

#[tokio::test]
async fn a_warning_is_settled_once_however_many_try() {
    let house = House::new().await;
    let anna = house.create(ANNA, "anna@pec.example", Some(100)).await;
    charge(&house, &anna, 90).await;
    let [warning] = &*warnings(&house).await else { panic!("one warning") };
    let notice = house.stage(&message(9)).await;
    let tell = || {
        let mut also = Batch::default();
        warning.settle(&mut also);
        let request = AppendRequest {
            charged_octets: Some(0),
            quota: QuotaRule::Exempt,
            also,
            ..request(INBOX, &notice)
        };
        anna.append(request)
    };
    let outcomes = futures::future::join_all((0..8).map(|_| tell())).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(StoreError::Conflict))),
        "{outcomes:?}"
    );
    assert_eq!(warnings(&house).await, [], "the notice itself warns of nothing");
    assert_eq!(anna.quota().await.expect("quota").used_messages, 2);
    house.is_sound().await;
}

/// What a reader of the rules would keep beside the store.
#[derive(Default)]
struct Model {
    limit: u64,
    rows: Vec<(crate::ids::Uid, u64)>,
    level: u32,
    warned: Vec<u32>,
}

impl Model {
    fn used(&self) -> u64 {
        self.rows.iter().map(|(_, octets)| octets).sum()
    }

    fn settle_level(&mut self) {
        let per_cent = |level: u32| self.limit * u64::from(level);
        let used = self.used() * 100;
        let mut level = 0;
        for candidate in WARNING_LEVELS {
            let needed =
                if candidate <= self.level { candidate - REARMED_BELOW } else { candidate };
            if self.used() > 0 && used >= per_cent(needed) {
                level = candidate;
            }
        }
        if level > self.level {
            self.warned.push(level);
        }
        self.level = level;
    }
}

#[tokio::test]
async fn usage_limits_and_warnings_are_those_of_a_model_over_many_changes() {
    const STEPS: u64 = 400;
    let house = House::new().await;
    let anna = house.create(ANNA, "anna@pec.example", Some(1_000)).await;
    let random = SeededRandom::new(20);
    let mut model = Model { limit: 1_000, ..Model::default() };
    let mut refused = 0;
    for step in 0..STEPS {
        let mut octets = [0; 8];
        random.fill(&mut octets);
        let draw = u64::from_be_bytes(octets);
        match draw % 10 {
            0..=5 => {
                let charged = draw / 10 % 180;
                let rule = if draw % 10 == 5 { QuotaRule::Exempt } else { QuotaRule::Enforce };
                let staged = house.stage(&message(1)).await;
                let request = AppendRequest {
                    charged_octets: Some(charged),
                    quota: rule,
                    ..request(INBOX, &staged)
                };
                // What is charged nothing is not refused.
                let fits = rule == QuotaRule::Exempt
                    || charged == 0
                    || model.used() + charged <= model.limit;
                match anna.append(request).await {
                    Ok(appended) => {
                        assert!(fits, "step {step}");
                        model.rows.push((appended.uid, charged));
                    }
                    Err(StoreError::OverQuota { resource: "octets", .. }) => {
                        assert!(!fits, "step {step}");
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            6..=8 if !model.rows.is_empty() => {
                let place = usize::try_from(draw / 10).unwrap_or(0) % model.rows.len();
                let (uid, _) = model.rows.remove(place);
                expunge(&anna, uid).await;
            }
            _ => {
                model.limit = 500 + draw / 10 % 1_000;
                let changed = settings("anna@pec.example", Some(model.limit));
                house.store.apply_account(ANNA, step + 2, changed).await.expect("limit");
            }
        }
        model.settle_level();
        let quota = anna.quota().await.expect("quota");
        assert_eq!(quota.used_octets, model.used(), "step {step}");
        assert_eq!(quota.used_messages, model.rows.len() as u64, "step {step}");
        assert_eq!(quota.limit_octets, Some(model.limit), "step {step}");
    }
    let all = house.store.quota_warnings(None, 1_000, &mut drop).await.expect("warnings");
    let levels: Vec<u32> = all.iter().map(|warning| warning.level).collect();
    assert_eq!(levels, model.warned);
    assert!(refused > 20 && levels.len() > 10, "the model met its cases");
    house.is_sound().await;
}

#[tokio::test]
async fn warnings_that_cannot_be_read_are_passed_over() {
    let (house, anna) = House::with_anna().await;
    let mut batch = Batch::default();
    for (account, value) in
        [(AccountId(1), b"\x00"), (AccountId(2), b"\x09"), (AccountId(u64::MAX), b"\x09")]
    {
        let key = keys::quota_warning(account, Tier::Live, 1);
        batch.put(keys::QUOTA_WARNINGS, key, Bytes::from_static(value));
    }
    house.engine.commit(batch).await.expect("commit");
    let mut unreadable = Vec::new();
    let mut tell = |error| unreadable.push(error);
    assert_eq!(house.store.quota_warnings(None, 1, &mut tell).await.expect("warnings"), []);
    assert_eq!(unreadable.len(), 3, "{unreadable:?}");
    house.append(&anna, INBOX, 1).await.expect("append");
    let limited = settings("anna@pec.example", Some(1));
    house.store.apply_account(ANNA, 2, limited).await.expect("a limit");
    let found = house.store.quota_warnings(None, 1, &mut drop).await.expect("warnings");
    assert_eq!(found.iter().map(|warning| warning.account).collect::<Vec<_>>(), [ANNA]);
    let behind = house.store.quota_warnings(found.first(), 1, &mut drop).await.expect("warnings");
    assert_eq!(behind, []);
}
