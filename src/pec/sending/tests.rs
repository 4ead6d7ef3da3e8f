use std::sync::Arc;

use jiff::civil::date;
use storage::{
    catalog::simulated::SimulatedEngine,
    octets::OctetStoreConfig,
    store::{Store, StoreLimits},
};
use tokio::task::JoinSet;
use trust::{clock::ManualClock, random::SeededRandom};

use super::*;
use crate::golden::Golden;

/// 2026-11-27 12:00:00 in Rome.
const NOON: i64 = 1_795_777_200;

const ACCOUNT: AccountId = AccountId(7);

fn at(second: i64) -> UnixMillis {
    UnixMillis(second * 1_000)
}

fn sent(record: &mut SendingRecord, limits: SendingLimits, second: i64) -> Result<(), Full> {
    *record = record.with_one_more(limits, at(second))?;
    Ok(())
}

#[test]
fn the_minute_slides_and_says_when_the_next_message_may_go() {
    let limits = SendingLimits { per_minute: 3, per_day: 0 };
    let mut record = SendingRecord::default();
    for second in [NOON, NOON, NOON + 40] {
        assert_eq!(sent(&mut record, limits, second), Ok(()));
    }
    let wait = |seconds| Err(Full::Minute { limit: 3, seconds });
    assert_eq!(sent(&mut record, limits, NOON + 40), wait(20));
    assert_eq!(sent(&mut record, limits, NOON + 59), wait(1));
    // Two leave the window together, the third twenty seconds before it may be sent again.
    assert_eq!(sent(&mut record, limits, NOON + 60), Ok(()));
    assert_eq!(sent(&mut record, limits, NOON + 60), Ok(()));
    assert_eq!(sent(&mut record, limits, NOON + 61), wait(39));
    assert_eq!(sent(&mut record, limits, NOON + 100), Ok(()));
}

/// Any 60 whole seconds hold no more than the limit, and a steady sender gets all of it.
#[test]
fn no_sixty_seconds_hold_more_than_the_limit() {
    let limits = SendingLimits { per_minute: 50, per_day: 0 };
    let (mut record, mut taken) = (SendingRecord::default(), vec![0_u32; 600]);
    for (index, count) in taken.iter_mut().enumerate() {
        for _ in 0..(index * 7) % 13 {
            *count +=
                u32::from(sent(&mut record, limits, NOON + i64::try_from(index).unwrap()).is_ok());
        }
        assert!(record.by_second.len() <= 60);
    }
    assert!(taken.windows(60).all(|minute| minute.iter().sum::<u32>() <= 50));
    assert_eq!(taken.iter().sum::<u32>(), 500, "the whole limit of each of ten minutes");
}

#[test]
fn the_day_ends_at_midnight_in_rome() {
    let limits = SendingLimits { per_minute: 0, per_day: 2 };
    let mut record = SendingRecord::default();
    // 22:59:59Z is one second before midnight in winter.
    let midnight = NOON + 12 * 3_600;
    for second in [NOON, midnight - 1] {
        assert_eq!(sent(&mut record, limits, second), Ok(()));
    }
    let full = Full::Day { limit: 2, next_day: date(2026, 11, 28) };
    assert_eq!(sent(&mut record, limits, midnight - 1), Err(full));
    assert_eq!(sent(&mut record, limits, midnight), Ok(()));
    assert_eq!((record.day, record.of_day), (20_261_128, 1));
    // The day on which the clocks go back has 25 hours: 2026-10-25.
    let mut record = SendingRecord::default();
    let start = 1_792_879_200;
    for second in [start, start + 25 * 3_600 - 1] {
        assert_eq!(sent(&mut record, limits, second), Ok(()));
    }
    assert!(sent(&mut record, limits, start + 25 * 3_600 - 1).is_err());
    assert_eq!(sent(&mut record, limits, start + 25 * 3_600), Ok(()));
}

#[test]
fn a_clock_that_goes_back_gives_nothing_away_and_locks_nobody_out() {
    let limits = SendingLimits { per_minute: 1, per_day: 2 };
    let mut record = SendingRecord::default();
    assert_eq!(sent(&mut record, limits, NOON), Ok(()));
    assert!(sent(&mut record, limits, NOON - 1_000).is_err());
    assert_eq!(sent(&mut record, limits, NOON + 60), Ok(()));
    // A day ahead by mistake, then right again.
    assert!(sent(&mut record, limits, NOON + 120).is_err());
    assert_eq!(sent(&mut record, limits, NOON + 86_400), Ok(()));
    assert_eq!(sent(&mut record, limits, NOON + 121), Ok(()));
    for second in [i64::MIN, i64::MAX, 0] {
        let _ = record.with_one_more(limits, UnixMillis(second));
    }
}

