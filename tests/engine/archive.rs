//! Runs of the archive: exactly once, whatever is interrupted; and what holders are told.

mod faults;
mod room;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use ceralacca::{
    archive::{
        ARCHIVE_NOTICES, ARCHIVE_RUNS, back,
        rules::{Rule, Rules},
        run::{self, Ended, RunRecord, RunReport},
        schedule::{Round, Schedule},
    },
    config::Config,
};
use storage::{
    account::{
        Account,
        quota::QuotaRule,
        settings::{AccountSettings, AccountState},
        tier::Tier,
    },
    catalog::{
        engine::{Batch, Engine, Family},
        keys,
        simulated::SimulatedEngine,
    },
    error::StoreError,
    ids::{AccountId, Uid},
    mailbox::{append::AppendRequest, flags::Flags, view::MailboxView as _},
    octets::OctetStoreConfig,
    store::{Store, StoreLimits},
};
use tokio_util::sync::CancellationToken;
use trust::{
    clock::{ManualClock, UnixMillis},
    random::SeededRandom,
};

use crate::{
    dying::Dying,
    provider::{BRUNO, Provider, eventually, families},
};

const ANNA: AccountId = AccountId(7);
/// 2026-11-28T12:00:00Z.
const NOW: UnixMillis = UnixMillis(1_795_867_200_000);
const DAY: i64 = 86_400_000;
/// Where messages of the house are, 8 in each.
const MAILBOXES: [&str; 4] = ["INBOX", "Inviati", "Lavori/2019", "Cestino"];

/// One at a time, so that a run has many batches.
fn config() -> Arc<Config> {
    let mut config = Config::default();
    config.archive.batch_messages_max = 1;
    config.archive.messages_per_second_max = 1_000_000;
    config.archive.accounts_per_hour_max = 10_000_000;
    Arc::new(config)
}

fn settings(archive: Option<u64>) -> AccountSettings {
    AccountSettings {
        address: "anna@pec.example".to_owned(),
        plan: "base".to_owned(),
        archive_quota_octets: archive,
        ..AccountSettings::default()
    }
}

async fn open(engine: Arc<dyn Engine>, clock: &Arc<ManualClock>) -> Arc<Store> {
    // Messages this small stay in the catalog.
    let objects = Arc::new(object_store::memory::InMemory::new());
    let random = Arc::new(SeededRandom::new(1));
    let (octets, limits) = (OctetStoreConfig::default(), StoreLimits::default());
    let store = Store::open_with_engine(engine, objects, clock.clone(), random, octets, limits);
    store.await.expect("a store")
}

async fn append(
    store: &Store,
    account: &Account,
    mailbox: &str,
    number: u32,
    days: i64,
    flags: Flags,
) {
    let mut writer = store.message_writer();
    let text = format!("Subject: {mailbox} {number}\r\n\r\n{}\r\n", "x".repeat(number as usize));
    writer.write(text.as_bytes()).await.expect("write");
    let message = writer.finish().await.expect("finish");
    let request = AppendRequest {
        mailbox: account.mailbox_by_name(mailbox).await.expect(mailbox).id(),
        message: &message,
        flags,
        internal_date: Some(NOW.plus_millis(-days * DAY)),
        // Receipts are charged less than their size.
        charged_octets: Some(10 + u64::from(number)),
        quota: QuotaRule::Exempt,
        also: Batch::default(),
    };
    account.append(request).await.expect("append");
}

/// Half of the messages of each mailbox are older than a year; of these one is flagged, one not read.
async fn furnish(store: &Store, clock: &ManualClock, archive: Option<u64>) -> Account {
    store.apply_account(ANNA, 1, settings(archive)).await.expect("an account");
    let account = store.account(ANNA).await.expect("an account");
    account.create_mailbox("Lavori/2019", None).await.expect("create");
    for mailbox in MAILBOXES {
        for number in 0..8_u32 {
            let days = if number % 2 == 0 { 400 + 300 * i64::from(number) } else { 5 };
            let flags = Flags { seen: number != 2, flagged: number == 4, ..Flags::default() };
            // It came on that day.
            clock.advance(-days * DAY);
            append(store, &account, mailbox, number, days, flags).await;
            clock.advance(days * DAY);
        }
    }
    account
}

