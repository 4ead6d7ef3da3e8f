//! Runs of the archive where something is wrong: a clock, a run that was cut off, a row that does not read.

use super::*;

/// A store in which a run at the instant `at` was cut off after its first two messages.
async fn cut_off(at: UnixMillis) -> (Arc<ManualClock>, Arc<Store>) {
    let engine = Dying::new();
    let clock = Arc::new(ManualClock::new(NOW));
    let store = open(engine.clone(), &clock).await;
    furnish(&store, &clock, None).await;
    // The first of them raises the format of the catalog.
    engine.let_pass(3);
    archive(&store, &config(), at).await.expect_err("it was cut off");
    let store = open(engine.inner.crash(), &clock).await;
    let note = note(&store, ANNA).await;
    assert_eq!((note.started_at, note.finished_at, note.messages), (at.0, 0, 2));
    (clock, store)
}

/// The rule that picks what is not flagged and so many days old.
fn older_than(days: u32) -> Rule {
    Rule {
        older_than_days: days,
        mailboxes: Vec::new(),
        larger_than_octets: 0,
        only_read: false,
        except_flagged: true,
        target: "Archivio/Tutto".to_owned(),
    }
}

async fn set_rule(store: &Store, rule: Rule) {
    let kept = Rules::keep(store, ANNA, Some(&[rule]), Batch::default()).await;
    assert_eq!(kept.expect("kept"), Ok(()));
}

#[tokio::test]
async fn a_run_that_was_cut_off_under_a_clock_that_was_ahead_begins_anew() {
    let ahead = NOW.plus_millis(400 * DAY);
    let (clock, store) = cut_off(ahead).await;
    let schedule = Schedule { store: Arc::clone(&store), config: config(), clock };
    let round = schedule.round(&CancellationToken::new()).await.expect("a round");
    // The first and the second message of INBOX went; the second was five days old.
    assert_eq!((round.due, round.messages), (1, 5), "what is a year old, nothing else");
    assert_eq!(note(&store, ANNA).await.started_at, NOW.0);
    each_once(&store.account(ANNA).await.expect("an account")).await;
    is_sound(&store).await;
}

#[tokio::test]
async fn a_run_that_was_cut_off_long_ago_begins_anew_by_the_rules_of_now() {
    let (_, store) = cut_off(NOW).await;
    set_rule(&store, older_than(30)).await;
    let later = NOW.plus_millis(160 * DAY);
    let foreseen = run::foresee(&store, &config(), ANNA, later).await.expect("foresee");
    let report = archive(&store, &config(), later).await.expect("run");
    assert_eq!(report.total().0, 5 + 7 + 7, "all but the flagged, and what is there already");
    assert_eq!(foreseen, report);
}

#[tokio::test]
async fn a_dry_run_begins_where_the_run_that_was_cut_off_goes_on() {
    let (_, store) = cut_off(NOW).await;
    set_rule(&store, older_than(2)).await;
    let soon = NOW.plus_millis(DAY / 2);
    let foreseen = run::foresee(&store, &config(), ANNA, soon).await.expect("foresee");
    let report = archive(&store, &config(), soon).await.expect("run");
    assert_eq!(foreseen, report);
    assert_eq!(report.total().0, 1 + 7 + 7, "what is settled in INBOX waits for the next run");
    let next = archive(&store, &config(), soon.plus_millis(DAY)).await.expect("run");
    assert_eq!(next.mailboxes, [("INBOX".to_owned(), (4, 10 * 4 + 1 + 2 + 3 + 5))].into());
}

/// What no program reads: a record of a newer one, and of none.
const UNREADABLE: [&[u8]; 2] = [b"\x09", b"\x00"];

/// Puts `value` where another is, and returns that.
async fn replace(store: &Store, family: Family, key: Bytes, value: &[u8]) -> Bytes {
    let before = store.engine().get(family, &key).await.expect("read").expect("a record");
    let mut batch = Batch::default();
    batch.put(family, key, Bytes::copy_from_slice(value));
    store.commit(batch).await.expect("commit");
    before
}

#[tokio::test]
async fn an_account_that_cannot_be_read_keeps_no_other_from_its_run() {
    for unreadable in UNREADABLE {
        let clock = Arc::new(ManualClock::new(NOW));
        let store = open(SimulatedEngine::new(&families()), &clock).await;
        let account = furnish(&store, &clock, None).await;
        let before = AccountId(3);
        let other = AccountSettings { address: "altro@pec.example".to_owned(), ..settings(None) };
        store.apply_account(before, 1, other).await.expect("an account");
        replace(&store, keys::ACCOUNTS, keys::account(before), unreadable).await;
        let schedule = Schedule { store: Arc::clone(&store), config: config(), clock };
        let round = schedule.round(&CancellationToken::new()).await.expect("a round");
        assert_eq!((round.due, round.messages), (1, 6));
        each_once(&account).await;
    }
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_read_keeps_no_other_from_the_archive_and_is_named() {
    for unreadable in UNREADABLE {
        let clock = Arc::new(ManualClock::new(NOW));
        let store = open(SimulatedEngine::new(&families()), &clock).await;
        let account = furnish(&store, &clock, None).await;
        let inbox = account.mailbox_by_name("INBOX").await.expect("INBOX").id();
        let key = keys::row(ANNA, inbox, Uid::new(3).expect("a UID"));
        let row = replace(&store, keys::MAILBOX_ROWS, key.clone(), unreadable).await;
        let foreseen = run::foresee(&store, &config(), ANNA, NOW).await.expect("foresee");
        let report = archive(&store, &config(), NOW).await.expect("run");
        assert_eq!(foreseen, report);
        let mut expected = undisturbed();
        expected.remove("INBOX");
        assert_eq!((report.mailboxes, report.ended), (expected, Ended::Finished));
        assert_eq!(report.unreadable, ["INBOX"]);
        assert_eq!(note(&store, ANNA).await.finished_at, NOW.0);
        replace(&store, keys::MAILBOX_ROWS, key, &row).await;
        let next = archive(&store, &config(), NOW.plus_millis(DAY)).await.expect("run");
        assert_eq!((next.total().0, next.unreadable), (2, Vec::new()));
        each_once(&account).await;
        is_sound(&store).await;
    }
}

#[tokio::test]
async fn a_note_that_cannot_be_read_counts_as_none_and_the_next_run_mends_it() {
    for unreadable in UNREADABLE {
        let (clock, store) = cut_off(NOW).await;
        replace(&store, ARCHIVE_RUNS, keys::account(ANNA), unreadable).await;
        let schedule = Schedule { store: Arc::clone(&store), config: config(), clock };
        let round = schedule.round(&CancellationToken::new()).await.expect("a round");
        assert_eq!(round, Round { due: 1, messages: 4, octets: 52, late_millis: 0 });
        assert_eq!(note(&store, ANNA).await.finished_at, NOW.0);
        is_sound(&store).await;
    }
}