async fn store() -> Arc<Store> {
    let families = Store::families(&[SENDINGS, Family("others")]);
    Store::open_with_engine(
        SimulatedEngine::new(&families),
        Arc::new(object_store::memory::InMemory::new()),
        Arc::new(ManualClock::new(at(NOON))),
        Arc::new(SeededRandom::new(1)),
        OctetStoreConfig::default(),
        StoreLimits::default(),
    )
    .await
    .unwrap()
}

fn message(number: u32) -> Batch {
    let mut batch = Batch::default();
    batch.expect(Family("others"), number.to_be_bytes().to_vec(), Expected::Absent);
    batch.put(Family("others"), number.to_be_bytes().to_vec(), Bytes::new());
    batch
}

async fn counted(store: &Store) -> u32 {
    let found = store.engine().get(SENDINGS, &key(ACCOUNT)).await.unwrap();
    read(ACCOUNT, found.as_ref()).unwrap().of_day
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_send_at_once_get_exactly_the_limit() {
    let (store, sendings) = (store().await, Arc::new(Sendings::default()));
    let limits = SendingLimits { per_minute: 0, per_day: 100 };
    // Two nodes over one catalog: each has a chain of its own, and only the catalog is shared.
    let others = Arc::new(Sendings::default());
    let mut sessions = JoinSet::new();
    for number in 0..300 {
        let (store, sendings, others) =
            (Arc::clone(&store), Arc::clone(&sendings), Arc::clone(&others));
        sessions.spawn(async move {
            let sendings = if number % 10 == 0 { &others } else { &sendings };
            sendings.commit(&store, ACCOUNT, limits, at(NOON), message(number)).await.is_ok()
        });
    }
    let taken = sessions.join_all().await.into_iter().filter(|taken| *taken).count();
    assert_eq!((taken, counted(&store).await), (100, 100));
    let messages = storage::catalog::engine::Scan::prefix(Family("others"), b"", 1_000);
    assert_eq!(store.engine().scan(&messages).await.unwrap().len(), 100);
    assert!(sendings.chains.lock().unwrap().is_empty(), "nobody sends any more");
}

#[tokio::test]
async fn a_batch_whose_own_conditions_fail_is_not_counted_and_stops_nobody() {
    let (store, sendings) = (store().await, Sendings::default());
    let limits = SendingLimits { per_minute: 10, per_day: 10 };
    let send = |number| sendings.commit(&store, ACCOUNT, limits, at(NOON), message(number));
    send(1).await.unwrap();
    let (again, second, third) = tokio::join!(send(1), send(2), send(3));
    assert!(matches!(again, Err(NotSent::Store(StoreError::Conflict))), "{again:?}");
    second.unwrap();
    third.unwrap();
    assert_eq!(counted(&store).await, 3);
}

#[tokio::test]
async fn a_session_that_goes_away_while_it_waits_stops_nobody() {
    let (store, sendings) = (store().await, Sendings::default());
    let limits = SendingLimits { per_minute: 10, per_day: 10 };
    {
        let mut lost = Box::pin(sendings.commit(&store, ACCOUNT, limits, at(NOON), message(1)));
        assert!(futures::poll!(lost.as_mut()).is_pending());
    }
    sendings.commit(&store, ACCOUNT, limits, at(NOON), message(2)).await.unwrap();
    assert!((1..=2).contains(&counted(&store).await));
}

#[tokio::test]
async fn without_limits_nothing_is_counted() {
    let (store, sendings) = (store().await, Sendings::default());
    let none = SendingLimits::default();
    sendings.commit(&store, ACCOUNT, none, at(NOON), message(1)).await.unwrap();
    assert_eq!(counted(&store).await, 0);
    assert!(sendings.look(&store, ACCOUNT, none, at(NOON)).await.is_ok());
}

#[test]
fn records_of_sendings_stay_as_they_are() {
    let record = SendingRecord {
        second: 1_795_867_200,
        by_second: vec![2, 0, 300],
        day: 20_261_128,
        of_day: 302,
    };
    let account = AccountId(7);
    let golden = Golden::of("sendings").key(key(account)).fields("sending::SendingRecord", 1);
    golden.holds(&record, encode, |octets| {
        read(account, Some(&Bytes::copy_from_slice(octets))).expect("a record")
    });
}