/// How often each message is there: in live mail, in the archive.
async fn places(account: &Account) -> BTreeMap<[u8; 32], (u32, u32)> {
    let mut places = BTreeMap::<_, (u32, u32)>::new();
    for listed in account.mailboxes().await.expect("mailboxes") {
        let Some(id) = listed.mailbox_id else { continue };
        let mailbox = account.mailbox(id).await.expect("open");
        for row in mailbox.rows().await.expect("rows").1 {
            let place = places.entry(row.digest.0).or_default();
            match Tier::of_name(&listed.name) {
                Tier::Live => place.0 += 1,
                Tier::Archive => place.1 += 1,
            }
        }
    }
    places
}

async fn each_once(account: &Account) {
    let places = places(account).await;
    assert_eq!(places.len(), 8 * MAILBOXES.len());
    assert!(places.values().all(|(live, archive)| live + archive == 1), "{places:?}");
}

async fn archive(store: &Store, config: &Config, now: UnixMillis) -> Result<RunReport, StoreError> {
    run::run(store, config, ANNA, now, &CancellationToken::new()).await
}

/// What the last run noted.
async fn note(store: &Store, id: AccountId) -> RunRecord {
    RunRecord::read(store, id).await.expect("read").0.expect("a note")
}

async fn is_sound(store: &Store) {
    let report = store.check(&|_| {}).await.expect("check");
    assert_eq!(report.violations, []);
}

/// What a run that nothing disturbs moves: two old messages, read and not flagged, of each mailbox but
/// the trash.
fn undisturbed() -> BTreeMap<String, (u64, u64)> {
    ["INBOX", "Inviati", "Lavori/2019"].map(|name| (name.to_owned(), (2, 26))).into()
}

#[tokio::test]
async fn a_dry_run_says_what_the_run_does_also_where_there_is_no_room() {
    for limit in [None, Some(78), Some(77), Some(40), Some(25), Some(9), Some(0)] {
        let clock = Arc::new(ManualClock::new(NOW));
        let store = open(SimulatedEngine::new(&families()), &clock).await;
        let account = furnish(&store, &clock, limit).await;
        let before = places(&account).await;
        let foreseen = run::foresee(&store, &config(), ANNA, NOW).await.expect("foresee");
        assert_eq!(places(&account).await, before, "nothing was moved");
        let report = archive(&store, &config(), NOW).await.expect("run");
        assert_eq!(foreseen, report, "{limit:?}");
        assert_eq!(report.full.is_some(), limit.is_some_and(|limit| limit < 78), "{limit:?}");
        assert_eq!(account.quota().await.expect("quota").archive.used_octets, report.total().1);
        if report.full.is_none() {
            assert_eq!(report.mailboxes, undisturbed());
            let listed = account.mailboxes().await.expect("mailboxes");
            let names: Vec<_> = listed
                .iter()
                .filter(|listed| listed.state.as_ref().is_some_and(|state| state.exists > 0))
                .map(|listed| listed.name.as_str())
                .filter(|name| name.starts_with("Archivio/"))
                .collect();
            let expected = [
                "Archivio/2020/INBOX",
                "Archivio/2020/Inviati",
                "Archivio/2020/Lavori/2019",
                "Archivio/2025/INBOX",
                "Archivio/2025/Inviati",
                "Archivio/2025/Lavori/2019",
            ];
            assert_eq!(names, expected);
        }
        each_once(&account).await;
        is_sound(&store).await;
    }
}

#[tokio::test]
async fn a_run_that_is_killed_at_any_commit_goes_on_and_moves_each_message_once() {
    let mut crashes = 0;
    for commits in 0.. {
        let engine = Dying::new();
        let clock = Arc::new(ManualClock::new(NOW));
        let store = open(engine.clone(), &clock).await;
        furnish(&store, &clock, None).await;
        engine.let_pass(commits);
        let outcome = archive(&store, &config(), NOW).await;
        if !engine.has_died() {
            assert_eq!(outcome.expect("undisturbed").mailboxes, undisturbed());
            break;
        }
        assert!(outcome.is_err(), "{commits}: {outcome:?}");
        crashes += 1;

        let store = open(engine.inner.crash(), &clock).await;
        let account = store.account(ANNA).await.expect("an account");
        each_once(&account).await;
        is_sound(&store).await;
        let before = account.quota().await.expect("quota").archive.used_messages;
        let later = NOW.plus_millis(DAY);
        let report = archive(&store, &config(), later).await.expect("the next run");
        assert_eq!((report.total().0 + before, report.ended), (6, Ended::Finished), "{commits}");
        let note = note(&store, ANNA).await;
        // Of a run whose end was not noted the next one is another, which finds nothing.
        assert_eq!((note.messages, note.octets), (6, 78), "counted once, after {commits}");
        each_once(&account).await;
        is_sound(&store).await;
    }
    assert!(crashes >= 7, "a run has several commits: {crashes}");
}

