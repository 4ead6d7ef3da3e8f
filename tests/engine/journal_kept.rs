//! The journal sealed every minute and saved every day (RFC 6109 §2.3, DM 2 November 2005 art. 10).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ceralacca::{
    backup::held::note_restore,
    pec::{
        journal::{
            head::{
                Head, JOURNAL_HEADS, JOURNAL_INDEX, JOURNAL_LEAVES, JOURNAL_PIECES, JOURNAL_SEALS,
                JournalHead, numbered,
            },
            keeper::Kept,
            piece::{PieceRecord, Statement},
            search::{Query, UNREADABLE, search},
        },
        records::{JOURNAL, decode, encode},
    },
    serve::journal,
};
use storage::{
    backup::rules::{self, SEQUENCES_RAISED_BY, Succession},
    catalog::{engine::Batch, simulated::SimulatedEngine},
    claim::ClaimToken,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use trust::{
    certificate::chain::TrustedAuthorities,
    clock::UnixMillis,
    digest::Sha256Digest,
    random::SystemRandom,
    timestamp::{
        TimestampError, TimestampSource, TimestampToken,
        client::{HttpTimestampConfig, HttpTimestampSource},
    },
};

use crate::{
    dying::Dying,
    keeping::{DAY, FIRST_DAY, Keeping, MINUTE, NODE, beside, must, shell},
    letter::written,
    provider::{BRUNO, CARLA, eventually, families},
};

async fn statements(keeping: &Keeping) -> Vec<Statement> {
    let read = |(key, value): &(Bytes, Bytes)| {
        let record: PieceRecord = decode(JOURNAL_PIECES, key, value).expect("a piece");
        Statement::read(&record.statement).expect("a statement")
    };
    keeping.provider.entries(JOURNAL_PIECES).await.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_minute_with_records_has_a_seal_and_nothing_is_sealed_twice() {
    let keeping = Keeping::start().await;
    assert_eq!(keeping.round().await.sealed.seals, 0, "nothing happened yet");
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    keeping.provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    keeping.provider.settle().await;
    let first = keeping.after(MINUTE).await.sealed;
    assert_eq!((first.seals, first.records), (1, 5));
    assert_eq!(keeping.after(MINUTE).await.sealed.seals, 0);
    keeping.log(3).await;
    let second = keeping.after(MINUTE).await.sealed;
    assert_eq!((second.seals, second.records), (1, 3));
    keeping.log(2).await;
    let verified = keeping.whole().await;
    assert_eq!((verified.seals, verified.records, verified.unsealed), (2, 8, 2));
    keeping.provider.stop().await;
}

/// As at the first start, and at the first after a restore.
#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_that_seal_at_the_same_time_are_not_taken_for_somebody_who_tampers() {
    let keeping = Keeping::start().await;
    let keeper = Arc::new(keeping.keeper_with(keeping.stamps.clone()));
    let rounds = 400;
    for _ in 0..rounds {
        keeping.log(1).await;
        let mut tasks = JoinSet::new();
        for _ in 0..2 {
            let keeper = Arc::clone(&keeper);
            tasks.spawn(async move {
                let mut kept = Kept::default();
                keeper.seal(&mut kept).await;
                kept
            });
        }
        for kept in tasks.join_all().await {
            assert!(kept.failures.is_empty(), "{:?}", kept.failures);
        }
    }
    assert_eq!(keeping.whole().await.seals, rounds);
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_day_has_one_piece_without_a_gap_and_public_tools_verify_it() {
    let keeping = Keeping::start().await;
    keeping.log(40).await;
    keeping.after(MINUTE).await;
    keeping.log(30).await;
    keeping.after(MINUTE).await;
    assert_eq!(keeping.after(11 * 3_600_000).await.pieces, 0, "the day is not over");
    // Into the third day: the first, and the second in which nothing happened.
    assert_eq!(keeping.after(26 * 3_600_000).await.pieces, 2);
    assert_eq!(keeping.after(MINUTE).await.pieces, 0);
    let statements = statements(&keeping).await;
    assert_eq!(statements[0].records, Some((1, 70)));
    assert_eq!((statements[1].seals, statements[1].chain), (None, statements[0].chain));
    for pair in statements.windows(2) {
        assert_eq!(pair[0].until, pair[1].from, "no gap");
        assert!(pair[1].until.0 - pair[1].from.0 <= DAY);
    }
    let folder = statements[0].folder();
    assert_eq!(folder, format!("journal/1/{FIRST_DAY}-00000001-e1"));
    assert_eq!(keeping.whole().await.pieces, 2);

    let disk = tempfile::tempdir().expect("a folder");
    keeping.bring(&folder, disk.path()).await;
    for command in commands_of_the_document() {
        must(disk.path(), &command);
    }
    // The roots of all seals follow from the records, by the document alone.
    let script = beside("verify_piece.py");
    let printed = must(disk.path(), &format!("python3 {} .", script.display()));
    assert_eq!(printed.trim(), "2 seals, 70 records");
    std::fs::write(disk.path().join("statement.txt"), b"other").expect("written");
    assert!(!shell(disk.path(), &commands_of_the_document()[0]).status.success());
    keeping.provider.stop().await;
}

/// The commands that `docs/operations.md` gives for a daily piece.
fn commands_of_the_document() -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let text = std::fs::read_to_string(file).expect("the document");
    let chapter = text.split("### Verify a day with public tools").nth(1).expect("the chapter");
    let commands = chapter.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let commands: Vec<String> = commands
        .expect("commands")
        .lines()
        .map(str::to_owned)
        .filter(|line| !line.is_empty())
        .collect();
    assert!(commands[0].starts_with("openssl cms -verify"), "{commands:?}");
    assert!(commands.iter().any(|line| line.starts_with("openssl ts -verify")), "{commands:?}");
    commands
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_late_when_nobody_stamps_and_is_then_saved_once() {
    let keeping = Keeping::start().await;
    keeping.log(5).await;
    keeping.after(MINUTE).await;
    keeping.stamps.go_away(true);
    for _ in 0..3 {
        keeping.provider.clock.advance(DAY);
        keeping.log(1).await;
        let kept = keeping.keeper.round().await;
        let steps: Vec<&str> = kept.failures.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, ["piece"], "sealing goes on");
        assert_eq!((kept.sealed.records, kept.pieces), (1, 0));
        assert!(keeping.names().await.is_empty());
    }
    keeping.stamps.go_away(false);
    assert_eq!(keeping.round().await.pieces, 3);
    assert_eq!(keeping.round().await.pieces, 0);
    assert_eq!(keeping.stamps.given(), 3);
    let verified = keeping.whole().await;
    assert_eq!((verified.pieces, verified.records), (3, 8));
    assert_eq!(verified.stamped_late, [1], "more than two days after its end");
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_leaves_what_the_next_start_finishes_once() {
    let (mut cut, mut complete) = (0, false);
    while !complete {
        let catalog = Dying::new();
        let objects = Arc::default();
        let keeping = Keeping::start_on(catalog.clone(), Arc::clone(&objects), 1).await;
        keeping.round().await;
        keeping.log(600).await;
        keeping.provider.clock.advance(2 * DAY);
        let workers = keeping.provider.clock.clone();
        catalog.let_pass(cut);
        let kept = keeping.keeper.round().await;
        complete = kept.failures.is_empty();
        catalog.let_pass(i64::MAX);
        keeping.provider.stop_soon().await;

        let again = Keeping::start_on(catalog.inner.crash(), objects, 1).await;
        again
            .provider
            .clock
            .advance(trust::clock::Clock::now(&*workers).0 - crate::network::NOON.0);
        again.round().await;
        let verified = again.whole().await;
        assert_eq!((verified.records, verified.pieces), (600, 2), "cut at {cut}");
        let statements = statements(&again).await;
        assert_eq!(statements.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2]);
        again.provider.stop().await;
        cut += 1;
    }
    assert!(cut > 5, "each commit was the last one once: {cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_thirty_months_whole_days_go_and_the_journal_says_so() {
    let keeping = Keeping::start().await;
    keeping.log(450).await;
    keeping.after(MINUTE).await;
    keeping.after(DAY).await;
    keeping.log(4).await;
    keeping.after(DAY).await;
    // 29 months.
    keeping.provider.clock.advance(880 * DAY);
    keeping.stamps.go_away(true);
    keeping.keeper.round().await;
    assert_eq!(keeping.provider.entries(JOURNAL).await.len(), 454, "not yet");
    keeping.stamps.go_away(false);
    keeping.provider.clock.advance(33 * DAY);
    let first = keeping.names().await;
    let kept = keeping.round().await;
    assert_eq!((kept.disposed.pieces, kept.disposed.records), (3, 454), "{:?}", kept.disposed);
    let journal = keeping.provider.journal().await;
    let said: Vec<&str> = journal.iter().map(|(_, record)| record.event.as_str()).collect();
    assert_eq!(said, ["disposed", "disposed", "disposed"]);
    let detail = &journal[0].1.detail;
    assert!(detail.contains("records 1 to 450, seals 1 to 1, chain "), "{detail}");
    assert!(detail.ends_with(", months 30"), "{detail}");
    let left = keeping.names().await;
    assert!(first.iter().all(|gone| !left.contains(gone)), "{left:?}");
    let head = Head::read(keeping.catalog(), NODE).await.expect("a head").record;
    assert_eq!((head.disposed_sequence, head.disposed_pieces), (454, 3));
    for family in [JOURNAL_SEALS, JOURNAL_LEAVES, JOURNAL_INDEX] {
        assert!(keeping.provider.entries(family).await.is_empty(), "{family:?}");
    }
    keeping.after(MINUTE).await;
    let verified = keeping.whole().await;
    assert_eq!((verified.records, verified.seals), (3, 1));
    assert_eq!(keeping.round().await.disposed.pieces, 0);
    keeping.provider.stop().await;
}

/// A time-stamping service that takes the connection and says nothing.
async fn silent() -> (HttpTimestampSource, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let config = HttpTimestampConfig {
        url: format!("http://127.0.0.1:{port}/tsr"),
        timeout: Duration::from_mins(10),
        trusted: TrustedAuthorities::new(Vec::new()),
    };
    let source = HttpTimestampSource::new(config, Arc::new(SystemRandom)).expect("a client");
    (source, listener)
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_are_sealed_while_the_time_stamping_service_takes_connections_and_says_nothing() {
    let keeping = Keeping::start().await;
    keeping.log(2).await;
    keeping.round().await;
    keeping.provider.clock.advance(2 * DAY);
    let (source, listener) = silent().await;
    let keeper = Arc::new(keeping.keeper_with(Arc::new(source)));
    let (stopping, soon) = (CancellationToken::new(), Duration::from_millis(5));
    let mut tasks = JoinSet::new();
    tasks.spawn(journal::seal(Arc::clone(&keeper), soon, stopping.clone()));
    tasks.spawn(journal::keep(keeper, (soon, soon), stopping.clone()));
    let _asked = listener.accept().await.expect("the day is over");
    for number in 3..=6_u64 {
        keeping.provider.clock.advance(MINUTE);
        keeping.log(1).await;
        eventually("a seal", async || {
            let head = Head::read(keeping.catalog(), NODE).await.expect("a head").record;
            (head.sequence == number).then_some(())
        })
        .await;
    }
    let head = Head::read(keeping.catalog(), NODE).await.expect("a head").record;
    assert_eq!((head.seals, head.pieces), (5, 0), "the service is still asked for the first day");
    stopping.cancel();
    tasks.join_all().await;
    assert_eq!(keeping.round().await.pieces, 2);
    keeping.whole().await;
    keeping.provider.stop().await;
}

/// A stamp that comes while a minute is sealed: its day is closed on the head as it is by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_closed_though_minutes_were_sealed_while_it_was_stamped() {
    let keeping = Arc::new(Keeping::start().await);
    keeping.log(2).await;
    keeping.round().await;
    keeping.provider.clock.advance(DAY);
    let slow = Arc::new(Slow { keeping: Arc::clone(&keeping) });
    let kept = keeping.keeper_with(slow).days(true).await;
    assert!(kept.failures.is_empty(), "{:?}", kept.failures);
    assert_eq!((kept.pieces, kept.stored), (1, 1));
    let head = Head::read(keeping.catalog(), NODE).await.expect("a head").record;
    assert_eq!((head.seals, head.sequence, head.piece_sequence), (2, 3, 2));
    keeping.whole().await;
    Arc::into_inner(keeping).expect("nobody else").provider.stop().await;
}

/// Stamps, after a minute was sealed.
struct Slow {
    keeping: Arc<Keeping>,
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Slow")
    }
}

#[async_trait::async_trait]
impl TimestampSource for Slow {
    async fn stamp(&self, digest: Sha256Digest) -> Result<TimestampToken, TimestampError> {
        self.keeping.log(1).await;
        let mut kept = Kept::default();
        self.keeping.keeper.seal(&mut kept).await;
        assert_eq!((kept.sealed.seals, kept.failures.len()), (1, 0));
        self.keeping.stamps.stamp(digest).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_begins_a_new_part_of_the_chain_and_its_lost_time_is_explained() {
    let catalog = SimulatedEngine::new(&families());
    let objects = Arc::default();
    let keeping = Keeping::start_on(catalog.clone(), Arc::clone(&objects), 1).await;
    keeping.log(5).await;
    keeping.after(MINUTE).await;
    keeping.log(2).await;
    // What is restored: two records wait for their seal.
    let checkpoint = catalog.checkpoint();
    keeping.log(7).await;
    keeping.after(DAY).await;
    let lost = keeping.names().await;
    assert!(!lost.is_empty(), "the lost time has a piece");
    let now = keeping.engine().now();
    keeping.provider.stop().await;

    let succession = Succession::Node { epoch: 3, token: ClaimToken([7; 16]), pinned: Vec::new() };
    rules::apply(&*checkpoint, &succession).await.expect("raised");
    note_restore(&*checkpoint, NODE, now, "checkpoint".to_owned()).await.expect("noted");
    let again = Keeping::start_on(checkpoint, objects, 3).await;
    again.provider.clock.advance(now.0 - crate::network::NOON.0);
    again.log(3).await;
    let before = again.whole().await;
    assert_eq!(before.lost_time, [(8, 7 + 2 * SEQUENCES_RAISED_BY)], "told before it is sealed");
    again.after(MINUTE).await;
    again.after(DAY).await;
    let verified = again.whole().await;
    assert_eq!(verified.lost_time, [(8, 7 + 2 * SEQUENCES_RAISED_BY)]);
    assert_eq!((verified.records, verified.lost_pieces), (7 + 1 + 3, 1));
    assert!(lost.iter().all(|name| name.contains("-e1/")), "{lost:?}");
    for name in lost {
        assert!(again.names().await.contains(&name), "what the lost node saved stays: {name}");
    }
    again.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_a_restore_does_not_find_are_put_again() {
    let catalog = SimulatedEngine::new(&families());
    let keeping = Keeping::start_on(catalog.clone(), Arc::default(), 1).await;
    keeping.log(5).await;
    keeping.after(MINUTE).await;
    keeping.after(DAY).await;
    let (names, now) = (keeping.names().await, keeping.engine().now());
    keeping.provider.stop().await;
    let checkpoint = catalog.checkpoint();
    let again = Keeping::start_on(checkpoint, Arc::default(), 2).await;
    again.provider.clock.advance(now.0 - crate::network::NOON.0);
    again.round().await;
    assert_eq!(again.names().await, names);
    again.whole().await;
    again.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_holder_identifier_event_and_time_sealed_or_not() {
    let keeping = Keeping::start().await;
    let start = keeping.engine().now();
    let message = written(BRUNO.address, CARLA.address, "", "ciao");
    let taken = keeping.provider.submit(BRUNO, &[CARLA.address], &message).await.expect("taken");
    keeping.provider.settle().await;
    keeping.after(MINUTE).await;
    for _ in 0..4 {
        keeping.log(30).await;
        keeping.after(MINUTE).await;
    }
    let late = keeping.engine().now();
    keeping.log(6).await;
    let find = async |query: Query| {
        let query = Query { limit: 1_000, ..query };
        let found = search(keeping.catalog(), NODE, &query).await.expect("found");
        assert_eq!(found.cursor, None);
        found.entries.into_iter().map(|entry| entry.sequence).collect::<Vec<u64>>()
    };
    let holder = |text: &str| Some(text.to_owned());
    assert_eq!(
        find(Query { holder: holder("CARLA@pec.beta.example"), ..Query::default() }).await,
        [1, 2, 3, 4, 5]
    );
    let of_bruno = find(Query { holder: holder(BRUNO.address), ..Query::default() }).await;
    assert_eq!(
        of_bruno.len(),
        4 + 120 + 6,
        "all but the delivery, which names its recipient alone"
    );
    let identifier = Some(format!("<{}>", taken.identifier));
    assert_eq!(find(Query { identifier, ..Query::default() }).await, [1, 2, 3, 4, 5]);
    let receipt = keeping.provider.journal().await[1].1.related[0].clone();
    assert_eq!(find(Query { identifier: Some(receipt), ..Query::default() }).await, [2]);
    let event = Some("delivery".to_owned());
    assert_eq!(find(Query { event, ..Query::default() }).await, [4]);
    let none = Query { holder: holder("nessuno@pec.example"), ..Query::default() };
    assert!(find(none).await.is_empty());
    let (since, until) = (start.plus_millis(MINUTE), start.plus_millis(2 * MINUTE));
    let of_time = Query { since: Some(since), until: Some(until), ..Query::default() };
    assert_eq!(find(of_time).await, (6..=65).collect::<Vec<u64>>());
    let tail = Query { since: Some(late), holder: holder(BRUNO.address), ..Query::default() };
    assert_eq!(find(tail).await, (126..=131).collect::<Vec<u64>>());
    let past = Query { until: Some(UnixMillis(start.0 - 1)), ..Query::default() };
    assert!(find(past).await.is_empty());
    pages_lead_through_everything(&keeping).await;
    keeping.provider.stop().await;
}

async fn pages_lead_through_everything(keeping: &Keeping) {
    for holder in [None, Some(BRUNO.address.to_owned())] {
        let (mut after, mut seen) = (Some(0), Vec::new());
        while let Some(from) = after {
            let query = Query { holder: holder.clone(), after: from, limit: 7, ..Query::default() };
            let found = search(keeping.catalog(), NODE, &query).await.expect("found");
            assert!(found.entries.len() <= 7);
            seen.extend(found.entries.iter().map(|entry| entry.sequence));
            after = found.cursor;
        }
        let expected = if holder.is_some() { 130 } else { 131 };
        assert_eq!(seen.len(), expected);
        assert!(seen.is_sorted());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_in_the_middle_of_a_disposal_keeps_nothing_back() {
    let catalog = SimulatedEngine::new(&families());
    let keeping = Keeping::start_on(catalog.clone(), Arc::default(), 1).await;
    keeping.log(5).await;
    keeping.after(MINUTE).await;
    keeping.after(2 * DAY).await;
    let head = Head::read(keeping.catalog(), NODE).await.expect("a head").record;
    assert_eq!((head.pieces, head.stored), (2, 2));
    // What the disposal of the first day leaves when it ends after its first step.
    let mut begun = Batch::default();
    let head = JournalHead { disposing: 1, ..head };
    begun.put(JOURNAL_HEADS, NODE.to_be_bytes().to_vec(), encode(&head));
    keeping.catalog().commit(begun).await.expect("begun");
    let now = keeping.engine().now();
    keeping.provider.stop().await;
    let again = Keeping::start_on(catalog.checkpoint(), Arc::default(), 2).await;
    again.provider.clock.advance(now.0 - crate::network::NOON.0 + MINUTE);
    let kept = again.round().await;
    assert_eq!(kept.saved_until, Some(UnixMillis(begin_of(&again, 1).await)), "nothing is stored");
    again.provider.clock.advance(930 * DAY);
    again.round().await;
    let kept = again.after(MINUTE).await;
    let head = Head::read(again.catalog(), NODE).await.expect("a head").record;
    assert!(head.disposed_pieces >= 1, "{head:?}");
    assert_eq!((head.stored, head.disposing), (head.pieces, 0));
    assert_eq!(kept.saved_until, Some(UnixMillis(head.period_millis)));
    again.provider.stop().await;
}

async fn begin_of(keeping: &Keeping, number: u64) -> i64 {
    statements(keeping).await.iter().find(|one| one.number == number).expect("a piece").from.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_over_midnight_changes_no_day_that_is_closed_and_hides_no_record() {
    let keeping = Keeping::start().await;
    keeping.log(2).await;
    keeping.after(MINUTE).await;
    // Five seconds after the midnight: nothing is sealed, the day is closed.
    keeping.stamps.go_away(true);
    let midnight = 12 * 3_600_000;
    keeping.provider.clock.advance(midnight - MINUTE + 5_000);
    keeping.keeper.round().await;
    keeping.stamps.go_away(false);
    assert_eq!(keeping.round().await.pieces, 1);
    keeping.provider.clock.advance(-2 * MINUTE);
    keeping.log(3).await;
    assert_eq!(keeping.after(MINUTE).await.sealed.records, 3);
    keeping.whole().await;
    // Written ahead, sealed after the clock was set back.
    keeping.provider.clock.advance(10 * MINUTE);
    let ahead = keeping.engine().now();
    keeping.log(1).await;
    keeping.after(-5 * MINUTE).await;
    let since = Query { since: Some(ahead), limit: 10, ..Query::default() };
    let found = search(keeping.catalog(), NODE, &since).await.expect("found").entries;
    assert_eq!(found.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [6]);
    keeping.after(DAY).await;
    let statements = statements(&keeping).await;
    let records: Vec<_> = statements.iter().map(|one| one.records).collect();
    assert_eq!(records, [Some((1, 2)), Some((3, 6))]);
    keeping.whole().await;
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_closes_no_day_and_disposes_of_nothing() {
    let keeping = Keeping::start().await;
    keeping.log(2).await;
    keeping.after(MINUTE).await;
    keeping.after(DAY).await;
    let far = 1_000 * DAY;
    keeping.stamps.stay_behind(far);
    keeping.provider.clock.advance(far);
    keeping.log(1).await;
    let kept = keeping.keeper.round().await;
    let steps: Vec<&str> = kept.failures.iter().map(|(step, _)| *step).collect();
    assert_eq!((steps.as_slice(), kept.pieces), (&["piece"][..], 0));
    assert_eq!((kept.sealed.records, kept.disposed.pieces), (1, 0));
    keeping.stamps.stay_behind(0);
    keeping.provider.clock.advance(-far);
    keeping.log(1).await;
    keeping.after(MINUTE).await;
    keeping.after(DAY).await;
    let records: Vec<_> = statements(&keeping).await.iter().map(|one| one.records).collect();
    assert_eq!(records, [Some((1, 2)), Some((3, 4))], "they do not wait for the time ahead");
    keeping.whole().await;
    keeping.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_ends_no_search_and_hides_nothing_behind_it() {
    let keeping = Keeping::start().await;
    let start = keeping.engine().now();
    for _ in 0..4 {
        keeping.log(2).await;
        keeping.after(MINUTE).await;
    }
    let find = async |query: Query| {
        let query = Query { limit: 100, ..query };
        let found = search(keeping.catalog(), NODE, &query).await.expect("found");
        found.entries.into_iter().map(|one| (one.sequence, one.record.event)).collect::<Vec<_>>()
    };
    let mut damage = Batch::default();
    damage.put(JOURNAL, numbered(NODE, 3), b"\xff\xff".to_vec());
    // The second and third seal, between which the search by halves looks first.
    damage.delete(JOURNAL_SEALS, numbered(NODE, 2)).delete(JOURNAL_SEALS, numbered(NODE, 3));
    keeping.catalog().commit(damage).await.expect("damaged");
    for since in [start, start.plus_millis(MINUTE)] {
        let found = find(Query { since: Some(since), ..Query::default() }).await;
        let numbers: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
        let first = if since == start { 1 } else { 3 };
        assert_eq!(numbers, (first..=8).collect::<Vec<u64>>());
        assert!(found.contains(&(3, UNREADABLE.to_owned())), "{found:?}");
    }
    let holder = Some("bruno@pec.beta.example".to_owned());
    assert_eq!(find(Query { holder, ..Query::default() }).await.len(), 8);
    keeping.provider.stop().await;
}