#[tokio::test]
async fn of_runs_over_one_account_at_once_each_message_is_moved_by_one() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = open(SimulatedEngine::new(&families()), &clock).await;
    let account = furnish(&store, &clock, None).await;
    let config = config();
    let runs = (0..4).map(|_| archive(&store, &config, NOW));
    let reports = futures::future::join_all(runs).await;
    let mut moved = 0;
    let mut finished = 0;
    for report in reports {
        let report = report.expect("no error");
        moved += report.total().0;
        finished += u32::from(report.ended == Ended::Finished);
    }
    assert_eq!(moved, 6);
    assert_eq!(finished, 1, "the others were overtaken");
    let note = note(&store, ANNA).await;
    assert_eq!((note.messages, note.finished_at), (6, NOW.0));
    each_once(&account).await;
    is_sound(&store).await;
}

#[tokio::test]
async fn the_schedule_runs_when_an_account_is_due_and_catches_up_what_was_missed() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = open(SimulatedEngine::new(&families()), &clock).await;
    let account = furnish(&store, &clock, None).await;
    let others = [
        (8, AccountSettings { service: true, ..settings(None) }),
        (9, AccountSettings { state: AccountState::Closed, ..settings(None) }),
    ];
    for (id, other) in others {
        let address = format!("altro{id}@pec.example");
        let other = AccountSettings { address, ..other };
        store.apply_account(AccountId(id), 1, other).await.expect("an account");
    }
    let schedule = Schedule { store: Arc::clone(&store), config: config(), clock: clock.clone() };
    let stopping = CancellationToken::new();
    let round = async || schedule.round(&stopping).await.expect("a round");
    let expected = Round { due: 1, messages: 6, octets: 78, late_millis: 0 };
    assert_eq!(round().await, expected, "services and the closed are passed over");
    assert_eq!(round().await, Round::default(), "it is not due yet");

    let late = 9 * DAY;
    clock.advance(DAY + late);
    let expected =
        Round { due: 1, late_millis: u64::try_from(late).expect("late"), ..Round::default() };
    assert_eq!(round().await, expected, "nine days without a server");

    let none = Batch::default;
    let rule = Rule {
        older_than_days: 2,
        mailboxes: vec!["Cestino".to_owned()],
        larger_than_octets: 0,
        only_read: false,
        except_flagged: false,
        target: "Archivio/Cestino".to_owned(),
    };
    let kept = Rules::keep(&store, ANNA, Some(std::slice::from_ref(&rule)), none()).await;
    assert_eq!(kept.expect("kept"), Ok(()));
    clock.advance(10 * DAY);
    assert_eq!(round().await.messages, 8, "rules of its own");
    let kept = Rules::keep(&store, ANNA, Some(&[]), none()).await;
    assert_eq!(kept.expect("kept"), Ok(()));
    clock.advance(780 * DAY);
    assert_eq!(round().await.messages, 0, "no rule of its own is none");
    assert_eq!(Rules::keep(&store, ANNA, None, none()).await.expect("kept"), Ok(()));
    clock.advance(200 * DAY);
    assert_eq!(round().await.messages, 12, "those of its plan again: what has come of age");

    // The clock had been ahead.
    let (store, clock) = (Arc::clone(&store), Arc::new(ManualClock::new(NOW)));
    let right = Schedule { store: Arc::clone(&store), config: config(), clock };
    let expected = Round { due: 1, ..Round::default() };
    assert_eq!(right.round(&stopping).await.expect("a round"), expected);
    assert_eq!(right.round(&stopping).await.expect("a round"), Round::default());
    each_once(&account).await;
    is_sound(&store).await;
}

#[tokio::test]
async fn what_its_holder_takes_back_from_the_archive_stays_until_it_is_old_again() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = open(SimulatedEngine::new(&families()), &clock).await;
    let account = furnish(&store, &clock, None).await;
    assert_eq!(archive(&store, &config(), NOW).await.expect("run").total().0, 6);
    clock.advance(DAY);
    let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX");
    for (year, restores) in [("2025", false), ("2020", true)] {
        let name = format!("Archivio/{year}/INBOX");
        let mailbox = account.mailbox_by_name(&name).await.expect(&name);
        let rows = mailbox.rows().await.expect("rows").1;
        let uids: Vec<_> = rows.iter().map(|row| row.uid).collect();
        assert_eq!(uids.len(), 1, "{name}");
        if restores {
            account.restore_to_origin(mailbox.id(), &uids).await.expect("restored");
        } else {
            mailbox.move_to(&uids, inbox.id()).await.expect("moved");
        }
    }
    account.rename_mailbox("Archivio/2020/Lavori", "Lavori vecchi").await.expect("renamed");
    let next = archive(&store, &config(), NOW.plus_millis(2 * DAY)).await.expect("run");
    assert_eq!(next.total().0, 0, "it was taken back yesterday");
    let year = archive(&store, &config(), NOW.plus_millis(366 * DAY)).await.expect("run");
    assert_eq!(year.mailboxes["INBOX"].0, 2 + 4, "both, and what was new a year ago");
    assert_eq!(year.mailboxes["Lavori vecchi/2019"].0, 1, "what the rename took along");
    each_once(&account).await;
    is_sound(&store).await;
}

#[tokio::test]
async fn what_is_deleted_below_a_trash_of_another_name_is_not_archived() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = open(SimulatedEngine::new(&families()), &clock).await;
    let account = furnish(&store, &clock, None).await;
    account.rename_mailbox("Cestino", "INBOX/Trash").await.expect("rename");
    account.rename_mailbox("Lavori", "INBOX/Trash/Lavori").await.expect("rename");
    let foreseen = run::foresee(&store, &config(), ANNA, NOW).await.expect("foresee");
    let report = archive(&store, &config(), NOW).await.expect("run");
    assert_eq!(foreseen, report);
    let expected = ["INBOX", "Inviati"].map(|name| (name.to_owned(), (2, 26)));
    assert_eq!(report.mailboxes, expected.into());
}

#[tokio::test]
async fn what_is_in_the_archive_goes_back_to_where_it_came_from_as_far_as_there_is_room() {
    let stopping = CancellationToken::new();
    let mut whole_batches = Config::default();
    whole_batches.archive.messages_per_second_max = 1_000_000;
    let rule = Rule {
        older_than_days: 365,
        mailboxes: Vec::new(),
        larger_than_octets: 0,
        only_read: true,
        except_flagged: true,
        target: "Archivio/Tutto".to_owned(),
    };
    // They are charged 10 and 16 octets, by turns.
    let rooms =
        [(None, 6), (Some(78), 6), (Some(77), 5), (Some(46), 4), (Some(40), 3), (Some(0), 0)];
    for (room, returned) in rooms {
        for config in [&*config(), &whole_batches] {
            let clock = Arc::new(ManualClock::new(NOW));
            let store = open(SimulatedEngine::new(&families()), &clock).await;
            let account = furnish(&store, &clock, None).await;
            let rules = std::slice::from_ref(&rule);
            let kept = Rules::keep(&store, ANNA, Some(rules), Batch::default()).await;
            assert_eq!(kept.expect("kept"), Ok(()));
            assert_eq!(archive(&store, config, NOW).await.expect("run").total(), (6, 78));
            account.rename_mailbox("Lavori/2019", "Lavori/vecchi").await.expect("rename");
            let used = account.quota().await.expect("quota").used_octets;
            let quota_octets = room.map(|room| used + room);
            let settings = AccountSettings { quota_octets, ..settings(None) };
            store.apply_account(ANNA, 2, settings).await.expect("a limit");
            let foreseen = back::foresee(&store, ANNA, None).await.expect("foresee");
            assert_eq!(account.quota().await.expect("quota").used_octets, used, "nothing moved");
            let report = back::run(&store, config, ANNA, None, &stopping).await.expect("back");
            assert_eq!(foreseen, report, "{room:?}");
            assert_eq!((report.total().0, report.full.is_some()), (returned, returned < 6));
            if returned == 6 {
                let names = ["INBOX", "Inviati", "Lavori/vecchi"];
                let expected = names.map(|name| (name.to_owned(), (2, 26)));
                assert_eq!(report.mailboxes, expected.into());
            }
            let archived = account.quota().await.expect("quota").archive.used_messages;
            assert_eq!(archived, 6 - returned);
            each_once(&account).await;
            is_sound(&store).await;
        }
    }
}

#[tokio::test]
async fn one_mailbox_of_the_archive_goes_back_alone_and_one_that_is_gone_is_made_again() {
    let stopping = CancellationToken::new();
    let clock = Arc::new(ManualClock::new(NOW));
    let store = open(SimulatedEngine::new(&families()), &clock).await;
    let account = furnish(&store, &clock, None).await;
    archive(&store, &config(), NOW).await.expect("run");
    account.delete_mailbox("Lavori/2019").await.expect("delete");
    let only = Some("Archivio/2025");
    let foreseen = back::foresee(&store, ANNA, only).await.expect("foresee");
    let report = back::run(&store, &config(), ANNA, only, &stopping).await.expect("back");
    let one = |name: &str| (name.to_owned(), (1, 10));
    assert_eq!(report.mailboxes, [one("INBOX"), one("Inviati"), one("Lavori/2019")].into());
    assert_eq!(foreseen, report);
    let again = back::run(&store, &config(), ANNA, only, &stopping).await.expect("again");
    assert_eq!(again.total(), (0, 0));
    for (name, wanted) in
        [("Archivio/1999", "no mailbox is called"), ("INBOX", "not in the archive")]
    {
        let refused = back::run(&store, &config(), ANNA, Some(name), &stopping).await;
        let refused = refused.expect_err(name).to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
    is_sound(&store).await;
}

#[tokio::test]
async fn what_no_mailbox_may_be_made_for_goes_back_to_inbox_and_is_foretold_so() {
    let clock = Arc::new(ManualClock::new(NOW));
    let store = open(SimulatedEngine::new(&families()), &clock).await;
    let account = furnish(&store, &clock, None).await;
    archive(&store, &config(), NOW).await.expect("run");
    account.delete_mailbox("Lavori/2019").await.expect("delete");
    let used = account.quota().await.expect("quota").used_mailboxes;
    let settings = AccountSettings { quota_mailboxes: Some(used), ..settings(None) };
    store.apply_account(ANNA, 2, settings).await.expect("a limit");
    let only = Some("Archivio/2025");
    let foreseen = back::foresee(&store, ANNA, only).await.expect("foresee");
    let stopping = CancellationToken::new();
    let report = back::run(&store, &config(), ANNA, only, &stopping).await.expect("back");
    let of = |name: &str, messages, octets| (name.to_owned(), (messages, octets));
    assert_eq!(report.mailboxes, [of("INBOX", 2, 20), of("Inviati", 1, 10)].into());
    assert_eq!(foreseen, report);
    is_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_is_told_once_that_his_archive_is_full_and_nothing_is_lost() {
    let provider = Provider::start().await;
    let store = provider.engine.store();
    provider.set(BRUNO, |settings| settings.archive_quota_octets = Some(25)).await;
    let account = store.account(BRUNO.id).await.expect("an account");
    for number in 0..4 {
        let flags = Flags { seen: true, ..Flags::default() };
        append(store, &account, "Inviati", number, 500, flags).await;
    }
    // Rows before his that cannot be read keep his from nobody.
    let damaged = keys::account(AccountId(0));
    let mut batch = Batch::default();
    batch.put(ARCHIVE_NOTICES, damaged.clone(), Bytes::from_static(b"\xff"));
    let warning = keys::quota_warning(AccountId(0), Tier::Live, 1);
    batch.put(keys::QUOTA_WARNINGS, warning, Bytes::from_static(b"\xff"));
    store.commit(batch).await.expect("commit");
    let stopping = CancellationToken::new();
    let archive = async |days: i64| {
        // A year and more after they were put there.
        let now = NOW.plus_millis((400 + days) * DAY);
        run::run(store, &config(), BRUNO.id, now, &stopping).await.expect("run")
    };
    let report = archive(0).await;
    assert_eq!((report.total(), report.full.is_some()), ((2, 21), true));
    let notice = eventually("the notices", async || {
        // One that the archive has reached a level, one that it takes no more.
        let letters = provider.inbox(BRUNO).await;
        letters
            .into_iter()
            .find(|letter| letter.subject() == "AVVISO: archivio della casella pieno")
    })
    .await;
    let text = String::from_utf8_lossy(&notice.entity).into_owned();
    assert!(text.contains("Nessun messaggio va perso") && text.contains("No message is lost"));
    assert_eq!(archive(1).await.total().0, 0);
    provider.settle().await;
    let left = provider.entries(ARCHIVE_NOTICES).await;
    assert_eq!(left.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [damaged]);
    let told = provider.journal().await.into_iter();
    let told = told.filter(|(_, record)| record.detail.starts_with("archive octets: 21 / 25"));
    assert_eq!(told.count(), 1, "once");

    provider.set(BRUNO, |settings| settings.archive_quota_octets = Some(1_000)).await;
    let report = archive(2).await;
    assert_eq!((report.total().0, report.full), (2, None), "it goes on by itself");
    let note = note(store, BRUNO.id).await;
    assert!(!note.told, "the next time he is told again");
    provider.stop().await;
}
